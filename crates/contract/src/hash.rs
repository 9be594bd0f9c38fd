//! Content hashes, named by what they hash. Inputs are length-prefixed so that no two lists of fields can run together
//! (the flaw behind CVE-2024-54143), and a key is never cut short.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// SHA-256 over length-prefixed fields.
pub struct FieldHasher(Sha256);

impl FieldHasher {
    /// Starts a hash in its own domain, so that equal fields of different kinds of things never collide.
    pub fn new(domain: &str) -> Self {
        let mut hasher = FieldHasher(Sha256::new());
        hasher.field(domain.as_bytes());
        hasher
    }

    /// Adds one field: its length as a little-endian u64, then its bytes.
    pub fn field(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref();
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// The lower-case hexadecimal digest, 64 characters.
    pub fn finish(self) -> String {
        hex::encode(self.0.finalize())
    }
}

macro_rules! content_hash {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

content_hash!(
    /// Hash of a [`crate::Plan`]: the exact packages in merge order and the base they go on.
    PlanHash
);
content_hash!(
    /// Hash of a composed root before anything personal is put in: the plan and the composer's version.
    RootHash
);
content_hash!(
    /// Hash of one image: the plan, the personal settings, the format and the version of what writes it.
    ImageHash
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_never_run_together() {
        let mut a = FieldHasher::new("t");
        a.field("ab").field("c");
        let mut b = FieldHasher::new("t");
        b.field("a").field("bc");
        assert_ne!(a.finish(), b.finish());
    }
}
