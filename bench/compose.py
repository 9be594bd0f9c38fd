#!/usr/bin/env python3
"""Merging binary packages: Hatchery, the real `emerge -K` and plain tar extraction side by side, in one run, on the same packages.

usage: bench/compose.py [--quick]      (needs root, ../shared and the oracle that ../shared/oracle/setup makes, in $ORACLE; PROFILE=release)

All work on the same disk, one after the other, each from an empty root. CPU seconds (user and system, of all processes) are the figure
to compare: wall time on a shared machine tells of its other users. `--quick` takes some twenty packages instead of some hundred and thirty.
"""
import json, os, resource, shutil, subprocess, sys, time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SHARED = os.path.join(os.path.dirname(os.path.realpath(ROOT)), "shared")
if not os.path.isdir(SHARED):
    SHARED = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(ROOT))), "shared")
ORACLE = os.environ.get("ORACLE", os.path.expanduser("~/.cache/hatchery-oracle"))
BINHOST = os.path.join(SHARED, "real/binhost-amd64-xpak")
PROFILE = os.environ.get("PROFILE", "dev")
WORK = os.path.join(ORACLE, "bench")
PHASES = {"pretend", "setup", "preinst", "postinst"}
# Needs Python, which this binhost lacks.
LEFT_OUT = "sys-apps/portage"
QUICK = """baselayout ncurses readline bash attr acl gmp libcap coreutils zlib bzip2 xz-utils pam ca-certificates gzip sed grep findutils
  file less libpcre2 expat libffi tar which""".split()


def packages(quick):
    """CPV, file and phases of the packages that are there, in the order in which Portage merged them."""
    entries = {}
    for stanza in open(os.path.join(BINHOST, "Packages")).read().split("\n\n")[1:]:
        entry = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line)
        if "CPV" in entry:
            entries[entry["CPV"]] = entry
    found = []
    for line in open(os.path.join(SHARED, "oracle/install.txt")):
        cpv = line.strip().lstrip("=")
        entry = entries.get(cpv)
        if not entry or cpv.startswith(LEFT_OUT):
            continue
        name = cpv.split("/")[1]
        if quick and not any(name.startswith(wanted + "-") and name[len(wanted) + 1].isdigit() for wanted in QUICK):
            continue
        path = os.path.join(BINHOST, entry["PATH"])
        if os.path.exists(path):
            found.append((cpv, path, PHASES & set(entry.get("DEFINED_PHASES", "").split())))
    return found


def measured(command, **options):
    """Wall and CPU seconds of a command and all its processes, and what it printed."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, **options)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.time() - started, cpu, done


def fresh(name):
    path = os.path.join(WORK, name)
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    return path


def ours(binary, chosen, host):
    command = [binary, *(["--host"] if host else []), fresh("store"), *[path for _, path, _ in chosen]]
    _, _, done = measured(command, env=dict(os.environ, TMPDIR=fresh("tmp")))
    if done.returncode:
        sys.exit("Hatchery's merge failed")
    return json.loads(done.stdout)


def tar(chosen):
    """zstd and tar, of the tar stream that an XPAK begins with; zstd complains of what comes after it."""
    wall = cpu = 0
    for _, path, _ in chosen:
        target = os.path.join(fresh("tar") if cpu == 0 else os.path.join(WORK, "tar"))
        unpack = subprocess.Popen(["zstd", "-dcq", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        started, before = time.time(), resource.getrusage(resource.RUSAGE_CHILDREN)
        if subprocess.run(["tar", "-x", "-C", target], stdin=unpack.stdout, stderr=subprocess.DEVNULL).returncode:
            sys.exit(f"tar cannot unpack {path}")
        unpack.wait()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall += time.time() - started
        cpu += after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu


def portage(chosen):
    root = os.path.join(fresh("root"))
    for directory in ("usr/bin", "usr/lib", "usr/lib64"):
        os.makedirs(os.path.join(root, directory))
    for link, target in (("bin", "usr/bin"), ("sbin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64"), ("usr/sbin", "bin")):
        os.symlink(target, os.path.join(root, link))
    oracle = os.path.join(SHARED, "oracle")
    command = [oracle + "/nsrun.sh", oracle + "/install.sh", "amd64-any", BINHOST, root, "bench-compose", "--nodeps",
               *["=" + cpv for cpv, _, _ in chosen]]
    wall, cpu, done = measured(command, env=dict(os.environ, ORACLE=ORACLE), stderr=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"emerge failed; its log is {ORACLE}/log/bench-compose.log")
    return wall, cpu


def main():
    if os.getuid() or not os.path.isdir(os.path.join(ORACLE, "venv")) or not os.path.isdir(BINHOST):
        sys.exit(f"skipped: this needs root, {BINHOST} and the real Portage in {ORACLE}")
    subprocess.run(["cargo", "build", "-q", "--locked", "--workspace", "--example", "bench_merge", "--profile", PROFILE], cwd=ROOT, check=True)
    binary = os.path.join(ROOT, "target", "debug" if PROFILE == "dev" else PROFILE, "examples/bench_merge")
    chosen = packages("--quick" in sys.argv)
    plain = [package for package in chosen if not package[2]]
    all_ours, all_tar = ours(binary, chosen, True), tar(chosen)
    plain_ours, plain_tar = ours(binary, plain, False), tar(plain)
    if "--without-portage" not in sys.argv:
        wall, cpu = portage(chosen)
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, profile {PROFILE}\n")
    print("| packages | by | wall s | CPU s | packages per CPU s | peak memory |")
    print("|---|---|---:|---:|---:|---:|")

    def row(count, what, wall, cpu, peak=""):
        print(f"| {count} | {what} | {wall:.1f} | {cpu:.2f} | {count / cpu:.1f} | {peak} |")

    if "--without-portage" not in sys.argv:
        row(len(chosen), "`emerge -K`", wall, cpu)
    row(len(chosen), "Hatchery, phases run", all_ours["seconds"], all_ours["cpu"], f"{all_ours['peak_kib'] / 1024:.0f} MiB")
    row(len(chosen), "`tar -x`", *all_tar)
    row(len(plain), "Hatchery, no phase to run", plain_ours["seconds"], plain_ours["cpu"], f"{plain_ours['peak_kib'] / 1024:.0f} MiB")
    row(len(plain), "`tar -x`", *plain_tar)
    if "--without-portage" not in sys.argv:
        print(f"\nCPU of Portage / Hatchery with phases: {cpu / all_ours['cpu']:.1f}")
    print(f"CPU of Hatchery / tar where no phase runs: {plain_ours['cpu'] / plain_tar[1]:.2f}")
    shutil.rmtree(WORK, ignore_errors=True)


main()
