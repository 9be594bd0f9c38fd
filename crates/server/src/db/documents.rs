//! The files beside the images: those the server made, and those a worker sent to show that the images start.

use attest::{Digests, Document, DocumentKind};
use contract::{Evidence, EvidenceKind};
use sqlx::any::AnyRow;
use sqlx::{FromRow, Row as _};

use super::report::{self, Sent};
use super::{Db, Result, Writing, to_i64, to_u64};

/// A file beside the images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentRow {
    pub kind: DocumentKind,
    pub name: String,
    pub size: u64,
    pub sha256: String,
    /// Of a worker's file: the attempt that sent it.
    pub attempt: Option<u32>,
    /// Of a worker's file: what it is about, as in “iso with OVMF”.
    pub about: Option<String>,
}

impl<'r> FromRow<'r, AnyRow> for DocumentRow {
    fn from_row(row: &'r AnyRow) -> Result<Self> {
        let kind: String = row.try_get("kind")?;
        let attempt: Option<i64> = row.try_get("attempt")?;
        let (format, firmware): (Option<String>, Option<String>) = (row.try_get("format")?, row.try_get("firmware")?);
        Ok(DocumentRow {
            kind: kind.parse().map_err(|e| sqlx::Error::Decode(Box::new(e)))?,
            name: row.try_get("name")?,
            size: to_u64(row.try_get("size")?),
            sha256: row.try_get("sha256")?,
            attempt: attempt.map(|a| u32::try_from(a).unwrap_or(0)),
            about: format.map(|format| match firmware.filter(|firmware| !firmware.is_empty()) {
                Some(firmware) => format!("{format} with {firmware}"),
                None => format,
            }),
        })
    }
}

/// The kind of document that a piece of evidence is.
fn kind_of(evidence: EvidenceKind) -> DocumentKind {
    match evidence {
        EvidenceKind::BootLog => DocumentKind::BootLog,
        EvidenceKind::BootScreen => DocumentKind::BootScreen,
        EvidenceKind::Zsync => DocumentKind::Zsync,
    }
}

impl Db {
    /// The files beside the images of a ready build, by kind and name.
    pub async fn documents(&self, build: &str) -> Result<Vec<DocumentRow>> {
        let mut found: Vec<DocumentRow> = sqlx::query_as(
            "SELECT d.name, d.kind, d.size, d.sha256, d.attempt, d.format, d.firmware FROM documents d JOIN builds b ON b.id = d.build
             WHERE d.build = $1 AND b.state = 'ready' AND b.expired IS NULL ORDER BY d.name",
        )
        .bind(build)
        .fetch_all(&self.pool)
        .await?;
        found.sort_by_key(|d| d.kind);
        Ok(found)
    }

    /// The content of a file that the server made.
    pub async fn document_body(&self, build: &str, name: &str) -> Result<Option<Vec<u8>>> {
        let body: Option<Option<Vec<u8>>> = sqlx::query_scalar("SELECT body FROM documents WHERE build = $1 AND name = $2")
            .bind(build)
            .bind(name)
            .fetch_optional(&self.pool)
            .await?;
        Ok(body.flatten())
    }

    /// What was sent in an attempt at a build, by name.
    pub async fn uploads(&self, build: &str, attempt: u32) -> Result<Sent> {
        report::uploads(&self.pool, build, i64::from(attempt)).await
    }
}

/// Keeps what the server made.
pub(super) async fn insert(tx: &mut Writing, build: &str, documents: &[Document]) -> Result<()> {
    for document in documents {
        let digests = Digests::of(&document.body);
        sqlx::query("INSERT INTO documents (build, name, kind, size, sha256, body) VALUES ($1, $2, $3, $4, $5, $6)")
            .bind(build)
            .bind(&document.name)
            .bind(document.kind.name())
            .bind(to_i64(digests.size))
            .bind(&digests.sha256)
            .bind(document.body.as_slice())
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// Keeps what a worker sent to show that an image starts.
pub(super) async fn insert_evidence(
    tx: &mut Writing,
    build: &str,
    attempt: i64,
    evidence: &Evidence,
    sent: &Digests,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO documents (build, name, kind, size, sha256, attempt, format, firmware) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(build)
    .bind(&evidence.name)
    .bind(kind_of(evidence.kind).name())
    .bind(to_i64(sent.size))
    .bind(&sent.sha256)
    .bind(attempt)
    .bind(evidence.format.name())
    .bind(&evidence.firmware)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
