"""Answers questions from real Portage: one tab-separated question a line on stdin, one answer a line on stdout."""
import os
import sys

os.environ.setdefault("PORTAGE_USERNAME", "root")
os.environ.setdefault("PORTAGE_GRPNAME", "root")
os.environ["PORTAGE_NATIVE_DEP_PARSER"] = "0"

from portage.dep import Atom, match_from_list, check_required_use, use_reduce
from portage.exception import PortageException
from portage.versions import _pkg_str, vercmp
import portage


class Flags:
    def __init__(self, flags):
        self.enabled = frozenset(flags)

    def is_valid_flag(self, flags):
        if isinstance(flags, str):
            return flags in self.enabled
        return all(f in self.enabled for f in flags)


class Package:
    """What match_from_list looks at in a package."""

    def __init__(self, cpv, use, iuse):
        self.cpv = cpv
        self.cp, self.slot, self.sub_slot, self.repo, self.version = cpv.cp, cpv.slot, cpv.sub_slot, cpv.repo, cpv.version
        self.use, self.iuse = Flags(use), Flags(iuse)


def compare(a, b):
    result = vercmp(a, b)
    return "none" if result is None else str((result > 0) - (result < 0))


def valid(atom):
    try:
        Atom(atom, allow_repo=True, allow_build_id=False)
    except PortageException:
        return "0"
    return "1"


def match(atom, cpv, slot, repo):
    package = _pkg_str(cpv, slot=slot, repo=repo)
    return str(len(match_from_list(Atom(atom.lstrip("!"), allow_repo=True), [package])))


def use(atom, enabled, iuse, parent):
    iuse = iuse.split()
    package = Package(_pkg_str("cat/pkg-1", slot="0", repo="gentoo"), enabled.split(), iuse)
    return str(len(match_from_list(Atom(atom).evaluate_conditionals(parent.split()), [package])))


def required(text, enabled, eapi):
    return "1" if check_required_use(text, enabled.split(), lambda flag: True, eapi=eapi) else "0"


def reduce(text, enabled):
    """What remains once conditionals are resolved, as a dependency string."""

    def show(items):
        words = []
        for item in items:
            words.append("( " + show(item) + " )" if isinstance(item, list) else str(item))
        return " ".join(words)

    return show(use_reduce(text, uselist=enabled.split(), eapi="8", token_class=Atom))


class Ebuild:
    """What config.setcpv looks at in a package."""

    built = False

    def __init__(self, cpv, metadata):
        self.cpv, self._metadata = cpv, metadata
        self._raw_metadata = {"PROPERTIES": "", "RESTRICT": ""} | metadata
        self.cp, self.slot, self.sub_slot, self.repo, self.version = cpv.cp, cpv.slot, cpv.sub_slot, cpv.repo, cpv.version
        self.cpv_split, self.stable, self.eapi = cpv.cpv_split, cpv.stable, metadata["EAPI"]
        self.iuse = Flags([])
        self.iuse.all = frozenset(f.lstrip("+-") for f in metadata["IUSE"].split())


config = None
seen = []  # config.setcpv tells packages apart by id(), so none may be freed



def profile(repo, path):
    """Makes a configuration of a profile and answers with its system set, masked, forced and default flags."""
    global config
    import tempfile

    root = tempfile.mkdtemp()
    etc = os.path.join(root, "etc/portage")
    os.makedirs(os.path.join(etc, "repos.conf"))
    os.symlink(os.path.join(repo, "profiles", path), os.path.join(etc, "make.profile"))
    with open(os.path.join(etc, "repos.conf/gentoo.conf"), "w") as f:
        f.write(f"[DEFAULT]\nmain-repo = gentoo\n[gentoo]\nlocation = {repo}\n")
    config = portage.config(config_root=root, eprefix="", env={"PORTAGE_REPOSITORIES": open(f.name).read()})
    import shutil

    shutil.rmtree(root)
    flags = set()
    for words in config.make_defaults_use:
        for word in words.split():
            if word == "-*":
                flags.clear()
            elif word.startswith("-"):
                flags.discard(word[1:])
            else:
                flags.add(word)
    flags = (flags | config.useforce) - config.usemask
    parts = [sorted(a for a in map(str, config.packages) if a.startswith("*")), sorted(config.usemask), sorted(config.useforce)]
    parts += [sorted(flags), sorted(config._iuse_effective), sorted(config["ACCEPT_KEYWORDS"].split())]
    parts += [sorted(map(str, config.pprovideddict and [x for v in config.pprovideddict.values() for x in v]))]
    return "\t".join(" ".join(part) for part in parts)


def package(cpv, slot, eapi, keywords, iuse):
    """The flags the profile would build a package with, its masked and forced ones, and the mask atom."""
    metadata = {"SLOT": slot, "EAPI": eapi, "KEYWORDS": keywords, "IUSE": iuse, "repository": "gentoo"}
    pkg = _pkg_str(cpv, metadata=metadata, settings=config, repo="gentoo")
    seen.append(Ebuild(pkg, metadata))
    config.setcpv(seen[-1])
    mask = config._getMaskAtom(pkg, metadata)
    parts = [sorted(config["PORTAGE_USE"].split()), sorted(config.usemask), sorted(config.useforce)]
    stated = [" ".join(part) for part in parts] + ["-" if mask is None else str(mask).split("::")[0]]
    missing = config._getMissingKeywords(pkg, metadata)
    return "\t".join(stated + ["1" if not missing else "0"])


def license(text, enabled):
    """The licences that keep a package out of @BINARY-REDISTRIBUTABLE."""
    config._license_manager.set_accept_license_str("@BINARY-REDISTRIBUTABLE")
    pkg = _pkg_str("cat/pkg-1", slot="0", repo="gentoo")
    return " ".join(sorted(set(config._license_manager.getMissingLicenses(pkg, enabled, text, "0", "gentoo"))))


QUESTIONS = {f.__name__: f for f in (compare, valid, match, use, required, reduce, profile, package, license)}
for line in sys.stdin:
    name, *arguments = line.rstrip("\n").split("\t")
    print(QUESTIONS[name](*arguments))
