-- The operator's word on a build's turn: lower goes first.
ALTER TABLE builds ADD COLUMN rank INTEGER NOT NULL DEFAULT 0;
-- What there is to do, as `queue::Work`; and once it is done, the seconds of each step.
ALTER TABLE builds ADD COLUMN work TEXT NOT NULL DEFAULT '{"parts":[]}';
ALTER TABLE builds ADD COLUMN step_seconds TEXT NOT NULL DEFAULT '[]';
-- Seconds of its user's work that were before it when it came.
ALTER TABLE builds ADD COLUMN work_before REAL NOT NULL DEFAULT 0;
CREATE INDEX builds_by_end ON builds (ended) WHERE ended IS NOT NULL;

-- Tells users apart for a fair queue; a keyed hash, from which no address can be found. Empty when nothing is known of the user.
ALTER TABLE orders ADD COLUMN user TEXT NOT NULL DEFAULT '';
-- Since when the order waits: since it was placed, or tried again.
ALTER TABLE orders ADD COLUMN since INTEGER NOT NULL DEFAULT 0;
UPDATE orders SET since = created;
-- When a file of it was first downloaded.
ALTER TABLE orders ADD COLUMN picked_up INTEGER;
CREATE INDEX orders_by_user ON orders (user);

-- When an order was promised to be ready, in seconds from `made`, and how long it really took.
CREATE TABLE promises (
    order_id TEXT NOT NULL PRIMARY KEY REFERENCES orders (id) ON DELETE CASCADE,
    made     REAL NOT NULL,
    -- `queue::Range` before calibration and as it was named, as JSON.
    forecast TEXT NOT NULL,
    named    TEXT NOT NULL,
    actual   REAL,
    -- When the actual time became known.
    ended    REAL
) STRICT, WITHOUT ROWID;
CREATE INDEX promises_by_end ON promises (ended) WHERE ended IS NOT NULL;
