-- An address that is told of an order by HTTP.
ALTER TABLE orders ADD COLUMN webhook TEXT;

-- Mail addresses that were given with orders. Mail goes to one only when somebody who reads it has confirmed it, and not stopped it since.
CREATE TABLE addresses (
    email     TEXT NOT NULL PRIMARY KEY,
    -- Who knows it may confirm or stop; it is only ever sent to the address itself.
    token     TEXT NOT NULL UNIQUE,
    -- When the question was last sent.
    asked     BIGINT,
    confirmed BIGINT,
    stopped   BIGINT
);
-- What was served until now goes on.
INSERT INTO addresses (email, token, confirmed)
    SELECT email, replace(CAST(gen_random_uuid() AS TEXT), '-', ''), min(created) FROM orders WHERE email IS NOT NULL GROUP BY email;

-- A notice goes by a way of its own.
ALTER TABLE outbox ADD COLUMN way TEXT NOT NULL DEFAULT 'mail';
ALTER TABLE outbox ALTER COLUMN way DROP DEFAULT;
ALTER TABLE outbox DROP CONSTRAINT outbox_kind_check;
ALTER TABLE outbox DROP CONSTRAINT outbox_order_id_kind_key;
ALTER TABLE outbox ADD UNIQUE (order_id, kind, way);
