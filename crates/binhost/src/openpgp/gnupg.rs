//! A keyring as the files of a GnuPG home folder, so that gpg, and Portage by it, trusts the same certificates. Nothing secret is in it.
//!
//! Source: GnuPG's doc/DETAILS, "Layout of the TrustDB".

use std::time::UNIX_EPOCH;

use sequoia_openpgp as openpgp;

use openpgp::cert::Cert;
use openpgp::serialize::Serialize;
use openpgp::types::HashAlgorithm;

use super::{Keyring, KeyringError};

/// Bytes of a record.
const RECORD: usize = 40;
/// Slots of the hash table, one for each value of a fingerprint's first byte, and how many of them fit a record.
const SLOTS: usize = 256;
const SLOTS_A_RECORD: usize = 9;
/// How many numbers of records a record of a list has: GnuPG's tdbio.c leaves the rest of it empty.
const ITEMS_A_LIST: usize = 6;
/// Trust in an owner, and validity of a name, that needs no other key's word.
const ULTIMATE: u8 = 6;

/// Files of a home folder, readable for everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GnupgHome {
    /// `pubring.gpg`: the certificates.
    pub pubring: Vec<u8>,
    /// `trustdb.gpg`: each of them is trusted as one's own.
    pub trustdb: Vec<u8>,
}

impl Keyring {
    /// The keyring for GnuPG; certificates of kinds that it cannot read (version 6) are left out. The same keyring gives the same bytes.
    ///
    /// # Errors
    /// When the library cannot write a certificate, or has no RIPEMD-160.
    pub fn to_gnupg(&self) -> Result<GnupgHome, KeyringError> {
        let malformed = |e: anyhow::Error| KeyringError::Malformed(e.to_string());
        let mut pubring = Vec::new();
        let mut owners = Vec::new();
        for cert in self.certs() {
            let Ok(fingerprint) = <[u8; 20]>::try_from(cert.fingerprint().as_bytes()) else { continue };
            cert.export(&mut pubring).map_err(malformed)?;
            owners.push(Owner { fingerprint, names: name_hashes(cert).map_err(malformed)? });
        }
        let newest = self.certs().iter().filter_map(|cert| {
            let created = cert.primary_key().key().creation_time().duration_since(UNIX_EPOCH).ok()?;
            u32::try_from(created.as_secs()).ok()
        });
        Ok(GnupgHome { pubring, trustdb: trustdb(&owners, newest.max().unwrap_or(0)) })
    }
}

/// Whom a certificate is of.
struct Owner {
    fingerprint: [u8; 20],
    /// RIPEMD-160 of each user id.
    names: Vec<[u8; 20]>,
}

fn name_hashes(cert: &Cert) -> anyhow::Result<Vec<[u8; 20]>> {
    let hash = |name: &[u8]| {
        let mut digest = HashAlgorithm::RipeMD.context()?.for_digest();
        digest.update(name);
        let mut hash = [0; 20];
        digest.digest(&mut hash)?;
        Ok(hash)
    };
    cert.userids().map(|user| hash(user.userid().value())).collect()
}

/// The records of a trust database; they are referred to by their number.
struct Records(Vec<[u8; RECORD]>);

impl Records {
    /// Adds a record of these bytes, filled up with zeros, and gives its number.
    fn add(&mut self, bytes: &[u8]) -> u32 {
        let mut record = [0; RECORD];
        record.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        self.0.push(record);
        (self.0.len() - 1) as u32
    }

    /// Adds the record of an owner, with one for each name.
    fn add_owner(&mut self, owner: &Owner) -> u32 {
        let mut next = 0u32;
        for name in owner.names.iter().rev() {
            next = self.add(&[&[13, 0], &name[..], &[ULTIMATE], &next.to_be_bytes()].concat());
        }
        self.add(&[&[12, 0], &owner.fingerprint[..], &[ULTIMATE, 0, 0, 0], &next.to_be_bytes()].concat())
    }

    /// What a slot of the hash table refers to: nothing, an owner, or a list of owners.
    fn add_slot(&mut self, owners: &[u32]) -> u32 {
        match owners {
            [] => 0,
            [only] => *only,
            several => several.rchunks(ITEMS_A_LIST).fold(0, |next, part| {
                let items = part.iter().flat_map(|number| number.to_be_bytes());
                let bytes: Vec<u8> = [11, 0].into_iter().chain(next.to_be_bytes()).chain(items).collect();
                self.add(&bytes)
            }),
        }
    }
}

fn trustdb(owners: &[Owner], created: u32) -> Vec<u8> {
    let tables = SLOTS.div_ceil(SLOTS_A_RECORD);
    // The version record, then the hash table.
    let mut records = Records(vec![[0; RECORD]; 1 + tables]);
    let numbers: Vec<u32> = owners.iter().map(|owner| records.add_owner(owner)).collect();
    let slot = |first: usize| -> Vec<u32> {
        let own = owners.iter().zip(&numbers).filter(|(owner, _)| usize::from(owner.fingerprint[0]) == first);
        own.map(|(_, number)| *number).collect()
    };
    let slots: Vec<u32> = (0..SLOTS).map(|first| records.add_slot(&slot(first))).collect();
    // Three marginally trusted or one fully trusted signature, five steps deep, the model "pgp", signatures of level 2: gpg's defaults. No
    // check is due, and the hash table begins at record 1.
    let version = [&b"\x01gpg\x03\x03\x01\x05\x01\x02\0\0"[..], &created.to_be_bytes(), &[0; 20], &1u32.to_be_bytes()].concat();
    let table = slots.chunks(SLOTS_A_RECORD).map(|part| {
        let items = part.iter().flat_map(|number| number.to_be_bytes());
        [10, 0].into_iter().chain(items).collect::<Vec<u8>>()
    });
    let head = std::iter::once(version).chain(table);
    for (record, bytes) in records.0.iter_mut().zip(head) {
        record.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    }
    records.0.concat()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::openpgp::SigningKey;

    /// So many that several fingerprints begin alike.
    #[test]
    fn gpg_trusts_every_certificate_of_the_ring() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("gnupg");
        std::fs::create_dir(&home).unwrap();
        let certificates: Vec<String> = (0..40)
            .map(|n| SigningKey::generate(&format!("Key {n} <k{n}@example.org>")).unwrap().certificate().unwrap())
            .collect();
        let ring = Keyring::from_armored(&certificates.concat()).unwrap();
        let files = ring.to_gnupg().unwrap();
        assert_eq!(files, ring.to_gnupg().unwrap());
        std::fs::write(home.join("pubring.gpg"), &files.pubring).unwrap();
        std::fs::write(home.join("trustdb.gpg"), &files.trustdb).unwrap();
        let gpg = |words: &[&str]| {
            let mut command = Command::new("gpg");
            command.arg("--homedir").arg(&home).args(["--batch", "--no-auto-check-trustdb"]).args(words);
            let Ok(output) = command.output() else { return None };
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(String::from_utf8(output.stdout).unwrap())
        };
        let Some(keys) = gpg(&["--list-keys", "--with-colons"]) else {
            println!("skipped: gpg is not installed");
            return;
        };
        let (public, names) = (keys.matches("\npub:u:").count(), keys.matches("\nuid:u:").count());
        assert_eq!((public, names), (40, 40), "{keys}");
        let owners = gpg(&["--export-ownertrust"]).unwrap();
        for fingerprint in ring.fingerprints() {
            assert!(owners.contains(&format!("{fingerprint}:6:")), "{fingerprint}: {owners}");
        }
    }

    #[test]
    fn owners_of_one_slot_are_in_a_list() {
        let owners: Vec<Owner> =
            (0..8).map(|n| Owner { fingerprint: [7, n].repeat(10).try_into().unwrap(), names: Vec::new() }).collect();
        let database = trustdb(&owners, 5);
        let records: Vec<&[u8]> = database.chunks(RECORD).collect();
        let first = u32::from_be_bytes(records[1][2 + 7 * 4..][..4].try_into().unwrap());
        let list = records[first as usize];
        assert_eq!((list[0], list[2..6].iter().any(|b| *b != 0)), (11, true), "two owners are in the first of two lists");
    }
}
