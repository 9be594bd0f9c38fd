-- The language that the order was placed in (RFC 5646), which its notices are written in; none is English.
ALTER TABLE orders ADD COLUMN language TEXT;
