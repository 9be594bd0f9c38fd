#!/usr/bin/env python3
"""Records what real Portage makes of binary packages: every path of a root, as lines of JSON, compressed with xz.

    record.py OUT.jsonl.xz PKGDIR ATOM...       (root needed; $ORACLE and ../shared/oracle as its README says)

`@all` stands for every package file in PKGDIR, in the order of the index. The packages are merged with `emerge --nodeps`, in the
order given, into a root that begins as the composer's does. A `/` among the atoms ends one run of emerge and begins the next, and
`PATH=TEXT` writes a file of the root, and `!PATH` removes one, between two runs, as an administrator would. FEATURES and INSTALL_MASK are taken from the environment. The first line says how the recording was made.
"""

import hashlib, json, lzma, os, stat, subprocess, sys, time

HERE = os.path.dirname(os.path.abspath(__file__))
SHARED = os.path.abspath(os.path.join(HERE, "../../../../../shared"))
ORACLE = os.environ.get("ORACLE") or os.path.expanduser("~/.cache/hatchery-oracle")
DIRECTORIES = {
    "dev": 0o755, "etc": 0o755, "home": 0o755, "mnt": 0o755, "opt": 0o755, "proc": 0o555, "root": 0o700, "run": 0o755,
    "sys": 0o555, "tmp": 0o1777, "usr": 0o755, "usr/bin": 0o755, "usr/lib": 0o755, "usr/lib64": 0o755, "var": 0o755,
    "var/cache": 0o755, "var/lib": 0o755, "var/tmp": 0o1777,
}
LINKS = {"bin": "usr/bin", "sbin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "usr/sbin": "bin"}


def skeleton(root):
    os.umask(0o022)
    os.makedirs(root)
    for path, mode in DIRECTORIES.items():
        os.mkdir(os.path.join(root, path))
        os.chmod(os.path.join(root, path), mode)
    for path, target in LINKS.items():
        os.symlink(target, os.path.join(root, path))


def in_index(pkgdir):
    atoms, seen = [], set()
    for stanza in open(os.path.join(pkgdir, "Packages")).read().split("\n\n")[1:]:
        entry = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line)
        if "PATH" in entry and os.path.exists(os.path.join(pkgdir, entry["PATH"])) and entry["CPV"] not in seen:
            seen.add(entry["CPV"])
            atoms.append("=" + entry["CPV"])
    return atoms


def emerge(conf, pkgdir, root, name, atoms):
    command = [f"{SHARED}/oracle/nsrun.sh", f"{SHARED}/oracle/install.sh", conf, pkgdir, root, name, "--nodeps", "--keep-going", *atoms]
    done = subprocess.run(command, env={**os.environ, "ORACLE": ORACLE}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.exit(done.stdout.decode(errors="replace")[-4000:])


def contents_hash(content, began):
    """CONTENTS lines are in the order of a directory listing, and times of what was made meanwhile are those of the run."""
    def line(text):
        words = text.rsplit(" ", 1)
        # Portage loses the times of links in GPKG packages.
        made = words[0].startswith("sym ") or words[0].startswith("obj ") and int(words[1]) >= began
        return f"{words[0]} made" if made else text
    lines = sorted(line(text) for text in content.decode("utf-8", "surrogateescape").splitlines())
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:8]


def describe(path, shown, inodes, began):
    meta = os.lstat(path)
    entry = {"p": shown, "m": stat.S_IMODE(meta.st_mode), "u": meta.st_uid, "g": meta.st_gid, "t": int(meta.st_mtime)}
    if stat.S_ISDIR(meta.st_mode):
        entry["k"] = "dir"
    elif stat.S_ISLNK(meta.st_mode):
        entry["k"], entry["l"] = "sym", os.readlink(path).decode("utf-8", "backslashreplace")
    elif stat.S_ISREG(meta.st_mode):
        content = open(path, "rb").read()
        # 32 bits tell a difference as surely as a whole hash here, and are a quarter of the recording.
        entry["k"], entry["s"], entry["h"] = "obj", len(content), hashlib.sha256(content).hexdigest()[:8]
        if shown.startswith("/var/db/pkg/") and shown.endswith("/CONTENTS"):
            entry["h"] = contents_hash(content, began)
            # Its size depends on nothing else than its lines.
            entry["s"] = 0
        if meta.st_nlink > 1:
            entry["i"] = inodes.setdefault((meta.st_dev, meta.st_ino), len(inodes))
    else:
        entry["k"] = "fif" if stat.S_ISFIFO(meta.st_mode) else "dev"
    xattrs = {str(name): os.getxattr(path, name, follow_symlinks=False).hex() for name in sorted(os.listxattr(path, follow_symlinks=False))}
    if xattrs:
        entry["x"] = xattrs
    return entry


def walk(root, began):
    inodes = {}
    for folder, folders, files in os.walk(root.encode()):
        folders.sort()
        for name in sorted(folders + files):
            path = os.path.join(folder, name)
            yield describe(path, path[len(root):].decode("utf-8", "backslashreplace"), inodes, began)


def write(out, header, root):
    with lzma.open(out, "wt", preset=9, encoding="utf-8") as file:
        for line in [header, *walk(root, header["began"])]:
            file.write(json.dumps(line, separators=(",", ":"), ensure_ascii=True) + "\n")


def main():
    out, pkgdir, *steps = sys.argv[1:]
    pkgdir, conf = os.path.abspath(pkgdir), os.environ.get("CONF", "amd64-any")
    name = os.path.basename(out).split(".")[0]
    root = os.path.join(ORACLE, "roots", f"record-{name}")
    if os.environ.get("DUMP_ONLY"):
        # What an earlier run with KEEP_ROOT left is written down again.
        with lzma.open(out, "rt") as file:
            return write(out, json.loads(file.readline()), root)
    subprocess.run(["rm", "-rf", root], check=True)
    skeleton(root)
    began = int(time.time())
    steps = [atom for step in steps for atom in (in_index(pkgdir) if step == "@all" else [step])]
    run = []
    for step in [*steps, "/"]:
        path, is_file, text = step.partition("=")
        if step == "/" and run:
            emerge(conf, pkgdir, root, name, run)
            run = []
        elif is_file and path.startswith("/"):
            with open(root + path, "w") as file:
                file.write(text.replace("\\n", "\n"))
        elif step.startswith("!"):
            os.remove(root + step[1:])
        elif step != "/":
            run.append(step)
    header = {"steps": steps, "began": began, "install_mask": os.environ.get("INSTALL_MASK", ""), "pkgdir": os.path.basename(pkgdir)}
    write(out, header, root)
    if not os.environ.get("KEEP_ROOT"):
        subprocess.run(["rm", "-rf", root], check=True)


main()
