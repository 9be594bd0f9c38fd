//! A disk cut into blocks of 64 KiB, compressed on several cores; blocks of zeros are left out.

use crate::pool;
use crate::sparse::{Run, Sparse};
use crate::store::Store;
use crate::write::{Error, Meter};

/// Bytes of a block: the usual cluster of qcow2, and the grain of VMDK.
pub(super) const SIZE: u64 = 64 << 10;

/// A block with its number on the disk.
pub(super) struct Block {
    pub number: u64,
    pub bytes: Vec<u8>,
    /// Whether `bytes` are compressed; what does not shrink stays as it is.
    pub compressed: bool,
}

/// Gives every block that is not all zeros to `consume`, in order.
pub(super) fn for_each(
    disk: Sparse,
    store: &Store,
    meter: &mut Meter,
    threads: usize,
    compress: impl Fn(&[u8]) -> Result<Vec<u8>, Error> + Sync,
    consume: impl FnMut(Block) -> Result<(), Error> + Send,
) -> Result<(), Error> {
    let produce = |emit: &mut dyn FnMut((u64, Vec<u8>)) -> Result<(), Error>| {
        let mut cutter = Cutter { number: 0, bytes: Vec::new() };
        disk.emit(store, meter, &mut |run| cutter.add(run, emit))?;
        cutter.end(emit)
    };
    let work = |(number, raw): (u64, Vec<u8>)| {
        let small = compress(&raw)?;
        let compressed = small.len() < raw.len();
        Ok(Block { number, bytes: if compressed { small } else { raw }, compressed })
    };
    pool::ordered(threads, produce, work, consume)
}

type Emit<'a> = &'a mut dyn FnMut((u64, Vec<u8>)) -> Result<(), Error>;

struct Cutter {
    /// The block being filled.
    number: u64,
    bytes: Vec<u8>,
}

impl Cutter {
    fn add(&mut self, run: Run, emit: Emit) -> Result<(), Error> {
        match run {
            Run::Bytes(mut bytes) => {
                while !bytes.is_empty() {
                    let (head, tail) = bytes.split_at(self.room().min(bytes.len()));
                    self.bytes.extend_from_slice(head);
                    bytes = tail;
                    self.pass_on_full(emit)?;
                }
            }
            Run::Zeros(mut count) => {
                if !self.bytes.is_empty() {
                    let fill = count.min(self.room() as u64);
                    self.bytes.resize(self.bytes.len() + fill as usize, 0);
                    count -= fill;
                    self.pass_on_full(emit)?;
                }
                self.number += count / SIZE;
                if count % SIZE > 0 {
                    self.bytes.resize((count % SIZE) as usize, 0);
                }
            }
        }
        Ok(())
    }

    fn room(&self) -> usize {
        SIZE as usize - self.bytes.len()
    }

    fn pass_on_full(&mut self, emit: Emit) -> Result<(), Error> {
        if self.room() > 0 {
            return Ok(());
        }
        let bytes = std::mem::replace(&mut self.bytes, Vec::with_capacity(SIZE as usize));
        self.number += 1;
        match bytes.iter().all(|byte| *byte == 0) {
            true => Ok(()),
            false => emit((self.number - 1, bytes)),
        }
    }

    /// The last block, filled up with zeros.
    fn end(&mut self, emit: Emit) -> Result<(), Error> {
        if !self.bytes.is_empty() {
            self.bytes.resize(SIZE as usize, 0);
            self.pass_on_full(emit)?;
        }
        Ok(())
    }
}
