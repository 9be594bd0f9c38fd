#!/usr/bin/env python3
"""How good the ready times are that a real site names: a real server and real workers, and simulated users who order real builds.

    target/debug/hatchery sample
    bench/forecast.py target/debug/hatchery --orders 20       # a trial, a minute or two
    bench/forecast.py target/debug/hatchery                   # some 200 builds, about a quarter of an hour
    bench/forecast.py target/debug/hatchery --preset presets/server.toml --formats iso tar.bz2,iso qcow2 squashfs,tar.bz2 \
        --orders 300 --between 12 --record /tmp/run.json    # longer ones, an hour

Users order different sets of packages from the sample channel, with host names of their own, one by one and in bursts; some order what
was built before under another name, some a package whose file is broken, so that the build fails. In the middle a worker is killed, and
comes back half a minute later. Each worker has a processor for itself, as if it had a machine of its own; the server shares both.
What is printed is what the site says of itself (`/api/v1/stats`), and by groups what its database holds.
"""
import argparse
import json
import pathlib
import random
import statistics
import tempfile
import time
import tomllib

from real_site import SMALL, Site, channel, with_one_bad_package

EXTRA = ["app-editors/nano", "app-misc/tmux", "sys-process/htop", "net-misc/rsync", "app-misc/jq", "sys-apps/less", "sys-apps/file", "app-arch/xz-utils",
         "dev-db/sqlite", "sys-process/lsof", "net-misc/curl", "app-misc/screen", "dev-util/strace", "net-analyzer/tcpdump", "sys-devel/bc",
         "app-arch/zip", "net-misc/whois", "sys-apps/pciutils", "dev-lang/perl", "app-editors/vim"]
BAD = "sys-apps/ed"
FORMATS = ["tar.gz", "squashfs", "tar.gz,squashfs"]
USERS = 12


def wishes(count, seconds, base, choices, chance):
    """Orders as (second, user, wish): most alone, some in bursts of one user, a few that will fail."""
    made, at, earlier, number = [], 0.0, [], 0
    pause = seconds / count

    def wish():
        nonlocal number
        number += 1
        if earlier and chance.random() < 0.25:
            # What was built before, under another name.
            packages, formats = chance.choice(earlier)
        else:
            extra = [package for package in EXTRA if package not in base]
            packages, formats = base + chance.sample(extra, chance.randint(0, 6)), chance.choice(choices)
            earlier.append((packages, formats))
        bad = chance.random() < 0.03
        return {"channel": "broken" if bad else "sample", "packages": packages + [BAD] * bad, "formats": formats, "system": {"hostname": f"h{number}"}}

    while len(made) < count:
        at += chance.expovariate(1 / pause) * 0.98
        user = chance.randrange(USERS)
        burst = chance.randint(4, 7) if chance.random() < 0.03 else 1
        made += [(at + 2 * i, user, wish()) for i in range(burst)]
        # A burst is followed by as much quiet.
        at += (burst - 1) * pause
    return sorted(made[:count], key=lambda one: one[0])


def forget_images(site):
    """Removes what was made two minutes ago, which nobody downloads here: three hundred images fill a disk."""
    for path in (site.folder / "data/artifacts").glob("*/*/*"):
        if path.is_file() and path.stat().st_mtime < time.time() - 120:
            path.unlink()


def play(site, orders, seconds):
    """Orders at the time of each, with a worker lost in the middle; waits until all have ended."""
    began = time.time()
    killed = back = False
    names = sorted(site.workers)
    for at, user, wish in orders:
        while True:
            now = time.time() - began
            if not killed and now > seconds / 2:
                site.kill_worker(names[-1])
                killed = True
            if killed and not back and now > seconds / 2 + 30:
                site.work(names[-1], len(names) - 1)
                back = True
            if now >= at:
                break
            time.sleep(min(0.2, at - now))
        site.order(wish, user)
        forget_images(site)
    while site.rows("SELECT count(*) FROM builds WHERE state IN ('waiting', 'building')")[0][0]:
        time.sleep(1)
    return time.time() - began


def promises(site):
    """Of each order that was promised a time: how many builds had ended before, whether it waited for a worker, the named range, what came."""
    ends = sorted(ended for (ended,) in site.rows("SELECT ended FROM builds WHERE state = 'ready'"))
    found = []
    for since, forecast, named, actual in site.rows("SELECT p.made, p.forecast, p.named, p.actual FROM promises p WHERE p.actual IS NOT NULL ORDER BY p.made"):
        found.append((sum(end <= since for end in ends), json.loads(forecast)["waits"], json.loads(named), actual))
    return found


def recorded(site):
    """What was ordered and what came of it, for `cargo run -p queue --example replay`."""
    users, found = {}, []
    for user, made, actual, work, worker, started, ended, steps, state in site.rows(
            """SELECT o."user", coalesce(p.made, o.since), p.actual, b.work, b.worker, b.started, b.ended, b.step_seconds, b.state
               FROM builds b JOIN orders o ON o.build = b.id LEFT JOIN promises p ON p.order_id = o.id
               WHERE b.state IN ('ready', 'failed') AND b.started IS NOT NULL ORDER BY 2, b.place"""):
        steps = json.loads(steps)
        # The database has whole seconds; what was promised is known better.
        ended = made + actual if actual is not None else ended
        started = max(made, ended - sum(seconds for _, seconds in steps)) if state == "ready" else started
        found.append({"user": users.setdefault(user, len(users)), "at": made, "started": started, "ended": ended, "failed": state != "ready",
                      "worker": worker, "work": json.loads(work), "steps": steps})
    return found


def row(name, found, build):
    if not found:
        return f"| {name} | 0 | | | | | |"
    inside = [named["low90"] <= actual <= named["high90"] for _, _, named, actual in found]
    half = [named["low50"] <= actual <= named["high50"] for _, _, named, actual in found]
    width = statistics.median(named["high90"] - named["low90"] for _, _, named, _ in found)
    error = statistics.median(abs(named["middle"] - actual) / max(actual, 0.5) for _, _, named, actual in found)
    wait = statistics.median(actual for *_, actual in found)
    return (f"| {name} | {len(found)} | {sum(inside) / len(inside):.0%} | {sum(half) / len(half):.0%} | {width / build:.2f} | {error:.1%} | "
            f"{wait:.1f} |")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("hatchery", type=pathlib.Path)
    arguments.add_argument("--sample", type=pathlib.Path, default=pathlib.Path("var/sample"))
    arguments.add_argument("--orders", type=int, default=220)
    arguments.add_argument("--between", type=float, default=4.0, help="seconds between orders, on average")
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--formats", nargs="+", metavar="A,B", help="what an order may want; tar.xz makes builds longer", default=FORMATS)
    arguments.add_argument("--preset", type=pathlib.Path, help="what all orders begin with, such as presets/server.toml; otherwise six packages")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--keep", type=pathlib.Path, help="the folder that the site is kept in, to look at it afterwards")
    arguments.add_argument("--record", type=pathlib.Path, help="where to write what came, to be replayed with other forecasts")
    given = arguments.parse_args()
    choices = [formats.split(",") for formats in given.formats]
    base = tomllib.loads(given.preset.read_text())["packages"] if given.preset else SMALL
    sample, seconds = given.sample.resolve(), given.orders * given.between
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or pathlib.Path(temporary)
        folder.mkdir(exist_ok=True)
        with_one_bad_package(sample, folder / "broken", BAD)
        channels = [channel("sample", sample, sample / "binhost"), channel("broken", sample, folder / "broken")]
        with Site(given.hatchery.resolve(), folder, channels) as site:
            for number in range(given.workers):
                site.work(f"worker{number}", number)
            while site.ask("/healthz")["workers"] < given.workers:
                time.sleep(0.2)
            took = play(site, wishes(given.orders, seconds, base, choices, random.Random(given.seed)), seconds)
            stats = site.ask("/api/v1/stats")
            found = promises(site)
            if given.record:
                given.record.write_text(json.dumps(recorded(site)))
            states = dict(site.rows("SELECT state, count(*) FROM builds GROUP BY state"))
            built = [end - start for start, end in site.rows("SELECT started, ended FROM builds WHERE state = 'ready'")]
            steps = [sum(seconds for _, seconds in json.loads(text)) for (text,) in site.rows("SELECT step_seconds FROM builds WHERE state = 'ready'")]
            again = site.rows("SELECT count(*) FROM builds WHERE attempts > 1")[0][0]
    build = statistics.median(steps)
    print(f"{given.orders} orders in {took:.0f} s, {states}, {again} begun again; busy {sum(built) / took / given.workers:.0%}; "
          f"median build {build:.1f} s\n\nThe site says: {json.dumps(stats['promises'])}\n")
    print("| orders | count | in the 90% range | in the 50% range | width of 90% / build | error of the middle | median wait s |\n|---|---:|---:|---:|---:|---:|---:|")
    print(row("all", found, build))
    print(row("when up to 20 builds had ended", [one for one in found if one[0] <= 20], build))
    print(row("when 21 to 200 had", [one for one in found if 20 < one[0] <= 200], build))
    print(row("when more had", [one for one in found if one[0] > 200], build))
    print(row("a worker began at once", [one for one in found if one[0] > 20 and not one[1]], build))
    print(row("it waited for a worker", [one for one in found if one[0] > 20 and one[1]], build))


if __name__ == "__main__":
    main()
