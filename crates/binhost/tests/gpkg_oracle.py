"""Lets real Portage read or make a GPKG. Usage: gpkg_oracle.py verify|make GPG_HOME KEY PACKAGE FOLDER COMPRESSION"""

import json
import os
import sys

from portage.gpkg import gpkg


class Settings(dict):
    """As much of Portage's configuration as its gpkg module asks for."""

    features = {"binpkg-signing", "binpkg-request-signature"}

    def environ(self):
        return dict(os.environ)


action, home, key, package, folder, compression = sys.argv[1:]
settings = Settings(
    BINPKG_COMPRESS=compression,
    BINPKG_GPG_SIGNING_BASE_COMMAND="gpg --sign --armor [PORTAGE_CONFIG]",
    BINPKG_GPG_SIGNING_DIGEST="SHA512",
    BINPKG_GPG_SIGNING_GPG_HOME=home,
    BINPKG_GPG_SIGNING_KEY=key,
    BINPKG_GPG_VERIFY_BASE_COMMAND="gpg --verify --batch --no-tty --no-auto-check-trustdb --status-fd 2 [PORTAGE_CONFIG] [SIGNATURE]",
    BINPKG_GPG_VERIFY_GPG_HOME=home,
    PORTAGE_BUNZIP2_COMMAND="bunzip2",
    GPG_VERIFY_USER_DROP="",
    GPG_VERIFY_GROUP_DROP="",
)
container = gpkg(settings, "hello-1.0-r1-3", package)
if action == "verify":
    container.decompress(folder)
    metadata = container.get_metadata()
    print(json.dumps({key: value.decode("latin-1") for key, value in metadata.items()}))
else:
    container.compress(folder, {"CATEGORY": "app-misc\n", "PF": "hello-1.0-r1\n", "BUILD_TIME": "1700000000\n"})
