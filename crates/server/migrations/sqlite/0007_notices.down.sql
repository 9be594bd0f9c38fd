CREATE TABLE old_outbox (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    order_id   TEXT    NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    kind       TEXT    NOT NULL CHECK (kind IN ('ready', 'failed', 'expiring')),
    created    INTEGER NOT NULL,
    attempts   INTEGER NOT NULL DEFAULT 0,
    next_try   INTEGER NOT NULL,
    sent       INTEGER,
    gave_up    INTEGER,
    last_error TEXT,
    claimed_until INTEGER NOT NULL DEFAULT 0,
    UNIQUE (order_id, kind)
) STRICT;
-- The older server would send mail to addresses that nobody confirmed or that were stopped.
INSERT INTO old_outbox
    SELECT n.id, n.order_id, n.kind, n.created, n.attempts, n.next_try, n.sent, n.gave_up, n.last_error, n.claimed_until
    FROM outbox n JOIN orders o ON o.id = n.order_id JOIN addresses a ON a.email = o.email
    WHERE n.way = 'mail' AND n.kind IN ('ready', 'failed', 'expiring') AND a.confirmed IS NOT NULL AND a.stopped IS NULL;
DROP TABLE outbox;
ALTER TABLE old_outbox RENAME TO outbox;
CREATE INDEX outbox_open ON outbox (next_try) WHERE sent IS NULL AND gave_up IS NULL;
DROP TABLE addresses;
ALTER TABLE orders DROP COLUMN webhook;
