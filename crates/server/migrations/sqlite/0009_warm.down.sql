ALTER TABLE workers DROP COLUMN abilities;
DROP INDEX builds_by_worker;
ALTER TABLE builds DROP COLUMN passed_over;
ALTER TABLE builds DROP COLUMN sketch;
DROP TABLE warm;
