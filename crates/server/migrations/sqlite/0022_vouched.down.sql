-- Older versions know no notice of an order that the operator has cancelled.
DELETE FROM outbox WHERE kind = 'cancelled';
ALTER TABLE sessions DROP COLUMN vouched;
