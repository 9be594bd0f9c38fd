DELETE FROM outbox WHERE kind = 'answered';
DROP TABLE reports;
