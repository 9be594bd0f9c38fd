#!/usr/bin/env python3
"""The chain: an image that runs Hatchery, in it an order, and the image it makes boots too.

    target/debug/hatchery sample
    bench/appliance.py target/debug/hatchery

1. Hatchery here builds the preset `hatchery` as a disk.
2. The disk starts in QEMU (no KVM: every instruction is emulated), with the sample binhost on a second disk, as an operator brings one
   where there is no network. Nothing is asked of the outside.
3. Through a forwarded port, an image is ordered from the site inside, and waited for.
4. It is downloaded, its checksum compared, and it starts in QEMU to its login.

It says how long each step took. Emulation makes the build some ten to thirty times slower than on the machine itself.
"""
import argparse
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
import urllib.request

from real_site import free_port

SMALL = ["sys-apps/baselayout", "app-shells/bash", "sys-apps/coreutils", "sys-apps/util-linux", "sys-apps/shadow", "sys-auth/pambase",
         "sys-apps/openrc", "sys-apps/sysvinit", "virtual/udev", "sys-fs/udev-init-scripts", "virtual/tmpfiles", "sys-apps/kmod",
         "sys-process/procps", "sys-apps/grep", "sys-apps/sed", "sys-apps/gawk", "sys-apps/findutils"]
BOOT_LIMIT = 600
BUILD_LIMIT = 3 * 3600


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def run(*command):
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)


class Machine:
    """QEMU with its serial console in a file."""

    def __init__(self, folder, name, drives, memory, port=None):
        self.log = folder / f"{name}.log"
        forward = f",hostfwd=tcp:127.0.0.1:{port}-:8480" if port else ""
        command = ["qemu-system-x86_64", "-machine", "q35", "-m", str(memory), "-cpu", "max", "-smp", "2", "-accel", "tcg,thread=multi",
                   "-display", "none", "-no-reboot", "-nodefaults", "-vga", "std", "-serial", f"file:{self.log}",
                   "-netdev", f"user,id=net0,restrict=on{forward}", "-device", "virtio-net-pci,netdev=net0", *drives]
        self.process = subprocess.Popen(command)

    def text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def wait_for(self, words):
        started = time.time()
        while time.time() - started < BOOT_LIMIT:
            if words in self.text():
                return time.time() - started
            if self.process.poll() is not None:
                break
            time.sleep(1)
        sys.exit(f"“{words}” was not seen on the console:\n{self.text()[-3000:]}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def second_disk(sample, folder):
    """The binhost, its key and its profile, as an ext4 filesystem named hatchery-data."""
    tree = folder / "second"
    tree.mkdir()
    for name in ["binhost", "repo"]:
        shutil.copytree(sample / name, tree / name, symlinks=True, copy_function=os.link)
    shutil.copy(sample / "key/certificate.asc", tree / "binhost.asc")
    size = sum(f.stat().st_size for f in tree.rglob("*") if f.is_file()) * 5 // 4 + (64 << 20)
    disk = folder / "second.img"
    with disk.open("wb") as file:
        file.truncate(size)
    run("mke2fs", "-q", "-t", "ext4", "-L", "hatchery-data", "-d", tree, disk)
    return disk


def asked(base, path, body=None):
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(base + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.loads(answer.read())


def until_up(base):
    started = time.time()
    while time.time() - started < BOOT_LIMIT:
        try:
            with urllib.request.urlopen(base + "/readyz", timeout=10):
                return time.time() - started
        except OSError:
            time.sleep(2)
    sys.exit("the site inside does not answer")


def ordered(base):
    """Orders and waits; the order's path, its last status, and the seconds that it took."""
    started = time.time()
    order = {"arch": "amd64", "channel": "local", "packages": SMALL, "formats": ["iso"]}
    placed = asked(base, "/api/v1/orders", order)
    path = f"/api/v1/orders/{placed['id']}"
    last = None
    while time.time() - started < BUILD_LIMIT:
        status = asked(base, path)
        now = (status["state"], (status["progress"] or {}).get("step"))
        if now != last:
            say(f"inside: {' '.join(filter(None, now))}")
            last = now
        if status["state"] in ("ready", "failed", "cancelled"):
            return path, status, time.time() - started
        time.sleep(5)
    sys.exit("the build inside took too long")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hatchery", type=pathlib.Path)
    parser.add_argument("--sample", type=pathlib.Path, default=pathlib.Path("var/sample"))
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("var/appliance"), help="kept, with the consoles' logs")
    args = parser.parse_args()
    folder = args.folder.absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    took = {}

    order = folder / "order.toml"
    order.write_text('arch = "amd64"\nchannel = "sample"\npreset = "hatchery"\nformats = ["qcow2"]\n[system]\n'
                     'fstab = ["LABEL=hatchery-data /srv/hatchery ext4 ro 0 0"]\n')
    started = time.time()
    run(args.hatchery, "build", "--output", folder, order)
    took["the appliance is built, on this machine"] = time.time() - started
    appliance = next(folder.glob("*.qcow2"))
    say(f"built {appliance.name}, {appliance.stat().st_size >> 20} MiB")

    port = free_port()
    drives = ["-drive", f"if=virtio,format=qcow2,snapshot=on,cache=unsafe,file={appliance}",
              "-drive", f"if=virtio,format=raw,readonly=on,file={second_disk(args.sample, folder)}"]
    with Machine(folder, "appliance", drives, 3072, port) as machine:
        base = f"http://127.0.0.1:{port}"
        took["it boots to its login"] = machine.wait_for("login:")
        took["the site inside answers, after that"] = until_up(base)
        say("the site inside answers")
        path, status, took["the order inside, from click to image"] = ordered(base)
        if status["state"] != "ready":
            sys.exit(f"the order inside failed:\n{json.dumps(status, indent=1)}")
        artifact = next(a for a in status["artifacts"] if a["name"].endswith(".iso"))
        image = folder / artifact["name"]
        started = time.time()
        with urllib.request.urlopen(f"{base}{path}/artifacts/{artifact['name']}", timeout=120) as answer, image.open("wb") as file:
            shutil.copyfileobj(answer, file, 1 << 20)
        took["the image is downloaded"] = time.time() - started
    found = hashlib.sha256(image.read_bytes()).hexdigest()
    if found != artifact["sha256"]:
        sys.exit(f"{image.name} has the checksum {found} instead of {artifact['sha256']}")
    say(f"downloaded {image.name}, {image.stat().st_size >> 20} MiB")
    with Machine(folder, "made-inside", ["-drive", f"media=cdrom,readonly=on,format=raw,file={image}"], 1536) as machine:
        took["the image made inside boots to its login"] = machine.wait_for("login:")
    print("\n| step | seconds |\n|---|---:|")
    for what, seconds in took.items():
        print(f"| {what} | {seconds:.0f} |")


main()
