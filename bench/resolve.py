#!/usr/bin/env python3
"""The resolver and Portage side by side, in one run: the same requests to the same index.

usage: bench/resolve.py [--quick]        (PROFILE=release for a release build; ORACLE as ../shared/oracle/setup made it)

Portage: the real emerge main(), each request in a fork of a process that has Portage imported; "resolve" is its backtrack_depgraph alone,
"emerge -p" a whole process from start to end. Ours: "warm" is a plan from a loaded index, "process" a whole process that reads the index
and makes one plan. Times are CPU time, which others on the machine distort less than they do the time of day; both sides run one after the
other. Portage's resolve step and our warm plans are sums over the requests; ours are medians of five runs each.
"""
import json, os, subprocess, sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SHARED = os.path.join(os.path.dirname(ROOT), "shared")
ORACLE = os.environ.get("ORACLE", os.path.expanduser("~/.cache/hatchery-oracle"))
PYTHON = os.path.join(ORACLE, "venv/bin/python")
PROFILE = os.environ.get("PROFILE", "dev")
IGNORE = ["--ignore-built-slot-operator-deps=y"]
CASES = [  # name, index below SHARED, index name for the oracle, architecture and configuration of resolve.py, options, requests
    ("amd64, small sets", "oracle/amd64-closed.Packages", "amd64-closed", "amd64", "amd64-any", [],
     ["app-shells/bash", "sys-apps/coreutils", "dev-vcs/git", "net-misc/curl", "app-shells/bash sys-apps/coreutils sys-apps/findutils"]),
    ("arm64, desktop sets", "oracle/arm64-closed.Packages", "arm64-closed", "arm64", "arm64-any", IGNORE,
     ["app-editors/vim", "gnome-base/gdm", "www-client/epiphany", "app-emulation/qemu", "media-video/ffmpeg", "net-fs/samba"]),
]


def build():
    subprocess.run(["cargo", "build", "-q", "-p", "resolver", "--example", "bench_resolve", "--profile", PROFILE], cwd=ROOT, check=True)
    return os.path.join(ROOT, "target", "debug" if PROFILE == "dev" else PROFILE, "examples", "bench_resolve")


def ours(binary, index, requests, flags):
    out = subprocess.run([binary, index, *flags], input="\n".join(requests), capture_output=True, text=True, check=True).stdout
    return json.loads(out)


def cpu_of_children():
    spent = os.times()
    return spent.children_user + spent.children_system


def ours_process(binary, index, request, flags):
    started = cpu_of_children()
    for _ in range(10):
        subprocess.run([binary, index, "--once", *flags], input=request, capture_output=True, text=True, check=True)
    return (cpu_of_children() - started) / 10


def portage(index, requests, opts):
    lines = "".join(json.dumps({"index": index, "atoms": r.split(), "opts": opts}) + "\n" for r in requests)
    env = dict(os.environ, ORACLE=ORACLE)
    script = os.path.join(ROOT, "crates/resolver/tests/record_oracle.py")
    out = subprocess.run([PYTHON, script, "--live", SHARED], input=lines, capture_output=True, text=True, check=True, env=env).stdout
    return [json.loads(line) for line in out.splitlines()]


def portage_process(index, arch, conf, request, opts):
    env = dict(os.environ, ORACLE=ORACLE)
    command = [PYTHON, os.path.join(SHARED, "oracle/resolve.py"), "--index", index, "--arch", arch, "--conf", conf, *request.split()]
    started = cpu_of_children()
    subprocess.run(command + (["--", *opts] if opts else []), capture_output=True, env=env)
    return cpu_of_children() - started


def main():
    if not os.path.exists(PYTHON):
        sys.exit(f"skipped: the real Portage is not in {ORACLE}; run ../shared/oracle/setup")
    quick = "--quick" in sys.argv
    binary = build()
    for name, path, oracle_index, arch, conf, opts, requests in CASES:
        requests = requests[:2] if quick else requests
        index = os.path.join(SHARED, path)
        flags = ["--ignore-built"] if opts else []
        mine = ours(binary, index, requests, flags)
        theirs = portage(oracle_index, requests, opts)
        resolve = sum(a["resolve"] for a in theirs)
        process = portage_process(index, arch, conf, requests[0], opts)
        own_process = ours_process(binary, index, requests[0], flags)
        print(f"{name}: {len(requests)} requests, {mine['entries']} entries, largest plan {mine['largest_plan']} packages")
        print(f"  resolve step   Portage {resolve:8.3f} s   ours, warm    {mine['warm_total_ms'] / 1000:8.4f} s   {resolve * 1000 / mine['warm_total_ms']:6.0f} times")
        print(f"  whole process  Portage {process:8.3f} s   ours          {own_process:8.4f} s   {process / own_process:6.0f} times   ({requests[0]})")
        print(f"  ours: index load {mine['load_ms']} ms, warm plan median {mine['warm_median_ms']} ms, worst {mine['warm_max_ms']} ms, "
              f"search {mine['search_max_ms']} ms, memory {mine['peak_rss_kib'] / 1024:.0f} MiB")
    scaled = ours(binary, os.path.join(SHARED, "real/indexes/aarch64-2024-10-18.Packages"), ["acct-group/adm"], ["--scale", "10000"])
    print(f"10,000 entries: index load {scaled['load_ms']} ms, search as one types {scaled['search_max_ms']} ms, "
          f"memory {scaled['peak_rss_kib'] / 1024:.0f} MiB")
    print(f"load average at the end: {os.getloadavg()[0]:.1f}; profile {PROFILE}")


main()
