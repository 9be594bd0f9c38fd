#!/usr/bin/env python3
"""What an update of an image takes to download, with the image from before at hand: Hatchery's control files against zsyncmake's with zsync, and
against casync's chunks, for several formats and numbers of changed packages. Bytes, in one run; nothing is timed.

    scripts/setup test && cargo build -p hatchery && cargo build -p zsync --example update_bytes
    apt-get install zsync casync
    bench/update.py [--packages 1,5,30] [--formats iso,tar.zst,squashfs,qcow2] [--work DIR]

A changed package is the same one with a byte in each 256 of its programs and libraries changed, as after a new compile, all at a later time;
its other files stay. Such programs do not run, so packages are left out that others' own scripts run or load, and those without programs. Each image
is compared byte by byte with what was put together."""
import argparse, filecmp, hashlib, http.server, io, json, os, re, shutil, subprocess, sys, tarfile, threading

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(HERE, "target"))
SAMPLE = os.path.realpath(os.path.join(HERE, "var/sample"))
SENT = [0, 0]
# What scripts of packages run or load, what has no programs, and the kernel, which alone is larger than all others of a usual week together.
LEFT_OUT = ("acct-", "app-alternatives/", "app-arch/", "app-misc/ca-", "app-shells/", "sys-apps/", "sys-auth/", "sys-boot/", "sys-devel/",
            "sys-fs/udev", "sys-kernel/", "sys-libs/", "virtual/", "dev-libs/gmp", "dev-libs/libpcre", "dev-libs/libsigsegv", "dev-libs/mpfr",
            "dev-libs/openssl")


class Ranges(http.server.BaseHTTPRequestHandler):
    """Files with ranges, several at once as zsync asks for them; counts what it sends as content."""
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = os.path.join(self.server.folder, os.path.basename(self.path))
        size = os.path.getsize(path)
        wanted = self.headers.get("Range")
        SENT[1] += 1
        with open(path, "rb") as file:
            if not wanted:
                body, kind = file.read(), "application/octet-stream"
                self.send_response(200)
                SENT[0] += len(body)
            else:
                parts = []
                for part in wanted.removeprefix("bytes=").split(","):
                    first, last = part.split("-")
                    last = min(int(last), size - 1)
                    file.seek(int(first))
                    parts.append((int(first), last, file.read(last - int(first) + 1)))
                SENT[0] += sum(len(content) for _, _, content in parts)
                self.send_response(206)
                if len(parts) == 1:
                    first, last, body = parts[0]
                    kind = "application/octet-stream"
                    self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
                else:
                    kind = "multipart/byteranges; boundary=PART"
                    body = b"".join(b"\r\n--PART\r\nContent-Range: bytes %d-%d/%d\r\n\r\n" % (f, l, size) + c for f, l, c in parts) + b"\r\n--PART--\r\n"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def changed(data):
    """As after a new compile: something is other in each part of it."""
    if data[:4] != b"\x7fELF":
        return data
    data = bytearray(data)
    for at in range(256, len(data), 256):
        data[at] ^= 0x5A
    return bytes(data)


def run(*words, **more):
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, **more).stdout


DAY = 86_400


def rewritten(archive, change):
    """A tar.zst with what change(member, content) makes of each member's content, or with another time."""
    plain, out = run("zstd", "-dc", input=archive), io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(plain)) as old, tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as new:
        for member in old:
            content = change(member, old.extractfile(member).read()) if member.isreg() else None
            if content is not None:
                member.size = len(content)
            new.addfile(member, io.BytesIO(content) if content is not None else None)
    return run("zstd", "-c", input=out.getvalue())


def in_image(member, content):
    member.mtime += DAY
    return changed(content)


def in_metadata(member, content):
    return b"%d\n" % (int(content) + DAY) if os.path.basename(member.name) == "BUILD_TIME" else content


def repack(path):
    """Writes a GPKG again as built a day later with changed programs, unsigned. Returns size, MD5 and SHA-1."""
    members = {}
    with tarfile.open(path) as outer:
        names = outer.getnames()
        for member in outer:
            members[member.name] = outer.extractfile(member).read()
    image = next(name for name in names if "/image.tar" in name and not name.endswith(".sig"))
    metadata = next(name for name in names if "/metadata.tar" in name and not name.endswith(".sig"))
    members[image] = rewritten(members[image], in_image)
    members[metadata] = rewritten(members[metadata], in_metadata)
    kept = [name for name in names if not name.endswith(".sig") and not name.endswith("/Manifest")]
    prefix = image.split("/")[0]
    lines = []
    for name in kept:
        data, base = members[name], name.split("/", 1)[1]
        lines.append(f"DATA {base} {len(data)} BLAKE2B {hashlib.blake2b(data).hexdigest()} SHA512 {hashlib.sha512(data).hexdigest()}\n")
    members[f"{prefix}/Manifest"] = "".join(lines).encode()
    os.remove(path)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as outer:
        for name in kept + [f"{prefix}/Manifest"]:
            info = tarfile.TarInfo(name)
            info.size = len(members[name])
            outer.addfile(info, io.BytesIO(members[name]))
    data = open(path, "rb").read()
    return len(data), hashlib.md5(data).hexdigest(), hashlib.sha1(data).hexdigest()


def binhost(work, paths):
    """A copy of the sample binhost in which these packages are changed."""
    folder = os.path.join(work, f"binhost{len(paths)}")
    shutil.copytree(os.path.join(SAMPLE, "binhost"), folder, copy_function=os.link)
    index = open(os.path.join(folder, "Packages")).read()
    stanzas = index.split("\n\n")
    for path in paths:
        size, md5, sha1 = repack(os.path.join(folder, path))
        at = next(n for n, stanza in enumerate(stanzas) if f"\nPATH: {path}" in "\n" + stanza + "\n")
        for key, value in (("SIZE", size), ("MD5", md5), ("SHA1", sha1)):
            stanzas[at] = re.sub(f"(?m)^{key}: .*$", f"{key}: {value}", stanzas[at])
        stanzas[at] = re.sub(r"(?m)^BUILD_TIME: (\d+)$", lambda m: f"BUILD_TIME: {int(m[1]) + DAY}", stanzas[at])
    for name in ("Packages", "Packages.gz"):
        if os.path.exists(os.path.join(folder, name)):
            os.remove(os.path.join(folder, name))
    open(os.path.join(folder, "Packages"), "w").write("\n\n".join(stanzas))
    return folder


def build(work, name, folder, formats):
    """The images of the preset amd64-server from a binhost, by format."""
    out = os.path.join(work, name)
    os.makedirs(out)
    with open(os.path.join(out, "hatchery.toml"), "w") as file:
        file.write(f'data_dir = "{work}/data"\n[[channel]]\nname = "sample"\ntitle = "Sample"\narch = "amd64"\n'
                   f'profile = "{SAMPLE}/repo/profiles/default/linux/amd64/23.0"\n'
                   'boot_packages = ["sys-kernel/debian-kernel-bin", "sys-boot/grub", "sys-apps/busybox[static]"]\n'
                   f'[[channel.binhost]]\nname = "sample"\nuri = "file://{folder}"\nallow_unsigned = true\n')
    with open(os.path.join(out, "order.toml"), "w") as file:
        file.write(f'arch = "amd64"\npreset = "amd64-server"\nformats = {json.dumps(formats)}\n')
    env = dict(os.environ, HATCHERY_DIR=os.path.join(work, "worker"))
    run(os.path.join(TARGET, "debug/hatchery"), "build", os.path.join(out, "order.toml"), "-o", out, "--config",
        os.path.join(out, "hatchery.toml"), env=env, stderr=subprocess.DEVNULL)
    names = os.listdir(out)
    return {f: os.path.join(out, next(n for n in names if n.endswith("." + f))) for f in formats}


def by_hatchery(old, new):
    control, fetched, requests = map(int, run(os.path.join(TARGET, "debug/examples/update_bytes"), old, new).split())
    assert filecmp.cmp(new, new + ".assembled", shallow=False), "the image is another"
    os.remove(new + ".assembled")
    return control + fetched, requests + 1


def by_zsync(work, old, new):
    folder = os.path.join(work, "zsync")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    os.link(new, os.path.join(folder, "new"))
    run("zsyncmake", "-u", "new", "-o", os.path.join(folder, "new.zsync"), os.path.join(folder, "new"), stderr=subprocess.DEVNULL)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ranges)
    server.folder = folder
    threading.Thread(target=server.serve_forever, daemon=True).start()
    SENT[:] = [0, 0]
    made = os.path.join(folder, "made")
    run("zsync", "-q", "-i", old, "-o", made, f"http://127.0.0.1:{server.server_port}/new.zsync", cwd=folder, stderr=subprocess.DEVNULL)
    server.shutdown()
    assert filecmp.cmp(new, made, shallow=False), "zsync's image is another"
    shutil.rmtree(folder)
    return tuple(SENT)


def by_casync(work, old, new):
    """New chunks as they lie compressed in the store, and the index."""
    store = os.path.join(work, "store")
    shutil.rmtree(store, ignore_errors=True)
    def size():
        return {os.path.join(at, name): os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(store) for name in names}
    run("casync", "make", f"--store={store}", os.path.join(work, "old.caibx"), old)
    before = size()
    run("casync", "make", f"--store={store}", os.path.join(work, "new.caibx"), new)
    added = [size for path, size in size().items() if path not in before]
    shutil.rmtree(store)
    return sum(added) + os.path.getsize(os.path.join(work, "new.caibx")), len(added) + 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", default="1,5,30")
    parser.add_argument("--formats", default="iso,tar.zst,squashfs,qcow2")
    parser.add_argument("--work", default="/tmp/hatchery-update")
    options = parser.parse_args()
    work, formats = options.work, options.formats.split(",")
    os.makedirs(work)
    peers = {name: bool(shutil.which(name)) for name in ("zsync", "casync")}
    old = build(work, "old", binhost(work, []), formats)
    plan = json.load(open(next(os.path.join(work, "old", n) for n in os.listdir(os.path.join(work, "old")) if n.endswith(".plan.json"))))
    paths = sorted(p["path"] for p in plan["packages"] if not p["cpv"].startswith(LEFT_OUT))
    print("| changed packages | format | whole | Hatchery | zsync | casync |\n|---|---|---|---|---|---|")
    for count in map(int, options.packages.split(",")):
        step = max(1, len(paths) // count)
        new = build(work, f"new{count}", binhost(work, paths[::step][:count]), formats)
        for name in formats:
            size = os.path.getsize(new[name])
            cells = [by_hatchery(old[name], new[name])]
            cells += [by_zsync(work, old[name], new[name]) if peers["zsync"] else None]
            cells += [by_casync(work, old[name], new[name]) if peers["casync"] else None]
            words = ["–" if c is None else f"{c[0]:,} ({100 * c[0] / size:.1f} %), {c[1]} requests" for c in cells]
            print(f"| {count} | {name} | {size:,} | " + " | ".join(words) + " |", flush=True)
        shutil.rmtree(os.path.join(work, f"new{count}"))
    shutil.rmtree(work)


if __name__ == "__main__":
    sys.exit(main())
