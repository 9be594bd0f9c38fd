//! The files that lie beside an image's own.

use std::fmt;
use std::io;
use std::str::FromStr;

use gentoo::gpkg::Signer;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Digests, Facts, GlsaReport, Run, SumKind, cyclonedx, provenance, spdx};

/// The kinds of files that come with an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DocumentKind {
    Sha256Sums,
    Sha512Sums,
    Blake2bSums,
    /// A detached OpenPGP signature of the SHA-512 sums, by the operator's key.
    Signature,
    /// The plan with the hash of every package: what the image can be made from again.
    Lock,
    Spdx,
    Cyclonedx,
    Provenance,
    Glsa,
    /// What the serial console said while the image booted.
    BootLog,
    /// What the screen showed when it had.
    BootScreen,
    /// The checksums of an image's blocks, by which only what changed has to be downloaded.
    Zsync,
}

impl DocumentKind {
    pub const ALL: [DocumentKind; 12] = [
        DocumentKind::Sha256Sums,
        DocumentKind::Sha512Sums,
        DocumentKind::Blake2bSums,
        DocumentKind::Signature,
        DocumentKind::Lock,
        DocumentKind::Spdx,
        DocumentKind::Cyclonedx,
        DocumentKind::Provenance,
        DocumentKind::Glsa,
        DocumentKind::BootLog,
        DocumentKind::BootScreen,
        DocumentKind::Zsync,
    ];

    /// The name in the API and the database.
    pub fn name(self) -> &'static str {
        match self {
            DocumentKind::Sha256Sums => "sha256-sums",
            DocumentKind::Sha512Sums => "sha512-sums",
            DocumentKind::Blake2bSums => "blake2b-sums",
            DocumentKind::Signature => "signature",
            DocumentKind::Lock => "lock",
            DocumentKind::Spdx => "spdx",
            DocumentKind::Cyclonedx => "cyclonedx",
            DocumentKind::Provenance => "provenance",
            DocumentKind::Glsa => "glsa",
            DocumentKind::BootLog => "boot-log",
            DocumentKind::BootScreen => "boot-screen",
            DocumentKind::Zsync => "zsync",
        }
    }

    /// What follows the image's name in the file's.
    pub fn ending(self) -> &'static str {
        match self {
            DocumentKind::Sha256Sums => "SHA256SUMS",
            DocumentKind::Sha512Sums => "SHA512SUMS",
            DocumentKind::Blake2bSums => "BLAKE2BSUMS",
            DocumentKind::Signature => "SHA512SUMS.asc",
            DocumentKind::Lock => "plan.json",
            DocumentKind::Spdx => "spdx.json",
            DocumentKind::Cyclonedx => "cdx.json",
            DocumentKind::Provenance => "intoto.json",
            DocumentKind::Glsa => "glsa.json",
            DocumentKind::BootLog => "log",
            DocumentKind::BootScreen => "png",
            DocumentKind::Zsync => "zsync",
        }
    }

    pub fn file_name(self, image_name: &str) -> String {
        format!("{image_name}.{}", self.ending())
    }

    /// What it is, for people.
    pub fn label(self) -> &'static str {
        match self {
            DocumentKind::Sha256Sums => "checksums (SHA-256)",
            DocumentKind::Sha512Sums => "checksums (SHA-512)",
            DocumentKind::Blake2bSums => "checksums (BLAKE2b)",
            DocumentKind::Signature => "signature of the SHA-512 checksums (OpenPGP)",
            DocumentKind::Lock => "lock file: the exact packages",
            DocumentKind::Spdx => "bill of materials (SPDX 2.3)",
            DocumentKind::Cyclonedx => "bill of materials (CycloneDX 1.6)",
            DocumentKind::Provenance => "provenance (in-toto, SLSA)",
            DocumentKind::Glsa => "security advisories (GLSA)",
            DocumentKind::BootLog => "what the serial console said in the boot test",
            DocumentKind::BootScreen => "what the screen showed in the boot test",
            DocumentKind::Zsync => "for downloading only what changed (zsync)",
        }
    }

    pub fn media_type(self) -> &'static str {
        match self {
            DocumentKind::Sha256Sums | DocumentKind::Sha512Sums | DocumentKind::Blake2bSums => "text/plain; charset=utf-8",
            DocumentKind::BootLog => "text/plain; charset=utf-8",
            DocumentKind::Signature => "application/pgp-signature",
            DocumentKind::Lock | DocumentKind::Glsa => "application/json",
            DocumentKind::Spdx => "application/spdx+json",
            DocumentKind::Cyclonedx => "application/vnd.cyclonedx+json",
            DocumentKind::Provenance => "application/vnd.in-toto+json",
            DocumentKind::BootScreen => "image/png",
            DocumentKind::Zsync => "application/x-zsync",
        }
    }

    /// Whether a worker may send it; all others the server makes itself.
    pub fn is_evidence(self) -> bool {
        matches!(self, DocumentKind::BootLog | DocumentKind::BootScreen | DocumentKind::Zsync)
    }
}

impl From<SumKind> for DocumentKind {
    fn from(kind: SumKind) -> DocumentKind {
        match kind {
            SumKind::Sha256 => DocumentKind::Sha256Sums,
            SumKind::Sha512 => DocumentKind::Sha512Sums,
            SumKind::Blake2b => DocumentKind::Blake2bSums,
        }
    }
}

impl fmt::Display for DocumentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names no kind of document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("“{0}” is no kind of document")]
pub struct UnknownKind(String);

impl FromStr for DocumentKind {
    type Err = UnknownKind;
    fn from_str(text: &str) -> Result<DocumentKind, UnknownKind> {
        DocumentKind::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

/// A file to lie beside an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    pub kind: DocumentKind,
    pub name: String,
    pub body: Vec<u8>,
}

/// Another file that the lists of checksums are to name, such as a boot test's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub name: String,
    pub digests: Digests,
}

/// Why the documents could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error("the operator's key could not sign: {0}")]
    Signature(io::Error),
    #[error("a document could not be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Makes everything that lies beside an image. The checksums name every file there but themselves, and the signature is of the SHA-512
/// ones: so it covers the images, the lock, the bills of materials, the provenance and the report at once.
///
/// # Errors
/// When the key cannot sign.
pub fn documents(
    facts: &Facts<'_>,
    run: &Run<'_>,
    glsa: &GlsaReport,
    others: &[Listed],
    signer: Option<&mut dyn Signer>,
) -> Result<Vec<Document>, DocumentError> {
    let document = |kind: DocumentKind, body: Vec<u8>| Document { kind, name: kind.file_name(facts.image_name), body };
    let json = |kind, value: &Value| serde_json::to_vec_pretty(value).map(|body| document(kind, line_end(body)));
    let lock = facts.lock()?.into_bytes();
    let mut made = vec![
        json(DocumentKind::Spdx, &spdx(facts))?,
        json(DocumentKind::Cyclonedx, &cyclonedx(facts))?,
        json(DocumentKind::Provenance, &provenance(facts, run, &Digests::of(&lock)))?,
        json(DocumentKind::Glsa, &serde_json::to_value(glsa)?)?,
        document(DocumentKind::Lock, lock),
    ];
    let images = facts.files.iter().map(|file| (file.name.clone(), Digests::of_artifact(file)));
    let others = others.iter().map(|e| (e.name.clone(), e.digests.clone()));
    let listed = images.chain(others).chain(made.iter().map(|d| (d.name.clone(), Digests::of(&d.body))));
    let listed: Vec<(String, Digests)> = listed.collect();
    for kind in SumKind::ALL {
        let list = kind.list(listed.iter().map(|(name, digests)| (name.as_str(), digests)));
        made.push(document(kind.into(), list.into_bytes()));
    }
    let signed = made.iter().find(|d| d.kind == DocumentKind::Sha512Sums).map(|d| d.body.clone());
    if let (Some(signer), Some(sums)) = (signer, signed) {
        let signature = signer.detached(&mut sums.as_slice()).map_err(DocumentError::Signature)?;
        made.push(document(DocumentKind::Signature, signature.into_bytes()));
    }
    made.sort_by_key(|d| d.kind);
    Ok(made)
}

fn line_end(mut body: Vec<u8>) -> Vec<u8> {
    body.push(b'\n');
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The API and the database use the same names.
    #[test]
    fn names_are_one() {
        for kind in DocumentKind::ALL {
            assert_eq!(kind.name().parse::<DocumentKind>().unwrap(), kind);
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        assert!("sbom".parse::<DocumentKind>().is_err());
    }
}
