//! Checksums, and the lists of them that `sha256sum -c` and its relatives read (coreutils, "cksum output modes").

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use blake2::Blake2b512;
use contract::Artifact;
use sha2::{Digest, Sha256, Sha512};

/// The checksums of a file, lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests {
    /// Bytes.
    pub size: u64,
    pub sha256: String,
    pub sha512: String,
    /// BLAKE2b with 512 bits, as `b2sum` has it.
    pub blake2b: String,
}

/// Takes a file's bytes as they come.
#[derive(Clone, Default)]
pub struct Hasher {
    size: u64,
    sha256: Sha256,
    sha512: Sha512,
    blake2b: Blake2b512,
}

impl Hasher {
    pub fn update(&mut self, bytes: &[u8]) {
        self.size = self.size.saturating_add(bytes.len() as u64);
        self.sha256.update(bytes);
        self.sha512.update(bytes);
        self.blake2b.update(bytes);
    }

    /// Bytes taken so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn finish(self) -> Digests {
        Digests {
            size: self.size,
            sha256: hex::encode(self.sha256.finalize()),
            sha512: hex::encode(self.sha512.finalize()),
            blake2b: hex::encode(self.blake2b.finalize()),
        }
    }
}

/// Bytes that are passed to a thread at once.
const PIECE: u64 = 1 << 20;

/// A thread that makes one checksum.
struct Thread<'s> {
    pieces: SyncSender<Arc<Vec<u8>>>,
    sum: ScopedJoinHandle<'s, String>,
}

impl<'s> Thread<'s> {
    fn start<D: Digest>(scope: &'s Scope<'s, '_>) -> Thread<'s> {
        let (pieces, given) = sync_channel::<Arc<Vec<u8>>>(2);
        let sum = scope.spawn(move || {
            let mut hasher = D::new();
            given.into_iter().for_each(|piece| hasher.update(piece.as_slice()));
            hex::encode(hasher.finalize())
        });
        Thread { pieces, sum }
    }

    /// A thread that is gone has panicked, which [`Thread::finish`] passes on.
    fn give(&self, piece: &Arc<Vec<u8>>) {
        let _ = self.pieces.send(piece.clone());
    }

    fn finish(self) -> String {
        drop(self.pieces);
        self.sum.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Digests {
    pub fn of(bytes: &[u8]) -> Digests {
        let mut hasher = Hasher::default();
        hasher.update(bytes);
        hasher.finish()
    }

    /// Reads to the end. Each kind has a thread of its own, as they take several times as long as reading.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn read(source: &mut dyn Read) -> io::Result<Digests> {
        std::thread::scope(|scope| {
            let (sha256, sha512, blake2b) =
                (Thread::start::<Sha256>(scope), Thread::start::<Sha512>(scope), Thread::start::<Blake2b512>(scope));
            let mut size = 0;
            loop {
                let mut piece = Vec::with_capacity(PIECE as usize);
                let count = (&mut *source).take(PIECE).read_to_end(&mut piece)?;
                if count == 0 {
                    break;
                }
                size += count as u64;
                let piece = Arc::new(piece);
                [&sha256, &sha512, &blake2b].into_iter().for_each(|thread| thread.give(&piece));
            }
            Ok(Digests { size, sha256: sha256.finish(), sha512: sha512.finish(), blake2b: blake2b.finish() })
        })
    }

    pub fn of_artifact(artifact: &Artifact) -> Digests {
        Digests {
            size: artifact.size,
            sha256: artifact.sha256.clone(),
            sha512: artifact.sha512.clone(),
            blake2b: artifact.blake2b.clone(),
        }
    }

    /// The checksum that a list of this kind holds.
    pub fn get(&self, kind: SumKind) -> &str {
        match kind {
            SumKind::Sha256 => &self.sha256,
            SumKind::Sha512 => &self.sha512,
            SumKind::Blake2b => &self.blake2b,
        }
    }
}

/// The lists of checksums that come with an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SumKind {
    Sha256,
    Sha512,
    Blake2b,
}

impl SumKind {
    pub const ALL: [SumKind; 3] = [SumKind::Sha256, SumKind::Sha512, SumKind::Blake2b];

    /// The list's name after the image's.
    pub fn file_ending(self) -> &'static str {
        match self {
            SumKind::Sha256 => "SHA256SUMS",
            SumKind::Sha512 => "SHA512SUMS",
            SumKind::Blake2b => "BLAKE2BSUMS",
        }
    }

    /// The program that checks files by the list.
    pub fn program(self) -> &'static str {
        match self {
            SumKind::Sha256 => "sha256sum",
            SumKind::Sha512 => "sha512sum",
            SumKind::Blake2b => "b2sum",
        }
    }

    /// The list of these files, a line each.
    pub fn list<'a>(self, files: impl IntoIterator<Item = (&'a str, &'a Digests)>) -> String {
        files.into_iter().map(|(name, digests)| format!("{}  {name}\n", digests.get(self))).collect()
    }
}

/// Reads a list of checksums: the name and checksum of each line; what is no such line is passed over.
pub fn parse_sums(text: &str) -> Vec<(&str, &str)> {
    let line = |line: &'_ str| -> Option<(usize, usize)> {
        let (sum, name) = line.split_once("  ").or_else(|| line.split_once(" *"))?;
        let plain = !name.is_empty() && !name.contains('/') && sum.bytes().all(|b| b.is_ascii_hexdigit()) && !sum.is_empty();
        plain.then_some((sum.len(), line.len() - name.len()))
    };
    text.lines().filter_map(|l| line(l).and_then(|(sum, name)| Some((l.get(name..)?, l.get(..sum)?)))).collect()
}
