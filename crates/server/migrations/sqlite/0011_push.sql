-- Where a browser wants to be told of an order (`notices::push::Subscription`, as JSON).
ALTER TABLE orders ADD COLUMN push TEXT;
