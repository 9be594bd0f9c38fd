-- What is built from source makes no sense to older versions.
DELETE FROM builds WHERE source IS NOT NULL;
ALTER TABLE builds DROP COLUMN source;
