-- How much a plan is and what is to be known of it, kept apart from the plan, which is long.
ALTER TABLE builds ADD COLUMN summary TEXT NOT NULL DEFAULT '{"packages":0,"download_size":0,"installed_size":0,"measured":false}';
ALTER TABLE builds ADD COLUMN notes TEXT NOT NULL DEFAULT '[]';
UPDATE builds SET summary = json_object(
    'packages', json_array_length(plan, '$.packages'), 'download_size', plan_bytes,
    'installed_size', plan_bytes / 10 * 31, 'measured', json('false'));

-- Wishes for builds that no binhost of a channel has, counted by day. Nothing here says who wished.
CREATE TABLE wishes (
    channel TEXT    NOT NULL,
    -- `category/package`, with version and slot where they were asked for.
    package TEXT    NOT NULL,
    -- The flags wished for, separated by spaces, `-` before unwanted ones; empty when the package itself is missing.
    flags   TEXT    NOT NULL,
    -- Days since the epoch (UTC).
    day     INTEGER NOT NULL,
    count   INTEGER NOT NULL,
    -- The build that came nearest when it was last wished for, and in which flags it differs; empty when there was none.
    nearest TEXT    NOT NULL,
    differs TEXT    NOT NULL,
    PRIMARY KEY (channel, package, flags, day)
) STRICT, WITHOUT ROWID;
