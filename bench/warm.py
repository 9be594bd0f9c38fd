#!/usr/bin/env python3
"""How many images a site makes a day on one processor, when its worker has seen the preset before: real orders of one preset, each with a host
name of its own, so that none joins another's build.

    target/debug/hatchery sample
    bench/warm.py target/debug/hatchery        # about a minute

The worker has one processor, the server the other. CPU seconds are those of the worker, its children, and the server together.
"""
import argparse
import json
import pathlib
import statistics
import tempfile
import time

from real_site import Site, channel, cpu_seconds


def measure(site, preset, name, count):
    """Seconds of one build, and CPU seconds of all for one, with everything seen before."""
    wish = {"channel": "sample", "preset": preset, "formats": [name]}
    wait(site, [site.order({**wish, "system": {"hostname": f"first-{name.replace('.', '-')}"}})])
    processes = [site.server, *site.workers.values()]
    before = sum(map(cpu_seconds, processes))
    orders = [site.order({**wish, "system": {"hostname": f"h{number}-{name.replace('.', '-')}"}}, user=number) for number in range(count)]
    wait(site, orders)
    cpu = (sum(map(cpu_seconds, processes)) - before) / count
    builds = [site.ask(f"/api/v1/orders/{order}") for order in orders]
    size = builds[0]["artifacts"][0]["size"]
    rows = site.rows("SELECT step_seconds FROM builds WHERE state = 'ready' ORDER BY ended DESC")[:count]
    return statistics.median(sum(seconds for _, seconds in json.loads(text)) for (text,) in rows), cpu, size, builds[0]["summary"]["packages"]


def wait(site, orders):
    for order in orders:
        while (state := site.ask(f"/api/v1/orders/{order}")["state"]) in ("waiting", "building"):
            time.sleep(0.3)
        assert state == "ready", f"an order is {state}; see the worker's log"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("hatchery", type=pathlib.Path)
    arguments.add_argument("--sample", type=pathlib.Path, default=pathlib.Path("var/sample"))
    arguments.add_argument("--preset", default="amd64-server")
    arguments.add_argument("--count", type=int, default=5)
    given = arguments.parse_args()
    sample = given.sample.resolve()
    print("| preset | packages | format | MB | seconds of a build | CPU seconds | images a day, one worker | a day and core, by CPU |")
    print("|---|---:|---|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder, \
            Site(given.hatchery.resolve(), pathlib.Path(folder), [channel("sample", sample, sample / "binhost")]) as site:
        site.work("worker", 0)
        while not site.ask("/healthz")["workers"]:
            time.sleep(0.2)
        for name in ("iso", "tar.bz2"):
            seconds, cpu, size, packages = measure(site, given.preset, name, given.count)
            print(f"| {given.preset} | {packages} | {name} | {size / 1e6:.0f} | {seconds:.1f} | {cpu:.1f} | {86400 / seconds:,.0f} | {86400 / cpu:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
