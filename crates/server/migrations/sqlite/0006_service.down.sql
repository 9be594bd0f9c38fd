DROP TABLE workers;
ALTER TABLE outbox DROP COLUMN claimed_until;
