#!/usr/bin/env python3
"""Records what the real Portage chooses, as data for tests/oracle.rs.

usage: $ORACLE/venv/bin/python record_oracle.py SHARED OUT_DIR [GROUP...]     record (all groups, or the named ones)
       $ORACLE/venv/bin/python record_oracle.py --live SHARED                  requests as JSON lines on stdin, answers on stdout

SHARED holds real/ and oracle/ (see their READMEs); $ORACLE is what oracle/setup made. Portage is imported once and each request runs
the real emerge main() in a fork of that process, into an empty (or a made-up installed) root, with the index served as a remote
binhost. Only the result of backtrack_depgraph is captured. The choice of requests is seeded: a second run asks the same.
"""
import gzip, io, json, os, random, shutil, signal, sys, tempfile, time

ORACLE = os.environ.get("ORACLE", os.path.expanduser("~/.cache/hatchery-oracle"))
IGNORE_BUILT = ["--ignore-built-slot-operator-deps=y"]
TIMEOUT = 240  # Seconds a single request may take before it is recorded as "timeout".

CONFS = {  # name: (tree, profile, CHOST, ACCEPT_KEYWORDS)
    "amd64": ("gentoo-202307", "default/linux/amd64/17.1/systemd/clang/merged-usr", "x86_64-pc-linux-gnu", "amd64"),
    "amd64-gnome": ("gentoo-202307", "default/linux/amd64/17.1/desktop/gnome/systemd", "x86_64-pc-linux-gnu", "amd64 ~amd64"),
    "amd64-2026": ("gentoo-202608", "default/linux/amd64/23.0", "x86_64-pc-linux-gnu", "amd64 ~amd64"),
    "arm64": ("gentoo-202410", "default/linux/arm64/23.0/desktop/gnome/systemd", "aarch64-unknown-linux-gnu", "arm64 ~arm64"),
    "musl": ("gentoo-202307", "default/linux/amd64/17.0/musl", "x86_64-gentoo-linux-musl", "amd64"),
    "x86": ("gentoo-202307", "default/linux/x86/17.0", "i686-pc-linux-gnu", "x86 ~x86"),
}
# What nothing in an open index satisfies is closed with empty stub entries (made by shared/oracle/close_index.py, kept as NAME.stubs).
STUBS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle")
INDEXES = {  # name: (path below SHARED, configuration, architecture)
    "amd64-xpak": ("real/binhost-amd64-xpak/Packages", "amd64", "amd64"),
    "amd64-gpkg": ("real/binhost-amd64-gpkg/Packages", "amd64-2026", "amd64"),
    "amd64-gpkg-raw": ("real/binhost-amd64-gpkg/Packages", "amd64-2026", "amd64"),
    "amd64-gnome-raw": ("real/indexes/x86_64-2022-11-18.Packages", "amd64-gnome", "amd64"),
    "amd64-closed": ("oracle/amd64-closed.Packages", "amd64", "amd64"),
    "arm64": ("real/indexes/aarch64-2024-10-18.Packages", "arm64", "arm64"),
    "arm64-closed": ("oracle/arm64-closed.Packages", "arm64", "arm64"),
    "amd64-gnome": ("real/indexes/x86_64-2022-11-18.Packages", "amd64-gnome", "amd64"),
    # An index as `hatchery sample` makes it; kept here, since it changes with Debian's packages.
    "sample": ("sample.Packages.gz", "amd64-2026", "amd64"),
    "musl": ("real/indexes/x86_64-musl-2020-single-instance.Packages", "musl", "amd64"),
    "prefix-x86": ("real/prefix-x86/Packages", "x86", "x86"),
    "two-parts": ("oracle/amd64-closed.Packages", "amd64", "amd64"),
    "two-makers": ("oracle/amd64-closed.Packages", "amd64", "amd64"),
}
# Several binhosts at once, as binrepos.conf has them, best first: (name, index, which of every three entries it lacks).
BINHOSTS = {
    "two-parts": [("first", "amd64-closed", 0), ("second", "amd64-closed", 1)],
    "two-makers": [("gnome", "amd64-gnome-raw", None), ("closed", "amd64-closed", None)],
}


def read(path):
    opener = gzip.open if path.endswith(".gz") else open
    return opener(path, "rt", encoding="utf-8").read()


def place(shared, name):
    """Where an index is: below SHARED, or beside the stubs."""
    return os.path.join(shared, name) if "/" in name else os.path.join(STUBS, name)


def stanzas(path):
    """The entries of an index as dictionaries."""
    text = read(path)
    for block in text.split("\n\n")[1:]:
        entry = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "CPV" in entry:
            yield entry


def slots(path):
    """Every cat/pkg:slot of an index, sorted."""
    import re
    out = set()
    for e in stanzas(path):
        cp = re.sub(r"-\d[^-]*(-r\d+)?$", "", e["CPV"])
        out.add(f"{cp}:{e.get('SLOT', '0').split('/')[0]}")
    return sorted(out)


def write_conf(base, name):
    tree, profile, chost, keywords = CONFS[name]
    etc = f"{base}/{name}/etc/portage"
    if os.path.exists(etc):
        return
    os.makedirs(etc)
    os.symlink(f"{ORACLE}/repos/{tree}/profiles/{profile}", f"{etc}/make.profile")
    open(f"{etc}/repos.conf", "w").write(f"[DEFAULT]\nmain-repo = gentoo\n[gentoo]\nlocation = {ORACLE}/repos/{tree}\nauto-sync = no\n")
    open(f"{etc}/make.conf", "w").write(
        f'CHOST="{chost}"\nACCEPT_CHOSTS="{chost}"\nACCEPT_KEYWORDS="{keywords}"\nACCEPT_LICENSE="*"\nDISTDIR="{ORACLE}/distfiles"\n'
        f'PORTAGE_TMPDIR="{ORACLE}/tmp"\nPORTAGE_LOGDIR="{ORACLE}/log"\nPORTAGE_USERNAME="root"\nPORTAGE_GRPNAME="root"\n'
        'FEATURES="-sandbox -usersandbox -userpriv -userfetch -usersync -network-sandbox -ipc-sandbox -pid-sandbox -mount-sandbox '
        '-news -distlocks -ebuild-locks -merge-sync -preserve-libs parallel-install -qa-unresolved-soname-deps -strict"\n')
    open(f"{etc}/package.accept_keywords", "w").write("*/* **\n")
    if name == "arm64":
        open(f"{etc}/package.unmask", "w").write("app-arch/xz-utils\n")


def write_vdb(root, entries):
    """A VDB as if the entries were installed."""
    for counter, e in enumerate(entries, 1):
        category, pf = e["CPV"].split("/")
        d = f"{root}/var/db/pkg/{category}/{pf}"
        os.makedirs(d)
        keys = {k: e[k] for k in ("EAPI", "KEYWORDS", "LICENSE", "IUSE", "USE", "DEPEND", "RDEPEND", "PDEPEND", "BDEPEND", "IDEPEND",
                                  "PROPERTIES", "RESTRICT", "DEFINED_PHASES", "BUILD_TIME", "BUILD_ID", "SIZE", "REQUIRES", "PROVIDES",
                                  "CHOST", "DESC") if k in e}
        keys.update(SLOT=e.get("SLOT", "0"), CATEGORY=category, PF=pf, COUNTER=str(counter), repository=e.get("REPO", "gentoo"), CONTENTS="")
        keys.setdefault("EAPI", "0")
        for k, v in keys.items():
            open(f"{d}/{k}", "w").write(v + ("\n" if k not in ("COUNTER", "CONTENTS") else ""))


class Portage:
    def __init__(self, shared):
        self.shared = os.path.abspath(shared)
        self.work = tempfile.mkdtemp(prefix="record-", dir=os.path.join(ORACLE, "work"))
        self.pfx = self.work + "/pfx"
        os.makedirs(self.work + "/conf")
        for k in list(os.environ):
            if k.startswith(("PORTAGE_", "FEATURES", "USE", "ACCEPT_", "EMERGE_", "EPREFIX", "ROOT")):
                del os.environ[k]
        os.environ.update(PORTAGE_OVERRIDE_EPREFIX=self.pfx, PORTAGE_USERNAME="root", PORTAGE_GRPNAME="root", LC_ALL="C.UTF-8",
                          NOCOLOR="true", FEATURES="pkgdir-index-trusted -news", PORTAGE_LOGDIR=self.work + "/log", COLUMNS="200",
                          PORTAGE_TMPDIR=self.work)
        import portage
        portage._internal_caller = True
        import portage.dbapi.bintree, _emerge.actions, _emerge.main, _emerge.depgraph  # noqa: E401
        self.entries = {}

    def close(self):
        shutil.rmtree(self.work, ignore_errors=True)

    def index(self, name):
        """The path of an index; where it has stubs, of a copy that ends with them."""
        if name not in INDEXES:
            return name
        path, stubs = place(self.shared, INDEXES[name][0]), f"{STUBS}/{name}.stubs"
        if not os.path.exists(stubs) and not path.endswith(".gz"):
            return path
        copy = f"{self.work}/{name}.Packages"
        if not os.path.exists(copy):
            text = read(path)
            if os.path.exists(stubs):
                text = text.rstrip("\n") + "\n\n" + read(stubs)
            open(copy, "w", encoding="utf-8").write(text)
        return copy

    def installed(self, index, ids):
        if index not in self.entries:
            self.entries[index] = {f"{e['CPV']}@{e.get('BUILD_ID', '')}": e for e in stanzas(self.index(index))}
        return [self.entries[index][i] for i in ids]

    def write_binrepos(self, path, dir, binhosts):
        """Lays out binhosts with falling priority."""
        with open(path, "w") as conf:
            for at, (name, index, lacks) in enumerate(binhosts):
                os.makedirs(f"{dir}/{name}")
                header, *blocks = read(self.index(index)).strip("\n").split("\n\n")
                kept = [b for i, b in enumerate(blocks) if lacks is None or i % 3 != lacks]
                header = "\n".join(l for l in header.splitlines() if not l.startswith("PACKAGES:"))
                open(f"{dir}/{name}/Packages", "w", encoding="utf-8").write("\n\n".join([header, *kept]) + "\n")
                conf.write(f"[{name}]\npriority = {90 - at}\nsync-uri = file://{dir}/{name}\nverify-signature = false\n\n")

    def answer(self, request):
        """Runs one request in a fork and returns its answer as a dictionary."""
        shutil.rmtree(self.pfx, ignore_errors=True)
        os.makedirs(self.pfx)
        os.symlink(f"{ORACLE}/venv/share", self.pfx + "/share")
        write_vdb(self.pfx, self.installed(request["index"], request.get("installed", [])))
        conf = request.get("conf") or INDEXES[request["index"]][1]
        write_conf(self.work + "/conf", conf)
        bh = self.work + "/bh"
        shutil.rmtree(bh, ignore_errors=True)
        os.makedirs(bh)
        binrepos = f"{self.work}/conf/{conf}/etc/portage/binrepos.conf"
        if os.path.exists(binrepos):
            os.unlink(binrepos)
        if request["index"] in BINHOSTS:
            self.write_binrepos(binrepos, bh, BINHOSTS[request["index"]])
        else:
            os.symlink(self.index(request["index"]), bh + "/Packages")
        pkgdir = self.work + "/pkgdir"
        shutil.rmtree(pkgdir, ignore_errors=True)
        os.makedirs(pkgdir)
        env = dict(PORTAGE_CONFIGROOT=f"{self.work}/conf/{conf}", PKGDIR=pkgdir,
                   PORTAGE_BINHOST="" if request["index"] in BINHOSTS else f"file://{bh}")
        out = self.work + "/answer.json"
        if os.path.exists(out):
            os.unlink(out)
        started = time.time()
        pid = os.fork()
        if pid == 0:
            os.environ.update(env)
            signal.alarm(TIMEOUT)
            try:
                answer = run_emerge(request["atoms"], request.get("opts", []), request["index"] in BINHOSTS)
                json.dump(answer, open(out, "w"))
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        try:
            answer = json.load(open(out))
        except (OSError, ValueError):
            answer = {"ok": False, "why": "timeout", "packages": [], "resolve": float(TIMEOUT)}
        answer["wall"] = time.time() - started
        return answer


def origin(package):
    """The name of the binhost a package comes from."""
    uri = package.root_config.trees["bintree"].get_pkgindex_uri(package.cpv)
    return os.path.basename(os.path.dirname(uri))


def run_emerge(atoms, opts, several=False):
    import _emerge.actions as act, _emerge.main as em
    captured, spent = {}, [0.0]
    real = act.backtrack_depgraph

    def capture(*a, **k):
        s = time.process_time()
        try:
            captured["r"] = real(*a, **k)
        finally:
            spent[0] += time.process_time() - s
        return captured["r"]

    act.backtrack_depgraph = capture
    text, so, se = io.StringIO(), sys.stdout, sys.stderr
    sys.stdout = sys.stderr = text
    try:
        rc = em.emerge_main(args=["--usepkgonly", "--getbinpkgonly", "--pretend", "--verbose", "--color=n"] + opts + atoms)
    except SystemExit as e:
        rc = e.code
    except BaseException as e:
        rc = f"crash {type(e).__name__}: {e}"
    finally:
        sys.stdout, sys.stderr = so, se
    packages, ok = [], False
    if "r" in captured:
        ok, graph, _ = captured["r"]
        if ok:
            for p in graph.altlist():
                if getattr(p, "type_name", None) == "binary" and p.operation == "merge":
                    packages.append(f"{p.cpv}@{getattr(p.cpv, 'build_id', None) or ''}" + (f"@{origin(p)}" if several else ""))
                elif getattr(p, "operation", None) == "uninstall":
                    packages.append(f"-{p.cpv}")
    text = text.getvalue()
    # The graph decides. What comes after it is display, and that fails for old indexes that name no PATH.
    ok = bool(ok) and (not rc or "InvalidBinaryPackageFormat" in str(rc))
    return {"ok": ok, "why": "" if ok else cause(text, rc), "packages": packages, "resolve": spent[0]}


def cause(text, rc):
    """The kind of a failure, by the words Portage prints."""
    import re
    kinds = [("circular", "circular dependencies"), ("slot-conflict", "Multiple package instances within a single package slot"),
             ("blocked", "blocking each other"), ("masked", "have been masked"), ("use", "USE changes are necessary"),
             ("keyword", "keyword changes are necessary"), ("use", "with the required USE"),
             ("missing", "no ebuilds to satisfy"), ("missing", "no binary packages to satisfy"), ("missing", "there are no"),
             ("unmask", "mask changes are necessary")]
    found = [(text.find(words), kind) for kind, words in kinds if words in text]
    kind = min(found)[1] if found else f"rc={rc}"
    m = re.search(r'(?:to satisfy|satisfy) "([^"]+)"', text)
    return f"{kind} {m.group(1)}" if m else kind


def groups(shared):
    """The requests, by group: {group: [request, ...]}. Installed bases that are an earlier answer are named by it: ("answer", i, age)."""
    rnd = random.Random(20261122)
    path = lambda name: place(shared, INDEXES[name][0])
    out = {}

    def singles(index, count=None):
        all_ = slots(path(index))
        return [dict(index=index, atoms=[a]) for a in (all_ if count is None else rnd.sample(all_, min(count, len(all_))))]

    def mixes(index, sizes, opts=()):
        all_ = slots(path(index))
        return [dict(index=index, atoms=sorted(rnd.sample(all_, min(n, len(all_)))), opts=list(opts)) for n in sizes]

    sets = [["app-shells/bash", "sys-apps/coreutils", "sys-apps/findutils", "app-arch/xz-utils"], ["@system"],
            ["dev-vcs/git"], ["sys-apps/portage"], ["net-misc/curl"], ["sys-libs/pam"]]
    out["amd64-closed"] = singles("amd64-closed") + [dict(index="amd64-closed", atoms=s) for s in sets] \
        + mixes("amd64-closed", [5, 5, 6, 8, 8, 10, 10, 12, 15, 15, 20, 25, 30, 40])
    out["amd64-xpak"] = singles("amd64-xpak", 40) + mixes("amd64-xpak", [2, 2, 3, 5])
    out["amd64-gpkg"] = singles("amd64-gpkg") + mixes("amd64-gpkg", [2, 2, 3, 3, 5, 5, 10, 20])
    out["amd64-gpkg-raw"] = singles("amd64-gpkg-raw", 15)
    out["musl"] = singles("musl") + mixes("musl", [3, 5, 5, 8, 10]) + [dict(index="musl", atoms=["@system"])]
    out["prefix-x86"] = singles("prefix-x86", 60) + mixes("prefix-x86", [5, 5, 10, 10, 20, 40])
    out["amd64-gnome"] = singles("amd64-gnome", 80) + mixes("amd64-gnome", [2, 3, 5, 5, 10, 10, 20]) \
        + [dict(index="amd64-gnome", atoms=[a], opts=IGNORE_BUILT) for a in rnd.sample(slots(path("amd64-gnome")), 20)]
    out["amd64-gnome-raw"] = singles("amd64-gnome-raw", 20)
    lines = [l.split() for l in open(os.path.join(shared, "oracle/arm64-40.txt")) if l.strip() and not l.startswith("#")]
    out["arm64-closed"] = [dict(index="arm64-closed", atoms=l, opts=IGNORE_BUILT) for l in lines] + singles("arm64-closed", 40) \
        + mixes("arm64-closed", [5, 10, 20], IGNORE_BUILT)
    out["arm64"] = singles("arm64", 25)
    names = slots(path("sample"))
    # Drawn from a generator of its own, so that the other groups stay as they are recorded.
    own = random.Random(7)
    out["sample"] = [dict(index="sample", atoms=[a]) for a in names] \
        + [dict(index="sample", atoms=sorted(own.sample(names, n))) for n in [5, 5, 10, 10, 20, 40]]
    two = slots(path("amd64-closed"))
    both = sorted(set(two) | set(slots(path("amd64-gnome-raw"))))
    for name, names, sizes in [("two-parts", two, [2, 3, 5, 8, 12, 20]), ("two-makers", both, [2, 2, 3, 5])]:
        out[name] = [dict(index=name, atoms=[a]) for a in own.sample(names, 24)] \
            + [dict(index=name, atoms=sorted(own.sample(names, n))) for n in sizes]
    # With a base installed: the same index again, over what an earlier answer chose, some of it in older builds.
    based = lambda index, seeds: [dict(index=index, atoms=a, base=b, age=age, opts=list(opts)) for a, b, age, opts in seeds]
    closed = slots(path("amd64-closed"))
    out["amd64-closed-installed"] = based("amd64-closed", [
        (sorted(rnd.sample(closed, n)), ["app-shells/bash", "sys-apps/coreutils", "sys-apps/findutils", "app-arch/xz-utils"], 0, ())
        for n in [1, 1, 1, 1, 1, 1, 2, 2, 3, 3, 5, 5, 8, 8, 12]])
    arm = slots(path("arm64-closed"))
    out["arm64-closed-installed"] = based("arm64-closed", [
        (sorted(rnd.sample(arm, n)), ["app-editors/vim"], age, IGNORE_BUILT)
        for n, age in [(1, 0), (1, 30), (2, 30), (3, 0), (3, 30), (5, 30)]])
    gnome = slots(path("amd64-gnome"))
    out["amd64-gnome-installed"] = based("amd64-gnome", [
        (sorted(rnd.sample(gnome, n)), None, 30, ()) for n in [1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3]])
    # Again from a generator of its own: a base that is an earlier answer, and bases of about half of all names, crowded and partly old.
    later = random.Random(11)
    for index, base in [("musl", ["@system"]), ("prefix-x86", None), ("amd64-xpak", None), ("amd64-gpkg", None),
                        ("sample", ["app-shells/bash", "sys-apps/coreutils", "sys-apps/util-linux", "net-misc/curl"])]:
        names = slots(path(index))
        out[index + "-installed"] = based(index, [
            (sorted(later.sample(names, n)), base if n % 2 else None, 30, ()) for n in [1, 1, 1, 1, 2, 2, 3, 3, 4, 5, 8, 13]])
    return out


def base_of(portage, request, memo):
    """The ids installed for a request with a base: the answer to the base's atoms, `age` percent of it in an older build of the slot."""
    rnd = random.Random(json.dumps([request["atoms"], request["age"]]))
    if request["base"] is None:  # No closed index: every package of the index, newest or older, as a crowded base.
        newest = {}
        for e in stanzas(portage.index(request["index"])):
            import re
            cp = re.sub(r"-\d[^-]*(-r\d+)?$", "", e["CPV"])
            newest.setdefault((cp, e.get("SLOT", "0").split("/")[0]), []).append(e)
        chosen = [rnd.choice(v) for k, v in sorted(newest.items()) if rnd.random() < 0.6]
        return [f"{e['CPV']}@{e.get('BUILD_ID', '')}" for e in unique(chosen)]
    key = json.dumps([request["index"], request["base"]])
    if key not in memo:
        memo[key] = portage.answer(dict(index=request["index"], atoms=request["base"], opts=request.get("opts", [])))["packages"]
    by_slot = {}
    portage.installed(request["index"], [])
    for i, e in portage.entries[request["index"]].items():
        import re
        by_slot.setdefault((re.sub(r"-\d[^-]*(-r\d+)?$", "", e["CPV"]), e.get("SLOT", "0")), []).append(i)
    out = []
    for i in memo[key]:
        e = portage.entries[request["index"]][i]
        import re
        siblings = by_slot[(re.sub(r"-\d[^-]*(-r\d+)?$", "", e["CPV"]), e.get("SLOT", "0"))]
        out.append(rnd.choice(siblings) if rnd.randrange(100) < request["age"] else i)
    return sorted(out)


def unique(entries):
    """One entry per CPV: a VDB holds no two builds of one."""
    return list({e["CPV"]: e for e in entries}.values())


def record(portage, shared, out_dir, names):
    memo = {}
    for group, requests in groups(shared).items():
        if names and group not in names:
            continue
        table, rows = {}, []
        number = lambda ids: [table.setdefault(i, len(table)) for i in ids]
        for request in requests:
            if "base" in request:
                request["installed"] = base_of(portage, request, memo)
            answer = portage.answer(request)
            row = {"atoms": request["atoms"]}
            if request.get("opts"):
                row["opts"] = request["opts"]
            if request.get("installed"):
                row["installed"] = number(request["installed"])
            row.update(ok=answer["ok"], seconds=round(answer["resolve"], 3), wall=round(answer["wall"], 3))
            if answer["ok"]:
                row["packages"] = sorted(number(answer["packages"]))
            else:
                row["why"] = answer["why"]
            rows.append(row)
            print(group, len(rows), "/", len(requests), "ok" if answer["ok"] else answer["why"], len(answer["packages"]),
                  f"{answer['wall']:.1f}s", flush=True)
        index, conf, arch = INDEXES[requests[0]["index"]]
        with open(f"{out_dir}/{group}.json", "w") as f:
            stubs = f"{requests[0]['index']}.stubs"
            head = {"index": index, "stubs": stubs if os.path.exists(f"{STUBS}/{stubs}") else None, "arch": arch, "tree": CONFS[conf][0], "profile": CONFS[conf][1], "chost": CONFS[conf][2],
                    "unmask": ["app-arch/xz-utils"] if conf == "arm64" else [], "packages": list(table)}
            binhosts = BINHOSTS.get(requests[0]["index"], [])
            if binhosts:
                head["binhosts"] = [{"name": n, "index": INDEXES[i][0], "lacks": lacks} for n, i, lacks in binhosts]
            f.write(json.dumps(head)[:-1] + ', "requests": [\n')
            f.write(",\n".join(json.dumps(r) for r in rows) + "\n]}\n")


def main():
    if sys.argv[1] == "--live":
        portage = Portage(sys.argv[2])
        try:
            for line in sys.stdin:
                print(json.dumps(portage.answer(json.loads(line))), flush=True)
        finally:
            portage.close()
        return
    portage = Portage(sys.argv[1])
    try:
        record(portage, os.path.abspath(sys.argv[1]), sys.argv[2], sys.argv[3:])
    finally:
        portage.close()


main()
