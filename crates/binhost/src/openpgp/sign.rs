//! A key that signs packages.

use std::io::{self, Read};
use std::time::{Duration, SystemTime};

use gentoo::gpkg::Signer;
use sequoia_openpgp as openpgp;

use openpgp::Profile;
use openpgp::cert::{Cert, CertBuilder, CipherSuite};
use openpgp::crypto::KeyPair;
use openpgp::parse::Parse;
use openpgp::policy::StandardPolicy;
use openpgp::serialize::SerializeInto;
use openpgp::serialize::stream::{Armorer, Message, Signer as MessageSigner};
use openpgp::types::HashAlgorithm;

/// A secret key with its certificate. GnuPG 2.2 and later accept what it makes: version 4, Ed25519 where the system's OpenSSL has it
/// and RSA otherwise, SHA-512.
#[derive(Clone)]
pub struct SigningKey {
    cert: Cert,
    /// The time the signatures say; none for the time they are made.
    time: Option<SystemTime>,
}

impl SigningKey {
    /// Makes a key that does not expire. The user ID is like `Example <example@example.org>`.
    ///
    /// # Errors
    /// What the OpenPGP library reports, like a source of randomness that fails.
    pub fn generate(user_id: &str) -> anyhow::Result<SigningKey> {
        SigningKey::generate_at(user_id, SystemTime::now(), None)
    }

    /// Makes a key as of a moment, with or without a time after which it is expired.
    ///
    /// # Errors
    /// As for [`SigningKey::generate`].
    pub fn generate_at(user_id: &str, created: SystemTime, validity: Option<Duration>) -> anyhow::Result<SigningKey> {
        let suite = match CipherSuite::Cv25519.is_supported() {
            Ok(()) => CipherSuite::Cv25519,
            Err(_) => CipherSuite::RSA3k,
        };
        let (cert, _revocation) = CertBuilder::new()
            .set_profile(Profile::RFC4880)?
            .set_cipher_suite(suite)
            .set_creation_time(created)
            .set_validity_period(validity)
            .add_userid(user_id)
            .add_signing_subkey()
            .generate()?;
        Ok(SigningKey { cert, time: None })
    }

    /// Reads a secret key as [`SigningKey::to_armored`] or `gpg --export-secret-keys --armor` write it, without a passphrase.
    ///
    /// # Errors
    /// When it is no such key, or none of its keys may sign.
    pub fn from_armored(text: &str) -> anyhow::Result<SigningKey> {
        let key = SigningKey { cert: Cert::from_bytes(text.as_bytes())?, time: None };
        key.key_pair()?;
        Ok(key)
    }

    /// The secret key, ASCII-armored and not encrypted: for a file that only its owner may read.
    ///
    /// # Errors
    /// What the OpenPGP library reports.
    pub fn to_armored(&self) -> anyhow::Result<String> {
        Ok(String::from_utf8(self.cert.as_tsk().armored().to_vec()?)?)
    }

    /// The certificate (the public part), ASCII-armored: what a [`super::Keyring`] is made from.
    ///
    /// # Errors
    /// What the OpenPGP library reports.
    pub fn certificate(&self) -> anyhow::Result<String> {
        Ok(String::from_utf8(self.cert.clone().strip_secret_key_material().armored().to_vec()?)?)
    }

    /// The fingerprint of the primary key, upper-case hexadecimal.
    pub fn fingerprint(&self) -> String {
        self.cert.fingerprint().to_hex()
    }

    /// The same key, whose signatures say that they were made at `time`.
    pub fn at(&self, time: SystemTime) -> SigningKey {
        SigningKey { cert: self.cert.clone(), time: Some(time) }
    }

    fn key_pair(&self) -> anyhow::Result<KeyPair> {
        let policy = StandardPolicy::new();
        let valid = self.cert.with_policy(&policy, self.time)?;
        let key = valid.keys().secret().unencrypted_secret().alive().revoked(false).for_signing().next();
        let key = key.ok_or_else(|| anyhow::anyhow!("the key {} has no secret part that may sign", self.cert.fingerprint()))?;
        key.key().clone().into_keypair()
    }

    fn sign(&self, data: &mut dyn Read, form: Form) -> anyhow::Result<String> {
        let mut out = Vec::new();
        let message = Message::new(&mut out);
        let message = match form {
            Form::Detached => Armorer::new(message).kind(openpgp::armor::Kind::Signature).build()?,
            Form::Clear => message,
        };
        let mut signer = MessageSigner::new(message, self.key_pair()?)?.hash_algo(HashAlgorithm::SHA512)?;
        if let Some(time) = self.time {
            signer = signer.creation_time(time);
        }
        let signer = match form {
            Form::Detached => signer.detached(),
            Form::Clear => signer.cleartext(),
        };
        let mut sink = signer.build()?;
        io::copy(data, &mut sink)?;
        sink.finalize()?;
        Ok(String::from_utf8(out)?)
    }
}

#[derive(Clone, Copy)]
enum Form {
    Detached,
    Clear,
}

impl Signer for SigningKey {
    fn detached(&mut self, data: &mut (dyn Read + Send + Sync)) -> io::Result<String> {
        self.sign(data, Form::Detached).map_err(io::Error::other)
    }

    fn clear_sign(&mut self, text: &str) -> io::Result<String> {
        self.sign(&mut text.as_bytes(), Form::Clear).map_err(io::Error::other)
    }
}

impl std::fmt::Debug for SigningKey {
    /// The fingerprint alone, so that no log ever holds the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.fingerprint())
    }
}
