-- A link to log in is a notice like others: it is owed to whoever asked for it, not to an order.
-- From the nonce and the site's secret the link follows; it is forgotten when the link was sent. The language is that of who asked.
ALTER TABLE log_in_links ADD COLUMN nonce TEXT;
ALTER TABLE log_in_links ADD COLUMN language TEXT;
CREATE TABLE new_outbox (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    order_id      TEXT    REFERENCES orders (id) ON DELETE CASCADE,
    link          TEXT    UNIQUE REFERENCES log_in_links (hash) ON DELETE CASCADE,
    kind          TEXT    NOT NULL,
    way           TEXT    NOT NULL,
    created       INTEGER NOT NULL,
    attempts      INTEGER NOT NULL DEFAULT 0,
    next_try      INTEGER NOT NULL,
    sent          INTEGER,
    gave_up       INTEGER,
    last_error    TEXT,
    claimed_until INTEGER NOT NULL DEFAULT 0,
    UNIQUE (order_id, kind, way),
    CHECK ((order_id IS NULL) <> (link IS NULL))
) STRICT;
INSERT INTO new_outbox (id, order_id, kind, way, created, attempts, next_try, sent, gave_up, last_error, claimed_until)
    SELECT id, order_id, kind, way, created, attempts, next_try, sent, gave_up, last_error, claimed_until
    FROM outbox WHERE order_id IS NOT NULL;
-- No number is ever given to two notices.
DELETE FROM sqlite_sequence WHERE name = 'new_outbox';
INSERT INTO sqlite_sequence (name, seq) SELECT 'new_outbox', seq FROM sqlite_sequence WHERE name = 'outbox';
DROP TABLE outbox;
ALTER TABLE new_outbox RENAME TO outbox;
CREATE INDEX outbox_open ON outbox (next_try) WHERE sent IS NULL AND gave_up IS NULL;
-- A user's last orders are looked at with each new one.
DROP INDEX orders_by_user;
CREATE INDEX orders_by_user ON orders ("user", created);
