-- The workers heard of lately. `asking_until` says how long one that asks for work waits for it; 0 when it has work.
CREATE TABLE workers (
    name         TEXT NOT NULL PRIMARY KEY,
    seen         REAL NOT NULL,
    asking_until REAL NOT NULL
) STRICT, WITHOUT ROWID;

-- Until when one server has a notice in hand, so that no other gives it too.
ALTER TABLE outbox ADD COLUMN claimed_until INTEGER NOT NULL DEFAULT 0;
