DROP INDEX builds_by_creation;
DROP INDEX builds_by_spent;
ALTER TABLE builds DROP COLUMN spent_until;
ALTER TABLE builds DROP COLUMN spent;
