-- Orders that are kept fresh: planned anew when the channel changes, a new order being placed for what is another image then.
CREATE TABLE fresh (
    -- The order that it began with.
    id      TEXT    NOT NULL PRIMARY KEY REFERENCES orders (id) ON DELETE CASCADE,
    -- The last order of the row.
    newest  TEXT    NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    -- Whose it is, as in orders.
    "user"  TEXT    NOT NULL,
    since   BIGINT  NOT NULL,
    -- When it was last looked whether the channel has changed.
    looked  BIGINT  NOT NULL,
    -- When it ended, and why, in words for its user.
    ended   BIGINT,
    why     TEXT
);
CREATE INDEX fresh_due ON fresh (looked) WHERE ended IS NULL;

-- The orders that were placed so.
CREATE TABLE renewals (
    order_id TEXT NOT NULL PRIMARY KEY REFERENCES orders (id) ON DELETE CASCADE,
    fresh    TEXT NOT NULL REFERENCES fresh (id) ON DELETE CASCADE,
    -- The order before it, and what is other than there (`resolver::Difference`, as lines for people).
    previous TEXT NOT NULL,
    changes  TEXT NOT NULL
);
CREATE INDEX renewals_by_fresh ON renewals (fresh);
