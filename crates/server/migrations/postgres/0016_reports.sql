-- What users report of builds that failed, and what the operator answers.
CREATE TABLE reports (
    id       TEXT    NOT NULL PRIMARY KEY,
    order_id TEXT    NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    build    TEXT    NOT NULL,
    -- When the build failed: one that fails again can be reported again.
    failed   BIGINT  NOT NULL,
    made     BIGINT  NOT NULL,
    -- Why it failed.
    failure  TEXT    NOT NULL,
    -- What the user says.
    words    TEXT    NOT NULL,
    -- All that is needed to repeat it, as JSON.
    bundle   TEXT    NOT NULL,
    answer   TEXT,
    answered BIGINT,
    UNIQUE (order_id, failed)
);
CREATE INDEX reports_made ON reports (made);
