-- What users may take over time, where several servers share a database: tokens that fill up, one being taken each time.
CREATE TABLE rates (
    -- What is counted, and of whom.
    name      TEXT NOT NULL PRIMARY KEY,
    remaining REAL NOT NULL,
    at        REAL NOT NULL
) STRICT, WITHOUT ROWID;

-- Browsers that are told of an order.
CREATE TABLE browsers (
    order_id     TEXT    NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    endpoint     TEXT    NOT NULL,
    subscription TEXT    NOT NULL,
    since        INTEGER NOT NULL,
    -- The last notice that it was given.
    told         INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (order_id, endpoint)
) STRICT, WITHOUT ROWID;
INSERT INTO browsers (order_id, endpoint, subscription, since)
    SELECT id, json_extract(push, '$.endpoint'), push, created FROM orders WHERE push IS NOT NULL;
ALTER TABLE orders DROP COLUMN push;
