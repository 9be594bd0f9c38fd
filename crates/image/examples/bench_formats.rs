//! What `bench/formats.py` runs: reads a folder of this machine into a store as a tree, and writes it in a format.
//!
//! ```text
//! bench_formats read DIR STORE TREE.json [GROUPS.tsv]   # GROUPS: lines of a path, a tab, and the name of its group
//! bench_formats write FORMAT STORE TREE.json OUT                # what boots has GRUB in lib/grub of the tree, as /usr has
//! ```
//! Prints the seconds that the writing took, the CPU seconds of all its threads, and the peak memory of the process in MiB.

use std::error::Error;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::time::Instant;

use image::{
    BootMedia, Compression, Container, Disk, DiskFormat, Entry, Groups, Kind, MenuWords, SquashCompressor, Stage, Store, Tree,
};
use image::{RootFilesystem, WriteOptions, write_disk, write_iso, write_oci, write_squashfs, write_tar, write_zip};
use nix::time::{ClockId, clock_gettime};

/// The image's date; files are older.
const EPOCH: i64 = 4_000_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    match args.iter().skip(1).map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["read", dir, store, tree, groups @ ..] => {
            let store = Store::open(store)?;
            let mut read = Tree::new();
            add(Path::new(dir), b"", &mut read, &store)?;
            let groups = groups.first().map(fs::read_to_string).transpose()?.unwrap_or_default();
            let pairs: Vec<(&str, &str)> = groups.lines().filter_map(|line| line.split_once('\t')).collect();
            fs::write(tree, serde_json::to_vec(&(&read, pairs))?)?;
        }
        ["write", format, store, tree, out] => {
            let store = Store::open(store)?;
            let (tree, groups): (Tree, Vec<(String, String)>) = serde_json::from_slice(&fs::read(tree)?)?;
            let options = WriteOptions { groups: Groups::new(groups), ..WriteOptions::at(EPOCH) };
            let media = media(&store)?;
            let (began, cpu) = (Instant::now(), cpu_time()?);
            write(format, (&tree, &media), &store, &options, Path::new(out))?;
            println!("{:.3} {:.3} {}", began.elapsed().as_secs_f64(), cpu_time()? - cpu, peak_memory());
        }
        _ => return Err("see the top of crates/image/examples/bench_formats.rs".into()),
    }
    Ok(())
}

fn write(
    format: &str,
    (tree, media): (&Tree, &BootMedia),
    store: &Store,
    options: &WriteOptions,
    out: &Path,
) -> Result<(), Box<dyn Error>> {
    let go_on = |_: u64, _: u64| true;
    let disk = |format| Disk { format, root: RootFilesystem::default() };
    match format {
        "zip" => write_zip(tree, store, options, out, &go_on)?,
        "squashfs" => write_squashfs(tree, store, SquashCompressor::Zstd, options, out, &go_on)?,
        "iso" => write_iso(tree, store, media, options, out, &go_on)?,
        "img.gz" => write_disk(tree, store, media, disk(DiskFormat::RawGzip), options, out, &go_on)?,
        "qcow2" => write_disk(tree, store, media, disk(DiskFormat::Qcow2), options, out, &go_on)?,
        "vmdk" => write_disk(tree, store, media, disk(DiskFormat::Vmdk), options, out, &go_on)?,
        "oci" => {
            let container = Container { name: "bench".into(), architecture: "amd64".into(), ..Container::default() };
            write_oci(&[Stage { name: "all", tree }], store, &container, options, out, &go_on)?
        }
        tar => {
            let compression = Compression::ALL.into_iter().find(|c| tar == format!("tar.{}", c.extension()));
            write_tar(tree, store, compression.ok_or("no such format")?, options, out, &go_on)?
        }
    };
    Ok(())
}

/// What an image needs to boot; kernel and initramfs are noise of about the usual size.
fn media(store: &Store) -> Result<BootMedia, Box<dyn Error>> {
    let noise =
        |seed: u32| (0..2_000_000u32).flat_map(|n| (n ^ seed).wrapping_mul(2_654_435_761).to_le_bytes()).collect::<Vec<u8>>();
    Ok(BootMedia {
        kernel: store.put_bytes(&noise(1))?.0,
        initramfs: noise(2),
        volume_id: "BENCH".into(),
        title: "Bench".into(),
        release: "6.1".into(),
        cmdline: String::new(),
        words: MenuWords::Hatchery,
        grub_dir: "lib/grub".into(),
    })
}

/// Adds what is in a folder to the tree, without following links.
fn add(dir: &Path, below: &[u8], tree: &mut Tree, store: &Store) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let name = entry.file_name();
        let path = if below.is_empty() { name.as_bytes().to_vec() } else { [below, b"/", name.as_bytes()].concat() };
        let kind = metadata.file_type();
        let made = match () {
            () if kind.is_dir() => Kind::Dir,
            () if kind.is_symlink() => Kind::Symlink(fs::read_link(entry.path())?.as_os_str().as_bytes().to_vec()),
            () if kind.is_fifo() => Kind::Fifo,
            () if kind.is_file() => {
                let (blob, size) = store.put(&mut fs::File::open(entry.path())?)?;
                Kind::File { blob, size, link: None }
            }
            () => continue,
        };
        let owner = (metadata.uid(), metadata.gid());
        tree.insert(&path, Entry::new(made, metadata.mode()).with_owner(owner.0, owner.1).with_mtime(metadata.mtime()))?;
        if kind.is_dir() {
            add(&entry.path(), &path, tree, store)?;
        }
    }
    Ok(())
}

/// Seconds that the process has computed, in all threads.
fn cpu_time() -> nix::Result<f64> {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?;
    Ok(time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9)
}

/// The most memory that this process had, in MiB (VmHWM of proc(5)).
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse().map_or(0, |kib: u64| kib / 1024)
}
