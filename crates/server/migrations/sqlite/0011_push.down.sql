DELETE FROM outbox WHERE way = 'push';
ALTER TABLE orders DROP COLUMN push;
