//! The worked example of the book's chapter “Adding a preset, a format, a way to tell”: a format that is a list of all paths, as BSD's
//! mtree(5) has it.

mod common;

use std::process::Command;

use common::{EPOCH, Place, go_on, plain_tree, run};

// ANCHOR: writer
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use image::{Entry, Kind, Progress, Tree, WriteOptions, WriteReport};

/// Writes the names, kinds, modes, owners and times of a tree as mtree(5) has them. What files contain is told by size and SHA-256.
pub fn write_mtree(tree: &Tree, options: &WriteOptions, path: &Path, progress: Progress) -> std::io::Result<WriteReport> {
    let mut out = BufWriter::new(File::create(path)?);
    let mut report = WriteReport::default();
    let total = tree.totals().bytes;
    let mut done = 0;
    writeln!(out, "#mtree")?;
    for (name, entry) in tree.iter() {
        writeln!(out, "./{} {}", escaped(name), words(entry, options))?;
        if !entry.xattrs.is_empty() {
            report.notes.push(format!("{} loses its extended attributes.", escaped(name)));
        }
        done += entry.size();
        if !progress(done, total) {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
    }
    out.flush()?;
    Ok(report)
}

/// mtree's names are as vis(3) writes them: what is no plain character is a backslash and three octal digits.
fn escaped(name: &[u8]) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\\#*?[".contains(&byte);
    name.iter().map(|&b| if plain(b) { char::from(b).to_string() } else { format!("\\{b:03o}") }).collect()
}

fn words(entry: &Entry, options: &WriteOptions) -> String {
    let kind = match &entry.kind {
        Kind::Dir => "type=dir".to_owned(),
        Kind::File { blob, size, .. } => format!("type=file size={size} sha256={blob}"),
        Kind::Symlink(target) => format!("type=link link={}", escaped(target)),
        Kind::CharDevice { major, minor } => format!("type=char device=linux,{major},{minor}"),
        Kind::BlockDevice { major, minor } => format!("type=block device=linux,{major},{minor}"),
        Kind::Fifo => "type=fifo".to_owned(),
    };
    // A time that is later than the image's own would differ from one build to the next.
    let time = entry.mtime.min(options.epoch);
    format!("{kind} mode={:04o} uid={} gid={} time={time}.0", entry.mode, entry.uid, entry.gid)
}
// ANCHOR_END: writer

// ANCHOR: test
#[test]
fn bsdtar_reads_the_list() {
    let place = Place::new();
    let tree = plain_tree(&place.store);
    let path = place.path("root.mtree");
    write_mtree(&tree, &WriteOptions::at(EPOCH), &path, &go_on).unwrap();
    let listed = run(Command::new("bsdtar").env("LC_ALL", "C.UTF-8").arg("-tf").arg(&path));
    let listed = String::from_utf8(listed.stdout).unwrap();
    let mut names: Vec<&str> = listed.lines().map(|line| line.trim_start_matches("./").trim_end_matches('/')).collect();
    let mut there: Vec<String> = tree.iter().map(|(name, _)| String::from_utf8(name.to_vec()).unwrap()).collect();
    // The root itself has no name.
    names.retain(|name| !name.is_empty());
    there.retain(|name| !name.is_empty());
    assert_eq!(names.len(), there.len(), "{listed}");
    assert!(there.iter().all(|name| names.contains(&name.as_str())), "{listed}");
}
// ANCHOR_END: test
