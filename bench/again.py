#!/usr/bin/env python3
"""An order that was built before: how long from the click to the link.

    target/debug/hatchery sample
    bench/again.py target/debug/hatchery            # as root, with --user NAME for an account that runs the site

A site with its own worker builds an order of a preset on the sample channel. Then the same form is sent again and again, each time as a new
order of another visitor, and the page that the answer leads to is fetched until it has the link to the image. The time is from sending
the form to having read that page, on one connection to the loopback interface: forms are checked, the order is planned anew, its build is
found, and the page is made, as for every visitor. Nothing is rendered.
"""
import argparse
import http.client
import os
import pathlib
import re
import secrets
import statistics
import subprocess
import tempfile
import time
import urllib.parse

from real_site import NO_LIMITS, channel

BUILD_LIMIT = 900


def click(connection, preset, form):
    """Seconds from the form to the page, the page's path, and whether the image is linked there."""
    fields = {"token": secrets.token_hex(16), "preset": preset, "packages": "app-editors/nano", "hostname": "larry", "formats": form}
    head = {"Content-Type": "application/x-www-form-urlencoded"}
    began = time.perf_counter()
    connection.request("POST", "/orders", urllib.parse.urlencode(fields), head)
    answer = connection.getresponse()
    text = answer.read().decode()
    if answer.status != 303:
        raise SystemExit(f"the order was refused ({answer.status}): {re.sub('<[^>]*>', ' ', text)[-600:]}")
    path = answer.getheader("location")
    return look(connection, path, began)


def look(connection, path, began):
    connection.request("GET", path)
    page = connection.getresponse().read().decode()
    return time.perf_counter() - began, path, "/artifacts/" in page


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("hatchery", type=pathlib.Path)
    arguments.add_argument("--sample", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent / "var/sample")
    arguments.add_argument("--preset", default="amd64-server")
    arguments.add_argument("--format", default="tar.gz")
    arguments.add_argument("--times", type=int, default=100)
    arguments.add_argument("--user", default="nobody", help="who runs the site, where this runs as root")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder) / "hatchery.toml"
        sample = given.sample.resolve()
        places = f'listen = "127.0.0.1:0"\ndata_dir = "{folder}/data"\n'
        config.write_text(places + NO_LIMITS + channel("sample", sample, sample / "binhost"))
        words = [str(given.hatchery.resolve()), "serve", "--config", str(config)]
        if os.geteuid() == 0:
            os.chmod(folder, 0o755)
            subprocess.run(["chown", "-R", given.user, folder], check=True)
            words = ["setpriv", "--reuid", given.user, "--regid", given.user, "--init-groups", "--pdeathsig", "TERM", "--", *words]
        server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "RUST_LOG": "warn", "HOME": folder})
        try:
            port = int(server.stdout.readline().rsplit(":", 1)[1])
            connection = http.client.HTTPConnection("127.0.0.1", port)
            began = time.perf_counter()
            _, path, ready = click(connection, given.preset, given.format)
            while not ready and time.perf_counter() - began < BUILD_LIMIT:
                time.sleep(0.5)
                ready = look(connection, path, began)[2]
            if not ready:
                raise SystemExit("the first build did not become ready")
            print(f"first build: {time.perf_counter() - began:.1f} s")
            seen = [click(connection, given.preset, given.format) for _ in range(given.times)]
        finally:
            server.terminate()
            server.wait()
    late = [path for _, path, ready in seen if not ready]
    if late:
        raise SystemExit(f"{len(late)} of {len(seen)} orders were not ready at once")
    times = sorted(1000 * seconds for seconds, _, _ in seen)
    print(f"{len(times)} orders of what was built before: median {statistics.median(times):.1f} ms, "
          f"p99 {times[int(len(times) * 0.99) - 1]:.1f} ms, worst {times[-1]:.1f} ms")


if __name__ == "__main__":
    main()
