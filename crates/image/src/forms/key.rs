//! Keys of forms.

use std::fmt;
use std::hash::{Hash, Hasher};

use sha2::{Digest, Sha256};

use crate::store::BlobId;

/// The name of a form: the SHA-256 of all that its bytes are made from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FormKey(pub(crate) [u8; 32]);

impl FormKey {
    /// Begins the key of a form of this kind. `kind` says what the form is, with its parameters and the version of the code that makes
    /// it, like `zip entry, deflate 6, 1`: other bytes for the same fields need another kind.
    pub fn of(kind: &str) -> KeyHasher {
        let mut hasher = KeyHasher(Sha256::new());
        hasher.field(kind.as_bytes());
        hasher
    }
}

impl fmt::Debug for FormKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// A key is a hash already, so that a part of it serves as one. Only its own bytes are compared, wherever it comes from.
impl Hash for FormKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

/// Hashes keys by what they are.
#[derive(Debug, Default)]
pub(super) struct OfKey(u64);

impl Hasher for OfKey {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Takes what a form is made from, field by field. Fields are length-prefixed, so that no two lists of them run together.
#[derive(Clone, Debug)]
pub struct KeyHasher(Sha256);

impl KeyHasher {
    pub fn field(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    pub fn number(&mut self, number: u64) -> &mut Self {
        self.field(&number.to_le_bytes())
    }

    /// The content of a file.
    pub fn blob(&mut self, blob: &BlobId) -> &mut Self {
        self.field(blob.bytes())
    }

    pub fn finish(self) -> FormKey {
        FormKey(self.0.finalize().into())
    }
}
