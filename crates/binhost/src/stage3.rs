//! Stage3 tarballs: found through a clear-signed `latest-….txt`, and checked against the signed DIGESTS and their own signature
//! (gentoo/releng `scripts/copy_buildsync.sh`, gentoo/catalyst `targets/support`; the handbook's "Verifying and validating").

use std::fs::File;
use std::io::{self, Read, Seek};

use blake2::Blake2b512;
use contract::Stage3;
use contract::lease::BinhostAccess;
use gentoo::compression::Compression;
use gentoo::gpkg::Verifier;
use gentoo::stage3::{Digests, Latest};
use gentoo::vdb::Installed;
use sha2::{Digest, Sha512};

use crate::Client;
use crate::address::check_path;
use crate::cache;
use crate::error::BinhostError;
use crate::refused;
use crate::transfer::{Wanted, for_each_piece};
use crate::transport::{Answer, Conditions};

/// Bytes of a list, of DIGESTS or of a signature; real ones have a few thousand.
const MAX_TEXT: u64 = 1 << 20;
/// Bytes that a stage3 may unpack to.
const MAX_UNPACKED: u64 = 64 << 30;

/// A stage3 that passed every check.
#[derive(Debug)]
pub struct VerifiedStage3 {
    /// The tarball as it was checked, at its beginning.
    pub file: File,
    pub stage3: Stage3,
}

impl VerifiedStage3 {
    /// The packages its VDB has. The whole tarball is read for it.
    ///
    /// # Errors
    /// When it cannot be read or makes no sense.
    pub fn installed(self) -> Result<Vec<Installed>, BinhostError> {
        let name = file_name(&self.stage3.path).to_owned();
        let error = |why: &dyn std::fmt::Display| stage3_error(&name, &why.to_string());
        let suffix = name.rsplit_once(".tar").map(|(_, suffix)| suffix);
        let compression =
            suffix.and_then(Compression::from_suffix).ok_or_else(|| error(&"its name ends in no known compression"))?;
        let stream = compression.reader(self.file).map_err(|e| error(&e))?;
        let installed = gentoo::vdb::read_vdb_of_tar(stream.take(MAX_UNPACKED)).map_err(|e| error(&e))?;
        match installed.is_empty() {
            true => Err(error(&"it has no packages installed, so it is not the root of a Gentoo")),
            false => Ok(installed),
        }
    }
}

impl Client {
    /// Which stage3 a list names now. `access` is the folder that holds the list, and the list is signed where a keyring is there.
    ///
    /// # Errors
    /// When the list or the DIGESTS cannot be had, are not signed by a trusted key, or do not say what is needed.
    pub fn latest_stage3(&self, access: &BinhostAccess, list: &str) -> Result<Stage3, BinhostError> {
        let text = self.signed_text(access, list)?;
        let latest = Latest::parse(&text).map_err(|why| stage3_error(list, &why))?;
        let path = latest.path;
        check_path(&path).map_err(|why| stage3_error(list, &format!("it names the path “{}”: {why}", path.escape_debug())))?;
        let digests_name = format!("{path}.DIGESTS");
        let digests = Digests::parse(&self.signed_text(access, &digests_name)?);
        let name = file_name(&path);
        let hash = |found: Option<String>, kind: &str| {
            found.ok_or_else(|| stage3_error(&digests_name, &format!("it has no {kind} of {name}")))
        };
        let sha512 = hash(digests.sha512(name), "SHA512")?;
        let blake2b = hash(digests.blake2b(name), "BLAKE2B")?;
        Ok(Stage3 { path, size: latest.size, sha512, blake2b })
    }

    /// A stage3 of a plan, from the cache where it is there. Either way its size, hashes and signature (the `.asc` beside it) are checked.
    /// `progress` is told how many bytes are there.
    ///
    /// # Errors
    /// When it cannot be had, or any check fails; the text names it and the reason.
    pub fn stage3(
        &self,
        access: &BinhostAccess,
        stage3: &Stage3,
        progress: &mut dyn FnMut(u64),
    ) -> Result<VerifiedStage3, BinhostError> {
        check_path(&stage3.path)
            .map_err(|why| stage3_error(&stage3.path, &format!("its path “{}”: {why}", stage3.path.escape_debug())))?;
        let size = stage3.size.to_string();
        let wanted = Wanted {
            access,
            name: file_name(&stage3.path),
            source: self.address(access)?.join(&stage3.path),
            size: stage3.size,
            md5: None,
            sha1: None,
            sha256: None,
            key: cache::key(&["stage3", &stage3.sha512, &stage3.blake2b, &size]),
        };
        let signature = self.signature(access, &stage3.path)?;
        if let Some((mut file, _)) = self.kept(&wanted)? {
            progress(stage3.size);
            self.check(access, stage3, &mut file, signature.as_deref())?;
            return Ok(VerifiedStage3 { file, stage3: stage3.clone() });
        }
        let (partial, sha256) = self.download(&wanted, progress)?;
        let mut file = partial.file.try_clone().map_err(self.cache.error("a stage3"))?;
        self.check(access, stage3, &mut file, signature.as_deref())?;
        self.cache.keep(partial, &wanted.key, &sha256).map_err(self.cache.error("a stage3"))?;
        Ok(VerifiedStage3 { file, stage3: stage3.clone() })
    }

    /// Holds the file against the hashes and the signature, and goes to its beginning.
    fn check(
        &self,
        access: &BinhostAccess,
        stage3: &Stage3,
        file: &mut File,
        signature: Option<&[u8]>,
    ) -> Result<(), BinhostError> {
        let name = file_name(&stage3.path);
        let (sha512, blake2b) = hashes(file).map_err(self.cache.error("a stage3"))?;
        for (listed, found, kind) in [(&stage3.sha512, sha512, "SHA512"), (&stage3.blake2b, blake2b, "BLAKE2B")] {
            if !listed.eq_ignore_ascii_case(&found) {
                return Err(stage3_error(name, &format!("its {kind} hash is not the one that its signed DIGESTS list")));
            }
        }
        if let (Some(keyring), Some(signature)) = (self.keyring(access)?, signature) {
            file.rewind().map_err(self.cache.error("a stage3"))?;
            let verified = keyring.verify_detached(file, signature);
            verified.map_err(|source| BinhostError::Stage3Signature { name: format!("{name}.asc"), source })?;
        }
        file.rewind().map_err(self.cache.error("a stage3"))
    }

    /// The detached signature beside a tarball; none where signatures are not asked for.
    fn signature(&self, access: &BinhostAccess, path: &str) -> Result<Option<Vec<u8>>, BinhostError> {
        match self.keyring(access)? {
            Some(_) => self.text(access, &format!("{path}.asc")).map(Some),
            None => Ok(None),
        }
    }

    /// The text that was signed; a mirror without keyring (and with leave to be unsigned) may give it plain.
    fn signed_text(&self, access: &BinhostAccess, path: &str) -> Result<String, BinhostError> {
        let bytes = self.text(access, path)?;
        let text = match self.keyring(access)? {
            Some(keyring) => keyring
                .verify_clear_signed(&bytes)
                .map_err(|source| BinhostError::Stage3Signature { name: path.to_owned(), source })?,
            None => bytes,
        };
        String::from_utf8(text).map_err(|_| stage3_error(path, "it is not text"))
    }

    fn text(&self, access: &BinhostAccess, path: &str) -> Result<Vec<u8>, BinhostError> {
        let source = self.address(access)?.join(path);
        let unreachable = |why| BinhostError::Unreachable { binhost: access.name.clone(), url: source.to_string(), why };
        match self.transport.get(&source, Conditions::default()).map_err(unreachable)? {
            Answer::Content { body, .. } => {
                let mut bytes = Vec::new();
                let read = body.take(MAX_TEXT + 1).read_to_end(&mut bytes);
                read.map_err(|e| unreachable(format!("the transfer broke off: {e}")))?;
                match bytes.len() as u64 > MAX_TEXT {
                    true => Err(stage3_error(path, "it is far larger than such a file can be")),
                    false => Ok(bytes),
                }
            }
            other => Err(refused(access, &source, other)),
        }
    }
}

fn hashes(file: &mut File) -> io::Result<(String, String)> {
    let (mut sha512, mut blake2b) = (Sha512::new(), Blake2b512::new());
    for_each_piece(file, |bytes| {
        sha512.update(bytes);
        blake2b.update(bytes);
    })?;
    Ok((hex::encode(sha512.finalize()), hex::encode(blake2b.finalize())))
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn stage3_error(name: &str, why: &str) -> BinhostError {
    BinhostError::Stage3 { name: name.to_owned(), why: why.to_owned() }
}
