//! Checks signatures against a keyring.
//!
//! The policy is gpg's as Portage asks for it (GOODSIG by a fully trusted key), and stricter in hashes:
//! - a key counts when it is in the binhost's keyring; nothing else makes it trusted;
//! - every signature on a thing must be good, not just one of them;
//! - a signature by a key that is expired *today* is refused, even if it was made in time (gpg says EXPKEYSIG, not GOODSIG): a
//!   prolonged certificate cures that, and an operator learns that the key must be looked after;
//! - a signature by a key that is revoked today is refused, whenever it was made and for whatever reason;
//! - MD5 and SHA-1 signatures are refused (the library's standard policy).

use std::io::Read;
use std::time::SystemTime;

use gentoo::gpkg::{SignatureProblem, Verifier};
use sequoia_openpgp as openpgp;

use openpgp::KeyHandle;
use openpgp::cert::amalgamation::ValidAmalgamation;
use openpgp::cert::amalgamation::key::ValidErasedKeyAmalgamation;
use openpgp::cert::{Cert, CertParser};
use openpgp::packet::Signature;
use openpgp::packet::key::PublicParts;
use openpgp::parse::Parse;
use openpgp::parse::stream::{
    DetachedVerifierBuilder, MessageLayer, MessageStructure, VerificationError, VerificationHelper, VerificationResult,
    VerifierBuilder,
};
use openpgp::policy::{HashAlgoSecurity, Policy, StandardPolicy};
use openpgp::types::RevocationStatus;

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";
const BEGIN_SECRET: &str = "-----BEGIN PGP PRIVATE KEY BLOCK-----";

/// The certificates whose signatures count.
#[derive(Clone, Debug)]
pub struct Keyring {
    certs: Vec<Cert>,
}

/// Why a keyring could not be read.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    #[error("the keyring contains no OpenPGP certificate; give armored ones, as `gpg --export --armor KEY` prints them")]
    Empty,
    #[error(
        "the keyring contains a secret key; keep that to yourself and give the certificate, as `gpg --export --armor KEY` prints it"
    )]
    Secret,
    #[error("the keyring contains a certificate that cannot be read ({0}); export it again with `gpg --export --armor KEY`")]
    Malformed(String),
}

impl Keyring {
    /// Reads armored certificates, any number in a block and any number of blocks; text between the blocks is passed over.
    ///
    /// # Errors
    /// When there is none, when one is malformed, and when there is a secret key.
    pub fn from_armored(text: &str) -> Result<Keyring, KeyringError> {
        if text.contains(BEGIN_SECRET) {
            return Err(KeyringError::Secret);
        }
        let malformed = |e: anyhow::Error| KeyringError::Malformed(e.to_string());
        let mut certs = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find(BEGIN) {
            let block = rest.get(start..).unwrap_or_default();
            let end = block.find(END).ok_or_else(|| KeyringError::Malformed("its armor has no end".into()))? + END.len();
            let (block, after) = block.split_at(end);
            for cert in CertParser::from_bytes(block.as_bytes()).map_err(malformed)? {
                certs.push(cert.map_err(malformed)?);
            }
            rest = after;
        }
        match certs.is_empty() {
            true => Err(KeyringError::Empty),
            false => Ok(Keyring { certs }),
        }
    }

    pub(super) fn certs(&self) -> &[Cert] {
        &self.certs
    }

    /// The fingerprints of the certificates, upper-case hexadecimal.
    pub fn fingerprints(&self) -> Vec<String> {
        self.certs.iter().map(|cert| cert.fingerprint().to_hex()).collect()
    }

    /// Why certificates of the ring cannot be used today, a sentence each; empty when all can.
    pub fn complaints(&self) -> Vec<String> {
        let policy = StandardPolicy::new();
        let complaint = |cert: &Cert| {
            let key = cert.fingerprint().to_hex();
            let problem = certificate_today(cert, &policy, &key).err()?;
            Some(format!("{problem}."))
        };
        self.certs.iter().filter_map(complaint).collect()
    }
}

impl Verifier for Keyring {
    fn verify_detached(&self, data: &mut (dyn Read + Send + Sync), signature: &[u8]) -> Result<(), SignatureProblem> {
        let policy = StandardPolicy::new();
        let mut problem = None;
        let helper = Helper { keyring: self, policy: &policy, problem: &mut problem, clear_signed_only: false };
        let run = || {
            let mut verifier = DetachedVerifierBuilder::from_bytes(signature)?.with_policy(&policy, None, helper)?;
            verifier.verify_reader(data)
        };
        let outcome = run();
        conclude(outcome, problem)
    }

    fn verify_clear_signed(&self, message: &[u8]) -> Result<Vec<u8>, SignatureProblem> {
        let policy = StandardPolicy::new();
        let mut problem = None;
        let helper = Helper { keyring: self, policy: &policy, problem: &mut problem, clear_signed_only: true };
        let mut text = Vec::new();
        let run = || {
            let mut verifier = VerifierBuilder::from_bytes(message)?.with_policy(&policy, None, helper)?;
            verifier.read_to_end(&mut text)?;
            Ok(())
        };
        let outcome = run();
        conclude(outcome, problem).map(|()| text)
    }
}

/// The helper's own finding says more than the error the library makes of it.
fn conclude(outcome: anyhow::Result<()>, problem: Option<SignatureProblem>) -> Result<(), SignatureProblem> {
    match (problem, outcome) {
        (Some(problem), _) => Err(problem),
        (None, Ok(())) => Ok(()),
        (None, Err(e)) => Err(match e.downcast::<std::io::Error>() {
            Ok(io) if io.get_ref().is_none() => SignatureProblem::Io(io),
            Ok(io) => SignatureProblem::Malformed { why: io.to_string() },
            Err(e) => SignatureProblem::Malformed { why: e.to_string() },
        }),
    }
}

struct Helper<'a> {
    keyring: &'a Keyring,
    policy: &'a StandardPolicy<'a>,
    problem: &'a mut Option<SignatureProblem>,
    clear_signed_only: bool,
}

impl VerificationHelper for Helper<'_> {
    fn get_certs(&mut self, _ids: &[KeyHandle]) -> openpgp::Result<Vec<Cert>> {
        Ok(self.keyring.certs.clone())
    }

    fn check(&mut self, structure: MessageStructure) -> openpgp::Result<()> {
        let found = match self.clear_signed_only && !structure.processed_csf_message() {
            true => Err(SignatureProblem::Malformed { why: "it is not a clear-signed text".into() }),
            false => check_structure(structure, self.policy),
        };
        if let Err(problem) = found {
            let error = anyhow::anyhow!("{problem}");
            *self.problem = Some(problem);
            return Err(error);
        }
        Ok(())
    }
}

/// Accepts exactly one layer of signatures, at least one of them, and all of them good.
fn check_structure(structure: MessageStructure, policy: &StandardPolicy) -> Result<(), SignatureProblem> {
    let mut checked = 0;
    for layer in structure {
        let MessageLayer::SignatureGroup { results } = layer else {
            return Err(SignatureProblem::Malformed { why: "it is compressed or encrypted".into() });
        };
        for result in results {
            check_one(result, policy)?;
            checked += 1;
        }
    }
    match checked {
        0 => Err(SignatureProblem::Malformed { why: "there is no signature in it".into() }),
        _ => Ok(()),
    }
}

fn check_one(result: VerificationResult, policy: &StandardPolicy) -> Result<(), SignatureProblem> {
    let error = match result {
        Ok(good) => return key_today(&good.ka, policy),
        Err(error) => error,
    };
    Err(match error {
        VerificationError::MissingKey { sig } => SignatureProblem::UnknownKey { key: issuer(sig) },
        VerificationError::UnboundKey { sig, cert, error } => {
            let key = issuer(sig);
            let unbound = SignatureProblem::Unacceptable { key: key.clone(), why: chain(&error) };
            certificate_today(cert, policy, &key).err().unwrap_or(unbound)
        }
        VerificationError::BadKey { ka, error, .. } => {
            let unfit = SignatureProblem::Unacceptable { key: ka.cert().fingerprint().to_hex(), why: chain(&error) };
            key_today(&ka, policy).err().unwrap_or(unfit)
        }
        VerificationError::BadSignature { sig, ka, error } => bad_signature(sig, &ka, &error, policy),
        VerificationError::MalformedSignature { error, .. } => SignatureProblem::Malformed { why: chain(&error) },
        VerificationError::UnknownSignature { sig } => SignatureProblem::Malformed { why: chain(sig.error()) },
        other => SignatureProblem::Malformed { why: other.to_string() },
    })
}

/// A signature whose key is at hand but which the library refused: too old, made with a hash that is broken, or not of this content.
fn bad_signature(
    sig: &Signature,
    ka: &ValidErasedKeyAmalgamation<PublicParts>,
    error: &anyhow::Error,
    policy: &StandardPolicy,
) -> SignatureProblem {
    let key = ka.cert().fingerprint().to_hex();
    if let Err(problem) = key_today(ka, policy) {
        return problem;
    }
    if policy.signature(sig, HashAlgoSecurity::CollisionResistance).is_err() {
        return SignatureProblem::Unacceptable { key, why: chain(error) };
    }
    let now = SystemTime::now();
    if sig.signature_expiration_time().is_some_and(|end| end <= now) {
        return SignatureProblem::ExpiredSignature { key };
    }
    if sig.signature_creation_time().is_some_and(|start| start > now) {
        return SignatureProblem::Unacceptable { key, why: "the signature says that it was made in the future".into() };
    }
    SignatureProblem::Bad { key }
}

/// Whether the key that made a signature, and its certificate, are neither revoked nor expired today.
fn key_today(ka: &ValidErasedKeyAmalgamation<PublicParts>, policy: &StandardPolicy) -> Result<(), SignatureProblem> {
    let cert = ka.cert();
    let key = cert.fingerprint().to_hex();
    certificate_today(cert, policy, &key)?;
    let unacceptable = |e: anyhow::Error| SignatureProblem::Unacceptable { key: key.clone(), why: chain(&e) };
    let valid = cert.with_policy(policy, None).map_err(unacceptable)?;
    let fingerprint = ka.key().fingerprint();
    let today = valid.keys().find(|candidate| candidate.key().fingerprint() == fingerprint);
    let today = today.ok_or_else(|| unacceptable(anyhow::anyhow!("its subkey {fingerprint} is not valid any more")))?;
    if let RevocationStatus::Revoked(_) = today.revocation_status() {
        return Err(SignatureProblem::RevokedKey { key });
    }
    today.alive().map_err(|_| SignatureProblem::ExpiredKey { key: key.clone() })
}

fn certificate_today(cert: &Cert, policy: &StandardPolicy, key: &str) -> Result<(), SignatureProblem> {
    if let RevocationStatus::Revoked(_) = cert.revocation_status(policy, None) {
        return Err(SignatureProblem::RevokedKey { key: key.into() });
    }
    let valid = cert.with_policy(policy, None);
    let valid = valid.map_err(|e| SignatureProblem::Unacceptable { key: key.into(), why: chain(&e) })?;
    valid.alive().map_err(|_| SignatureProblem::ExpiredKey { key: key.into() })
}

/// Who claims to have made a signature.
fn issuer(sig: &Signature) -> String {
    sig.get_issuers().first().map_or_else(|| "of no name".to_owned(), |handle| handle.to_hex())
}

/// An error with its causes in one line.
fn chain(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests;
