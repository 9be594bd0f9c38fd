"""What Portage's own glsa.py says of packages: which of the candidates each advisory calls vulnerable.

Usage: glsa_oracle.py GLSA_DIR CANDIDATES. CANDIDATES is JSON: a list of rounds, each an object from category/package to a list of
[cpv, slot]. Prints JSON: an object from the advisory's id to the sorted, distinct "ROUND cpv" that are vulnerable on ARCH.
"""
import json
import os
import sys

os.environ.setdefault("PORTAGE_CONFIGROOT", sys.argv[3])
os.environ.setdefault("PORTAGE_OVERRIDE_EPREFIX", sys.argv[3])
import portage
from portage import glsa
from portage.dbapi.virtual import fakedbapi
from portage.versions import _pkg_str

ARCH = "amd64"
glsa_dir, candidates = sys.argv[1], json.load(open(sys.argv[2]))


def database(packages):
    # Without this, a build takes the place of another in its slot.
    db = fakedbapi(settings=portage.settings, exclusive_slots=False)
    for builds in packages.values():
        for cpv, slot in builds:
            metadata = {"SLOT": slot, "EAPI": "8", "KEYWORDS": "amd64", "repository": "gentoo"}
            db.cpv_inject(_pkg_str(cpv, metadata=metadata, settings=portage.settings, repo="gentoo"), metadata=metadata)
    return db


rounds = [(packages, database(packages)) for packages in candidates]
nothing = database({})
config = {"ARCH": ARCH, "GLSA_DIR": glsa_dir}
answer = {}
for name in sorted(os.listdir(glsa_dir)):
    if not (name.startswith("glsa-") and name.endswith(".xml")):
        continue
    number = name[len("glsa-"):-len(".xml")]
    advisory = glsa.Glsa(number, config, nothing, nothing)
    found = set()
    for number_of_round, (packages, db) in enumerate(rounds):
        for cp, entries in advisory.packages.items():
            if cp not in packages:
                continue
            for entry in entries:
                if entry["arch"] != "*" and ARCH not in entry["arch"].split():
                    continue
                # None or a list with each vulnerable package first: this is the decision of Glsa.isVulnerable().
                upgrades = glsa.getMinUpgrade(entry["vul_atoms"], entry["unaff_atoms"], nothing, db)
                found.update(f"{number_of_round} {cpv}" for cpv, _ in upgrades or [])
    answer[number] = sorted(found)
json.dump(answer, sys.stdout)
