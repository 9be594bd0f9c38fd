DROP INDEX wishes_by_day;
DROP INDEX demands_by_day;
