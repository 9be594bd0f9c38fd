-- Whether the OpenID Connect provider logged a session's user in: what it says of them counts there alone. Of those that are there it is not
-- known; whom it makes an operator logs in once more.
ALTER TABLE sessions ADD COLUMN vouched BIGINT NOT NULL DEFAULT 0;
