-- For the limits of a site as a whole.
CREATE INDEX orders_by_time ON orders (created);

-- Who was invited, and may act without logging in by other means. The token itself is kept nowhere.
CREATE TABLE tokens (
    name    TEXT    NOT NULL PRIMARY KEY,
    hash    TEXT    NOT NULL UNIQUE,
    role    TEXT    NOT NULL,
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
