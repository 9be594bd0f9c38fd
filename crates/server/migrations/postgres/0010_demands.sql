-- What orders asked for together, counted by day: what lacked, and what was asked for by its flags and met. Nothing here says who asked.
CREATE TABLE demands (
    channel TEXT    NOT NULL,
    -- Each line a package, then its flags, separated by spaces.
    unmet   TEXT    NOT NULL,
    met     TEXT    NOT NULL,
    -- Days since the epoch (UTC).
    day     BIGINT  NOT NULL,
    count   BIGINT  NOT NULL,
    PRIMARY KEY (channel, unmet, met, day)
);
