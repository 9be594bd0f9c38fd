-- What users may take over time, where several servers share a database: tokens that fill up, one being taken each time.
CREATE TABLE rates (
    -- What is counted, and of whom.
    name      TEXT NOT NULL PRIMARY KEY,
    remaining DOUBLE PRECISION NOT NULL,
    at        DOUBLE PRECISION NOT NULL
);

-- Browsers that are told of an order.
CREATE TABLE browsers (
    order_id     TEXT    NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    endpoint     TEXT    NOT NULL,
    subscription TEXT    NOT NULL,
    since        BIGINT  NOT NULL,
    -- The last notice that it was given.
    told         BIGINT  NOT NULL DEFAULT 0,
    PRIMARY KEY (order_id, endpoint)
);
INSERT INTO browsers (order_id, endpoint, subscription, since)
    SELECT id, CAST(push AS JSON) ->> 'endpoint', push, created FROM orders WHERE push IS NOT NULL;
ALTER TABLE orders DROP COLUMN push;
