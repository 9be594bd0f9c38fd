-- What users report of builds that failed, and what the operator answers.
CREATE TABLE reports (
    id       TEXT    NOT NULL PRIMARY KEY,
    order_id TEXT    NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    build    TEXT    NOT NULL,
    -- When the build failed: one that fails again can be reported again.
    failed   INTEGER NOT NULL,
    made     INTEGER NOT NULL,
    -- Why it failed.
    failure  TEXT    NOT NULL,
    -- What the user says.
    words    TEXT    NOT NULL,
    -- All that is needed to repeat it, as JSON.
    bundle   TEXT    NOT NULL,
    answer   TEXT,
    answered INTEGER,
    UNIQUE (order_id, failed)
) STRICT, WITHOUT ROWID;
CREATE INDEX reports_made ON reports (made);
