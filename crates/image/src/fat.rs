//! A small FAT16 filesystem as bytes, for the EFI system partition of a medium: equal files give equal bytes.
//!
//! Source: Microsoft's "FAT: General Overview of On-Disk Format" 1.03. Names are 8.3 in capitals, all that UEFI's removable-media path needs.

use crate::write::Error;

const SECTOR: usize = 512;
/// Fewer clusters would make it FAT12, more would make it FAT32.
const MIN_CLUSTERS: usize = 4085;
const MAX_CLUSTERS: usize = 65_524;
const RESERVED_SECTORS: usize = 1;
const FATS: usize = 2;
const ROOT_ENTRIES: usize = 512;
const END_OF_CHAIN: u16 = 0xffff;
/// 1980-01-01, the first date of FAT.
const DATE: u16 = 1 << 5 | 1;

/// A directory's entry: a name and what it has.
pub(crate) enum Node {
    File(Vec<u8>),
    Dir(Vec<(&'static str, Node)>),
}

/// What one may choose about a filesystem.
pub(crate) struct Volume {
    pub label: &'static str,
    pub serial: u32,
    /// Bytes it shall have at least, up to 32 MiB.
    pub least: usize,
}

/// Makes a filesystem just large enough for these entries in its root, or larger as the volume asks for.
///
/// # Errors
/// `Boot` when they do not fit into FAT16 (about 30 MB).
pub(crate) fn filesystem(volume: &Volume, root: &[(&'static str, Node)]) -> Result<Vec<u8>, Error> {
    let needed: usize = root.iter().map(|(_, node)| clusters(node)).sum();
    // What the tables and the root directory take is a little more for a large volume than for a small one.
    let room = volume.least.div_ceil(SECTOR).saturating_sub(RESERVED_SECTORS + FATS * 256 + ROOT_ENTRIES * 32 / SECTOR);
    let count = (needed.max(MIN_CLUSTERS) + 16).max(room.min(MAX_CLUSTERS));
    if count > MAX_CLUSTERS {
        return Err(Error::Boot("the EFI boot programs are too large for the medium's EFI partition (30 MB)".into()));
    }
    let fat_sectors = ((count + 2) * 2).div_ceil(SECTOR);
    let data_start = RESERVED_SECTORS + FATS * fat_sectors + ROOT_ENTRIES * 32 / SECTOR;
    let mut disk = Disk { fat: vec![0xfff8, END_OF_CHAIN], data: Vec::new() };
    let mut entries = vec![entry(&short_name(volume.label), 0x08, 0, 0)];
    for (name, node) in root {
        entries.push(disk.add(name, node, 0));
    }

    let mut bytes = boot_sector(count + data_start, fat_sectors, volume);
    for _ in 0..FATS {
        let mut table: Vec<u8> = disk.fat.iter().flat_map(|next| next.to_le_bytes()).collect();
        table.resize(fat_sectors * SECTOR, 0);
        bytes.extend(table);
    }
    bytes.extend(entries.concat());
    bytes.resize(data_start * SECTOR, 0);
    bytes.extend(disk.data);
    bytes.resize((count + data_start) * SECTOR, 0);
    Ok(bytes)
}

/// Clusters (of one sector) that a node and all below it take.
fn clusters(node: &Node) -> usize {
    match node {
        Node::File(content) => content.len().div_ceil(SECTOR),
        Node::Dir(inside) => dir_clusters(inside.len()) + inside.iter().map(|(_, node)| clusters(node)).sum::<usize>(),
    }
}

/// A directory holds `.` and `..` besides its entries.
fn dir_clusters(entries: usize) -> usize {
    ((entries + 2) * 32).div_ceil(SECTOR)
}

struct Disk {
    fat: Vec<u16>,
    /// The clusters from number 2 on.
    data: Vec<u8>,
}

impl Disk {
    /// Adds a node and all below it; returns its directory entry.
    fn add(&mut self, name: &str, node: &Node, parent: u16) -> Vec<u8> {
        match node {
            Node::File(content) => {
                let first = self.allocate(content.len().div_ceil(SECTOR));
                self.fill(first, content);
                entry(&short_name(name), 0x20, first, content.len() as u32)
            }
            Node::Dir(inside) => {
                let first = self.allocate(dir_clusters(inside.len()));
                let mut content = [entry(b".          ", 0x10, first, 0), entry(b"..         ", 0x10, parent, 0)].concat();
                for (name, node) in inside {
                    content.extend(self.add(name, node, first));
                }
                self.fill(first, &content);
                entry(&short_name(name), 0x10, first, 0)
            }
        }
    }

    /// Chains new clusters; returns the first, or 0 for none. Their number was checked against FAT16's limit.
    fn allocate(&mut self, count: usize) -> u16 {
        let first = self.fat.len();
        for at in 1..=count {
            self.fat.push(if at == count { END_OF_CHAIN } else { (first + at) as u16 });
        }
        self.data.resize((self.fat.len() - 2) * SECTOR, 0);
        if count == 0 { 0 } else { first as u16 }
    }

    fn fill(&mut self, first: u16, content: &[u8]) {
        let start = usize::from(first).saturating_sub(2) * SECTOR;
        if let Some(place) = self.data.get_mut(start..start + content.len()) {
            place.copy_from_slice(content);
        }
    }
}

fn boot_sector(sectors: usize, fat_sectors: usize, volume: &Volume) -> Vec<u8> {
    let mut bytes = vec![0xeb, 0x3c, 0x90];
    bytes.extend(b"HATCHERY");
    bytes.extend((SECTOR as u16).to_le_bytes());
    bytes.push(1);
    bytes.extend((RESERVED_SECTORS as u16).to_le_bytes());
    bytes.push(FATS as u8);
    bytes.extend((ROOT_ENTRIES as u16).to_le_bytes());
    // The 16-bit count serves up to 65,535 sectors; above, it is 0 and the 32-bit one counts.
    bytes.extend(u16::try_from(sectors).unwrap_or(0).to_le_bytes());
    bytes.push(0xf8);
    bytes.extend((fat_sectors as u16).to_le_bytes());
    // 32 sectors per track, 64 heads, no hidden sectors.
    bytes.extend([32, 0, 64, 0, 0, 0, 0, 0]);
    bytes.extend(if sectors > 0xffff { sectors as u32 } else { 0 }.to_le_bytes());
    // Drive 0x80, extended signature.
    bytes.extend([0x80, 0, 0x29]);
    bytes.extend(volume.serial.to_le_bytes());
    bytes.extend(short_name(volume.label));
    bytes.extend(b"FAT16   ");
    bytes.resize(SECTOR - 2, 0);
    bytes.extend([0x55, 0xaa]);
    bytes
}

/// `BOOTX64.EFI` as the eleven bytes `BOOTX64 EFI`; a label without a dot fills all eleven.
fn short_name(name: &str) -> [u8; 11] {
    let mut bytes = [b' '; 11];
    let (stem, extension) = name.split_once('.').unwrap_or((name, ""));
    let limit = if extension.is_empty() { 11 } else { 8 };
    for (place, byte) in bytes.iter_mut().take(limit).zip(stem.bytes()) {
        *place = byte.to_ascii_uppercase();
    }
    for (place, byte) in bytes.iter_mut().skip(8).zip(extension.bytes()) {
        *place = byte.to_ascii_uppercase();
    }
    bytes
}

fn entry(name: &[u8; 11], attributes: u8, first: u16, size: u32) -> Vec<u8> {
    let mut bytes = name.to_vec();
    bytes.push(attributes);
    bytes.extend([0; 2]);
    // Created (time, date), accessed (date), the high half of the first cluster (always 0 here), written (time, date).
    for word in [0, DATE, DATE, 0, 0, DATE, first] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(size.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn content(size: usize) -> Vec<u8> {
        (0..size).map(|i| (i * 7 % 253) as u8).collect()
    }

    #[test]
    fn mtools_reads_it_back() {
        let inside = vec![("BOOTX64.EFI", Node::File(content(1_234_567))), ("BOOTIA32.EFI", Node::File(content(512)))];
        let root = [("EFI", Node::Dir(vec![("BOOT", Node::Dir(inside))])), ("EMPTY.TXT", Node::File(Vec::new()))];
        let bytes = filesystem(&Volume { label: "HATCHERY", serial: 1, least: 0 }, &root).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("fat.img");
        std::fs::write(&image, &bytes).unwrap();
        for (name, size) in [("::EFI/BOOT/BOOTX64.EFI", 1_234_567), ("::EFI/BOOT/BOOTIA32.EFI", 512), ("::EMPTY.TXT", 0)] {
            let output = Command::new("mtype").arg("-i").arg(&image).arg(name).output().unwrap();
            assert_eq!(output.stdout, content(size), "{name}");
        }
        let listing = Command::new("minfo").arg("-i").arg(&image).arg("::").output().unwrap();
        let listing = String::from_utf8_lossy(&listing.stdout).into_owned();
        assert!(listing.contains("disk type=\"FAT16   \""), "{listing}");
    }

    #[test]
    fn too_much_is_refused() {
        let root = [("BIG.EFI", Node::File(vec![0; 40 << 20]))];
        assert!(matches!(filesystem(&Volume { label: "X", serial: 1, least: 0 }, &root), Err(Error::Boot(_))));
    }
}
