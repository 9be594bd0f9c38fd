DROP INDEX orders_by_user;
CREATE INDEX orders_by_user ON orders ("user");
CREATE TABLE old_outbox (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    order_id      TEXT    NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    kind          TEXT    NOT NULL,
    way           TEXT    NOT NULL,
    created       INTEGER NOT NULL,
    attempts      INTEGER NOT NULL DEFAULT 0,
    next_try      INTEGER NOT NULL,
    sent          INTEGER,
    gave_up       INTEGER,
    last_error    TEXT,
    claimed_until INTEGER NOT NULL DEFAULT 0,
    UNIQUE (order_id, kind, way)
) STRICT;
INSERT INTO old_outbox (id, order_id, kind, way, created, attempts, next_try, sent, gave_up, last_error, claimed_until)
    SELECT id, order_id, kind, way, created, attempts, next_try, sent, gave_up, last_error, claimed_until
    FROM outbox WHERE order_id IS NOT NULL;
-- No number is ever given to two notices.
DELETE FROM sqlite_sequence WHERE name = 'old_outbox';
INSERT INTO sqlite_sequence (name, seq) SELECT 'old_outbox', seq FROM sqlite_sequence WHERE name = 'outbox';
DROP TABLE outbox;
ALTER TABLE old_outbox RENAME TO outbox;
CREATE INDEX outbox_open ON outbox (next_try) WHERE sent IS NULL AND gave_up IS NULL;
ALTER TABLE log_in_links DROP COLUMN language;
ALTER TABLE log_in_links DROP COLUMN nonce;
