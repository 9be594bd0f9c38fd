//! What the site says of the images it gives out, under its operator's key.
//!
//! The server signs, not a worker: a worker runs foreign scripts and may be compromised, so it must not hold the key. The server knows
//! what was ordered and planned, and has itself hashed the bytes that came back. Its signature says just that; that a worker did what
//! it was told, only building again from the lock shows, as the same order gives the same bytes.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use attest::{Document, DocumentError, Facts, GlsaReport, Listed, Run, Sources};
use binhost::openpgp::SigningKey;
use contract::lease::EndReport;
use contract::{Artifact, Plan};
use gentoo::gpkg::Signer;

use crate::app::App;
use crate::clock::now;
use crate::config::{Config, ConfigError};
use crate::http::Problem;

/// Makes the documents that lie beside images.
pub struct Attestor {
    key: Option<SigningKey>,
    /// The armored certificate of the key.
    certificate: Option<String>,
    site: Option<String>,
}

/// Images that were made, and how.
pub struct Made<'a> {
    pub image_name: &'a str,
    /// The lock.
    pub plan: &'a Plan,
    pub artifacts: &'a [Artifact],
    /// Files beside them that the checksums are to name.
    pub others: &'a [Listed],
    /// The Gentoo repository whose advisories and metadata cache are looked at.
    pub repository: Option<&'a Path>,
    pub run: Run<'a>,
}

impl Attestor {
    /// Reads the operator's key, if the configuration names one. `site` is the address of the site, if there is one.
    ///
    /// # Errors
    /// When the key cannot be read or used, or others may read it.
    pub fn new(config: &Config, site: Option<&str>) -> Result<Attestor, ConfigError> {
        let key = config.signing_key_file.as_deref().map(read_key).transpose()?;
        let certificate = key.as_ref().map(SigningKey::certificate).transpose();
        let certificate = certificate.map_err(|e| ConfigError::Invalid(format!("the signing key has no certificate: {e}")))?;
        Ok(Attestor { key, certificate, site: site.map(str::to_owned) })
    }

    /// The certificate that the signatures can be checked with, ASCII-armored.
    pub fn certificate(&self) -> Option<&str> {
        self.certificate.as_deref()
    }

    /// Makes the documents. It reads files of the repository: not for a thread that others wait for.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn documents(&self, made: &Made<'_>) -> Result<Vec<Document>, DocumentError> {
        let sources = made.repository.map_or_else(Sources::new, |repository| attest::sources(made.plan, repository));
        let glsa = GlsaReport::of(made.plan, made.repository);
        let facts = Facts {
            image_name: made.image_name,
            plan: made.plan,
            files: made.artifacts,
            sources: &sources,
            site: self.site.as_deref(),
        };
        let mut key = self.key.clone();
        let signer = key.as_mut().map(|key| key as &mut dyn Signer);
        attest::documents(&facts, &made.run, &glsa, made.others, signer)
    }
}

/// A key that others may read is no key.
pub(crate) fn read_key(path: &Path) -> Result<SigningKey, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { key: "signing_key_file", path: path.to_owned(), source };
    let invalid = |why: String| ConfigError::Invalid(format!("the signing key {} {why}", path.display()));
    let mode = std::fs::metadata(path).map_err(unreadable)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(invalid(format!(
            "may be read by others (mode {:03o}): run chmod 600 on it, and think about a new one",
            mode & 0o777
        )));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    SigningKey::from_armored(&text)
        .map_err(|e| invalid(format!("cannot be used ({e}): make one with `hatchery keygen`, which asks for no passphrase")))
}

/// The documents for a build whose worker reports a good end; none when the report is of no use any more, which the database finds out.
pub(crate) async fn of_report(app: &App, build: &str, lease: &str, report: &EndReport) -> Result<Vec<Document>, Problem> {
    let EndReport::Ready { artifacts, plan, evidence, .. } = report else { return Ok(Vec::new()) };
    let (Some(attempt), Some(row)) = (app.db.attempt_of_lease(build, lease).await?, app.db.build(build).await?) else {
        return Ok(Vec::new());
    };
    // A package built from source is signed itself.
    if row.formats.is_empty() {
        return Ok(Vec::new());
    }
    let mut sent = app.db.uploads(build, attempt).await?;
    let listed = |name: &String| sent.remove(name).map(|digests| Listed { name: name.clone(), digests });
    let others: Vec<Listed> = evidence.iter().map(|e| &e.name).filter_map(listed).collect();
    let repository = app.catalogue.channels.get(&row.channel).and_then(|channel| channel.repository());
    let (attestor, artifacts, plan, build) = (app.attestor.clone(), artifacts.clone(), plan.clone(), build.to_owned());
    let made = tokio::task::spawn_blocking(move || {
        attestor.documents(&Made {
            image_name: &row.image_name,
            plan: &plan,
            artifacts: &artifacts,
            others: &others,
            repository: repository.as_deref(),
            run: Run { build: &build, started: row.started.unwrap_or(row.created), ended: now() },
        })
    });
    made.await.map_err(|e| Problem::internal(&e))?.map_err(|e| Problem::internal(&e))
}
