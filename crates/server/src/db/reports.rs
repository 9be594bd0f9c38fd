//! What users report of builds that failed, and what the operator answers.

use contract::Failure;
use serde::Serialize;
use sqlx::any::AnyRow;
use sqlx::{FromRow, Row as _};

use super::outbox::{self, NoticeKind};
use super::{Db, Result, from_json, to_json};
use crate::clock::now;

/// Most reports shown to the operator, newest first.
const SHOWN: i64 = 200;

/// A report to be kept.
pub struct NewReport<'a> {
    pub id: &'a str,
    pub order: &'a str,
    pub build: &'a str,
    /// When the build failed.
    pub failed: i64,
    pub failure: &'a Failure,
    /// What the user says.
    pub words: &'a str,
    /// All that is needed to repeat it, as JSON.
    pub bundle: &'a str,
}

/// A report of a failed build. It does not say who ordered.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Report)]
pub struct ReportRow {
    pub id: String,
    pub build: String,
    /// Seconds since the epoch.
    pub made: i64,
    pub failure: Failure,
    /// What the user says of it.
    pub words: String,
    /// What the operator answered, once that was.
    pub answer: Option<String>,
}

impl<'r> FromRow<'r, AnyRow> for ReportRow {
    fn from_row(row: &'r AnyRow) -> Result<Self> {
        Ok(ReportRow {
            id: row.try_get("id")?,
            build: row.try_get("build")?,
            made: row.try_get("made")?,
            failure: from_json(&row.try_get::<String, _>("failure")?)?,
            words: row.try_get("words")?,
            answer: row.try_get("answer")?,
        })
    }
}

impl Db {
    /// Keeps a report. Each failure of an order's build is reported once; whether this was the first time.
    pub async fn report(&self, report: &NewReport<'_>) -> Result<bool> {
        let done = sqlx::query(
            "INSERT INTO reports (id, order_id, build, failed, made, failure, words, bundle) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (order_id, failed) DO NOTHING",
        )
        .bind(report.id)
        .bind(report.order)
        .bind(report.build)
        .bind(report.failed)
        .bind(now())
        .bind(to_json(report.failure)?)
        .bind(report.words)
        .bind(report.bundle)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// The last report of an order.
    pub async fn report_of_order(&self, order: &str) -> Result<Option<ReportRow>> {
        sqlx::query_as(
            "SELECT id, build, made, failure, words, answer FROM reports WHERE order_id = $1 ORDER BY failed DESC LIMIT 1",
        )
        .bind(order)
        .fetch_optional(&self.pool)
        .await
    }

    /// The newest reports; those without an answer first.
    pub async fn reports(&self) -> Result<Vec<ReportRow>> {
        sqlx::query_as(
            "SELECT id, build, made, failure, words, answer FROM reports
             ORDER BY CASE WHEN answer IS NULL THEN 0 ELSE 1 END, made DESC, id LIMIT $1",
        )
        .bind(SHOWN)
        .fetch_all(&self.pool)
        .await
    }

    /// All that was sent with a report.
    pub async fn report_bundle(&self, id: &str) -> Result<Option<String>> {
        sqlx::query_scalar("SELECT bundle FROM reports WHERE id = $1").bind(id).fetch_optional(&self.pool).await
    }

    /// Keeps the operator's answer, and owes its user the news of it. The order that it was about, or none when there is no such report.
    pub async fn answer_report(&self, id: &str, answer: &str) -> Result<Option<String>> {
        let mut tx = self.write().await?;
        let order: Option<String> =
            sqlx::query_scalar("UPDATE reports SET answer = $1, answered = $2 WHERE id = $3 RETURNING order_id")
                .bind(answer)
                .bind(now())
                .bind(id)
                .fetch_optional(&mut *tx)
                .await?;
        if let Some(order) = &order {
            // A further answer is told of again.
            sqlx::query("DELETE FROM outbox WHERE order_id = $1 AND kind = 'answered'").bind(order).execute(&mut *tx).await?;
            outbox::tell_order(&mut tx, order, NoticeKind::Answered).await?;
        }
        tx.commit().await?;
        Ok(order)
    }
}
