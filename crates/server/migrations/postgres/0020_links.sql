-- A link to log in is a notice like others: it is owed to whoever asked for it, not to an order.
-- From the nonce and the site's secret the link follows; it is forgotten when the link was sent. The language is that of who asked.
ALTER TABLE log_in_links ADD COLUMN nonce TEXT;
ALTER TABLE log_in_links ADD COLUMN language TEXT;
ALTER TABLE outbox ALTER COLUMN order_id DROP NOT NULL;
ALTER TABLE outbox ADD COLUMN link TEXT UNIQUE REFERENCES log_in_links (hash) ON DELETE CASCADE;
ALTER TABLE outbox ADD CHECK ((order_id IS NULL) <> (link IS NULL));
-- A user's last orders are looked at with each new one.
DROP INDEX orders_by_user;
CREATE INDEX orders_by_user ON orders ("user", created);
