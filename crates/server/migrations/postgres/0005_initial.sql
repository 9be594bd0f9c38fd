-- All times are seconds since the epoch. JSON columns hold types of the contract crate. The same tables as those of SQLite at version 5.

CREATE TABLE builds (
    -- The place in the queue; a build that lost its worker keeps it.
    place         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
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
    plan_bytes    BIGINT  NOT NULL,
    created       BIGINT  NOT NULL,
    state         TEXT    NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'building', 'ready', 'failed', 'cancelled')),
    -- Set while a worker still builds what nobody wants any more.
    cancel        BIGINT  NOT NULL DEFAULT 0,
    attempts      BIGINT  NOT NULL DEFAULT 0,
    -- So many of the attempts say nothing about the build, because the server ended while they ran.
    forgiven      BIGINT  NOT NULL DEFAULT 0,
    lease         TEXT,
    lease_expires BIGINT,
    worker        TEXT,
    next_sequence BIGINT  NOT NULL DEFAULT 0,
    progress      TEXT    NOT NULL DEFAULT '[]',
    started       BIGINT,
    ended         BIGINT,
    failure       TEXT,
    messages      TEXT    NOT NULL DEFAULT '[]',
    locked_plan   TEXT,
    log_lines     BIGINT  NOT NULL DEFAULT 0,
    log_bytes     BIGINT  NOT NULL DEFAULT 0,
    -- How much the plan is and what is to be known of it, kept apart from the plan, which is long.
    summary       TEXT    NOT NULL DEFAULT '{"packages":0,"download_size":0,"installed_size":0,"measured":false}',
    notes         TEXT    NOT NULL DEFAULT '[]',
    -- The operator's word on a build's turn: lower goes first.
    rank          BIGINT  NOT NULL DEFAULT 0,
    -- What there is to do, as `queue::Work`; and once it is done, the seconds of each step.
    work          TEXT    NOT NULL DEFAULT '{"parts":[]}',
    step_seconds  TEXT    NOT NULL DEFAULT '[]',
    -- Seconds of its user's work that were before it when it came.
    work_before   DOUBLE PRECISION NOT NULL DEFAULT 0,
    -- When the images of a ready build were removed because their time was over.
    expired       BIGINT
);
CREATE INDEX builds_by_state ON builds (state, place);
CREATE INDEX builds_by_join_key ON builds (join_key);
CREATE INDEX builds_by_end ON builds (ended) WHERE ended IS NOT NULL;

CREATE TABLE orders (
    -- Random and secret-bearing: who knows it may read, cancel and download.
    id              TEXT    PRIMARY KEY,
    build           TEXT    NOT NULL REFERENCES builds (id),
    created         BIGINT  NOT NULL,
    title           TEXT    NOT NULL,
    -- The order as placed, without password hashes.
    request         TEXT    NOT NULL,
    email           TEXT,
    cancelled       BIGINT,
    -- Hash of the key a client sent to make a repeated request harmless, and of what it asked for.
    idempotency_key TEXT    UNIQUE,
    request_hash    TEXT    NOT NULL,
    -- Tells users apart for a fair queue; a keyed hash, from which no address can be found. Empty when nothing is known of the user.
    "user"          TEXT    NOT NULL DEFAULT '',
    -- Since when the order waits: since it was placed, or tried again.
    since           BIGINT  NOT NULL DEFAULT 0,
    -- When a file of it was first downloaded.
    picked_up       BIGINT
);
CREATE INDEX orders_by_build ON orders (build);
CREATE INDEX orders_by_user ON orders ("user");

CREATE TABLE build_log (
    build TEXT   NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    seq   BIGINT NOT NULL,
    line  TEXT   NOT NULL,
    PRIMARY KEY (build, seq)
);

-- What a worker has sent under its lease; it counts only once the worker's end report agrees with it.
CREATE TABLE uploads (
    build   TEXT   NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    attempt BIGINT NOT NULL,
    name    TEXT   NOT NULL,
    size    BIGINT NOT NULL,
    sha256  TEXT   NOT NULL,
    sha512  TEXT   NOT NULL,
    blake2b TEXT   NOT NULL DEFAULT '',
    PRIMARY KEY (build, attempt, name)
);

CREATE TABLE artifacts (
    build   TEXT   NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    name    TEXT   NOT NULL,
    attempt BIGINT NOT NULL,
    format  TEXT   NOT NULL,
    size    BIGINT NOT NULL,
    sha256  TEXT   NOT NULL,
    sha512  TEXT   NOT NULL,
    blake2b TEXT   NOT NULL DEFAULT '',
    PRIMARY KEY (build, name)
);

-- The files that lie beside the images of a ready build.
CREATE TABLE documents (
    build    TEXT   NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    name     TEXT   NOT NULL,
    -- A kind of document (crate attest).
    kind     TEXT   NOT NULL,
    size     BIGINT NOT NULL,
    sha256   TEXT   NOT NULL,
    -- What the server made itself. A worker's file has none: it is with the attempt's artifacts.
    body     BYTEA,
    attempt  BIGINT,
    -- What a worker's file is about: an image's format, and what started it.
    format   TEXT,
    firmware TEXT,
    PRIMARY KEY (build, name),
    CHECK ((body IS NULL) <> (attempt IS NULL))
);

-- Notices still to be given; written in the same transaction as what they tell.
CREATE TABLE outbox (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id   TEXT   NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    kind       TEXT   NOT NULL CHECK (kind IN ('ready', 'failed', 'expiring')),
    created    BIGINT NOT NULL,
    attempts   BIGINT NOT NULL DEFAULT 0,
    next_try   BIGINT NOT NULL,
    sent       BIGINT,
    gave_up    BIGINT,
    last_error TEXT,
    UNIQUE (order_id, kind)
);
CREATE INDEX outbox_open ON outbox (next_try) WHERE sent IS NULL AND gave_up IS NULL;

-- Wishes for builds that no binhost of a channel has, counted by day. Nothing here says who wished.
CREATE TABLE wishes (
    channel TEXT   NOT NULL,
    -- `category/package`, with version and slot where they were asked for.
    package TEXT   NOT NULL,
    -- The flags wished for, separated by spaces, `-` before unwanted ones; empty when the package itself is missing.
    flags   TEXT   NOT NULL,
    -- Days since the epoch (UTC).
    day     BIGINT NOT NULL,
    count   BIGINT NOT NULL,
    -- The build that came nearest when it was last wished for, and in which flags it differs; empty when there was none.
    nearest TEXT   NOT NULL,
    differs TEXT   NOT NULL,
    PRIMARY KEY (channel, package, flags, day)
);

-- When an order was promised to be ready, in seconds from `made`, and how long it really took.
CREATE TABLE promises (
    order_id TEXT NOT NULL PRIMARY KEY REFERENCES orders (id) ON DELETE CASCADE,
    made     DOUBLE PRECISION NOT NULL,
    -- `queue::Range` before calibration and as it was named, as JSON.
    forecast TEXT NOT NULL,
    named    TEXT NOT NULL,
    actual   DOUBLE PRECISION,
    -- When the actual time became known.
    ended    DOUBLE PRECISION
);
CREATE INDEX promises_by_end ON promises (ended) WHERE ended IS NOT NULL;

-- What the operator has set while the server runs.
CREATE TABLE settings (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
