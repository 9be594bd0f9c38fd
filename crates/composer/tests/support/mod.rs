//! What the boot tests share: roots made of Debian's packages, and machines in QEMU without acceleration.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use image::{BootMedia, Entry, Store, Tree, WriteOptions};

/// A Debian package's file, fetched once and kept in target/test-cache. None where Debian's mirror is out of reach.
///
/// `@name` is the package that the meta package `name` depends on.
pub fn debian_package(name: &str) -> Option<PathBuf> {
    let name = match name.strip_prefix('@') {
        Some(meta) => kernel_package(meta)?,
        None => name.to_string(),
    };
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-cache/debs");
    std::fs::create_dir_all(&cache).ok()?;
    let find = || {
        let mut files: Vec<_> = std::fs::read_dir(&cache).ok()?.filter_map(|e| Some(e.ok()?.path())).collect();
        files.retain(|f| f.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&format!("{name}_"))));
        files.pop()
    };
    if find().is_none() {
        Command::new("apt-get").args(["-q", "download", &name]).current_dir(&cache).stdout(Stdio::null()).status().ok()?;
    }
    find()
}

fn kernel_package(meta: &str) -> Option<String> {
    let output = Command::new("apt-cache").args(["depends", meta]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().find_map(|line| line.trim().strip_prefix("Depends: ")).map(String::from)
}

/// A merged-usr root of these packages, unpacked and nothing more; it gets Debian's GRUB from this machine.
pub fn root_of(store: &Store, packages: &[&str]) -> Option<Tree> {
    let mut tree = Tree::new();
    for (link, target) in [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")] {
        tree.make_dirs(target).unwrap();
        tree.symlink(link, target).unwrap();
    }
    for package in packages {
        add_package(&mut tree, store, &debian_package(package)?);
    }
    for platform in ["i386-pc", "x86_64-efi", "i386-efi"] {
        let Ok(folder) = std::fs::read_dir(format!("/usr/lib/grub/{platform}")) else { continue };
        for file in folder {
            let file = file.unwrap();
            if !file.file_type().unwrap().is_file() {
                continue;
            }
            put(
                &mut tree,
                store,
                &format!("usr/lib/grub/{platform}/{}", file.file_name().to_str().unwrap()),
                0o644,
                &std::fs::read(file.path()).unwrap(),
            );
        }
    }
    Some(tree)
}

pub fn put(tree: &mut Tree, store: &Store, path: &str, mode: u32, content: &[u8]) {
    tree.write_file(store, path, content, mode).unwrap();
}

fn add_package(tree: &mut Tree, store: &Store, deb: &Path) {
    let mut child = Command::new("dpkg-deb").arg("--fsys-tarfile").arg(deb).stdout(Stdio::piped()).spawn().unwrap();
    let mut archive = tar::Archive::new(child.stdout.take().unwrap());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path_bytes().into_owned();
        let path = String::from_utf8(path).unwrap().trim_start_matches("./").trim_end_matches('/').to_string();
        let mode = entry.header().mode().unwrap();
        let kind = entry.header().entry_type();
        if kind.is_file() {
            let (blob, size) = store.put(&mut entry).unwrap();
            let path = tree.resolve_parent(&path).unwrap();
            tree.insert(path, Entry::file(blob, size, mode)).unwrap();
        } else if kind.is_symlink() {
            let target = entry.link_name_bytes().unwrap().into_owned();
            tree.symlink(&path, target).unwrap();
        } else if kind.is_hard_link() {
            let target = tree.resolve(entry.link_name_bytes().unwrap()).unwrap();
            let path = tree.resolve_parent(&path).unwrap();
            tree.hard_link(target, path).unwrap();
        } else if kind.is_dir() {
            tree.make_dirs(&path).unwrap();
        }
    }
    assert!(child.wait().unwrap().success());
}

/// Writes the ISO of a root.
pub fn iso(tree: &Tree, store: &Store, media: &BootMedia, dir: &Path) -> PathBuf {
    let path = dir.join("image.iso");
    image::write_iso(tree, store, media, &WriteOptions::at(1_700_000_000), &path, &|_, _| true).unwrap();
    println!("initramfs {} bytes, ISO {} bytes", media.initramfs.len(), std::fs::metadata(&path).unwrap().len());
    path
}

/// A running machine; its serial line is read and written. It is ended when dropped.
pub struct Machine {
    child: Child,
    output: Receiver<Vec<u8>>,
    started: Instant,
    /// Everything it has printed so far, and up to where it was waited for.
    pub seen: String,
    awaited: usize,
}

impl Machine {
    /// Starts a machine with these arguments besides those every machine has; `ISO` in them stands for the image.
    pub fn start(args: &[&str], iso: &Path) -> Machine {
        let args = args.iter().map(|arg| arg.replace("ISO", iso.to_str().unwrap()));
        let mut child = Command::new("qemu-system-x86_64")
            .args(["-m", "768", "-display", "none", "-no-reboot", "-serial", "stdio", "-monitor", "none"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(size) = stdout.read(&mut buffer) {
                if size == 0 || sender.send(buffer[..size].to_vec()).is_err() {
                    break;
                }
            }
        });
        Machine { child, output, started: Instant::now(), seen: String::new(), awaited: 0 }
    }

    /// Waits until the machine has printed a text after all that was waited for before, or three minutes.
    pub fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(180);
        loop {
            if let Some(at) = self.seen[self.awaited..].find(text) {
                self.awaited += at + text.len();
                break;
            }
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Timeout) => panic!("waited in vain for “{text}”:\n{}", self.seen),
                Err(RecvTimeoutError::Disconnected) => panic!("the machine went off before “{text}”:\n{}", self.seen),
            }
        }
        println!("{:6.1} s: {text}", self.started.elapsed().as_secs_f32());
    }

    pub fn send(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
