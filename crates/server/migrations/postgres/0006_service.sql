-- The workers heard of lately. `asking_until` says how long one that asks for work waits for it; 0 when it has work.
CREATE TABLE workers (
    name         TEXT NOT NULL PRIMARY KEY,
    seen         DOUBLE PRECISION NOT NULL,
    asking_until DOUBLE PRECISION NOT NULL
);

-- Until when one server has a notice in hand, so that no other gives it too.
ALTER TABLE outbox ADD COLUMN claimed_until BIGINT NOT NULL DEFAULT 0;
