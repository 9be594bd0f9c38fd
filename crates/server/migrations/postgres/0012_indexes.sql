-- How many there are of a day is asked before one is added, which must not mean to read all of the years before.
CREATE INDEX demands_by_day ON demands (day);
CREATE INDEX wishes_by_day ON wishes (day);
