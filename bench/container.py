#!/usr/bin/env python3
"""Hatchery in a container that Hatchery made: the preset `hatchery` as an OCI image, started by podman, and an order inside it.

    target/debug/hatchery sample
    sudo bench/container.py target/debug/hatchery       # needs podman and runc; half a minute

The container has this machine's network, the sample channel read-only, and what compose.yaml gives its worker: no seccomp or AppArmor profile of
the engine's, all of /proc, and CAP_SYS_ADMIN, without which newuidmap cannot write the maps of package scripts' user namespaces.
"""
import argparse
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

from real_site import SMALL, channel, free_port


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("hatchery", type=pathlib.Path)
    arguments.add_argument("--sample", type=pathlib.Path, default=pathlib.Path("var/sample"))
    given = arguments.parse_args()
    sample = given.sample.resolve()
    with tempfile.TemporaryDirectory() as temporary:
        folder, port = pathlib.Path(temporary), free_port()
        (folder / "order.toml").write_text('arch = "amd64"\nchannel = "sample"\npreset = "hatchery"\nformats = ["oci.tar"]\n')
        subprocess.run([given.hatchery, "build", "--output", folder, folder / "order.toml"], check=True, stdout=subprocess.DEVNULL)
        image = next(folder.glob("*.oci.tar"))
        # What other containers of this machine have is left alone.
        podman = ["podman", "--root", folder / "containers", "--runroot", folder / "running", "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs",
                  "--runtime", "runc"]
        loaded = subprocess.run([*podman, "load", "--quiet", "--input", image], check=True, capture_output=True, text=True).stdout
        config = folder / "hatchery.toml"
        config.write_text(f'listen = "127.0.0.1:{port}"\ndata_dir = "/var/lib/hatchery/site"\n'
                          + channel("sample", "/srv/hatchery", "/srv/hatchery/binhost"))
        limits = ["--ulimit", "nofile=20000:20000", "--ulimit", "nproc=4096:4096"]
        worker = [word for option in ("seccomp=unconfined", "apparmor=unconfined", "unmask=ALL") for word in ("--security-opt", option)]
        container = subprocess.Popen(
            [*podman, "run", "--rm", "--name", "hatchery", "--network", "host", "--user", "hatchery", *limits, *worker, "--cap-add", "SYS_ADMIN",
             "--volume", f"{sample}:/srv/hatchery:ro", "--volume", f"{config}:/etc/hatchery/hatchery.toml:ro",
             loaded.split()[-1], "/usr/bin/hatchery", "serve", "--config", "/etc/hatchery/hatchery.toml"])
        try:
            order_inside(f"http://127.0.0.1:{port}", f"{image.name}, {image.stat().st_size >> 20} MiB")
        finally:
            subprocess.run([*podman, "stop", "--time", "5", "hatchery"], stdout=subprocess.DEVNULL, check=False)
            container.wait()
            subprocess.run([*podman, "rmi", "--all"], stdout=subprocess.DEVNULL, check=False)


def order_inside(base, where, hostname="hatchery"):
    """Waits for the site, orders a small image there, and downloads it."""
    def ask(path, body=None):
        data = json.dumps(body).encode() if body else None
        with urllib.request.urlopen(urllib.request.Request(base + path, data, {"Content-Type": "application/json"}), timeout=60) as answer:
            return json.loads(answer.read())

    began = time.time()
    while True:
        try:
            if ask("/readyz"):
                break
        except OSError:
            if time.time() - began > 120:
                sys.exit("the site inside the container does not answer")
            time.sleep(0.2)
    print(f"{where}: the site answers after {time.time() - began:.1f} s")
    began = time.time()
    path = "/api/v1/orders/" + ask("/api/v1/orders", {"arch": "amd64", "channel": "sample", "packages": SMALL, "formats": ["tar.gz"],
                                                       "system": {"hostname": hostname}})["id"]
    while (status := ask(path))["state"] in ("waiting", "building"):
        if time.time() - began > 300:
            sys.exit(f"it takes too long:\n{json.dumps(status, indent=1)}")
        time.sleep(0.2)
    if status["state"] != "ready":
        sys.exit(f"the order inside failed:\n{json.dumps(status, indent=1)}")
    artifact = status["artifacts"][0]
    with urllib.request.urlopen(base + artifact["url"], timeout=60) as answer:
        found = hashlib.sha256(answer.read()).hexdigest()
    if found != artifact["sha256"]:
        sys.exit(f"{artifact['name']} has the checksum {found} instead of {artifact['sha256']}")
    print(f"{artifact['name']}: {artifact['size'] >> 20} MiB, ordered, built and downloaded after {time.time() - began:.1f} s; its checksum is right")


if __name__ == "__main__":
    main()
