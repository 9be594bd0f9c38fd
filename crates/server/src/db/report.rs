//! Whether an end report agrees with what was ordered and with what was sent.

use std::collections::BTreeMap;

use attest::Digests;
use contract::{Artifact, Evidence, Format, Origin, Plan};
use sqlx::{Any, Executor};

use super::{EndError, to_u64};

/// The lock may add hashes, what packages say of themselves and the measured size to the plan, and nothing else.
pub(super) fn check_plan(planned: &Plan, lock: &Plan) -> Result<(), EndError> {
    let disagrees = |what: &str| Err(EndError::Disagrees(format!("the lock differs from the plan of the job: {what}")));
    if planned.packages.len() != lock.packages.len() {
        return disagrees("it has another number of packages");
    }
    let mut learnt = planned.clone();
    for (package, locked) in learnt.packages.iter_mut().zip(&lock.packages) {
        if package.sha256.is_none() {
            package.sha256.clone_from(&locked.sha256);
        }
        if package.origin.is_none() {
            package.origin = locked.origin.clone().filter(Origin::is_plain);
        }
        if package != locked {
            return disagrees(&format!("{} is not as it was planned", package.cpv));
        }
        if !locked.sha256.as_deref().is_some_and(|hash| is_hex(hash, 64)) {
            return disagrees(&format!("{} has no SHA-256", package.cpv));
        }
    }
    if lock.summary.measured {
        learnt.summary.installed_size = lock.summary.installed_size;
        learnt.summary.measured = true;
    }
    if learnt != *lock {
        return disagrees("its world, services or binhosts are others");
    }
    Ok(())
}

/// What was sent in an attempt, by name.
pub type Sent = BTreeMap<String, Digests>;

/// Reads what was sent in an attempt.
pub(super) async fn uploads(db: impl Executor<'_, Database = Any>, build: &str, attempt: i64) -> super::Result<Sent> {
    let rows: Vec<(String, i64, String, String, String)> =
        sqlx::query_as("SELECT name, size, sha256, sha512, blake2b FROM uploads WHERE build = $1 AND attempt = $2")
            .bind(build)
            .bind(attempt)
            .fetch_all(db)
            .await?;
    let sent = |(name, size, sha256, sha512, blake2b)| (name, Digests { size: to_u64(size), sha256, sha512, blake2b });
    Ok(rows.into_iter().map(sent).collect())
}

/// Each format ordered is there once, and each file was sent as it is described.
pub(super) fn check_artifacts(sent: &mut Sent, formats: &[Format], artifacts: &[Artifact]) -> Result<(), EndError> {
    let mut ordered = formats.to_vec();
    let mut made: Vec<Format> = artifacts.iter().map(|a| a.format).collect();
    ordered.sort();
    made.sort();
    // Starting over the network takes several files.
    made.dedup_by(|a, b| a == b && *a == Format::Netboot);
    if ordered != made {
        return Err(EndError::Disagrees("the formats that were made are not the formats that were ordered".into()));
    }
    for artifact in artifacts {
        let digests = take(sent, &artifact.name)?;
        if digests != Digests::of_artifact(artifact) {
            return Err(EndError::Disagrees(format!(
                "{} arrived with {} bytes and SHA-256 {}, but the report says {} bytes and {}",
                artifact.name, digests.size, digests.sha256, artifact.size, artifact.sha256
            )));
        }
    }
    Ok(())
}

/// Largest piece of evidence that is kept, in bytes.
const MAX_EVIDENCE: u64 = 16 << 20;

/// Evidence was sent, is small, and is about an image that was ordered.
pub(super) fn check_evidence(sent: &mut Sent, evidence: &Evidence, formats: &str) -> Result<Digests, EndError> {
    let formats: Vec<Format> = super::from_json(formats)?;
    let digests = take(sent, &evidence.name)?;
    let plain = evidence.firmware.len() <= 40 && evidence.firmware.bytes().all(|b| b.is_ascii_alphanumeric() || b == b' ');
    if digests.size > MAX_EVIDENCE || !plain || !formats.contains(&evidence.format) {
        return Err(EndError::Disagrees(format!("{} is no evidence that is kept", evidence.name.escape_debug())));
    }
    Ok(digests)
}

fn take(sent: &mut Sent, name: &str) -> Result<Digests, EndError> {
    sent.remove(name).ok_or_else(|| EndError::Disagrees(format!("{} was not sent under this lease", name.escape_debug())))
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
