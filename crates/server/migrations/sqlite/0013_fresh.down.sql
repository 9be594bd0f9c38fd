DROP TABLE renewals;
DROP TABLE fresh;
