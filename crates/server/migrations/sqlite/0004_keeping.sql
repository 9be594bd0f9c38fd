-- When the images of a ready build were removed because their time was over.
ALTER TABLE builds ADD COLUMN expired INTEGER;

-- What the operator has set while the server runs.
CREATE TABLE settings (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The outbox learns another kind of notice; SQLite cannot change a check, so the table is made anew.
CREATE TABLE new_outbox (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    order_id   TEXT    NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    kind       TEXT    NOT NULL CHECK (kind IN ('ready', 'failed', 'expiring')),
    created    INTEGER NOT NULL,
    attempts   INTEGER NOT NULL DEFAULT 0,
    next_try   INTEGER NOT NULL,
    sent       INTEGER,
    gave_up    INTEGER,
    last_error TEXT,
    UNIQUE (order_id, kind)
) STRICT;
INSERT INTO new_outbox SELECT id, order_id, kind, created, attempts, next_try, sent, gave_up, last_error FROM outbox;
DROP TABLE outbox;
ALTER TABLE new_outbox RENAME TO outbox;
CREATE INDEX outbox_open ON outbox (next_try) WHERE sent IS NULL AND gave_up IS NULL;
