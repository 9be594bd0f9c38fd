-- What is built from source instead of images, as JSON: the package, its flags, and where it is in the binhost once it was taken.
ALTER TABLE builds ADD COLUMN source TEXT;
