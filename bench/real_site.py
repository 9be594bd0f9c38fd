"""A real site for benchmarks: `hatchery serve` on the sample channel, real workers beside it, and who orders there."""
import json
import os
import pathlib
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request

# What no benchmark is to run into.
NO_LIMITS = """[limits]
orders_per_hour = 1000000
open_orders = 1000000
site_orders_per_hour = 1000000
plans_per_minute = 1000000
"""
SMALL = ["sys-apps/baselayout", "app-shells/bash", "sys-apps/coreutils", "sys-apps/grep", "sys-apps/sed", "sys-apps/gawk"]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def channel(name, sample, binhost):
    return f"""[[channel]]
name = "{name}"
title = "{name}"
arch = "amd64"
profile = "{sample}/repo/profiles/default/linux/amd64/23.0"
boot_packages = ["sys-kernel/debian-kernel-bin", "sys-boot/grub", "sys-apps/busybox[static]"]
[[channel.binhost]]
name = "{name}"
uri = "file://{binhost}"
keyring_file = "{sample}/key/certificate.asc"
"""


def with_one_bad_package(sample, folder, package):
    """The sample's binhost in another folder, where a file of one package is not what its signature says."""
    for path in (sample / "binhost").rglob("*"):
        target = folder / path.relative_to(sample / "binhost")
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        elif path.parent.name == package.split("/")[1] and path.parent.parent.name == package.split("/")[0]:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(bytes(path.stat().st_size))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path)


class Site:
    """A server without a worker of its own, with everything it keeps in `folder`. Ended with the `with` block, and its workers with it."""

    def __init__(self, hatchery, folder, channels, top=""):
        self.hatchery, self.folder, self.workers = hatchery, folder, {}
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        config = folder / "hatchery.toml"
        config.write_text(f"""listen = "127.0.0.1:{self.port}"
data_dir = "{folder}/data"
behind_proxy = true
lease_ttl_seconds = 10
{top}
""" + NO_LIMITS + "".join(channels))
        self.log = (folder / "site.log").open("a")
        self.server = subprocess.Popen([hatchery, "serve", "--no-worker", "--config", config], stdout=subprocess.DEVNULL, stderr=self.log,
                                       env={**os.environ, "RUST_LOG": "warn"})
        for _ in range(600):
            try:
                if self.ask("/healthz"):
                    return
            except OSError:
                time.sleep(0.1)
        sys.exit(f"the server does not answer; see {folder}/site.log")

    def work(self, name, core):
        """Starts a worker that has one processor for itself, as if it had a machine of its own."""
        self.workers[name] = subprocess.Popen(
            ["taskset", "--cpu-list", str(core), self.hatchery, "work", "--server", self.base, "--token-file", self.folder / "data/worker.token",
             "--name", name, "--dir", self.folder / name],
            stdout=subprocess.DEVNULL, stderr=self.log, start_new_session=True, env={**os.environ, "RUST_LOG": "warn"})

    def kill_worker(self, name):
        worker = self.workers.pop(name)
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()

    def ask(self, path, body=None, user=0):
        """The answer as JSON; of an order, who orders is told by the address that a proxy would give."""
        data = json.dumps(body).encode() if body is not None else None
        headers = {"Content-Type": "application/json", "X-Forwarded-For": f"10.9.{user // 250}.{user % 250 + 1}"}
        with urllib.request.urlopen(urllib.request.Request(self.base + path, data, headers), timeout=120) as answer:
            return json.loads(answer.read())

    def order(self, wish, user=0):
        try:
            return self.ask("/api/v1/orders", {"arch": "amd64", **wish}, user)["id"]
        except urllib.error.HTTPError as error:
            sys.exit(f"an order was refused: {error.read().decode()}\n{json.dumps(wish)}")

    def rows(self, statement):
        """What the site's database says."""
        with sqlite3.connect(f"file:{self.folder}/data/hatchery.sqlite?mode=ro", uri=True) as database:
            return database.execute(statement).fetchall()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for name in list(self.workers):
            self.kill_worker(name)
        self.server.terminate()
        self.server.wait()


def cpu_seconds(process):
    """What a process and its ended children have taken of processors."""
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")
