DROP INDEX orders_by_account;
ALTER TABLE orders DROP COLUMN account;
DROP TABLE invitations;
DROP TABLE api_tokens;
DROP TABLE log_ins_elsewhere;
DROP TABLE log_in_links;
DROP TABLE sessions;
DROP TABLE accounts;
