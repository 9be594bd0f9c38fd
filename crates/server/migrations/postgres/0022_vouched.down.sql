ALTER TABLE sessions DROP COLUMN vouched;
