-- What earlier attempts at a build took that was made again, in seconds, and when the last of them ended: users got that, too.
ALTER TABLE builds ADD COLUMN spent REAL NOT NULL DEFAULT 0;
ALTER TABLE builds ADD COLUMN spent_until INTEGER;
CREATE INDEX builds_by_spent ON builds (spent_until) WHERE spent_until IS NOT NULL;
-- Which came lately is asked whenever times are worked out.
CREATE INDEX builds_by_creation ON builds (created);
