-- The older server would send mail to addresses that nobody confirmed or that were stopped.
DELETE FROM outbox n WHERE n.way <> 'mail' OR n.kind NOT IN ('ready', 'failed', 'expiring') OR NOT EXISTS (
    SELECT 1 FROM orders o JOIN addresses a ON a.email = o.email
    WHERE o.id = n.order_id AND a.confirmed IS NOT NULL AND a.stopped IS NULL);
ALTER TABLE outbox DROP COLUMN way;
ALTER TABLE outbox ADD CONSTRAINT outbox_kind_check CHECK (kind IN ('ready', 'failed', 'expiring'));
ALTER TABLE outbox ADD CONSTRAINT outbox_order_id_kind_key UNIQUE (order_id, kind);
DROP TABLE addresses;
ALTER TABLE orders DROP COLUMN webhook;
