-- An address that is told of an order by HTTP.
ALTER TABLE orders ADD COLUMN webhook TEXT;

-- Mail addresses that were given with orders. Mail goes to one only when somebody who reads it has confirmed it, and not stopped it since.
CREATE TABLE addresses (
    email     TEXT NOT NULL PRIMARY KEY,
    -- Who knows it may confirm or stop; it is only ever sent to the address itself.
    token     TEXT NOT NULL UNIQUE,
    -- When the question was last sent.
    asked     INTEGER,
    confirmed INTEGER,
    stopped   INTEGER
) STRICT, WITHOUT ROWID;
-- What was served until now goes on.
INSERT INTO addresses (email, token, confirmed)
    SELECT email, lower(hex(randomblob(20))), min(created) FROM orders WHERE email IS NOT NULL GROUP BY email;

-- A notice goes by a way of its own.
CREATE TABLE new_outbox (
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
INSERT INTO new_outbox
    SELECT id, order_id, kind, 'mail', created, attempts, next_try, sent, gave_up, last_error, claimed_until FROM outbox;
DROP TABLE outbox;
ALTER TABLE new_outbox RENAME TO outbox;
CREATE INDEX outbox_open ON outbox (next_try) WHERE sent IS NULL AND gave_up IS NULL;
