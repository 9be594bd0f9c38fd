//! The seam to OpenPGP: this crate knows what has to be signed, an implementation elsewhere knows how.

use std::io::{self, Read};

/// Makes signatures for [`super::write`].
pub trait Signer {
    /// An ASCII-armored detached signature over the bytes.
    fn detached(&mut self, data: &mut (dyn Read + Send + Sync)) -> io::Result<String>;

    /// The text as a clear-signed message (RFC 9580, section 7).
    fn clear_sign(&mut self, text: &str) -> io::Result<String>;
}

/// Checks signatures against trusted keys.
pub trait Verifier {
    /// Checks a detached signature, armored or binary.
    ///
    /// # Errors
    /// Unless there is at least one signature and every one is good, by a trusted key that is neither expired nor revoked today.
    fn verify_detached(&self, data: &mut (dyn Read + Send + Sync), signature: &[u8]) -> Result<(), SignatureProblem>;

    /// Checks a clear-signed message and returns the text that was signed, which is all that counts.
    ///
    /// # Errors
    /// As for [`Verifier::verify_detached`].
    fn verify_clear_signed(&self, message: &[u8]) -> Result<Vec<u8>, SignatureProblem>;
}

/// What is asked of a package's signatures.
#[derive(Clone, Copy)]
pub enum Signatures<'a> {
    /// A package must be signed, by a key the verifier trusts (Portage's `verify-signature = true`).
    Required(&'a dyn Verifier),
    /// A package may be unsigned; one that carries any signature must be signed throughout, by a trusted key.
    WhenPresent(&'a dyn Verifier),
    /// Signatures are not looked at (Portage's `binpkg-ignore-signature`); sizes and hashes still are.
    Ignored,
}

/// Why a signature does not hold. Each is a clause that can follow a colon.
#[derive(Debug, thiserror::Error)]
pub enum SignatureProblem {
    #[error("it is not a well-formed OpenPGP signature ({why})")]
    Malformed { why: String },
    #[error("it was made by the key {key}, which is not among this binhost's trusted keys")]
    UnknownKey { key: String },
    #[error("it does not match the content, which was altered or damaged after the key {key} signed it")]
    Bad { key: String },
    #[error("the key {key} has expired")]
    ExpiredKey { key: String },
    #[error("the key {key} was revoked")]
    RevokedKey { key: String },
    #[error("the signature by the key {key} has itself expired")]
    ExpiredSignature { key: String },
    #[error("the key {key} may not be used for it ({why})")]
    Unacceptable { key: String, why: String },
    #[error("the signed content could not be read ({0})")]
    Io(#[from] io::Error),
}

impl SignatureProblem {
    /// What a person can do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            SignatureProblem::Malformed { .. } => {
                "The file was damaged or made wrongly: try another mirror, and tell the binhost's operator."
            }
            SignatureProblem::UnknownKey { .. } => {
                "If the binhost's operator confirms this key by another way, add its certificate to the channel's keyring; if not, do not \
                 use the package."
            }
            SignatureProblem::Bad { .. } => {
                "Do not use this file. Try again, or use another mirror; if the same file fails there too, tell the binhost's operator."
            }
            SignatureProblem::ExpiredKey { .. } => {
                "Get the current certificate (a prolonged one keeps its fingerprint) and put it into the channel's keyring; for Gentoo's \
                 own keys that is sec-keys/openpgp-keys-gentoo-release."
            }
            SignatureProblem::RevokedKey { .. } => {
                "Do not use packages signed with this key. Ask the binhost's operator for packages signed with its successor."
            }
            SignatureProblem::ExpiredSignature { .. } => "Ask the binhost's operator to sign the package anew.",
            SignatureProblem::Unacceptable { .. } => {
                "Ask the binhost's operator to sign with a current signing key and a current hash (SHA-512, not SHA-1)."
            }
            SignatureProblem::Io(_) => "Check the disk and the permissions of the cache folder, then try again.",
        }
    }
}
