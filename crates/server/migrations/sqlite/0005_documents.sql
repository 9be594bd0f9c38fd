ALTER TABLE uploads ADD COLUMN blake2b TEXT NOT NULL DEFAULT '';
ALTER TABLE artifacts ADD COLUMN blake2b TEXT NOT NULL DEFAULT '';

-- The files that lie beside the images of a ready build.
CREATE TABLE documents (
    build    TEXT    NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    name     TEXT    NOT NULL,
    -- A kind of document (crate attest).
    kind     TEXT    NOT NULL,
    size     INTEGER NOT NULL,
    sha256   TEXT    NOT NULL,
    -- What the server made itself. A worker's file has none: it is with the attempt's artifacts.
    body     BLOB,
    attempt  INTEGER,
    -- What a worker's file is about: an image's format, and what started it.
    format   TEXT,
    firmware TEXT,
    PRIMARY KEY (build, name),
    CHECK ((body IS NULL) <> (attempt IS NULL))
) STRICT, WITHOUT ROWID;
