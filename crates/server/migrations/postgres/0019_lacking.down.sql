-- Older versions would build images of no packages.
UPDATE builds SET state = 'failed', ended = created,
       failure = '{"step":"fetch","message":"The site went back to a version of Hatchery that does not wait for packages to be built from source.","advice":"Order again."}'
WHERE state = 'waiting' AND lacking IS NOT NULL;
DROP TABLE needs;
ALTER TABLE builds DROP COLUMN lacking;
