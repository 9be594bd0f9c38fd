#!/usr/bin/env python3
"""Records what real Portage makes of binary packages: every path of a root, as lines of JSON, compressed with xz.

    record.py OUT.jsonl.xz PKGDIR ATOM...       (root needed; $ORACLE and ../shared/oracle as its README says)

`@all` stands for every package file in PKGDIR, in the order of the index. The packages are merged with `emerge --nodeps`, in the
order given, into a root that begins as the composer's does. A `/` among the atoms ends one run of emerge and begins the next, and
`PATH=TEXT` writes a file of the root, and `!PATH` removes one, between two runs, as an administrator would. FEATURES and INSTALL_MASK are taken from the environment. The first line says how the recording was made.
"""

import bz2, hashlib, json, lzma, os, re, stat, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
SHARED = os.path.abspath(os.path.join(HERE, "../../../../../shared"))
ORACLE = os.environ.get("ORACLE") or os.path.expanduser("~/.cache/hatchery-oracle")
DIRECTORIES = {
    "dev": 0o755, "etc": 0o755, "home": 0o755, "mnt": 0o755, "opt": 0o755, "proc": 0o555, "root": 0o700, "run": 0o755,
    "sys": 0o555, "tmp": 0o1777, "usr": 0o755, "usr/bin": 0o755, "usr/lib": 0o755, "usr/lib64": 0o755, "var": 0o755,
    "var/cache": 0o755, "var/lib": 0o755, "var/tmp": 0o1777,
}
# Told whole: a day in them is that of the run, and the registry's lists are in the order of a set.
TOLD = ["/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/var/lib/portage/preserved_libs_registry"]
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


def order(content):
    """The links that end CONTENTS, and whether all before them is told as a walk meets it: what is in a directory right after it."""
    lines = content.decode("utf-8", "surrogateescape").splitlines()
    end = len(lines)
    while end and lines[end - 1].startswith("sym "):
        end -= 1
    path = lambda line: re.match(r"sym (.*?) -> |obj (.*) \S+ \S+$|\S+ (.*)", line)
    names = [next(filter(None, path(line).groups())) for line in lines]
    open_folders, walked = ["/"], True
    for line, name in zip(lines[:end], names):
        folder = os.path.dirname(name)
        if folder in open_folders:
            del open_folders[open_folders.index(folder) + 1:]
        else:
            walked = False
        if line.startswith("dir "):
            open_folders.append(name)
    return {"walked": walked, "links": names[end:]}


# What bash prints with `declare -p` and `declare -f`: each begins at the start of a line.
DECLARED = re.compile(r"(?:declare (?:-\S+ )?([A-Za-z_][A-Za-z0-9_]*)(?:=|$)|([^\s()=]+ \(\)) *$)")
# Versions of bash print the same differently, so that all is printed anew by one.
PRINT = 'shopt -s extglob; source "$1" > /dev/null 2>&1; declare -p; declare -f'


def declarations(text):
    found, name = {}, None
    for line in text.split("\n"):
        match = DECLARED.match(line)
        name = match[1] or match[2] if match else name
        if name:
            found[name] = found[name] + "\n" + line if name in found and not match else line
    return found


def environment(content):
    """Hashes of the variables and functions of an environment.bz2, by name (functions have ` ()` after theirs)."""
    plain = bz2.decompress(content)
    with tempfile.NamedTemporaryFile() as file:
        file.write(plain)
        file.flush()
        command = ["bash", "--noprofile", "--norc", "-c", PRINT, "bash", file.name]
        printed = subprocess.run(command, env={}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    names = declarations(plain.decode("utf-8", "surrogateescape"))
    hashed = lambda text: hashlib.sha256(text.rstrip("\n").encode("utf-8", "surrogateescape")).hexdigest()[:6]
    found = declarations(printed.decode("utf-8", "surrogateescape"))
    return {name: hashed(text) for name, text in sorted(found.items()) if name in names}


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
            entry["h"], entry["o"] = contents_hash(content, began), order(content)
            # Its size depends on nothing else than its lines.
            entry["s"] = 0
        if shown.startswith("/var/db/pkg/") and shown.endswith("/environment.bz2"):
            entry["s"], entry["h"], entry["e"] = 0, "", environment(content)
        if shown in TOLD:
            entry["c"] = content.decode()
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
    # What else the caller wants to be told of the packages.
    header.update(json.loads(os.environ.get("ABOUT", "{}")))
    write(out, header, root)
    if not os.environ.get("KEEP_ROOT"):
        subprocess.run(["rm", "-rf", root], check=True)


main()
