-- The newest build of each preset that is kept warm. It stays as long as it is the newest.
CREATE TABLE warm (
    preset TEXT NOT NULL PRIMARY KEY,
    build  TEXT NOT NULL REFERENCES builds (id) ON DELETE CASCADE
);

-- `queue::Sketch`: the packages that weigh most, to tell which workers have them already. And how often a worker was given another build
-- although it was this one's turn.
ALTER TABLE builds ADD COLUMN sketch TEXT NOT NULL DEFAULT '[]';
ALTER TABLE builds ADD COLUMN passed_over BIGINT NOT NULL DEFAULT 0;
CREATE INDEX builds_by_worker ON builds (worker, started) WHERE worker IS NOT NULL;

-- What a worker can do, as it said when it last asked (`contract::lease::LeaseRequest`).
ALTER TABLE workers ADD COLUMN abilities TEXT NOT NULL DEFAULT '{}';
