//! What a finished image has installed: its `/var/db/pkg`, whichever form the image has. Forms that no library here reads are opened
//! with the usual program for them.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use contract::{Format, RootFilesystem};
use gentoo::compression::Compression;
use gentoo::vdb::{Installed, read_vdb, read_vdb_of_tar};

/// Where the database of installed packages is, below the root.
const VDB: &str = "var/db/pkg";
/// The squashfs image on an ISO, and the ending of a network boot's.
const ROOT_IMAGE: &str = "image.squashfs";
const NETBOOT_ROOT: &str = "squashfs";

/// The packages an image has installed, or none when the file is one of several and holds no root.
pub fn installed(path: &Path, format: Format) -> anyhow::Result<Option<Vec<Installed>>> {
    let found = match format {
        Format::TarBz2 | Format::TarGz | Format::TarXz | Format::TarZst => read_vdb_of_tar(decompress(path)?)?,
        Format::Squashfs => of_squashfs(path)?,
        Format::Netboot if path.extension() == Some(OsStr::new(NETBOOT_ROOT)) => of_squashfs(path)?,
        Format::Netboot => return Ok(None),
        Format::Iso => of_iso(path)?,
        Format::Zip => of_zip(path)?,
        Format::Oci => of_oci(path)?,
        Format::Qcow2 | Format::Vmdk | Format::ImgGz => of_disk(path, format)?,
    };
    Ok(Some(found))
}

/// A file's bytes, decompressed by what it begins with.
fn decompress(path: &Path) -> anyhow::Result<Box<dyn Read + Send>> {
    let mut file = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let mut start = Vec::new();
    Read::by_ref(&mut file).take(16).read_to_end(&mut start)?;
    file.rewind()?;
    Ok(Compression::from_magic(&start).unwrap_or(Compression::None).reader(file)?)
}

fn of_squashfs(path: &Path) -> anyhow::Result<Vec<Installed>> {
    let mut command = Command::new("sqfs2tar");
    let mut child = command.arg("--subdir").arg(VDB).arg("--keep-as-dir").arg(path).stdout(Stdio::piped()).spawn();
    let child = child.as_mut().map_err(|e| anyhow::anyhow!("sqfs2tar (squashfs-tools-ng) cannot be run: {e}"))?;
    let output = child.stdout.take().context("sqfs2tar has no output")?;
    let found = read_vdb_of_tar(BufReader::new(output));
    ensure!(child.wait()?.success(), "sqfs2tar could not read {}", path.display());
    Ok(found?)
}

fn of_iso(path: &Path) -> anyhow::Result<Vec<Installed>> {
    let dir = scratch()?;
    let root = dir.path().join(ROOT_IMAGE);
    let mut command = Command::new("xorriso");
    command.args(["-report_about", "FAILURE", "-osirrox", "on", "-indev"]).arg(path);
    run(command.arg("-extract").arg(format!("/{ROOT_IMAGE}")).arg(&root))?;
    of_squashfs(&root)
}

fn of_zip(path: &Path) -> anyhow::Result<Vec<Installed>> {
    let dir = scratch()?;
    run(Command::new("unzip").arg("-q").arg(path).arg(format!("{VDB}/*")).arg("-d").arg(dir.path()))?;
    Ok(read_vdb(&dir.path().join(VDB))?)
}

/// The layers of a container are tar archives inside a tar archive; the packages are all in one of them.
fn of_oci(path: &Path) -> anyhow::Result<Vec<Installed>> {
    let dir = scratch()?;
    run(Command::new("tar").arg("-xf").arg(path).arg("-C").arg(dir.path()).arg("blobs"))?;
    let mut found = Vec::new();
    for blob in std::fs::read_dir(dir.path().join("blobs/sha256"))? {
        let path = blob?.path();
        let mut start = Vec::new();
        File::open(&path)?.take(16).read_to_end(&mut start)?;
        if Compression::from_magic(&start).is_some() {
            found.extend(read_vdb_of_tar(decompress(&path)?)?);
        }
    }
    Ok(found)
}

/// The root is the third partition.
fn of_disk(path: &Path, format: Format) -> anyhow::Result<Vec<Installed>> {
    let dir = scratch()?;
    let raw = dir.path().join("disk");
    match format {
        Format::ImgGz => {
            std::io::copy(&mut decompress(path)?, &mut File::create(&raw)?)?;
        }
        _ => run(Command::new("qemu-img").args(["convert", "-O", "raw"]).arg(path).arg(&raw))?,
    }
    let out = dir.path().join("out");
    std::fs::create_dir(&out)?;
    let root = root_offset(&raw)?;
    match filesystem(&raw, root)? {
        RootFilesystem::Ext4 => of_ext4(&raw, root, &out),
        RootFilesystem::Btrfs => of_btrfs(&raw, root, &out),
        RootFilesystem::Xfs => {
            image::extract_xfs(&File::open(&raw)?, root, VDB, &out)?;
            Ok(read_vdb(&out)?)
        }
    }
}

fn of_ext4(disk: &Path, root: u64, out: &Path) -> anyhow::Result<Vec<Installed>> {
    let mut source = disk.as_os_str().to_owned();
    source.push(format!("?offset={root}"));
    run(Command::new("debugfs").arg("-R").arg(format!("rdump /{VDB} {}", out.display())).arg(source).stderr(Stdio::null()))?;
    let name = Path::new(VDB).file_name().context("a folder has a name")?;
    Ok(read_vdb(&out.join(name))?)
}

/// `btrfs restore` wants a filesystem of its own, and a pattern that each folder on the way fits.
fn of_btrfs(disk: &Path, root: u64, out: &Path) -> anyhow::Result<Vec<Installed>> {
    let part = disk.with_extension("root");
    copy_sparse(disk, root, &part)?;
    let pattern = VDB.rsplit('/').fold(String::from("(|/.*)"), |inner, folder| format!("(|/{folder}{inner})"));
    let mut command = Command::new("btrfs");
    run(command.args(["restore", "--path-regex", &format!("^{pattern}$")]).arg(&part).arg(out))?;
    Ok(read_vdb(&out.join(VDB))?)
}

/// Copies what is from a place on, leaving out what is zero.
fn copy_sparse(from: &Path, start: u64, to: &Path) -> anyhow::Result<()> {
    let (mut input, mut output) = (File::open(from)?, File::create(to)?);
    input.seek(SeekFrom::Start(start))?;
    let (mut buffer, mut at) = (vec![0; 1 << 20], 0);
    loop {
        let count = input.read(&mut buffer)?;
        let piece = buffer.get(..count).unwrap_or_default();
        if piece.is_empty() {
            return Ok(output.set_len(at)?);
        }
        if piece.iter().any(|byte| *byte != 0) {
            output.seek(SeekFrom::Start(at))?;
            output.write_all(piece)?;
        }
        at += count as u64;
    }
}

/// Which filesystem begins at a place, by the magic numbers of superblocks.
fn filesystem(disk: &Path, start: u64) -> anyhow::Result<RootFilesystem> {
    let mut file = File::open(disk)?;
    let mut has = |at: u64, magic: &[u8]| -> anyhow::Result<bool> {
        let mut found = vec![0; magic.len()];
        file.seek(SeekFrom::Start(start.saturating_add(at)))?;
        file.read_exact(&mut found).context("the root's filesystem is cut off")?;
        Ok(found == magic)
    };
    Ok(match () {
        () if has(0x438, &[0x53, 0xef])? => RootFilesystem::Ext4,
        () if has(0, b"XFSB")? => RootFilesystem::Xfs,
        () if has(0x1_0040, b"_BHRfS_M")? => RootFilesystem::Btrfs,
        () => bail!("the root has a filesystem that is none of Hatchery's"),
    })
}

/// Where the third partition of a GPT begins, in bytes (UEFI specification, "GPT Partition Entry Array").
fn root_offset(disk: &Path) -> anyhow::Result<u64> {
    const SECTOR: u64 = 512;
    const ENTRY: u64 = 128;
    let mut file = File::open(disk)?;
    file.seek(SeekFrom::Start(2 * SECTOR + 2 * ENTRY + 32))?;
    let mut first = [0; 8];
    file.read_exact(&mut first).context("the disk has no partition table")?;
    u64::from_le_bytes(first).checked_mul(SECTOR).filter(|at| *at > 0).context("the disk has no third partition")
}

/// A folder on the disk that large temporary files are for.
fn scratch() -> anyhow::Result<tempfile::TempDir> {
    let base = std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
    tempfile::tempdir_in(&base).with_context(|| format!("there is no room in {} to look into the image", base.display()))
}

/// Debian's packages of the programs that are no part of every system.
const PACKAGES: [(&str, &str); 5] = [
    ("sqfs2tar", "squashfs-tools-ng"),
    ("xorriso", "xorriso"),
    ("unzip", "unzip"),
    ("qemu-img", "qemu-utils"),
    ("btrfs", "btrfs-progs"),
];

fn run(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| {
        let package = PACKAGES.iter().find(|(name, _)| *name == program).map_or(program.as_str(), |(_, package)| package);
        format!("{program} is needed to look into this image, and cannot be run; Debian has it in the package {package}")
    })?;
    if !output.status.success() {
        bail!("{program} could not read the image: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
