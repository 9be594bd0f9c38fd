//! The structures of an ISO 9660 volume (ECMA-119) of a few files whose places are known, with the names and modes of Rock Ridge (IEEE
//! P1282) besides. Kept small: one folder takes one sector.

use crate::bytes::{put, put_u16, put_u32};
use crate::write::Error;
use crate::zip_record::civil;

/// Bytes of a logical sector.
pub(super) const SECTOR: u64 = 2048;
/// The first volume descriptor of a volume; what is before belongs to other systems (6.2.1).
pub(super) const DESCRIPTORS: u64 = 16;

/// Most bytes of one section of a file: the largest multiple of a sector whose length 32 bits hold. A larger file has several (ISO 9660
/// level 3).
const SECTION: u64 = 0xffff_f800;
/// Flags of a directory record (9.1.6).
const DIRECTORY: u8 = 2;
const MORE_SECTIONS: u8 = 0x80;

/// A file or folder of the volume.
pub(super) struct Node {
    /// As it stands in the volume: capitals, a dot, and for files a version. By this the records of a folder are sorted.
    pub identifier: &'static str,
    /// As Rock Ridge has it.
    pub name: &'static str,
    pub kind: NodeKind,
}

pub(super) enum NodeKind {
    Folder(Vec<Node>),
    /// Its first sector, from the start of the medium, and its bytes.
    File {
        sector: u64,
        size: u64,
    },
}

/// A volume that is to be described.
pub(super) struct Volume<'a> {
    pub id: &'a str,
    pub epoch: i64,
    pub root: &'a [Node],
    /// The sector of the medium that the volume begins at; all that it names is counted from there.
    pub start: u64,
    /// Sectors of the medium.
    pub sectors: u64,
    /// The sector of the medium with El Torito's catalog.
    pub catalog: Option<u64>,
}

/// A folder as it is laid out.
struct Folder<'a> {
    identifier: &'static str,
    /// The number of the folder that it is in.
    parent: usize,
    nodes: &'a [Node],
    sector: u64,
}

impl Volume<'_> {
    /// Descriptors, path tables and folders, from [`DESCRIPTORS`] on.
    ///
    /// # Errors
    /// `Boot` when a folder or the medium is larger than this writer, or the format, knows.
    pub(super) fn describe(&self) -> Result<Vec<u8>, Error> {
        let descriptors: u64 = if self.catalog.is_some() { 3 } else { 2 };
        let tables = DESCRIPTORS + descriptors;
        let folders = self.folders(tables + 2);
        let paths: Vec<u8> = folders.iter().flat_map(|folder| path_record(folder, u32::to_le_bytes, u16::to_le_bytes)).collect();
        let mut bytes = self.primary_descriptor(paths.len(), tables, &folders)?;
        if let Some(catalog) = self.catalog {
            bytes.extend(boot_record(self.number(catalog)?));
        }
        bytes.extend(sector(b"\xffCD001\x01".to_vec()));
        bytes.extend(sector(paths));
        bytes.extend(sector(folders.iter().flat_map(|folder| path_record(folder, u32::to_be_bytes, u16::to_be_bytes)).collect()));
        for folder in &folders {
            bytes.extend(self.folder(folder, &folders)?);
        }
        Ok(bytes)
    }

    /// All folders, those above before those below (6.9.1), from a sector of the volume on.
    fn folders(&self, first: u64) -> Vec<Folder<'_>> {
        let mut folders = vec![Folder { identifier: "\0", parent: 0, nodes: self.root, sector: first }];
        let mut at = 0;
        while let Some(nodes) = folders.get(at).map(|folder| folder.nodes) {
            for node in nodes {
                if let NodeKind::Folder(nodes) = &node.kind {
                    let sector = first + folders.len() as u64;
                    folders.push(Folder { identifier: node.identifier, parent: at, nodes, sector });
                }
            }
            at += 1;
        }
        folders
    }

    /// A sector of the medium, as the volume counts it.
    fn number(&self, sector: u64) -> Result<u32, Error> {
        sector.checked_sub(self.start).and_then(|sector| u32::try_from(sector).ok()).ok_or_else(too_large)
    }

    /// The records of a folder, in one sector.
    fn folder(&self, folder: &Folder, all: &[Folder]) -> Result<Vec<u8>, Error> {
        let parent = all.get(folder.parent).unwrap_or(folder);
        let own = if folder.parent == 0 && folder.identifier == "\0" { marks() } else { Vec::new() };
        let mut bytes = self.folder_record(b"\0", folder, [own, self.attributes(folder_mode(folder))].concat());
        bytes.extend(self.folder_record(b"\x01", parent, self.attributes(folder_mode(parent))));
        for node in folder.nodes {
            let name = rock_ridge_name(node.name);
            match &node.kind {
                NodeKind::Folder(nodes) => {
                    let Some(below) = all.iter().find(|other| std::ptr::eq(other.nodes, nodes.as_slice())) else { continue };
                    let more = [self.attributes(folder_mode(below)), name].concat();
                    bytes.extend(self.folder_record(node.identifier.as_bytes(), below, more));
                }
                NodeKind::File { sector, size } => {
                    let more = [self.attributes((0o100_444, 1)), name].concat();
                    bytes.extend(self.file_records(node.identifier, (*sector, *size), &more)?);
                }
            }
        }
        match bytes.len() as u64 <= SECTOR {
            true => Ok(sector(bytes)),
            false => Err(too_large()),
        }
    }

    fn folder_record(&self, identifier: &[u8], folder: &Folder, more: Vec<u8>) -> Vec<u8> {
        // Folders stand at the volume's beginning, which 32 bits reach.
        record(identifier, (folder.sector as u32, SECTOR as u32), DIRECTORY, self.short_time(), &more)
    }

    /// A record for each section of a file.
    fn file_records(&self, identifier: &str, (mut sector, mut size): (u64, u64), more: &[u8]) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        loop {
            let length = size.min(SECTION);
            size -= length;
            let flags = if size > 0 { MORE_SECTIONS } else { 0 };
            bytes.extend(record(identifier.as_bytes(), (self.number(sector)?, length as u32), flags, self.short_time(), more));
            sector += length / SECTOR;
            // More than fit into a sector are refused by the caller, and not made.
            if size == 0 || bytes.len() as u64 > SECTOR {
                return Ok(bytes);
            }
        }
    }

    /// ECMA-119 8.4.
    fn primary_descriptor(&self, paths: usize, tables: u64, folders: &[Folder]) -> Result<Vec<u8>, Error> {
        let mut bytes = sector(b"\x01CD001\x01".to_vec());
        put(&mut bytes, 8, &[b' '; 64]);
        put(&mut bytes, 40, self.id.as_bytes());
        put(&mut bytes, 80, &both_32(self.number(self.sectors)?));
        for (at, number) in [(120, 1), (124, 1), (128, SECTOR as u16)] {
            put_u16(&mut bytes, at, number);
            put(&mut bytes, at + 2, &number.to_be_bytes());
        }
        put(&mut bytes, 132, &both_32(paths as u32));
        put_u32(&mut bytes, 140, tables as u32);
        put(&mut bytes, 148, &(tables as u32 + 1).to_be_bytes());
        if let Some(root) = folders.first() {
            put(&mut bytes, 156, &self.folder_record(b"\0", root, Vec::new()));
        }
        put(&mut bytes, 190, &[b' '; 623]);
        put(&mut bytes, 574, b"HATCHERY");
        let (made, never) = (self.long_time(), [[b'0'; 16].as_slice(), &[0]].concat());
        for (at, time) in [(813, &made), (830, &made), (847, &never), (864, &never)] {
            put(&mut bytes, at, time);
        }
        put(&mut bytes, 881, &[1]);
        Ok(bytes)
    }

    /// Year from 1900, month, day, hour, minute, second, and the offset from UTC (9.1.5).
    fn short_time(&self) -> [u8; 7] {
        let (year, [month, day, hour, minute, second]) = date(self.epoch);
        [(year - 1900).clamp(0, 255) as u8, month, day, hour, minute, second, 0]
    }

    /// The same as digits (8.4.26.1).
    fn long_time(&self) -> Vec<u8> {
        let (year, [month, day, hour, minute, second]) = date(self.epoch);
        format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}00\0").into_bytes()
    }

    /// Rock Ridge's PX (mode, links, owner root) and TF (times of change, access and attributes).
    fn attributes(&self, (mode, links): (u32, u32)) -> Vec<u8> {
        let mut bytes = b"PX\x24\x01".to_vec();
        [mode, links, 0, 0].into_iter().for_each(|number| bytes.extend(both_32(number)));
        bytes.extend(b"TF\x1a\x01\x0e");
        (0..3).for_each(|_| bytes.extend(self.short_time()));
        bytes
    }
}

fn too_large() -> Error {
    Error::Boot("the root is too large for a medium with ISO 9660; order a disk image".into())
}

/// Mode and links of a folder.
fn folder_mode(folder: &Folder) -> (u32, u32) {
    let below = folder.nodes.iter().filter(|node| matches!(node.kind, NodeKind::Folder(_))).count();
    (0o040_555, 2 + below as u32)
}

/// What the root says of itself: that records have more behind them (SUSP's SP), and that this is Rock Ridge (ER).
fn marks() -> Vec<u8> {
    [b"SP\x07\x01\xbe\xef\0".as_slice(), b"ER\x12\x01\x0a\0\0\x01RRIP_1991A"].concat()
}

fn rock_ridge_name(name: &str) -> Vec<u8> {
    [b"NM", [5 + name.len() as u8, 1, 0].as_slice(), name.as_bytes()].concat()
}

/// A directory record (9.1).
fn record(identifier: &[u8], (sector, size): (u32, u32), flags: u8, time: [u8; 7], more: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    bytes.extend(both_32(sector));
    bytes.extend(both_32(size));
    bytes.extend(time);
    // No interleaving, volume 1 of the set.
    bytes.extend([flags, 0, 0, 1, 0, 0, 1, identifier.len() as u8]);
    bytes.extend(identifier);
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes.extend(more);
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    let length = bytes.len() as u8;
    put(&mut bytes, 0, &[length]);
    bytes
}

/// A record of a path table (9.4), its numbers in the order of the table.
fn path_record(folder: &Folder, long: fn(u32) -> [u8; 4], short: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let identifier = folder.identifier.as_bytes();
    let mut bytes = vec![identifier.len() as u8, 0];
    bytes.extend(long(folder.sector as u32));
    bytes.extend(short(folder.parent as u16 + 1));
    bytes.extend(identifier);
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes
}

/// El Torito's descriptor, which names the catalog.
fn boot_record(catalog: u32) -> Vec<u8> {
    let mut bytes = sector(b"\0CD001\x01EL TORITO SPECIFICATION".to_vec());
    put_u32(&mut bytes, 71, catalog);
    bytes
}

fn both_32(number: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    put_u32(&mut bytes, 0, number);
    put(&mut bytes, 4, &number.to_be_bytes());
    bytes
}

fn sector(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(SECTOR as usize, 0);
    bytes
}

/// The year; month, day, hour, minute and second.
fn date(epoch: i64) -> (i64, [u8; 5]) {
    let epoch = epoch.max(0);
    let (year, month, day) = civil(epoch / 86_400);
    (year, [month, day, epoch / 3600 % 24, epoch / 60 % 60, epoch % 60].map(|number| number as u8))
}
