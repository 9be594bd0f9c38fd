-- The order of a build that lacks packages which are built from source first, as JSON and without its personal settings; NULL once the build is
-- planned, as all others are from the start.
ALTER TABLE builds ADD COLUMN lacking TEXT;
-- What such a build waits for.
CREATE TABLE needs (
    build  TEXT NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    -- A build from source.
    source TEXT NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    PRIMARY KEY (build, source)
);
CREATE INDEX needs_source ON needs (source);
