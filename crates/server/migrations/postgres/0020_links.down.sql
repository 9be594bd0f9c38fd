DROP INDEX orders_by_user;
CREATE INDEX orders_by_user ON orders ("user");
DELETE FROM outbox WHERE order_id IS NULL;
ALTER TABLE outbox DROP COLUMN link;
ALTER TABLE outbox ALTER COLUMN order_id SET NOT NULL;
ALTER TABLE log_in_links DROP COLUMN language;
ALTER TABLE log_in_links DROP COLUMN nonce;
