//! What `bench/formats.py` runs: reads a folder of this machine into a store as a tree, and writes it in a format.
//!
//! ```text
//! bench_formats read DIR STORE TREE.json [GROUPS.tsv]   # GROUPS: lines of a path, a tab, and the name of its group
//! bench_formats write FORMAT STORE TREE.json OUT
//! ```
//! Prints the seconds that the writing took, the CPU seconds of all its threads, and the peak memory of the process in MiB.

use std::error::Error;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::time::Instant;

use image::{Compression, Container, Entry, Groups, Kind, SquashCompressor, Stage, Store, Tree, WriteOptions};
use image::{write_oci, write_squashfs, write_tar, write_zip};
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
            let (began, cpu) = (Instant::now(), cpu_time()?);
            write(format, &tree, &store, &options, Path::new(out))?;
            println!("{:.3} {:.3} {}", began.elapsed().as_secs_f64(), cpu_time()? - cpu, peak_memory());
        }
        _ => return Err("see the top of crates/image/examples/bench_formats.rs".into()),
    }
    Ok(())
}

fn write(format: &str, tree: &Tree, store: &Store, options: &WriteOptions, out: &Path) -> Result<(), Box<dyn Error>> {
    let go_on = |_: u64, _: u64| true;
    match format {
        "zip" => write_zip(tree, store, options, out, &go_on)?,
        "squashfs" => write_squashfs(tree, store, SquashCompressor::Zstd, options, out, &go_on)?,
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
