#!/usr/bin/env python3
"""Writing images, against what people use and against copying: times, sizes and memory, as ratios of one run.

    bench/formats.py [--root DIR] [--work DIR] [--megabytes N] [--only FORMAT,...] [--repeat N] [--cpu] [--keep]

The root is a folder of this machine (/usr by default) of which whole Debian packages are taken until there are --megabytes of them, GRUB's
among them; it is read into a store as a tree, with the packages as groups. Each format is written with nothing seen before, in turn with
its peers, which get the same files, unpacked, on the same disk; then with five packages more than what was seen; then with everything
seen, in turn with cp of the image that came out. Each figure is the median of --repeat runs (of 5 at least for what takes a second).

What is in a time: all from the tree in memory to the finished file under its last name, with every kept piece checked as it is copied.
What is not: making SHA-256, SHA-512 and BLAKE2b of the finished file, which the worker does when it delivers; neither cp nor any peer has
that. Nobody syncs inside the time measured, nor cp; everything is synced before each, so that no one pays for another's pages. All input
is in the page cache for all. It takes five times the root's size of disk; with --keep that is left for the next run.

Needs python3, tar, pigz, pbzip2, lbzip2, xz, zstd, zip, 7z, mksquashfs, xorriso, mke2fs and qemu-img; a peer that is not installed is left
out and named. `kiwi-ng` is asked where it is on the PATH (as root).
"""

import argparse
import glob
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import time

KIWI = """<?xml version="1.0" encoding="utf-8"?>
<image schemaversion="8.0" name="peer">
  <description type="system"><author>bench</author><contact>bench@example.org</contact><specification>bench</specification></description>
  <preferences><version>1.0.0</version><packagemanager>apt</packagemanager><type image="{}"/></preferences>
  <packages type="image"/>
  <packages type="bootstrap"/>
</image>
"""

HERE = os.path.dirname(os.path.abspath(__file__))
NEW_PACKAGES = 5
# What boots an image: always part of the root.
GRUB = ["grub-pc-bin", "grub-efi-amd64-bin", "grub-efi-ia32-bin"]
# Formats whose contents are kept compressed for the next image.
KEPT = ["tar.gz", "tar.bz2", "tar.xz", "tar.zst", "zip", "squashfs", "iso", "oci"]


def packages(root, megabytes):
    """Debian packages and their files below root, until there are enough bytes; the same for every run on one machine."""
    lists = sorted(glob.glob("/var/lib/dpkg/info/*.list"))
    random.Random(5).shuffle(lists)
    lists.sort(key=lambda path: os.path.basename(path)[: -len(".list")] not in GRUB)
    chosen, total = [], 0
    for path in lists:
        name = os.path.basename(path)[: -len(".list")]
        with open(path) as lines:
            files = [line for line in lines.read().split("\n") if line.startswith(root + "/") and os.path.lexists(line)]
        files = [f for f in files if os.path.islink(f) or not os.path.isdir(f)]
        size = sum(os.lstat(f).st_size for f in files)
        if files and size < megabytes * 1e6 / 5:
            chosen.append((name, files, size))
            total += size
        if total >= megabytes * 1e6:
            return chosen
    return chosen


def copy(source, target):
    shutil.copy2(source, target, follow_symlinks=False)


def link(source, target):
    os.link(source, target, follow_symlinks=False)


def unpack(root, chosen, into, put):
    folders = set()
    for _, files, _ in chosen:
        for path in files:
            name = os.path.relpath(path, root)
            target = os.path.join(into, name)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            if not os.path.lexists(target):
                put(path, target)
            while name := os.path.dirname(name):
                folders.add(name)
    # A folder is the same in each of the roots, as it is in images.
    for name in folders:
        shutil.copystat(os.path.join(root, name), os.path.join(into, name))


class Bench:
    def __init__(self, args):
        self.args = args
        self.program = args.program
        self.work = args.work

    def path(self, *names):
        return os.path.join(self.work, *names)

    def ours(self, *args):
        return subprocess.run([self.program, *args], check=True, stdout=subprocess.PIPE, text=True).stdout.split()

    def read(self, name, groups):
        listing = self.path(name + ".tsv")
        with open(listing, "w") as out:
            for package, files, _ in groups:
                for path in files:
                    out.write(f"{os.path.relpath(path, self.args.root)}\t{package}\n")
        self.ours("read", self.path(name), self.path("store"), self.path(name + ".json"), listing)

    def forget(self):
        shutil.rmtree(self.path("store", "forms"), ignore_errors=True)

    def write(self, form, tree):
        """Seconds, peak memory in MiB, and bytes of an image."""
        out = self.path("image." + form)
        fresh(out)
        seconds, cpu, memory = self.ours("write", form, self.path("store"), self.path(tree + ".json"), out)
        return float(cpu if self.args.cpu else seconds), int(memory), os.path.getsize(out)

    def now(self):
        """Seconds so far: of the clock, or of computing by all programs that were started."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime if self.args.cpu else time.monotonic()

    def cp(self, form):
        """Copying the finished image."""
        target = self.path("copy")
        fresh(target)
        began = self.now()
        subprocess.run(["cp", "--reflink=never", self.path("image." + form), target], check=True)
        took = self.now() - began
        os.remove(target)
        return took

    def peer(self, steps, out):
        """Seconds and size of what programs make one after the other; a pair of programs is a pipe into `out`, joined without a shell."""
        quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": self.path("before")}
        fresh(out)
        began = self.now()
        for step in steps:
            if isinstance(step, tuple):
                with open(out, "wb") as target:
                    first = subprocess.Popen(step[0], stdout=subprocess.PIPE)
                    subprocess.run(step[1], stdin=first.stdout, stdout=target, check=True)
                    first.stdout.close()
                    if first.wait() != 0:
                        sys.exit(f"{step[0][0]} failed")
            else:
                subprocess.run(step, **quiet)
        took = self.now() - began
        # KIWI names its files itself, and lists beside them what is in them.
        made = [out] if os.path.exists(out) else glob.glob(self.path("peer.kiwi", "*"))
        size = max(os.path.getsize(path) for path in made)
        for left in glob.glob(self.path("peer.*")):
            shutil.rmtree(left) if os.path.isdir(left) else os.remove(left)
        return took, size


def fresh(path):
    """Replacing a file would have its blocks freed within the time measured, and others' pages may wait to be written."""
    if os.path.exists(path):
        os.remove(path)
    os.sync()


def peers(bench, form):
    """What people use for a format: a name and the steps, each a program, or a pair of them that are a pipe into the output."""
    root, out, raw = bench.path("before"), bench.path("peer.out"), bench.path("peer.raw")
    tar = ["tar", "-C", root, "--sort=name", "-cf", "-", "."]
    squash = ["mksquashfs", root, out, "-noappend", "-no-progress", "-quiet", "-comp", "zstd", "-Xcompression-level", "9"]
    squash += ["-processors", str(os.cpu_count())]
    medium = bench.path("medium")
    iso = ["xorriso", "-as", "mkisofs", "-quiet", "-R", "-iso-level", "3", "-partition_offset", "16", "-o", out, medium]
    # A disk has kernel and initramfs in its root.
    disk = lambda size: ["mke2fs", "-q", "-F", "-t", "ext4", "-d", bench.path("disk"), raw, size]
    convert = lambda *to: ["qemu-img", "convert", "-f", "raw", *to, raw, out]
    just_large = f"{int(bench.size * 1.15 / 2**20) + 128}M"
    return {
        "tar.gz": [("pigz -6", [(tar, ["pigz", "-6", "-c"])])],
        "tar.bz2": [("pbzip2", [(tar, ["pbzip2", "-c"])]), ("lbzip2", [(tar, ["lbzip2", "-c"])])],
        "tar.xz": [("xz -T0", [(tar, ["xz", "-T0", "-c"])])],
        # Two levels: which of them comes as near in size depends on what is in the root.
        "tar.zst": [(f"zstd -{level} -T0", [(tar, ["zstd", f"-{level}", "-T0", "-q", "-c"])]) for level in (9, 8)],
        "zip": [
            ("zip -r", [["zip", "-q", "-y", "-r", out, "."]]),
            ("7z -tzip -mx=1", [["7z", "a", "-tzip", "-mx=1", "-mmt=on", "-snl", "-bd", out, "."]]),
        ],
        "squashfs": [("mksquashfs, zstd 9", [squash])],
        "iso": [("mksquashfs, xorriso", [[*squash[:2], os.path.join(medium, "image.squashfs"), *squash[3:]], iso])],
        "img.gz": [("mke2fs -d, pigz", [disk(just_large), (["cat", raw], ["pigz", "-6", "-c"])])],
        "qcow2": [
            ("mke2fs -d, qemu-img", [disk("16G"), convert("-O", "qcow2", "-c", "-o", "compression_type=zstd")]),
        ],
        "vmdk": [("mke2fs -d, qemu-img", [disk("16G"), convert("-O", "vmdk", "-o", "subformat=streamOptimized")])],
        "oci": [("pigz -6", [(tar, ["pigz", "-6", "-c"])])],
    }.get(form, [])


def kiwi(bench, form):
    """KIWI, where it is installed, from a ready root: its archive is `tar | xz`, its squashfs is mksquashfs's."""
    types = {"tar.xz": "tbz", "squashfs": "squashfs"}
    if form not in types or not shutil.which("kiwi-ng"):
        return []
    root, target = bench.path("kiwi"), bench.path("peer.kiwi")
    if not os.path.exists(root):
        subprocess.run(["cp", "-al", bench.path("before"), root], check=True)
    # It lists what is documented there.
    os.makedirs(os.path.join(root, "usr/share/doc"), exist_ok=True)
    os.makedirs(os.path.join(root, "image"), exist_ok=True)
    with open(os.path.join(root, "image", "config.xml"), "w") as out:
        out.write(KIWI.format(types[form]))
    return [("kiwi-ng", [["kiwi-ng", "system", "create", "--root", root, "--target-dir", target]])]


def installed(name, steps):
    words = [words for step in steps for words in (step if isinstance(step, tuple) else [step])]
    missing = [words[0] for words in words if not shutil.which(words[0])]
    for program in missing:
        print(f"left out: {name}, as {program} is not installed", file=sys.stderr)
    return not missing


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="/usr")
    parser.add_argument("--work", default="/tmp/hatchery-bench-formats")
    parser.add_argument("--megabytes", type=float, default=1250)
    parser.add_argument("--only", default="tar.gz,tar.bz2,tar.xz,tar.zst,zip,squashfs,iso,img.gz,qcow2,vmdk,oci")
    parser.add_argument("--program", help="crates/image/examples/bench_formats.rs, built before; otherwise it is built now")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--keep", action="store_true", help="leave the root and the store in --work for the next run")
    parser.add_argument("--cpu", action="store_true", help="CPU seconds instead of those of the clock, for a machine that is busy")
    args = parser.parse_args()
    if not args.program:
        cargo = ["cargo", "build", "--release", "-p", "image", "--example", "bench_formats"]
        subprocess.run(cargo, check=True, cwd=os.path.join(HERE, ".."))
        args.program = os.path.join(HERE, "..", "target", "release", "examples", "bench_formats")
    os.makedirs(args.work, exist_ok=True)
    bench = Bench(args)
    try:
        prepare(bench)
        run(bench)
    finally:
        if not args.keep:
            shutil.rmtree(args.work, ignore_errors=True)


def prepare(bench):
    """The roots as folders and as trees: `root`, the five `new` packages of it alone, and `before` with all but those."""
    args = bench.args
    if os.path.exists(bench.path("ready")):
        with open(bench.path("ready")) as said:
            bench.size, text = json.load(said)
        return print(text)
    chosen = packages(args.root, args.megabytes)
    # Five of ordinary size are the new ones.
    ordinary = [p for p in chosen if 300e3 < p[2] < 6e6 and p[0] not in GRUB]
    new = ordinary[:NEW_PACKAGES]
    old = [p for p in chosen if p not in new]
    bench.size = sum(p[2] for p in old)
    size, count = sum(p[2] for p in chosen), sum(len(p[1]) for p in chosen)
    text = f"root: {len(chosen)} packages, {count} files, {size / 1e6:.0f} MB; new: {sum(p[2] for p in new) / 1e6:.1f} MB"
    print(text)
    unpack(args.root, chosen, bench.path("root"), copy)
    for name, groups in [("before", old), ("new", new)]:
        copied = [(p, [os.path.join(bench.path("root"), os.path.relpath(f, args.root)) for f in files], n) for p, files, n in groups]
        unpack(bench.path("root"), copied, bench.path(name), link)
    for name, groups in [("before", old), ("root", chosen), ("new", new)]:
        bench.read(name, groups)
    # What a medium and a disk have besides the root: as much as ours have.
    os.makedirs(bench.path("medium", "boot"))
    for name in ["kernel", "initramfs"]:
        with open(bench.path("medium", "boot", name), "wb") as out:
            out.write(os.urandom(8_000_000))
    subprocess.run(["cp", "-al", bench.path("before"), bench.path("disk")], check=True)
    subprocess.run(["cp", "-a", bench.path("medium", "boot"), bench.path("disk")], check=True)
    with open(bench.path("ready"), "w") as said:
        json.dump([bench.size, text], said)


def run(bench):
    args = bench.args
    head = ["format", "MB", "nothing seen s", "peer", "peer s", "ours / peer", "size, ours / peer", "cp s", "all seen s"]
    head += ["all seen / cp", "five new s", "the five alone s", "five new / (2 cp + alone)", "MiB"]
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head), flush=True)
    for form in args.only.split(","):
        measure(bench, form)
        for image in glob.glob(bench.path("image.*")):
            os.remove(image)


def measure(bench, form):
    median = lambda runs: statistics.median(run[0] for run in runs)
    known = [] if bench.args.no_peers else [*peers(bench, form), *kiwi(bench, form)]
    known = [(name, steps) for name, steps in known if installed(name, steps)]
    cold, theirs = [], {name: [] for name, _ in known}
    for _ in range(bench.args.repeat):
        bench.forget()
        cold.append(bench.write(form, "before"))
        for name, steps in known:
            theirs[name].append(bench.peer(steps, bench.path("peer.out")))
    runs = list(cold)
    tail = [""] * 6
    if form in KEPT:
        seen, copied, five = [], [], []
        # The last of those with nothing seen has left what it kept; the new packages' part is forgotten between runs with the rest.
        os.rename(bench.path("store", "forms"), bench.path("forms"))
        for _ in range(max(3, bench.args.repeat)):
            bench.forget()
            shutil.copytree(bench.path("forms"), bench.path("store", "forms"))
            five.append(bench.write(form, "root"))
        for _ in range(max(5, bench.args.repeat)):
            seen.append(bench.write(form, "root"))
            copied.append((bench.cp(form),))
        shutil.rmtree(bench.path("forms"))
        alone = []
        for _ in range(max(3, bench.args.repeat)):
            bench.forget()
            # Five packages do not boot; what is compressed for a medium is its root.
            alone.append(bench.write("squashfs" if form == "iso" else form, "new"))
        runs += seen + five
        limit = 2 * median(copied) + median(alone)
        tail = [f"{median(copied):.2f}", f"{median(seen):.2f}", f"{median(seen) / median(copied):.2f}", f"{median(five):.2f}"]
        tail += [f"{median(alone):.2f}", f"{median(five) / limit:.2f}"]
    written, memory = cold[0][2], max(run[1] for run in runs)
    for name in theirs or [""]:
        cells = [form, f"{written / 1e6:.0f}", f"{median(cold):.1f}", name]
        if name:
            took, size = median(theirs[name]), theirs[name][0][1]
            cells += [f"{took:.1f}", f"{median(cold) / took:.2f}", f"{written / size:.3f}"]
        else:
            cells += [""] * 3
        print("| " + " | ".join([*cells, *tail, str(memory)]) + " |", flush=True)


if __name__ == "__main__":
    main()
