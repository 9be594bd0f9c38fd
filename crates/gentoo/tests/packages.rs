//! Containers of binary packages: written and read back, real ones, damaged ones.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};

use gentoo::binpkg::{Attributes, BinaryPackage, Container, ImageWriter, PackageError, Problem};
use gentoo::compression::Compression;
use gentoo::gpkg::{self, Description, SignatureProblem, Signatures, Signer, Verifier};
use gentoo::xpak;

const WRITABLE: [Compression; 6] =
    [Compression::None, Compression::Gzip, Compression::Bzip2, Compression::Lz4, Compression::Xz, Compression::Zstd];

fn metadata() -> BTreeMap<String, Vec<u8>> {
    let pairs: [(&str, &[u8]); 6] = [
        ("CATEGORY", b"app-misc\n"),
        ("PF", b"hello-1.0-r1\n"),
        ("BUILD_TIME", b"1700000000\n"),
        ("BUILD_ID", b"3\n"),
        ("SLOT", b"0\n"),
        ("environment.bz2", &[0, 255, 7]),
    ];
    pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_vec())).collect()
}

fn attributes(mode: u32) -> Attributes<'static> {
    Attributes { mode, uid: 0, gid: 0, user: "root", group: "root", mtime: 1_700_000_000 }
}

fn long_path() -> Vec<u8> {
    [&b"usr/share/"[..], &[b'd'; 90], b"/", &[b'f'; 90]].concat()
}

fn image(writer: &mut ImageWriter<'_>) -> io::Result<()> {
    writer.directory(b"", &attributes(0o755))?;
    writer.directory(b"usr", &attributes(0o755))?;
    writer.file(b"usr/hello", &attributes(0o4755), 5, &mut &b"hello"[..])?;
    writer.hard_link(b"usr/again", b"usr/hello", &attributes(0o4755))?;
    writer.symlink(b"usr/link", &long_path(), &attributes(0o777))?;
    writer.file(&long_path(), &attributes(0o644), 0, &mut io::empty())
}

/// Stands for OpenPGP: the signature is the content's length and sum behind a key's name.
struct Toy(&'static str);

fn toy(key: &str, data: &[u8]) -> String {
    format!("{key} {} {}\n", data.len(), data.iter().map(|b| u64::from(*b)).sum::<u64>())
}

impl Signer for Toy {
    fn detached(&mut self, data: &mut (dyn Read + Send + Sync)) -> io::Result<String> {
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes)?;
        Ok(toy(self.0, &bytes))
    }

    fn clear_sign(&mut self, text: &str) -> io::Result<String> {
        let signature = toy(self.0, text.as_bytes());
        Ok(format!("-----BEGIN PGP SIGNED MESSAGE-----\n\n{text}-----BEGIN PGP SIGNATURE-----\n{signature}"))
    }
}

impl Verifier for Toy {
    fn verify_detached(&self, data: &mut (dyn Read + Send + Sync), signature: &[u8]) -> Result<(), SignatureProblem> {
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes)?;
        match signature == toy(self.0, &bytes).as_bytes() {
            true => Ok(()),
            false => Err(SignatureProblem::Bad { key: self.0.into() }),
        }
    }

    fn verify_clear_signed(&self, message: &[u8]) -> Result<Vec<u8>, SignatureProblem> {
        let message = String::from_utf8_lossy(message);
        let text = message.strip_prefix("-----BEGIN PGP SIGNED MESSAGE-----\n\n").unwrap_or_default();
        let (text, signature) = text.split_once("-----BEGIN PGP SIGNATURE-----\n").unwrap_or_default();
        self.verify_detached(&mut text.as_bytes(), signature.as_bytes()).map(|()| text.as_bytes().to_vec())
    }
}

fn write_gpkg(compression: Compression, signer: Option<&mut dyn Signer>) -> Vec<u8> {
    let metadata = metadata();
    let description = Description { basename: "hello-1.0-r1-3", metadata: &metadata, compression, mtime: 1_700_000_000 };
    let mut file = tempfile::tempfile().unwrap();
    gpkg::write(&mut file, &description, signer, &mut image).unwrap();
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

fn write_xpak(compression: Compression) -> Vec<u8> {
    let mut bytes = Vec::new();
    xpak::write(&mut bytes, &metadata(), compression, &mut image).unwrap();
    bytes
}

fn open(bytes: &[u8], signatures: Signatures<'_>) -> Result<BinaryPackage, PackageError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    BinaryPackage::open(file, "hello.gpkg.tar", signatures)
}

fn problem(bytes: &[u8], signatures: Signatures<'_>) -> Problem {
    open(bytes, signatures).unwrap_err().problem
}

/// An entry of the image: path, link target, size.
type ImageEntry = (Option<Vec<u8>>, Option<Vec<u8>>, u64);
/// A member of the container: name, content.
type Member = (String, Vec<u8>);

fn walk(package: &BinaryPackage) -> Vec<ImageEntry> {
    let mut archive = tar::Archive::new(package.image().unwrap());
    let mut found = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let size = io::copy(&mut entry, &mut io::sink()).unwrap();
        let path = BinaryPackage::image_path(&entry.path_bytes()).unwrap();
        found.push((path, entry.link_name_bytes().map(|l| l.into_owned()), size));
    }
    found
}

/// The archive of a GPKG as its members, to be changed and put together again.
fn take_apart(bytes: &[u8]) -> Vec<Member> {
    let mut archive = tar::Archive::new(bytes);
    let mut members = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut data = Vec::new();
        entry.read_to_end(&mut data).unwrap();
        members.push((String::from_utf8(entry.path_bytes().into_owned()).unwrap(), data));
    }
    members
}

fn put_together(members: &[Member]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, data) in members {
        let mut header = tar::Header::new_ustar();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, &data[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn every_compression_comes_back() {
    for compression in WRITABLE {
        for (bytes, container) in [(write_gpkg(compression, None), Container::Gpkg), (write_xpak(compression), Container::Xpak)] {
            let package = open(&bytes, Signatures::Ignored).unwrap();
            assert_eq!((package.container(), package.compression()), (container, compression));
            assert_eq!(package.metadata, metadata());
            assert_eq!(package.cpv().as_deref(), Some("app-misc/hello-1.0-r1"));
            assert_eq!((package.build_time(), package.build_id()), (Some(1_700_000_000), Some(3)));
            let root = if container == Container::Gpkg { &b"image"[..] } else { b"." };
            let expected = [
                (None, None, 0),
                (Some(b"usr".to_vec()), None, 0),
                (Some(b"usr/hello".to_vec()), None, 5),
                (Some(b"usr/again".to_vec()), Some([root, b"/usr/hello"].concat()), 0),
                (Some(b"usr/link".to_vec()), Some(long_path()), 0),
                (Some(long_path()), None, 0),
            ];
            assert_eq!(walk(&package), expected, "{compression:?} {container:?}");
            assert_eq!(walk(&package), expected, "a second reading");
        }
    }
}

#[test]
fn the_same_description_gives_the_same_bytes() {
    for compression in WRITABLE {
        assert!(write_gpkg(compression, None) == write_gpkg(compression, None), "{compression:?}");
    }
}

#[test]
fn signatures_are_asked_for_as_told() {
    let trusted = Toy("good");
    let signed = write_gpkg(Compression::Zstd, Some(&mut Toy("good")));
    let by_other = write_gpkg(Compression::Zstd, Some(&mut Toy("other")));
    let unsigned = write_gpkg(Compression::Zstd, None);
    let xpak = write_xpak(Compression::Bzip2);
    assert!(open(&signed, Signatures::Required(&trusted)).unwrap().is_signed());
    assert!(open(&signed, Signatures::WhenPresent(&trusted)).unwrap().is_signed());
    assert!(!open(&signed, Signatures::Ignored).unwrap().is_signed());
    assert!(!open(&unsigned, Signatures::WhenPresent(&trusted)).unwrap().is_signed());
    assert!(!open(&xpak, Signatures::WhenPresent(&trusted)).unwrap().is_signed());
    assert!(matches!(problem(&unsigned, Signatures::Required(&trusted)), Problem::Unsigned));
    assert!(matches!(problem(&xpak, Signatures::Required(&trusted)), Problem::Unsigned));
    for signatures in [Signatures::Required(&trusted), Signatures::WhenPresent(&trusted)] {
        assert!(matches!(problem(&by_other, signatures), Problem::Signature { .. }));
    }
}

#[test]
fn a_signature_that_is_not_there_or_too_many_is_noticed() {
    let trusted = Toy("good");
    let members = take_apart(&write_gpkg(Compression::Zstd, Some(&mut Toy("good"))));
    let unsigned = take_apart(&write_gpkg(Compression::Zstd, None));
    let without = |end: &str| {
        let kept: Vec<_> = members.iter().filter(|(name, _)| !name.ends_with(end)).cloned().collect();
        problem(&put_together(&kept), Signatures::WhenPresent(&trusted))
    };
    assert!(matches!(without("/image.tar.zst.sig"), Problem::Missing { .. }));
    assert!(matches!(without("/image.tar.zst"), Problem::Missing { .. }));
    // The clear Manifest of an unsigned package with one stray signature: all of them have become mandatory.
    let mut stray = unsigned.clone();
    stray.push(("hello-1.0-r1-3/image.tar.zst.sig".into(), b"x".to_vec()));
    let found = problem(&put_together(&stray), Signatures::WhenPresent(&trusted));
    assert!(matches!(found, Problem::Unsealed { ref name } if name == "Manifest"), "{found}");
    // A signed Manifest over members that have no signatures of their own.
    let mut half = unsigned.clone();
    let manifest = half.last_mut().unwrap();
    manifest.1 = Toy("good").clear_sign(std::str::from_utf8(&manifest.1).unwrap()).unwrap().into_bytes();
    let found = problem(&put_together(&half), Signatures::WhenPresent(&trusted));
    assert!(matches!(found, Problem::Unsealed { .. }), "{found}");
}

#[test]
fn members_are_held_to_the_manifest() {
    let good = take_apart(&write_gpkg(Compression::Gzip, None));
    let change = |change: &dyn Fn(&mut Vec<Member>)| {
        let mut members = good.clone();
        change(&mut members);
        problem(&put_together(&members), Signatures::Ignored)
    };
    assert!(open(&put_together(&good), Signatures::Ignored).is_ok());
    for (gone, name) in ["gpkg-1", "metadata.tar.gz", "image.tar.gz", "Manifest"].into_iter().enumerate() {
        assert!(matches!(change(&|m| drop(m.remove(gone))), Problem::Missing { name: n } if n == name));
    }
    assert!(matches!(change(&|m| m.push(m[2].clone())), Problem::Doubled { .. }));
    assert!(matches!(change(&|m| m.push(("hello-1.0-r1-3/extra".into(), vec![]))), Problem::Unlisted { .. }));
    assert!(matches!(change(&|m| m[2].1.push(0)), Problem::WrongSize { .. }));
    assert!(matches!(change(&|m| m[2].1[9] ^= 1), Problem::WrongHash { .. }));
    assert!(matches!(change(&|m| m[1].0 = "other/metadata.tar.gz".into()), Problem::Layout { .. }));
    assert!(matches!(change(&|m| m[1].0 = "metadata.tar.gz".into()), Problem::Layout { .. }));
    assert!(matches!(change(&|m| m[1].0 = "hello-1.0-r1-3/x/metadata.tar.gz".into()), Problem::Layout { .. }));
    assert!(matches!(change(&|m| m[3].1.extend(b"DATA gone 0 SHA512 00\n")), Problem::Missing { .. }));
    assert!(matches!(change(&|m| m[3].1 = b"DATA".to_vec()), Problem::Manifest { .. }));
    let rename = |from: &'static str, to: &'static str| {
        change(&|m| {
            m.iter_mut().for_each(|(name, _)| *name = name.replace(from, to));
            m[3].1 = String::from_utf8(m[3].1.clone()).unwrap().replace(from, to).into_bytes();
        })
    };
    assert!(matches!(rename("image.tar.gz", "image.tar.lzo"), Problem::Compression { compression } if compression == "lzop"));
    assert!(matches!(rename("image.tar.gz", "image.tar.br"), Problem::Compression { .. }));
    assert!(matches!(rename("metadata.tar.gz", "metadata.tar.xz"), Problem::Metadata { .. }));
    assert!(matches!(rename("image.tar.gz", "metadata.tar.xz"), Problem::Missing { .. } | Problem::Doubled { .. }));
}

#[test]
fn a_truncated_file_says_so_with_its_name() {
    for bytes in [write_gpkg(Compression::Zstd, None), write_xpak(Compression::Zstd)] {
        // Two blocks of zeros end a tar archive; padding beyond them may be missing.
        let needed = bytes.len() - bytes.iter().rev().take_while(|b| **b == 0).count() + 1023;
        for len in (0..bytes.len().min(needed)).step_by(97) {
            let error = open(&bytes[..len], Signatures::Ignored).unwrap_err();
            assert!(error.to_string().contains("hello.gpkg.tar"), "{error}");
            assert!(!error.advice().is_empty());
        }
    }
    let bytes = write_gpkg(Compression::Zstd, None);
    let error = open(&bytes[..2000], Signatures::Ignored).unwrap_err();
    assert!(error.to_string().contains("truncated"), "{error}");
    assert!(matches!(problem(b"<html>not here</html>", Signatures::Ignored), Problem::NotAPackage));
    assert!(matches!(problem(b"", Signatures::Ignored), Problem::NotAPackage));
}

/// Every single byte of a signed package matters, but for what no hash and no signature covers: names and times in the headers of the
/// outer archive keep their own checksum, and a change of case in a hash means the same.
#[test]
fn no_flipped_byte_passes_unnoticed() {
    let trusted = Toy("good");
    let good = write_gpkg(Compression::None, Some(&mut Toy("good")));
    let package = open(&good, Signatures::Required(&trusted)).unwrap();
    let (metadata, entries) = (package.metadata.clone(), walk(&package));
    for at in (0..good.len()).step_by(3) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x20;
        if let Ok(package) = open(&bytes, Signatures::Required(&trusted)) {
            assert_eq!((&package.metadata, walk(&package)), (&metadata, entries.clone()), "byte {at}");
        }
    }
}

#[test]
fn metadata_that_inflates_without_end_is_refused() {
    let mut metadata = metadata();
    metadata.insert("NEEDED".into(), vec![0; 140 << 20]);
    let description = Description { basename: "bomb-1", metadata: &metadata, compression: Compression::Zstd, mtime: 0 };
    let mut file = tempfile::tempfile().unwrap();
    gpkg::write(&mut file, &description, None, &mut |_| Ok(())).unwrap();
    assert!(file.metadata().unwrap().len() < 1 << 20);
    let error = BinaryPackage::open(file, "bomb", Signatures::Ignored).unwrap_err();
    assert!(matches!(error.problem, Problem::TooLarge { .. }), "{error}");
}

#[test]
fn hostile_metadata_names_are_refused() {
    for name in ["metadata/../x", "metadata/a/b", "metadata/", "etc/passwd", "metadata/.."] {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(0);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append(&header, io::empty()).unwrap();
        let mut members = take_apart(&write_gpkg(Compression::None, None));
        members[1].1 = archive.into_inner().unwrap();
        let line = listed(&members[1].1);
        let manifest = String::from_utf8(members[3].1.clone()).unwrap();
        let lines: Vec<_> = manifest.lines().map(|l| if l.contains("metadata.tar") { line.clone() } else { l.into() }).collect();
        members[3].1 = lines.join("\n").into_bytes();
        assert!(matches!(problem(&put_together(&members), Signatures::Ignored), Problem::Layout { .. }), "{name}");
    }
}

fn listed(bytes: &[u8]) -> String {
    use blake2::Digest;
    format!("DATA metadata.tar {} SHA512 {}", bytes.len(), hex::encode(sha2::Sha512::digest(bytes)))
}

#[test]
fn writers_refuse_names_that_lead_elsewhere() {
    let mut out = Vec::new();
    for path in [&b"/etc"[..], b"a/../b", b"a//b", b"./a", b"a\0b"] {
        let result = xpak::write(&mut out, &metadata(), Compression::None, &mut |w| w.directory(path, &attributes(0o755)));
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
    let short =
        xpak::write(&mut out, &metadata(), Compression::None, &mut |w| w.file(b"a", &attributes(0o644), 3, &mut &b"12"[..]));
    assert_eq!(short.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    let long =
        xpak::write(&mut out, &metadata(), Compression::None, &mut |w| w.file(b"a", &attributes(0o644), 1, &mut &b"12"[..]));
    assert_eq!(long.unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[test]
fn image_paths_stay_in_the_image() {
    let fine = |raw: &str| BinaryPackage::image_path(raw.as_bytes()).unwrap().map(|p| String::from_utf8(p).unwrap());
    assert_eq!(fine("image/usr/bin/x").as_deref(), Some("usr/bin/x"));
    assert_eq!(fine("./usr/bin/x/").as_deref(), Some("usr/bin/x"));
    assert_eq!(fine("./image/x").as_deref(), Some("image/x"));
    assert_eq!(fine("image//usr/./x").as_deref(), Some("usr/x"));
    assert_eq!((fine("image"), fine("./"), fine(".")), (None, None, None));
    for raw in ["/etc/passwd", "image/../etc", "../x", "./..", "metadata/x", "imagex/y", "", "image/a\0b"] {
        assert!(BinaryPackage::image_path(raw.as_bytes()).is_err(), "{raw}");
    }
}

#[test]
fn every_real_package_reads_to_its_end() {
    let real = std::path::Path::new("../../../shared/real");
    if !real.exists() {
        println!("skipped: no real packages at ../shared/real");
        return;
    }
    let expected = [("binhost-amd64-gpkg", ".gpkg.tar", 75), ("binhost-amd64-xpak", ".xpak", 151), ("prefix-x86", ".tbz2", 180)];
    for (folder, suffix, count) in expected {
        let mut files = Vec::new();
        list(&real.join(folder), suffix, &mut files);
        assert_eq!(files.len(), count, "{folder}");
        // A virtual may have no file at all, a folder of packages has many.
        let mut files_seen = 0;
        for path in files {
            let name = path.display().to_string();
            let package = BinaryPackage::open(File::open(&path).unwrap(), &name, Signatures::Ignored).unwrap();
            for key in ["CATEGORY", "PF", "SLOT", "EAPI", "environment.bz2"] {
                assert!(package.metadata.contains_key(key), "{name} has no {key}");
            }
            assert!(package.build_time().is_some() && !package.metadata.contains_key("CONTENTS"), "{name}");
            files_seen += walk(&package).len();
        }
        assert!(files_seen > 10 * count, "{folder}");
    }
}

fn list(folder: &std::path::Path, suffix: &str, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => list(&path, suffix, files),
            false if path.to_string_lossy().ends_with(suffix) => files.push(path),
            false => {}
        }
    }
}

mod hostile {
    use super::*;
    use proptest::prelude::*;

    /// Opens whatever it is and reads the image as far as it goes.
    fn survive(bytes: &[u8]) {
        if let Ok(package) = open(bytes, Signatures::Ignored)
            && let Ok(image) = package.image()
        {
            // Damage within the image shows while it is read, as an error or not at all; either way within bounds.
            let _ = io::copy(&mut image.take(1 << 20), &mut io::sink());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
            survive(&bytes);
        }

        #[test]
        fn damaged_gpkg(hits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6)) {
            let mut bytes = write_gpkg(Compression::None, None);
            for (at, byte) in hits {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            survive(&bytes);
        }

        #[test]
        fn damaged_xpak(hits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6), cut in 0usize..64) {
            let mut bytes = write_xpak(Compression::Gzip);
            for (at, byte) in hits {
                // Most of the hits go to the segment behind the archive.
                let at = bytes.len() - 1 - at.index(400);
                bytes[at] = byte;
            }
            bytes.truncate(bytes.len() - cut.saturating_sub(32));
            survive(&bytes);
        }
    }
}

/// Issue 4: a few kilobytes of index over the same megabytes of data would have become gigabytes of metadata.
#[test]
fn overlapping_xpak_entries_are_refused() {
    let data = vec![b'x'; 1 << 20];
    let mut index = Vec::new();
    for number in 0..50_000_u32 {
        let name = number.to_string();
        let value = data.len() as u32;
        for part in [&(name.len() as u32).to_be_bytes()[..], name.as_bytes(), &[0; 4], &value.to_be_bytes()] {
            index.extend_from_slice(part);
        }
    }
    let lengths = [index.len() as u32, data.len() as u32].map(u32::to_be_bytes).concat();
    let segment = [b"XPAKPACK", lengths.as_slice(), &index, &data, b"XPAKSTOP"].concat();
    let image = Compression::None.writer(vec![0; 1024]).unwrap().finish().unwrap();
    let bytes = [image.as_slice(), &segment, &(segment.len() as u32).to_be_bytes(), b"STOP"].concat();
    assert!(matches!(problem(&bytes, Signatures::Ignored), Problem::Xpak { why: "its entries overlap" }));
}
