-- People who log in. Nobody has to.
CREATE TABLE accounts (
    -- Random; from it nothing can be told of anybody.
    id      TEXT    NOT NULL PRIMARY KEY,
    created INTEGER NOT NULL,
    -- Whoever logs in with the account reads there: shown by a link that was sent to it, or by what the provider says.
    email   TEXT    UNIQUE,
    -- The OpenID Connect provider, and its name for the user.
    issuer  TEXT,
    subject TEXT,
    name    TEXT    NOT NULL DEFAULT '',
    -- What the provider's claims made of the user at the last log-in.
    role    TEXT    NOT NULL,
    -- Orders that name no address are told of by mail to the account's.
    tell    INTEGER NOT NULL DEFAULT 1,
    UNIQUE (issuer, subject)
) STRICT, WITHOUT ROWID;

-- Browsers that are logged in. The cookie itself is kept nowhere.
CREATE TABLE sessions (
    hash     TEXT    NOT NULL PRIMARY KEY,
    -- What the cookie was before it was last changed; requests that were under way still show it.
    previous TEXT    UNIQUE,
    rotated  INTEGER NOT NULL,
    -- By this its user ends it.
    id       TEXT    NOT NULL UNIQUE,
    account  TEXT    NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    created  INTEGER NOT NULL,
    used     INTEGER NOT NULL,
    -- What the browser says it is.
    agent    TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_account ON sessions (account);

-- Links that log in, as they were sent by mail. The link itself is kept nowhere.
CREATE TABLE log_in_links (
    hash    TEXT    NOT NULL PRIMARY KEY,
    email   TEXT    NOT NULL,
    created INTEGER NOT NULL,
    used    INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX log_in_links_by_email ON log_in_links (email, created);

-- Browsers that were sent to the OpenID Connect provider and are not back yet.
CREATE TABLE log_ins_elsewhere (
    hash     TEXT    NOT NULL PRIMARY KEY,
    nonce    TEXT    NOT NULL,
    -- The code_verifier of RFC 7636.
    verifier TEXT    NOT NULL,
    created  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What an account's programs show.
CREATE TABLE api_tokens (
    hash    TEXT    NOT NULL PRIMARY KEY,
    account TEXT    NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    name    TEXT    NOT NULL,
    created INTEGER NOT NULL,
    UNIQUE (account, name)
) STRICT, WITHOUT ROWID;

-- Mail addresses whose readers may log in and order while only invited users may.
CREATE TABLE invitations (
    email   TEXT    NOT NULL PRIMARY KEY,
    role    TEXT    NOT NULL,
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

ALTER TABLE orders ADD COLUMN account TEXT;
CREATE INDEX orders_by_account ON orders (account, created) WHERE account IS NOT NULL;
