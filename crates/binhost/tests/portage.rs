//! Real Portage (3.0.83 and later) and GnuPG accept what we sign, refuse what was tampered with, and we accept what they sign.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use binhost::openpgp::{Keyring, SigningKey};
use gentoo::binpkg::{Attributes, BinaryPackage};
use gentoo::compression::Compression;
use gentoo::gpkg::{self, Description, Signatures};

/// A GnuPG home with one ultimately trusted key, and the Python that has Portage.
struct Oracle {
    python: PathBuf,
    work: tempfile::TempDir,
    key: SigningKey,
}

impl Oracle {
    /// `None`, with a printed line, where Portage or GnuPG is missing.
    fn find() -> Option<Oracle> {
        let home = std::env::var_os("HOME").unwrap_or_default();
        let usual = Path::new(&home).join(".cache/hatchery-oracle/venv/bin/python");
        let python = std::env::var_os("HATCHERY_PORTAGE_PYTHON").map_or(usual, PathBuf::from);
        let works = |program: &Path, args: &[&str]| Command::new(program).args(args).output().is_ok_and(|o| o.status.success());
        if !works(&python, &["-c", "import portage.gpkg"]) || !works(Path::new("gpg"), &["--version"]) {
            println!("skipped: needs gpg and a Python with Portage (HATCHERY_PORTAGE_PYTHON)");
            return None;
        }
        let oracle =
            Oracle { python, work: tempfile::tempdir().unwrap(), key: SigningKey::generate("Test <test@example.org>").unwrap() };
        oracle.set_up_gpg();
        Some(oracle)
    }

    fn set_up_gpg(&self) {
        let home = self.work.path().join("gpg");
        std::fs::create_dir(&home).unwrap();
        std::fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let secret = self.work.path().join("secret.asc");
        std::fs::write(&secret, self.key.to_armored().unwrap()).unwrap();
        let trust = self.work.path().join("trust");
        std::fs::write(&trust, format!("{}:6:\n", self.key.fingerprint())).unwrap();
        for (option, file) in [("--import", Some(secret)), ("--import-ownertrust", Some(trust)), ("--check-trustdb", None)] {
            let done = Command::new("gpg").arg("--homedir").arg(&home).args(["--batch", option]).args(file).output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
    }

    fn run(&self, action: &str, package: &Path, folder: &Path, compression: Compression) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gpkg_oracle.py");
        let mut command = Command::new(&self.python);
        command.arg(script).arg(action).arg(self.work.path().join("gpg")).arg(self.key.fingerprint());
        command.arg(package).arg(folder).arg(compression.name());
        command.output().unwrap()
    }

    fn keyring(&self) -> Keyring {
        Keyring::from_armored(&self.key.certificate().unwrap()).unwrap()
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // GnuPG leaves an agent behind for its home; it ends by itself when the home is gone, this only makes it sooner.
        let _ = Command::new("gpgconf").arg("--homedir").arg(self.work.path().join("gpg")).args(["--kill", "all"]).output();
    }
}

fn metadata() -> BTreeMap<String, Vec<u8>> {
    let pairs = [("CATEGORY", "app-misc\n"), ("PF", "hello-1.0-r1\n"), ("BUILD_TIME", "1700000000\n"), ("SLOT", "0/1\n")];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())).collect()
}

fn write(path: &Path, compression: Compression, key: &SigningKey) {
    let metadata = metadata();
    let description = Description { basename: "hello-1.0-r1-3", metadata: &metadata, compression, mtime: 1_700_000_000 };
    let mut file = File::options().create_new(true).read(true).write(true).open(path).unwrap();
    let attributes = |mode| Attributes { mode, uid: 0, gid: 0, user: "root", group: "root", mtime: 1_600_000_000 };
    let long = [b'n'; 130];
    gpkg::write(&mut file, &description, Some(&mut key.clone()), &mut |image| {
        image.directory(b"", &attributes(0o755))?;
        image.directory(b"usr", &attributes(0o755))?;
        image.file(b"usr/hello", &attributes(0o755), 5, &mut &b"hello"[..])?;
        image.hard_link(b"usr/again", b"usr/hello", &attributes(0o755))?;
        image.symlink(b"usr/link", b"hello", &attributes(0o777))?;
        image.file(&long, &attributes(0o644), 4, &mut &b"long"[..])
    })
    .unwrap();
}

#[test]
fn portage_verifies_what_we_sign() {
    let Some(oracle) = Oracle::find() else { return };
    let compressions =
        [Compression::Zstd, Compression::Xz, Compression::Gzip, Compression::Bzip2, Compression::Lz4, Compression::None];
    for compression in compressions {
        let tool = Command::new(compression.name()).arg("--version").output();
        if compression != Compression::None && tool.is_err() {
            println!("skipped for {}: the tool is not installed", compression.name());
            continue;
        }
        let package = oracle.work.path().join(format!("{}.gpkg.tar", compression.name()));
        write(&package, compression, &oracle.key);
        let folder = oracle.work.path().join(compression.name());
        let done = oracle.run("verify", &package, &folder, compression);
        assert!(done.status.success(), "{compression:?}: {}", String::from_utf8_lossy(&done.stderr));
        let read: BTreeMap<String, String> = serde_json::from_slice(&done.stdout).unwrap();
        let ours = metadata().into_iter().map(|(key, value)| (key, String::from_utf8(value).unwrap())).collect();
        assert_eq!(read, ours);
        assert_eq!(std::fs::read(folder.join("usr/again")).unwrap(), b"hello");
        assert_eq!(std::fs::read(folder.join("usr/link")).unwrap(), b"hello");
        assert_eq!(std::fs::read(folder.join("n".repeat(130))).unwrap(), b"long");
    }
}

#[test]
fn portage_and_we_refuse_what_was_tampered_with() {
    let Some(oracle) = Oracle::find() else { return };
    let package = oracle.work.path().join("good.gpkg.tar");
    write(&package, Compression::None, &oracle.key);
    let good = std::fs::read(&package).unwrap();
    // The content of usr/hello, and a digit of a hash in the Manifest.
    let content = good.windows(512).position(|w| w.starts_with(b"hello\0\0\0")).unwrap();
    let hash = good.windows(15).position(|w| w == b"DATA gpkg-1 0 B").unwrap() + 40;
    for (number, place) in [content, hash].into_iter().enumerate() {
        let mut bytes = good.clone();
        bytes[place] ^= 1;
        let tampered = oracle.work.path().join(format!("tampered-{number}.gpkg.tar"));
        std::fs::write(&tampered, bytes).unwrap();
        let folder = oracle.work.path().join(format!("tampered-{number}"));
        let done = oracle.run("verify", &tampered, &folder, Compression::None);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(!done.status.success() && (said.contains("DigestException") || said.contains("InvalidSignature")), "{said}");
        let keyring = oracle.keyring();
        let refused = BinaryPackage::open(File::open(&tampered).unwrap(), "x", Signatures::Required(&keyring)).unwrap_err();
        assert!(refused.to_string().contains("altered"), "{refused}");
    }
}

#[test]
fn we_verify_what_portage_signs() {
    let Some(oracle) = Oracle::find() else { return };
    let folder = oracle.work.path().join("root");
    std::fs::create_dir_all(folder.join("usr")).unwrap();
    std::fs::write(folder.join("usr/hello"), "hello").unwrap();
    let package = oracle.work.path().join("made.gpkg.tar");
    let done = oracle.run("make", &package, &folder, Compression::Zstd);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let keyring = oracle.keyring();
    let read = BinaryPackage::open(File::open(&package).unwrap(), "made", Signatures::Required(&keyring)).unwrap();
    assert!(read.is_signed());
    assert_eq!((read.cpv().as_deref(), read.build_time()), (Some("app-misc/hello-1.0-r1"), Some(1_700_000_000)));
    let stranger = Keyring::from_armored(&SigningKey::generate("stranger").unwrap().certificate().unwrap()).unwrap();
    let refused = BinaryPackage::open(File::open(&package).unwrap(), "made", Signatures::Required(&stranger)).unwrap_err();
    assert!(refused.to_string().contains("not among"), "{refused}");
}
