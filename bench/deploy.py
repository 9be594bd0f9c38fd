#!/usr/bin/env python3
"""deploy/compose.yaml as it stands, started by podman-compose: two servers behind nginx, PostgreSQL, SeaweedFS and a worker, each in a container
and on a network of its own. An order goes through all of it, a server is killed, and another order goes through what is left.

    target/debug/hatchery sample
    sudo bench/deploy.py target/debug/hatchery       # needs podman-compose, podman, runc, netavark, aardvark-dns, debootstrap; some minutes

No registry is asked. The image of Hatchery is the preset `hatchery`, made by Hatchery. nginx and PostgreSQL are Debian's packages and SeaweedFS is the
tests' one, in images that stand in under the names that compose.yaml has; all that is added to it is the sample channel's folder.
"""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

from container import order_inside
from real_site import channel

ROOT = pathlib.Path(__file__).resolve().parent.parent
BASE = "http://127.0.0.1:8480"
# Does what the entry point of the image postgres:17 does with the variables that compose.yaml sets.
POSTGRES = """#!/bin/sh
set -e
programs=$(ls -d /usr/lib/postgresql/*/bin) data=/var/lib/postgresql/data
as_postgres() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }
if [ ! -s $data/PG_VERSION ]; then
    install -o postgres -m 600 "$POSTGRES_PASSWORD_FILE" /tmp/password && chown postgres: $data
    as_postgres $programs/initdb -U "$POSTGRES_USER" --pwfile=/tmp/password --auth-local=trust --auth-host=scram-sha-256 -D $data
    echo "host all all all scram-sha-256" >> $data/pg_hba.conf
    as_postgres $programs/pg_ctl -D $data -w -o "-c listen_addresses=" start
    as_postgres $programs/createdb -h /var/run/postgresql -U "$POSTGRES_USER" "$POSTGRES_DB"
    as_postgres $programs/pg_ctl -D $data -w stop
fi
exec setpriv --reuid=postgres --regid=postgres --clear-groups $programs/postgres -D $data -c listen_addresses='*'
"""


class Engine:
    """podman with containers of its own: what others of this machine have is left alone."""

    def __init__(self, folder):
        storage, settings = folder / "storage.conf", folder / "containers.conf"
        storage.write_text(f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/containers"\nrunroot = "{folder}/running"\n')
        settings.write_text('[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
                            f'[network]\nnetwork_backend = "netavark"\nnetwork_config_dir = "{folder}/networks"\n'
                            '[containers]\ndefault_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]\n')
        self.environment = {**os.environ, "CONTAINERS_STORAGE_CONF": str(storage), "CONTAINERS_CONF": str(settings)}

    def run(self, *command, **options):
        done = subprocess.run(command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
        if done.returncode:
            sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout}\n{done.stderr}")
        return done.stdout.strip()

    def image(self, base, name, files, *changes):
        """Another image with these files, under a name."""
        container = self.run("podman", "create", base, "/bin/true")
        for source, target in files:
            self.run("podman", "cp", source, f"{container}:{target}")
        self.run("podman", "commit", "--quiet", *(word for change in changes for word in ("--change", change)), container, name)
        self.run("podman", "rm", container)


def make_images(engine, folder, hatchery):
    (folder / "order.toml").write_text('arch = "amd64"\nchannel = "sample"\npreset = "hatchery"\nformats = ["oci.tar"]\n')
    engine.run(hatchery, "build", "--output", folder, folder / "order.toml")
    made = engine.run("podman", "load", "--quiet", "--input", next(folder.glob("*.oci.tar"))).split()[-1]
    engine.image(made, "localhost/hatchery", [], 'ENTRYPOINT ["/usr/bin/hatchery"]', "USER hatchery", "WORKDIR /var/lib/hatchery",
                 'CMD ["serve", "--config", "/etc/hatchery/hatchery.toml", "--no-worker"]')
    engine.run("debootstrap", "--variant=minbase", "--include=postgresql,nginx-light", "bookworm", folder / "debian")
    engine.run("tar", "-C", folder / "debian", "-cf", folder / "debian.tar", ".")
    debian = engine.run("podman", "import", folder / "debian.tar").split()[-1]
    entry = folder / "postgres"
    entry.write_text(POSTGRES)
    entry.chmod(0o755)
    engine.image(debian, "docker.io/library/postgres:17", [(entry, "/entry")], 'ENTRYPOINT ["/entry"]', "CMD []")
    engine.image(debian, "docker.io/library/nginx:stable", [], 'ENTRYPOINT ["/usr/sbin/nginx", "-g", "daemon off;"]', "CMD []")
    weed = ROOT / "target/test-venv/bin/weed"
    engine.image(debian, "docker.io/chrislusf/seaweedfs:latest", [(weed, "/usr/bin/weed")], 'ENTRYPOINT ["/usr/bin/weed"]', "CMD []")


def make_secrets(deploy, sample):
    """By the very lines that stand at the head of compose.yaml, but for Gentoo's keys, in whose place are the sample's."""
    lines = re.findall(r"^#   (.*)$", (deploy / "compose.yaml").read_text(), re.MULTILINE)
    lines = [line.removeprefix("cd deploy && ") for line in lines if not line.startswith(("cp ", "docker "))]
    subprocess.run(["sh", "-ec", "\n".join(lines)], cwd=deploy, check=True)
    shutil.copy(sample / "key/certificate.asc", deploy / "secrets/gentoo-release.asc")
    with (deploy / "secrets/hatchery.toml").open("a") as config:
        config.write(channel("sample", "/srv/hatchery", "/srv/hatchery/binhost"))
    services = "".join(f'  {name}: {{volumes: ["{sample}:/srv/hatchery:ro"]}}\n' for name in ("server1", "server2", "worker"))
    (deploy / "sample.yaml").write_text(f"services:\n{services}")


def slowest_page():
    """How long the slowest of some pages takes. Seconds."""
    times = []
    for _ in range(12):
        began = time.time()
        with urllib.request.urlopen(f"{BASE}/queue", timeout=100) as answer:
            answer.read()
        times.append(time.time() - began)
        time.sleep(0.7)
    return max(times)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("hatchery", type=pathlib.Path)
    arguments.add_argument("--sample", type=pathlib.Path, default=pathlib.Path("var/sample"))
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp", ignore_cleanup_errors=True) as temporary:
        folder, sample = pathlib.Path(temporary), given.sample.resolve()
        engine, deploy = Engine(folder), folder / "deploy"
        shutil.copytree(ROOT / "deploy", deploy, ignore=shutil.ignore_patterns("secrets"))
        make_images(engine, folder, given.hatchery)
        make_secrets(deploy, sample)
        compose = ["podman-compose", "-f", "compose.yaml", "-f", "sample.yaml"]
        try:
            engine.run(*compose, "up", "--detach", "--no-build", cwd=deploy)
            order_inside(BASE, "as compose.yaml has it")
            engine.run("podman", "kill", "deploy_server1_1")
            print(f"a server is killed: the slowest page takes {slowest_page():.1f} s")
            order_inside(BASE, "with one server", "another")
        finally:
            engine.run(*compose, "down", "--timeout", "2", cwd=deploy)


if __name__ == "__main__":
    main()
