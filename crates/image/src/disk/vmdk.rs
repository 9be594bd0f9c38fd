//! VMDK as VMware and VirtualBox import it: one stream-optimized file, each grain deflated.
//! Source: VMware's "Virtual Disk Format 5.0", section "Stream-Optimized Compressed Sparse Extents".

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::SECTOR;
use super::blocks::{self, Block};
use crate::bytes::{put, put_u16, put_u32, put_u64};
use crate::sparse::Sparse;
use crate::store::Store;
use crate::write::{Error, Meter, write_all};

const GRAIN_SECTORS: u64 = blocks::SIZE / SECTOR;
/// Entries of a grain table.
const TABLE: u64 = 512;
/// Sectors before the first grain: the header and room for the descriptor.
const OVERHEAD: u64 = 128;
const DESCRIPTOR_SECTORS: u64 = 20;
/// Lines end as they should (bit 0); grains are compressed (16) and have markers (17).
const FLAGS: u32 = 1 | 1 << 16 | 1 << 17;
/// In the header at the front: the directory is named by the footer.
const AT_END: u64 = u64::MAX;

/// What a marker announces.
#[derive(Clone, Copy)]
enum Marker {
    EndOfStream = 0,
    GrainTable = 1,
    GrainDirectory = 2,
    Footer = 3,
}

/// Writes the disk to a file. `id` is the content's identity in the descriptor.
pub(super) fn write(
    disk: Sparse,
    store: &Store,
    meter: &mut Meter,
    threads: usize,
    (path, file): (&Path, File),
    id: u32,
) -> Result<(), Error> {
    let sectors = disk.size() / SECTOR;
    let mut writer = Writer {
        file: BufWriter::with_capacity(1 << 18, file),
        path: path.to_path_buf(),
        at: 0,
        sectors,
        directory: vec![0; sectors.div_ceil(GRAIN_SECTORS * TABLE) as usize],
        table: (0, vec![0; TABLE as usize]),
    };
    writer.write(&writer.header(AT_END))?;
    writer.write(descriptor(sectors, id).as_bytes())?;
    writer.write(&vec![0; (OVERHEAD * SECTOR - writer.at) as usize])?;
    let compress = |raw: &[u8]| {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::with_capacity(raw.len() / 2), flate2::Compression::default());
        encoder.write_all(raw).and_then(|()| encoder.finish()).map_err(|e| Error::io(path, e))
    };
    blocks::for_each(disk, store, meter, threads, compress, |block| writer.take(block))?;
    writer.finish()
}

/// The text that describes the disk. It names no file but itself, under a name that does not matter.
fn descriptor(sectors: u64, id: u32) -> String {
    let cylinders = (sectors / (255 * 63)).min(65_535);
    format!(
        "# Disk DescriptorFile\nversion=1\nCID={id:08x}\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\n\n\
         # Extent description\nRDONLY {sectors} SPARSE \"disk.vmdk\"\n\n\
         # The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\nddb.geometry.cylinders = \"{cylinders}\"\n\
         ddb.geometry.heads = \"255\"\nddb.geometry.sectors = \"63\"\nddb.adapterType = \"lsilogic\"\n"
    )
}

struct Writer {
    file: BufWriter<File>,
    path: PathBuf,
    at: u64,
    /// The disk's size.
    sectors: u64,
    /// Where each grain table is, in sectors; 0 for none.
    directory: Vec<u32>,
    /// The number of the table being filled, and where its grains are.
    table: (u64, Vec<u32>),
}

impl Writer {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.at += bytes.len() as u64;
        write_all(&mut self.file, &self.path, bytes)
    }

    fn write_padded(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.write(bytes)?;
        self.write(&vec![0; (self.at.next_multiple_of(SECTOR) - self.at) as usize])
    }

    fn header(&self, directory_at: u64) -> Vec<u8> {
        let mut bytes = vec![0; SECTOR as usize];
        put(&mut bytes, 0, b"KDMV");
        put_u32(&mut bytes, 4, 3);
        put_u32(&mut bytes, 8, FLAGS);
        for (at, value) in
            [(12, self.sectors), (20, GRAIN_SECTORS), (28, 1), (36, DESCRIPTOR_SECTORS), (56, directory_at), (64, OVERHEAD)]
        {
            put_u64(&mut bytes, at, value);
        }
        put_u32(&mut bytes, 44, TABLE as u32);
        // How lines end, to notice a transfer that changed them; then the compression, which is deflate.
        put(&mut bytes, 73, b"\n \r\n");
        put_u16(&mut bytes, 77, 1);
        bytes
    }

    fn marker(&mut self, marker: Marker, sectors: u64) -> Result<(), Error> {
        let mut bytes = vec![0; SECTOR as usize];
        put_u64(&mut bytes, 0, sectors);
        put_u32(&mut bytes, 12, marker as u32);
        self.write(&bytes)
    }

    /// Where the next thing will be, in sectors.
    fn here(&self) -> Result<u32, Error> {
        u32::try_from(self.at / SECTOR).map_err(|_| Error::Boot("a VMDK file ends at 2 TiB; order another format".into()))
    }

    fn take(&mut self, block: Block) -> Result<(), Error> {
        if block.number / TABLE != self.table.0 {
            self.end_table()?;
            self.table.0 = block.number / TABLE;
        }
        let here = self.here()?;
        if let Some(slot) = self.table.1.get_mut((block.number % TABLE) as usize) {
            *slot = here;
        }
        // Readers expect every grain deflated, so what does not shrink is deflated all the same.
        let bytes = if block.compressed { block.bytes } else { stored(&block.bytes) };
        let mut head = [0; 12];
        put_u64(&mut head, 0, block.number * GRAIN_SECTORS);
        put_u32(&mut head, 8, bytes.len() as u32);
        self.write(&head)?;
        self.write_padded(&bytes)
    }

    fn end_table(&mut self) -> Result<(), Error> {
        let table = std::mem::replace(&mut self.table.1, vec![0; TABLE as usize]);
        if table.iter().all(|place| *place == 0) {
            return Ok(());
        }
        self.marker(Marker::GrainTable, TABLE * 4 / SECTOR)?;
        let here = self.here()?;
        if let Some(slot) = self.directory.get_mut(self.table.0 as usize) {
            *slot = here;
        }
        self.write_padded(&le32(&table))
    }

    fn finish(mut self) -> Result<(), Error> {
        self.end_table()?;
        let directory = le32(&self.directory);
        self.marker(Marker::GrainDirectory, (directory.len() as u64).div_ceil(SECTOR))?;
        let directory_at = u64::from(self.here()?);
        self.write_padded(&directory)?;
        self.marker(Marker::Footer, 1)?;
        self.write(&self.header(directory_at))?;
        self.marker(Marker::EndOfStream, 0)?;
        self.file.flush().map_err(|e| Error::io(&self.path, e))
    }
}

/// A zlib stream (RFC 1950) of stored blocks (RFC 1951, 3.2.4).
fn stored(raw: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x78, 0x01];
    let mut chunks = raw.chunks(0xffff).peekable();
    while let Some(chunk) = chunks.next() {
        bytes.push(u8::from(chunks.peek().is_none()));
        let len = chunk.len() as u16;
        bytes.extend(len.to_le_bytes());
        bytes.extend((!len).to_le_bytes());
        bytes.extend(chunk);
    }
    let (a, b) = raw.iter().fold((1u32, 0u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    bytes.extend((b << 16 | a).to_be_bytes());
    bytes
}

fn le32(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}
