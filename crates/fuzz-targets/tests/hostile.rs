//! Hostile packages (issue 4), made by this code: each is refused or contained, nothing outside the root is touched, and memory stays
//! bounded.

use std::fs::File;
use std::io::{Read, Write};
use std::process::Command;

use bzip2::write::BzEncoder;
use composer::{ComposeError, Root};
use fuzz_targets::containers;
use fuzz_targets::merge::{Bench, check, xpak_around};
use fuzz_targets::tar_script::archive;
use gentoo::binpkg::BinaryPackage;
use gentoo::compression::Compression;
use gentoo::gpkg::{Description, Signatures};
use image::Kind;

fn merge(script: &[u8]) -> Result<(Bench, Root), ComposeError> {
    let bench = Bench::new();
    let package = containers::package(&xpak_around(Compression::None, &archive(script))).expect("the container is sound");
    let root = bench.merge(package)?;
    check(&root, &bench.store);
    Ok((bench, root))
}

#[track_caller]
fn refused(script: &[u8], reason: &str) {
    let Err(error) = merge(script) else { panic!("{} was merged", script.escape_ascii()) };
    assert!(error.to_string().contains(reason), "{}: {error}", script.escape_ascii());
    assert!(!error.advice.is_empty() && error.package.as_deref() == Some("a/b-1"), "{error:?}");
}

#[test]
fn paths_that_lead_out_are_refused() {
    refused(b"0\x1f/etc/shadow", "is absolute");
    refused(b"0\x1f./../../etc/shadow", "contains “..”");
    refused(b"0\x1f./usr/../../x", "contains “..”");
    refused(b"0\x1fother/x", "outside the image");
    refused(b"L\x1f././@LongLink\x1f\x1f\x1f/etc/shadow\x1e0\x1f./f", "is absolute");
    refused(b"x\x1f./pax\x1f\x1f\x1f23 path=./../../escape\n\x1e0\x1f./f", "contains “..”");
}

#[test]
fn links_lead_nowhere_but_into_the_root() {
    refused(b"1\x1f./h\x1f/etc/shadow", "is absolute");
    refused(b"1\x1f./h\x1f./../../etc/shadow", "contains “..”");
    refused(b"1\x1f./h\x1f./etc/shadow", "what was not there before it");
    refused(b"5\x1f./d\x1e1\x1f./h\x1f./d", "not a regular file");
    refused(b"2\x1f./l\x1f/tmp\x1e0\x1f./l/x\x1f\x1f644\x1fx", "not a directory");
    refused(b"2\x1f./l", "a link to nothing");
    // A link to anywhere is only text until the image runs; and in the root it leads back inside.
    let (_, root) = merge(b"5\x1f./opt\x1f\x1f755\x1e2\x1f./opt/out\x1f../../../../../etc\x1f777").unwrap();
    assert!(root.tree.resolve("opt/out").is_ok_and(|real| real == b"etc"));
    let mut tree = root.tree.clone();
    tree.symlink("opt/loop", "loop").unwrap();
    assert!(tree.resolve("opt/loop/x").is_err());
}

#[test]
fn devices_and_unknown_kinds_are_refused() {
    refused(b"3\x1f./dev/mem", "is a device");
    refused(b"4\x1f./dev/sda", "is a device");
    refused(b"Z\x1f./x", "of a kind no file has");
    let (_, root) = merge(b"6\x1f./fifo\x1f\x1f600").unwrap();
    assert_eq!(root.tree.get("fifo").unwrap().kind, Kind::Fifo);
}

#[test]
fn line_breaks_forge_no_contents() {
    refused(b"0\x1f./a\nobj /etc/shadow 0 0", "line break");
    refused(b"5\x1f./a\rb", "line break");
    refused(b"2\x1f./a\x1fb\nobj /etc/shadow 0 0", "line break");
    let (bench, root) = merge(b"0\x1f./usr/\xff\xfe\x1f\x1f644\x1fx\x1e0\x1f./usr/\x1b[2J\x1f\x1f644\x1fx").unwrap();
    assert!(root.tree.contains(b"usr/\xff\xfe"));
    let contents = root.tree.read_file(&bench.store, "var/db/pkg/a/b-1/CONTENTS").unwrap().unwrap();
    assert_eq!(contents.split(|b| *b == b'\n').filter(|line| line.starts_with(b"obj ")).count(), 2);
}

#[test]
fn set_id_is_no_surprise() {
    // Bits beyond 07777, set-id on links and directories, and a hard link whose header claims more than its file has.
    let script = b"0\x1f./su\x1f\x1f177755\x1fx\x1e0\x1f./plain\x1f\x1f644\x1fy\x1e1\x1f./more\x1f./plain\x1f4755\x1e2\x1f./l\x1fsu\x1f6777";
    let (_, root) = merge(script).unwrap();
    let mode = |path: &str| root.tree.get(path).unwrap().mode;
    // As with FEATURES=sfperms nobody reads who may only run, and a set-gid bit counts for the group.
    assert_eq!([mode("su"), mode("plain"), mode("more"), mode("l")], [0o7751, 0o644, 0o644, 0o777]);
}

#[test]
fn the_own_database_cannot_be_forged() {
    let (bench, root) = merge(b"0\x1f./var/db/pkg/a/b-1/CONTENTS\x1f\x1f644\x1fobj /etc/shadow 0 0\n").unwrap();
    let contents = root.tree.read_file(&bench.store, "var/db/pkg/a/b-1/CONTENTS").unwrap().unwrap();
    assert!(!contents.starts_with(b"obj /etc/shadow"), "{}", contents.escape_ascii());
    let (bench, root) = merge(b"5\x1f./var/db/pkg/a/b-1/CONTENTS\x1f\x1f755").unwrap();
    assert!(root.tree.read_file(&bench.store, "var/db/pkg/a/b-1/CONTENTS").is_ok_and(|contents| contents.is_some()));
    assert!(merge(b"0\x1f./var/db/pkg/a/b-1/CONTENTS/x").is_err());
}

/// A package of some size whose content does not compress.
fn sizable(compression: Compression) -> [Vec<u8>; 2] {
    let content: Vec<u8> = (0_u32..9_000).flat_map(|n| n.wrapping_mul(2_654_435_761).rotate_left(n % 31).to_le_bytes()).collect();
    let metadata = [("CATEGORY", "a\n"), ("PF", "b-1\n"), ("DEFINED_PHASES", "install\n")];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())).into();
    let attributes = gentoo::binpkg::Attributes { mode: 0o755, uid: 0, gid: 0, user: "", group: "", mtime: 1 };
    let mut image = |writer: &mut gentoo::binpkg::ImageWriter<'_>| {
        writer.directory(b"", &attributes)?;
        writer.file(b"f", &attributes, content.len() as u64, &mut content.as_slice())
    };
    let mut gpkg = std::io::Cursor::new(Vec::new());
    let description = Description { basename: "b-1", metadata: &metadata, compression, mtime: 1 };
    gentoo::gpkg::write(&mut gpkg, &description, None, &mut image).unwrap();
    let mut xpak = Vec::new();
    gentoo::xpak::write(&mut xpak, &metadata, compression, &mut image).unwrap();
    [gpkg.into_inner(), xpak]
}

#[test]
fn truncated_packages_are_refused() {
    let mut cuts = 0;
    for compression in [Compression::Zstd, Compression::Bzip2, Compression::Xz] {
        for bytes in sizable(compression) {
            assert!(containers::package(&bytes).is_some());
            // The padding behind a GPKG's end may be missing.
            let needed = bytes.len() - bytes.iter().rev().take_while(|b| **b == 0).count();
            for len in (0..needed).step_by(1_000) {
                assert!(containers::package(&bytes[..len]).is_none(), "{len} of {} bytes passed", bytes.len());
                cuts += 1;
            }
        }
    }
    assert!(cuts > 200, "only {cuts} cuts");
}

/// The image of an XPAK is not covered by a hash of its own: what is cut out of its compressed stream is noticed when it is read.
#[test]
fn a_stream_cut_short_within_a_whole_package_is_refused() {
    let tar = archive(&[b"0\x1f./f\x1f\x1f644\x1f".as_slice(), &[0x55; 40_000]].concat());
    let bench = Bench::new();
    for compression in [Compression::Zstd, Compression::Bzip2, Compression::Xz, Compression::Gzip, Compression::Lz4] {
        let mut encoder = compression.writer(Vec::new()).unwrap();
        encoder.write_all(&tar).unwrap();
        let stream = encoder.finish().unwrap();
        for len in [stream.len() / 2, stream.len() - 20] {
            let package = containers::package(&xpak_around(compression, &stream[..len])).unwrap();
            let error = bench.merge(package).unwrap_err();
            assert!(error.to_string().contains("cannot be read"), "{compression:?}: {error}");
        }
    }
}

#[test]
fn what_was_verified_is_what_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b-1.gpkg.tar");
    let [good, _] = sizable(Compression::Zstd);
    std::fs::write(&path, &good).unwrap();
    let open = || BinaryPackage::open(File::open(&path).unwrap(), "b-1", Signatures::Ignored).unwrap();
    let image = |package: &BinaryPackage| {
        let mut bytes = Vec::new();
        package.image().unwrap().read_to_end(&mut bytes).map(|_| bytes)
    };
    let package = open();
    let before = image(&package).unwrap();
    // Another file takes the name.
    std::fs::write(dir.path().join("other"), vec![0; good.len()]).unwrap();
    std::fs::rename(dir.path().join("other"), &path).unwrap();
    assert!(image(&package).unwrap() == before);
    // The file itself becomes shorter. (Nobody but the worker's own user can write into it: see BinaryPackage::open.)
    std::fs::write(&path, &good).unwrap();
    let package = open();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(good.len() as u64 / 2).unwrap();
    assert!(Bench::new().merge(package).unwrap_err().to_string().contains("cannot be read"));
}

/// Streams of bzip2 one behind the other are one, so this piece again and again makes ten gigabytes of ten kilobytes.
fn zeros() -> Vec<u8> {
    let mut encoder = BzEncoder::new(Vec::new(), bzip2::Compression::best());
    std::io::copy(&mut std::io::repeat(0).take(PIECE), &mut encoder).unwrap();
    encoder.finish().unwrap()
}

const PIECE: u64 = 45_000_000;

/// A member of 10 GB of zeros, its kind and more in `script`, as a package of about ten kilobytes.
fn bomb(script: &[u8], zeros: &[u8]) -> Vec<u8> {
    const SIZE: u64 = 10 << 30;
    let mut header = archive(script)[..512].to_vec();
    header[124..136].copy_from_slice(b"\x80\0\0\0\0\0\0\x02\x80\0\0\0");
    if header[156] == b'S' {
        // One piece of data at the very end, the rest a hole.
        header[124..136].copy_from_slice(b"00000000000\0");
        header[386..398].copy_from_slice(b"\x80\0\0\0\0\0\0\x02\x80\0\0\0");
        header[398..410].copy_from_slice(b"00000000000\0");
        header[483..495].copy_from_slice(b"\x80\0\0\0\0\0\0\x02\x80\0\0\0");
    }
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut encoder = BzEncoder::new(Vec::new(), bzip2::Compression::best());
    encoder.write_all(&header).unwrap();
    let stream = [encoder.finish().unwrap(), zeros.repeat(SIZE.div_ceil(PIECE) as usize)].concat();
    xpak_around(Compression::Bzip2, &stream)
}

/// A million files, of which half a million are the other half again.
fn crowd() -> Vec<u8> {
    let mut member = archive(b"0\x1f./d000/\x7f\x7f\x7f")[..512].to_vec();
    let mut encoder = Compression::Zstd.writer(Vec::new()).unwrap();
    for number in 0..500_001_u32 {
        // The letters add up to the same sum whatever the number, so the checksum stays right.
        let letters = [number % 80, number / 80 % 80, number / 6400 % 80].map(|digit| digit as u8);
        member[3..6].copy_from_slice(&letters.map(|digit| 0x30 + digit));
        member[7..10].copy_from_slice(&letters.map(|digit| 0x7f - digit));
        encoder.write_all(&member).unwrap();
    }
    xpak_around(Compression::Zstd, &encoder.finish().unwrap().repeat(2))
}

/// Runs a case in a process of its own and gives its peak memory in megabytes.
fn peak(case: &str, package: &[u8]) -> u64 {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(package).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "one_case_alone", "--nocapture"])
        .env("HATCHERY_HOSTILE_CASE", case)
        .env("HATCHERY_HOSTILE_PACKAGE", file.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout).into_owned() + &String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{case}: {text}");
    let said = text.lines().find_map(|line| line.split_once("peak ")?.1.strip_suffix(" kB")?.trim().parse::<u64>().ok());
    said.unwrap_or_else(|| panic!("{case} said nothing: {text}")) / 1024
}

/// What the processes of [`peak`] run; nothing by itself.
#[test]
fn one_case_alone() {
    let Ok(case) = std::env::var("HATCHERY_HOSTILE_CASE") else { return };
    let file = File::open(std::env::var("HATCHERY_HOSTILE_PACKAGE").unwrap()).unwrap();
    let package = BinaryPackage::open(file, &case, Signatures::Ignored).unwrap();
    let error = Bench::new().merge(package).unwrap_err();
    println!("{error}");
    let reason = if case == "crowd" { "more than 500000 files" } else { "far more than any package of its size" };
    assert!(error.to_string().contains(reason), "{error}");
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    println!("peak {}", status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim());
}

#[test]
fn bombs_are_refused_in_little_memory() {
    let zeros = zeros();
    let bombs: [(&str, &[u8]); 6] = [
        ("file", b"0\x1f./zeros"),
        ("sparse", b"S\x1f./hole"),
        ("name", b"L\x1f././@LongLink"),
        ("link", b"K\x1f././@LongLink"),
        ("pax", b"x\x1f./pax"),
        ("directory", b"5\x1f./d\x1f\x1f755"),
    ];
    for (case, script) in bombs {
        let package = bomb(script, &zeros);
        assert!(package.len() < 13_000);
        let peak = peak(case, &package);
        assert!(peak < 100, "{case} took {peak} MB");
    }
}

#[test]
fn a_million_files_are_refused_in_bounded_memory() {
    let peak = peak("crowd", &crowd());
    assert!(peak < 300, "{peak} MB");
}
