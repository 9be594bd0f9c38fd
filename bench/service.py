#!/usr/bin/env python3
"""How much a server of Hatchery bears: orders a second, pages a second, and how long its answers take while a thousand live pages are open and
three thousand builds wait.

    cargo build --release -p hatchery
    bench/service.py target/release/hatchery                                    # SQLite
    bench/service.py target/release/hatchery --database postgres://user@host/db    # an empty database

Everything runs on this machine and asks only the server it starts, on the loopback interface. Nothing is built: there is no worker. The
client shares the processor with the server, so the numbers are those of a machine that does both.
"""
import argparse
import asyncio
import json
import os
import pathlib
import subprocess
import tempfile
import time

PACKAGES = ["app-shells/bash-5.2_p15", "dev-vcs/git-2.40.1", "net-misc/openssh-9.3_p2"]


def make_binhost(folder):
    """A binhost of a few packages; nothing is fetched from it."""
    lines = ["ACCEPT_KEYWORDS: amd64", "ARCH: amd64", "CHOST: x86_64-pc-linux-gnu", "TIMESTAMP: 1795334700", "VERSION: 0", ""]
    for cpv in PACKAGES:
        path = folder / f"{cpv}.gpkg.tar"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        lines += [f"CPV: {cpv}", "BUILD_TIME: 1795000000", "CHOST: x86_64-pc-linux-gnu", "EAPI: 8", "KEYWORDS: amd64", "LICENSE: GPL-2",
                  f"MD5: {'0' * 32}", f"PATH: {cpv}.gpkg.tar", f"SHA1: {'0' * 40}", "SIZE: 1000", "REPO: gentoo", ""]
    (folder / "Packages").write_text("\n".join(lines))


def configuration(folder, database):
    text = f"""listen = "127.0.0.1:0"
data_dir = "{folder}/data"
max_waiting = 1000000
"""
    if database:
        text += f'database = "{database}"\n'
    return text + f"""[limits]
orders_per_hour = 1000000
open_orders = 1000000
site_orders_per_hour = 1000000
plans_per_minute = 1000000
live_pages = 1000000
[[channel]]
name = "bench"
title = "Bench"
arch = "amd64"
[[channel.binhost]]
name = "bench"
uri = "file://{folder}/binhost"
allow_unsigned = true
"""


class Client:
    """A connection that is kept, for one request after the other."""

    def __init__(self, port):
        self.port, self.reader, self.writer = port, None, None

    async def ask(self, method, path, body=b""):
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)
        status = int((await self.reader.readline()).split()[1])
        length, location = 0, ""
        while (line := (await self.reader.readline()).strip()):
            name, _, value = line.decode().partition(": ")
            length = int(value) if name.lower() == "content-length" else length
            location = value if name.lower() == "location" else location
        await self.reader.readexactly(length)
        return status, location


def order(number):
    return json.dumps({"arch": "amd64", "channel": "bench", "packages": ["app-shells/bash"], "formats": ["zip"],
                       "system": {"hostname": f"h{number}"}}).encode()


async def run(port, jobs, clients, times):
    """Does jobs, each (method, path, body), with so many clients; what was answered, in their order."""
    queue, answers = list(enumerate(jobs))[::-1], [None] * len(jobs)

    async def work():
        client = Client(port)
        while queue:
            at, job = queue.pop()
            began = time.perf_counter()
            answers[at] = await client.ask(*job)
            times.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(clients)))
    return answers, time.perf_counter() - began


def percentile(times, share):
    return sorted(times)[min(len(times) - 1, int(len(times) * share))] * 1000


def processor_seconds(pid):
    """What a process has taken of the processor so far, user and system."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def phase(what, port, pid, jobs, clients, rows):
    """One row of the table: some jobs, and what they cost; gives back where the answers lead to."""
    times, before = [], processor_seconds(pid)
    answers, seconds = await run(port, jobs, clients, times)
    wrong = [answer for answer in answers if answer[0] not in (200, 201)]
    assert not wrong, wrong[:3]
    spent = (processor_seconds(pid) - before) * 1000 / len(jobs)
    rows.append((what, len(jobs) / seconds, percentile(times, 0.5), percentile(times, 0.99), percentile(times, 1), spent))
    return [location for _, location in answers]


async def live_page(port, path, opened):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    while (line := await reader.readline()):
        if line.startswith(b"event: snapshot"):
            opened.append(path)


async def measure(port, pid, queued, pages):
    rows = []
    orders = await phase(f"orders, the first {queued}", port, pid, [("POST", "/api/v1/orders", order(i)) for i in range(queued)], 8, rows)
    shown = [path.replace("/api/v1", "") for path in orders]
    await phase(f"pages of orders, {queued} waiting", port, pid, [("GET", shown[i % len(shown)], b"") for i in range(3000)], 8, rows)
    opened = []
    live = [asyncio.create_task(live_page(port, orders[i % len(orders)], opened)) for i in range(pages)]
    while len(opened) < pages:
        await asyncio.sleep(0.1)
    await phase(f"the same with {pages} live pages", port, pid, [("GET", shown[i % len(shown)], b"") for i in range(2000)], 8, rows)
    more = [("POST", "/api/v1/orders", order(queued + i)) for i in range(500)]
    await phase(f"orders with {pages} live pages", port, pid, more, 4, rows)
    for task in live:
        task.cancel()
    return rows


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("hatchery", type=pathlib.Path)
    arguments.add_argument("--database", default="")
    arguments.add_argument("--queued", type=int, default=3000)
    arguments.add_argument("--pages", type=int, default=1000)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_binhost(pathlib.Path(folder) / "binhost")
        config = pathlib.Path(folder) / "hatchery.toml"
        config.write_text(configuration(folder, given.database))
        # A line for each order would be measured too, and be all that is seen.
        server = subprocess.Popen([given.hatchery, "serve", "--no-worker", "--config", config], stdout=subprocess.PIPE, text=True,
                                  env={**os.environ, "RUST_LOG": "warn"})
        try:
            port = int(server.stdout.readline().rsplit(":", 1)[1])
            rows = asyncio.run(measure(port, server.pid, given.queued, given.pages))
            resident = int(pathlib.Path(f"/proc/{server.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
        finally:
            server.terminate()
            server.wait()
    print("| what | a second | median ms | p99 ms | slowest ms | CPU s of the server for 1,000 |\n|---|---:|---:|---:|---:|---:|")
    for what, rate, median, p99, slowest, spent in rows:
        print(f"| {what} | {rate:.0f} | {median:.1f} | {p99:.1f} | {slowest:.0f} | {spent:.2f} |")
    print(f"\nThe server took {resident:.0f} MB of memory.")


if __name__ == "__main__":
    main()
