#!/usr/bin/env python3
"""Writing images, against what people use and against copying: times, sizes and memory, as ratios of one run.

    bench/formats.py [--root DIR] [--work DIR] [--megabytes N] [--only FORMAT,...] [--cpu]

The root is a folder of this machine (/usr by default) of which whole Debian packages are taken until there are --megabytes of them; it is
read into a store as a tree, with the packages as groups. Each format is written with nothing seen before, then with five packages more,
then with everything seen (the best of five, as for cp). The peers get the same files, unpacked, on the same disk. All files are in the
page cache for all, and nobody syncs inside the time measured. It takes four times the root's size of disk.

Needs python3, tar, pigz, pbzip2, xz, zstd, zip and mksquashfs; a peer that is not installed is left out and named.
"""

import argparse
import glob
import os
import random
import resource
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
NEW_PACKAGES = 5


def packages(root, megabytes):
    """Debian packages and their files below root, until there are enough bytes; the same for every run on one machine."""
    lists = sorted(glob.glob("/var/lib/dpkg/info/*.list"))
    random.Random(5).shuffle(lists)
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
    for _, files, _ in chosen:
        for path in files:
            target = os.path.join(into, os.path.relpath(path, root))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            if not os.path.lexists(target):
                put(path, target)


class Bench:
    def __init__(self, args):
        self.args = args
        self.program = os.path.join(HERE, "..", "target", "release", "examples", "bench_formats")
        self.work = args.work
        self.rows = []

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

    def write(self, form, tree):
        out = self.path("image." + form)
        # Replacing a file would have its blocks freed, and those of the new one allocated at once, within the time measured.
        if os.path.exists(out):
            os.remove(out)
        seconds, cpu, memory = self.ours("write", form, self.path("store"), self.path(tree + ".json"), out)
        return float(cpu if self.args.cpu else seconds), int(memory), os.path.getsize(out)

    def now(self):
        """Seconds so far: of the clock, or of computing by all programs that were started."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime if self.args.cpu else time.monotonic()

    def cp(self, form):
        """Copying the finished image, the best of several."""
        source, target = self.path("image." + form), self.path("copy")
        best = None
        for _ in range(5):
            if os.path.exists(target):
                os.remove(target)
            began = self.now()
            subprocess.run(["cp", "--reflink=never", source, target], check=True)
            took = self.now() - began
            best = took if best is None else min(best, took)
        os.remove(target)
        return best

    def peer(self, words, shell_pipe=None):
        """Seconds and size of what a peer writes to `peer.out`; a pipe of two programs is joined here, without a shell."""
        out = self.path("peer.out")
        if os.path.exists(out):
            os.remove(out)
        began = self.now()
        if shell_pipe:
            with open(out, "wb") as target:
                first = subprocess.Popen(words, stdout=subprocess.PIPE)
                subprocess.run(shell_pipe, stdin=first.stdout, stdout=target, check=True)
                first.stdout.close()
                if first.wait() != 0:
                    sys.exit(f"{words[0]} failed")
        else:
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.path("before"))
        took = self.now() - began
        size = os.path.getsize(out)
        return took, size


def peers(bench, form):
    root, out = bench.path("before"), bench.path("peer.out")
    tar = ["tar", "-C", root, "--sort=name", "-cf", "-", "."]
    threads = str(os.cpu_count())
    known = {
        "tar.gz": [("pigz -6", tar, ["pigz", "-6", "-c"])],
        "tar.bz2": [("pbzip2", tar, ["pbzip2", "-c"])],
        "tar.xz": [("xz -T0", tar, ["xz", "-T0", "-c"])],
        "tar.zst": [("zstd -9 -T0", tar, ["zstd", "-9", "-T0", "-q", "-c"])],
        "zip": [("zip -r", ["zip", "-q", "-y", "-r", out, "."], None)],
        "squashfs": [
            (
                "mksquashfs -comp zstd -Xcompression-level 9",
                ["mksquashfs", root, out, "-noappend", "-no-progress", "-quiet", "-comp", "zstd", "-Xcompression-level", "9"]
                + ["-processors", threads],
                None,
            )
        ],
        "oci": [("pigz -6", tar, ["pigz", "-6", "-c"])],
    }
    for name, words, pipe in known.get(form, []):
        if shutil.which((pipe or words)[0]):
            yield name, *bench.peer(words, pipe)
        else:
            print(f"left out: {(pipe or words)[0]} is not installed", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="/usr")
    parser.add_argument("--work", default="/tmp/hatchery-bench-formats")
    parser.add_argument("--megabytes", type=float, default=1250)
    parser.add_argument("--only", default="tar.gz,tar.bz2,tar.xz,tar.zst,zip,squashfs,oci")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--cpu", action="store_true", help="CPU seconds instead of those of the clock, for a machine that is busy")
    args = parser.parse_args()
    cargo = ["cargo", "build", "--release", "-p", "image", "--example", "bench_formats"]
    subprocess.run(cargo, check=True, cwd=os.path.join(HERE, ".."))
    shutil.rmtree(args.work, ignore_errors=True)
    os.makedirs(args.work)
    bench = Bench(args)
    try:
        run(bench, args)
    finally:
        shutil.rmtree(args.work, ignore_errors=True)


def run(bench, args):
    chosen = packages(args.root, args.megabytes)
    # Five of ordinary size are the new ones.
    ordinary = [p for p in chosen if 300e3 < p[2] < 6e6]
    new = ordinary[:NEW_PACKAGES]
    old = [p for p in chosen if p not in new]
    unpack(args.root, chosen, bench.path("root"), copy)
    linked = [(name, [os.path.join(bench.path("root"), os.path.relpath(f, args.root)) for f in files], n) for name, files, n in old]
    unpack(bench.path("root"), linked, bench.path("before"), link)
    size = sum(p[2] for p in chosen)
    count = sum(len(p[1]) for p in chosen)
    print(f"root: {len(chosen)} packages, {count} files, {size / 1e6:.0f} MB; new: {sum(p[2] for p in new) / 1e6:.1f} MB")
    bench.read("before", old)
    bench.read("root", chosen)
    head = ["format", "MB", "nothing seen s", "peer", "peer s", "ours / peer", "size, ours / peer", "cp s", "all seen s"]
    head += ["all seen / cp", "five new s", "MiB"]
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head), flush=True)
    for form in args.only.split(","):
        shutil.rmtree(bench.path("store", "forms"), ignore_errors=True)
        cold, memory, written = bench.write(form, "before")
        rows = [] if args.no_peers else list(peers(bench, form))
        five, *_ = more = bench.write(form, "root")
        seen = [bench.write(form, "root") for _ in range(5)]
        warm = min(seconds for seconds, _, _ in seen)
        memory = max(memory, more[1], *(m for _, m, _ in seen))
        copied = bench.cp(form)
        for name, took, peer_size in rows or [("", None, None)]:
            cells = [form, f"{written / 1e6:.0f}", f"{cold:.1f}", name]
            cells += [f"{took:.1f}", f"{cold / took:.2f}", f"{written / peer_size:.3f}"] if took else ["", "", ""]
            cells += [f"{copied:.2f}", f"{warm:.2f}", f"{warm / copied:.1f}", f"{five:.2f}", str(memory)]
            print("| " + " | ".join(cells) + " |", flush=True)
        os.remove(bench.path("image." + form))


if __name__ == "__main__":
    main()
