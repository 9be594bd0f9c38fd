ALTER TABLE orders ADD COLUMN push TEXT;
UPDATE orders SET push = (SELECT b.subscription FROM browsers b WHERE b.order_id = orders.id ORDER BY b.since DESC LIMIT 1);
DROP TABLE browsers;
DROP TABLE rates;
