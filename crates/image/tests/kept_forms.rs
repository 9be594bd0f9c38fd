//! Compressed forms are kept: an image of files seen before needs no content, and a new file makes little anew.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{EPOCH, Place, add_file, assert_unpacked, content, go_on, have, run};
use image::{Compression, Container, Entry, Error, Groups, Progress, Stage, Store, Tree, WriteOptions, WriteReport};
use image::{write_oci, write_tar, write_zip};

type Writer = fn(&Tree, &Store, &WriteOptions, &Path, Progress) -> Result<WriteReport, Error>;

const WRITERS: [(&str, Writer); 6] = [
    ("tar.gz", |tree, store, options, out, progress| write_tar(tree, store, Compression::Gzip, options, out, progress)),
    ("tar.bz2", |tree, store, options, out, progress| write_tar(tree, store, Compression::Bzip2, options, out, progress)),
    ("tar.xz", |tree, store, options, out, progress| write_tar(tree, store, Compression::Xz, options, out, progress)),
    ("tar.zst", |tree, store, options, out, progress| write_tar(tree, store, Compression::Zstd, options, out, progress)),
    ("zip", write_zip),
    ("oci", |tree, store, options, out, progress| {
        let container = Container { name: "kept".into(), architecture: "amd64".into(), ..Container::default() };
        write_oci(&[Stage { name: "all", tree }], store, &container, options, out, progress)
    }),
];

impl Place {
    fn write(&self, writer: Writer, tree: &Tree, options: &WriteOptions) -> Vec<u8> {
        let out = self.path("image");
        writer(tree, &self.store, options, &out, &go_on).unwrap();
        fs::read(out).unwrap()
    }

    /// Bytes of all kept forms.
    fn kept(&self) -> u64 {
        let Ok(entries) = fs::read_dir(self.path("store/forms")) else { return 0 };
        let packs = entries.map(|entry| entry.unwrap()).filter(|entry| entry.path().extension().is_some_and(|e| e == "pack"));
        packs.map(|entry| entry.metadata().unwrap().len()).sum()
    }
}

/// A group for every folder but the first.
fn groups_of(tree: &Tree) -> Groups {
    let dir = |path: &[u8]| String::from_utf8_lossy(path.rsplit(|b| *b == b'/').nth(1).unwrap_or_default()).into_owned();
    Groups::new(tree.iter().filter(|(path, _)| path.contains(&b'/')).map(|(path, _)| (path, dir(path))))
}

#[test]
fn what_was_written_before_is_written_without_any_content() {
    let place = Place::new();
    let mut tree = small_tree(&place.store);
    tree.hard_link("usr/share/p3/file", "usr/bin/alias").unwrap();
    let options = WriteOptions::at(EPOCH);
    let first: Vec<_> = WRITERS.iter().map(|(_, writer)| place.write(*writer, &tree, &options)).collect();
    for entry in fs::read_dir(place.path("store")).unwrap().map(|entry| entry.unwrap()) {
        if entry.file_name().len() == 2 {
            fs::remove_dir_all(entry.path()).unwrap();
        }
    }
    for ((name, writer), first) in WRITERS.iter().zip(&first) {
        assert!(place.write(*writer, &tree, &options) == *first, "{name}");
    }
    // Another date is another image, which needs the content.
    for (name, writer) in WRITERS.iter().filter(|(name, _)| *name != "zip") {
        let error = writer(&tree, &place.store, &WriteOptions::at(EPOCH - 200_000), &place.path("image"), &go_on).unwrap_err();
        assert!(matches!(error, Error::Content { .. }), "{name}: {error}");
    }
}

#[test]
fn damaged_forms_are_made_anew() {
    let place = Place::new();
    let tree = small_tree(&place.store);
    let options = WriteOptions { groups: groups_of(&tree), ..WriteOptions::at(EPOCH) };
    for (name, writer) in WRITERS {
        let first = place.write(writer, &tree, &options);
        for entry in fs::read_dir(place.path("store/forms")).unwrap().map(|entry| entry.unwrap().path()) {
            let mut content = fs::read(&entry).unwrap();
            content.iter_mut().step_by(3001).for_each(|byte| *byte ^= 0x10);
            fs::write(&entry, content).unwrap();
        }
        assert!(place.write(writer, &tree, &options) == first, "{name}");
    }
}

#[test]
fn a_new_file_makes_little_anew() {
    let place = Place::new();
    let mut tree = Tree::new();
    for i in 0..600 {
        let path = format!("usr/share/p{}/file-{i}", i / 20);
        add_file(&mut tree, &place.store, path.as_bytes(), &content(10_000 + i * 40, i as u64), 0o644);
    }
    let options = |tree: &Tree| WriteOptions { groups: groups_of(tree), ..WriteOptions::at(EPOCH) };
    for (name, writer) in [WRITERS[0], WRITERS[4]] {
        let before = place.kept();
        place.write(writer, &tree, &options(&tree));
        let whole = place.kept() - before;
        let mut more = tree.clone();
        add_file(&mut more, &place.store, b"usr/share/p7/added", &content(5000, 1000), 0o644);
        let before = place.kept();
        place.write(writer, &more, &options(&more));
        let added = place.kept() - before;
        assert!(added > 0 && added < whole / 8, "{name}: {added} of {whole} bytes are new");
    }
}

/// A package that is new leaves the pieces of those beside it as they were.
#[test]
fn a_new_group_compresses_hardly_more_than_itself() {
    let place = Place::new();
    let tree_of = |packages: &[usize]| {
        let mut tree = Tree::new();
        for package in packages {
            for i in 0..4 {
                let path = format!("usr/share/p{package:02}/file-{i}");
                add_file(&mut tree, &place.store, path.as_bytes(), &content(130_000, (package * 10 + i) as u64), 0o644);
            }
        }
        tree
    };
    let old: Vec<usize> = (0..16).filter(|package| *package != 7).collect();
    let options = |tree: &Tree| WriteOptions { groups: groups_of(tree), ..WriteOptions::at(EPOCH) };
    for (name, writer) in [WRITERS[0], WRITERS[1], WRITERS[3]] {
        let (tree, more) = (tree_of(&old), tree_of(&(0..16).collect::<Vec<_>>()));
        let before = place.kept();
        place.write(writer, &tree, &options(&tree));
        let old = place.kept() - before;
        place.write(writer, &more, &options(&more));
        let added = place.kept() - before - old;
        assert!(added > 0 && added < old / 12, "{name}: {added} bytes are new, after {old} for fifteen packages");
    }
}

/// Some folders with files of every size that is cut differently, and links; two megabytes.
fn small_tree(store: &Store) -> Tree {
    let mut tree = Tree::new();
    tree.set_time(EPOCH - 3600);
    tree.insert("", Entry::dir(0o755).with_mtime(EPOCH - 7)).unwrap();
    for (i, size) in [0, 10, 600, 30_000, 300_000, 1_600_000].into_iter().enumerate() {
        add_file(&mut tree, store, format!("usr/share/p{i}/file").as_bytes(), &content(size, i as u64), 0o644);
        tree.symlink(format!("usr/bin/p{i}"), format!("../share/p{i}/file")).unwrap();
    }
    tree.insert("usr/share/p2", Entry::dir(0o711).with_mtime(EPOCH - 5)).unwrap();
    tree
}

#[test]
fn grouped_tar_files_unpack_with_every_program() {
    let place = Place::new();
    let mut tree = small_tree(&place.store);
    tree.hard_link("usr/share/p3/file", "usr/bin/in-an-earlier-group").unwrap();
    let options = WriteOptions { groups: groups_of(&tree), ..WriteOptions::at(EPOCH) };
    let python = "import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])";
    let unpackers = [
        ("tar", vec!["-xp", "--no-same-owner", "-f", "IMAGE", "-C", "DIR"]),
        ("bsdtar", vec!["-xp", "--no-same-owner", "-f", "IMAGE", "-C", "DIR"]),
        ("python3", vec!["-c", python, "IMAGE", "DIR"]),
    ];
    let out = place.path("image.tar.gz");
    write_tar(&tree, &place.store, Compression::Gzip, &options, &out, &go_on).unwrap();
    let listed = String::from_utf8(run(Command::new("tar").arg("-tf").arg(&out)).stdout).unwrap();
    assert!(listed.ends_with("./usr/\n./\n"), "directories are last, each after what is in it:\n{listed}");
    for (program, args) in unpackers.into_iter().filter(|(program, _)| have(program)) {
        let dir = place.path(program);
        fs::create_dir(&dir).unwrap();
        let args = args.iter().map(|arg| match *arg {
            "IMAGE" => out.as_os_str(),
            "DIR" => dir.as_os_str(),
            other => other.as_ref(),
        });
        run(Command::new(program).args(args).env("LC_ALL", "C.UTF-8"));
        assert_unpacked(&tree, &place.store, &dir, 0);
    }
}

#[test]
fn parallel_decompressors_read_the_joined_streams() {
    let place = Place::new();
    let mut tree = small_tree(&place.store);
    // Several pieces of all.
    add_file(&mut tree, &place.store, b"usr/share/larger", &content(9_500_000, 9), 0o644);
    let out = |compression: Compression| place.path(&format!("image.tar.{}", compression.extension()));
    for compression in Compression::ALL {
        write_tar(&tree, &place.store, compression, &WriteOptions::at(EPOCH), &out(compression), &go_on).unwrap();
    }
    let read = |compression: Compression, program: &str, args: &[&str]| {
        run(Command::new(program).args(args).stdin(fs::File::open(out(compression)).unwrap())).stdout
    };
    let plain = read(Compression::Gzip, "gzip", &["-dc"]);
    assert!(plain.len() > 11_000_000 && plain.len().is_multiple_of(10_240));
    let python = "import sys, gzip; sys.stdout.buffer.write(gzip.open(sys.stdin.buffer).read())";
    let readers = [
        (Compression::Gzip, "python3", vec!["-c", python]),
        (Compression::Gzip, "pigz", vec!["-dc"]),
        (Compression::Bzip2, "bzip2", vec!["-dc"]),
        (Compression::Bzip2, "pbzip2", vec!["-dc"]),
        (Compression::Bzip2, "lbzip2", vec!["-dc"]),
        (Compression::Xz, "xz", vec!["-T0", "-dc"]),
        (Compression::Zstd, "zstd", vec!["-T0", "-dcq"]),
    ];
    for (compression, program, args) in readers.into_iter().filter(|(_, program, _)| have(program)) {
        assert!(read(compression, program, &args) == plain, "{program}");
    }
}
