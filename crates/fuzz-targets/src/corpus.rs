//! The kept corpus, one text file per target (a line per input, bytes escaped as in Rust), and mutation that is the same every time.

use std::path::{Path, PathBuf};

use crate::Target;

/// Longest input that mutation makes, in bytes.
const LONGEST: usize = 1 << 14;

/// The corpus file of a target.
pub fn file(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(format!("{}.txt", target.name))
}

/// The kept inputs of a target and its seeds.
///
/// # Errors
/// When the corpus file cannot be read or has a line that is not escaped properly.
pub fn inputs(target: &Target) -> Result<Vec<Vec<u8>>, String> {
    let path = file(target);
    let mut inputs = (target.seeds)();
    if inputs.is_empty() || path.exists() {
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            inputs.push(unescape(line).ok_or_else(|| format!("{}: “{line}” is not escaped properly", path.display()))?);
        }
    }
    Ok(inputs)
}

/// An input as a line of a corpus file.
pub fn escape(input: &[u8]) -> String {
    let line = input.escape_ascii().to_string();
    // A line that would be taken for a comment.
    line.strip_prefix('#').map_or(line.clone(), |rest| format!("\\x23{rest}"))
}

/// The input of a line; none when it is not escaped properly.
pub fn unescape(line: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = line.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next()? {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'x' => {
                    let mut digit = || char::from(rest.next()?).to_digit(16);
                    u8::try_from(digit()? * 16 + digit()?).ok()?
                }
                plain @ (b'\\' | b'\'' | b'"') => plain,
                _ => return None,
            },
            plain => plain,
        });
    }
    Some(bytes)
}

/// Changes inputs, always in the same way from the same start.
pub struct Mutator {
    state: u64,
}

impl Mutator {
    pub fn new(seed: u64) -> Mutator {
        Mutator { state: seed | 1 }
    }

    /// Xorshift; enough to choose by.
    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// One of the inputs, changed in one to eight places: bytes set and flipped, words put in, pieces doubled, dropped and taken over
    /// from another input.
    pub fn change(&mut self, inputs: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
        let mut input = inputs.get(self.below(inputs.len())).cloned().unwrap_or_default();
        for _ in 0..=self.below(8) {
            let at = self.below(input.len() + 1);
            let end = (at + 1 + self.below(24)).min(input.len());
            let piece = input.get(at..end).unwrap_or_default().to_vec();
            match self.below(7) {
                0 => input.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << (self.state & 7)),
                1 => {
                    let with = self.next() as u8;
                    input.get_mut(at).into_iter().for_each(|byte| *byte = with);
                }
                2 => drop(input.drain(at.min(end)..end)),
                3 => drop(input.splice(at..at, piece)),
                4 | 5 if !words.is_empty() => drop(input.splice(at..at, words[self.below(words.len())].bytes())),
                _ => {
                    let other = &inputs[self.below(inputs.len())];
                    let from = self.below(other.len());
                    let until = (from + 1 + self.below(64)).min(other.len());
                    input.splice(at..at, other.get(from..until).unwrap_or_default().iter().copied());
                }
            }
        }
        input.truncate(LONGEST);
        input
    }
}
