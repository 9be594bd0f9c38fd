-- All times are seconds since the epoch. JSON columns hold types of the contract crate.

CREATE TABLE builds (
    -- The place in the queue; a build that lost its worker keeps it.
    place         INTEGER PRIMARY KEY AUTOINCREMENT,
    id            TEXT    NOT NULL UNIQUE,
    -- Hash of all that decides the images; equal builds are joined on it.
    join_key      TEXT    NOT NULL,
    channel       TEXT    NOT NULL,
    arch          TEXT    NOT NULL,
    image_name    TEXT    NOT NULL,
    notice        TEXT    NOT NULL,
    formats       TEXT    NOT NULL,
    system        TEXT    NOT NULL,
    plan          TEXT    NOT NULL,
    plan_bytes    INTEGER NOT NULL,
    created       INTEGER NOT NULL,
    state         TEXT    NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'building', 'ready', 'failed', 'cancelled')),
    -- Set while a worker still builds what nobody wants any more.
    cancel        INTEGER NOT NULL DEFAULT 0,
    attempts      INTEGER NOT NULL DEFAULT 0,
    -- So many of the attempts say nothing about the build, because the server ended while they ran.
    forgiven      INTEGER NOT NULL DEFAULT 0,
    lease         TEXT,
    lease_expires INTEGER,
    worker        TEXT,
    next_sequence INTEGER NOT NULL DEFAULT 0,
    progress      TEXT    NOT NULL DEFAULT '[]',
    started       INTEGER,
    ended         INTEGER,
    failure       TEXT,
    messages      TEXT    NOT NULL DEFAULT '[]',
    locked_plan   TEXT,
    log_lines     INTEGER NOT NULL DEFAULT 0,
    log_bytes     INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX builds_by_state ON builds (state, place);
CREATE INDEX builds_by_join_key ON builds (join_key);

CREATE TABLE orders (
    -- Random and secret-bearing: who knows it may read, cancel and download.
    id              TEXT    PRIMARY KEY,
    build           TEXT    NOT NULL REFERENCES builds (id),
    created         INTEGER NOT NULL,
    title           TEXT    NOT NULL,
    -- The order as placed, without password hashes.
    request         TEXT    NOT NULL,
    email           TEXT,
    cancelled        INTEGER,
    -- Hash of the key a client sent to make a repeated request harmless, and of what it asked for.
    idempotency_key TEXT    UNIQUE,
    request_hash    TEXT    NOT NULL
) STRICT;
CREATE INDEX orders_by_build ON orders (build);

CREATE TABLE build_log (
    build TEXT    NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    seq   INTEGER NOT NULL,
    line  TEXT    NOT NULL,
    PRIMARY KEY (build, seq)
) STRICT, WITHOUT ROWID;

-- What a worker has sent under its lease; it counts only once the worker's end report agrees with it.
CREATE TABLE uploads (
    build   TEXT    NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    attempt INTEGER NOT NULL,
    name    TEXT    NOT NULL,
    size    INTEGER NOT NULL,
    sha256  TEXT    NOT NULL,
    sha512  TEXT    NOT NULL,
    PRIMARY KEY (build, attempt, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE artifacts (
    build   TEXT    NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    name    TEXT    NOT NULL,
    attempt INTEGER NOT NULL,
    format  TEXT    NOT NULL,
    size    INTEGER NOT NULL,
    sha256  TEXT    NOT NULL,
    sha512  TEXT    NOT NULL,
    PRIMARY KEY (build, name)
) STRICT, WITHOUT ROWID;

-- Notices still to be given; written in the same transaction as what they tell.
CREATE TABLE outbox (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    order_id   TEXT    NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    kind       TEXT    NOT NULL CHECK (kind IN ('ready', 'failed')),
    created    INTEGER NOT NULL,
    attempts   INTEGER NOT NULL DEFAULT 0,
    next_try   INTEGER NOT NULL,
    sent       INTEGER,
    gave_up    INTEGER,
    last_error TEXT,
    UNIQUE (order_id, kind)
) STRICT;
CREATE INDEX outbox_open ON outbox (next_try) WHERE sent IS NULL AND gave_up IS NULL;
