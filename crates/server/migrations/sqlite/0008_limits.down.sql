DROP TABLE tokens;
DROP INDEX orders_by_time;
