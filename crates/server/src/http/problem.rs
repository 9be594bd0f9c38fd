//! Errors of the API as RFC 9457 problem documents.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::limits::Limited;
use crate::orders::Refusal;

/// The media type of problem documents.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// The kinds of problems there are: the `type` of a problem document, for programs to decide by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub enum Kind {
    /// The request is not understood.
    #[serde(rename = "urn:hatchery:problem:malformed")]
    Malformed,
    /// A token is missing, wrong, or was taken back.
    #[serde(rename = "urn:hatchery:problem:unauthorized")]
    Unauthorized,
    /// It is not for whoever asks: the site is for invited users, for one.
    #[serde(rename = "urn:hatchery:problem:forbidden")]
    Forbidden,
    /// There is nothing at this address, or no such order.
    #[serde(rename = "urn:hatchery:problem:not-found")]
    NotFound,
    /// The address takes other methods, which `Allow` names.
    #[serde(rename = "urn:hatchery:problem:wrong-method")]
    WrongMethod,
    /// What it is about is not in a state for this.
    #[serde(rename = "urn:hatchery:problem:conflict")]
    Conflict,
    /// The request is larger than what is taken.
    #[serde(rename = "urn:hatchery:problem:too-large")]
    TooLarge,
    /// The body is of a media type that is not taken here.
    #[serde(rename = "urn:hatchery:problem:wrong-media-type")]
    WrongMediaType,
    /// The file ends before the part that was asked for.
    #[serde(rename = "urn:hatchery:problem:wrong-range")]
    WrongRange,
    /// A value of the request is not good; `field` names it, where it is one of an order.
    #[serde(rename = "urn:hatchery:problem:invalid")]
    Invalid,
    /// No packages can be found that serve the order; `explanation` says why.
    #[serde(rename = "urn:hatchery:problem:no-plan")]
    NoPlan,
    /// The system would be larger than what this site makes.
    #[serde(rename = "urn:hatchery:problem:system-too-large")]
    SystemTooLarge,
    /// The idempotency key was used before with another request.
    #[serde(rename = "urn:hatchery:problem:key-reused")]
    KeyReused,
    /// The program is of a version that is too old.
    #[serde(rename = "urn:hatchery:problem:too-old")]
    TooOld,
    /// Too much was asked for in too short a time; `Retry-After` says when to come again.
    #[serde(rename = "urn:hatchery:problem:limited")]
    Limited,
    /// The site has an error of its own.
    #[serde(rename = "urn:hatchery:problem:internal")]
    Internal,
    /// A channel or the server cannot be used at the moment.
    #[serde(rename = "urn:hatchery:problem:unavailable")]
    Unavailable,
    /// So many builds wait that no more orders are taken.
    #[serde(rename = "urn:hatchery:problem:queue-full")]
    QueueFull,
    /// The operator has no orders taken at the moment.
    #[serde(rename = "urn:hatchery:problem:closed")]
    Closed,
    /// The server's disk is full.
    #[serde(rename = "urn:hatchery:problem:disk-full")]
    DiskFull,
}

impl Kind {
    /// The kind where nothing more is known than the status.
    fn of(status: StatusCode) -> Kind {
        match status {
            StatusCode::UNAUTHORIZED => Kind::Unauthorized,
            StatusCode::FORBIDDEN => Kind::Forbidden,
            StatusCode::NOT_FOUND => Kind::NotFound,
            StatusCode::METHOD_NOT_ALLOWED => Kind::WrongMethod,
            StatusCode::CONFLICT => Kind::Conflict,
            StatusCode::PAYLOAD_TOO_LARGE => Kind::TooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Kind::WrongMediaType,
            StatusCode::RANGE_NOT_SATISFIABLE => Kind::WrongRange,
            StatusCode::UNPROCESSABLE_ENTITY => Kind::Invalid,
            StatusCode::UPGRADE_REQUIRED => Kind::TooOld,
            StatusCode::TOO_MANY_REQUESTS => Kind::Limited,
            StatusCode::SERVICE_UNAVAILABLE => Kind::Unavailable,
            StatusCode::INSUFFICIENT_STORAGE => Kind::DiskFull,
            other if other.is_server_error() => Kind::Internal,
            _ => Kind::Malformed,
        }
    }
}

/// An error as an answer (RFC 9457).
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Problem {
    #[serde(skip)]
    status: StatusCode,
    /// What kind of problem it is.
    #[serde(rename = "type")]
    kind: Kind,
    /// The status of the answer.
    #[serde(rename = "status")]
    code: u16,
    title: &'static str,
    /// What happened and what to do, in words a user can act on.
    pub detail: String,
    /// The field of the order at fault, as in its TOML form.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// The resolver's explanation as data.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    explanation: Option<serde_json::Value>,
    /// The same order with `from_source` would be taken: what it lacks may be built from source first.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    from_source: bool,
    #[serde(skip)]
    retry_after: Option<u32>,
}

impl Problem {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        Problem {
            status,
            kind: Kind::of(status),
            code: status.as_u16(),
            title: status.canonical_reason().unwrap_or("Error"),
            detail: detail.into(),
            field: None,
            explanation: None,
            from_source: false,
            retry_after: None,
        }
    }

    /// The same, of a kind that the status does not tell.
    fn of_kind(self, kind: Kind) -> Problem {
        Problem { kind, ..self }
    }

    /// No order has this identifier.
    pub fn no_such_order() -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "There is no such order. Check the link: it must be complete, to its last character.")
    }

    /// Something went wrong in the server; the cause goes to the log and not to the client.
    pub fn internal(error: &dyn std::error::Error) -> Problem {
        tracing::error!(error = %chain(error), "a request failed");
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The site has an error of its own. It was logged; please try again later, and tell the operator if it stays.",
        )
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error().and_then(|error| error.code()).as_deref() {
            // PostgreSQL takes no text with a NUL in it, and SQLite finds nothing by one.
            Some("22021") => return Problem::new(StatusCode::NOT_FOUND, "There is nothing at this address."),
            // SQLITE_FULL, and PostgreSQL's disk_full.
            Some("13" | "53100") => {
                tracing::error!(%error, "the database has no room");
                return Problem::disk_is_full();
            }
            _ => {}
        }
        if matches!(error, sqlx::Error::PoolTimedOut | sqlx::Error::Io(_)) {
            tracing::error!(%error, "the database does not answer");
            let detail =
                "The site's database does not answer at the moment. What was ordered is not lost; please try again in a minute.";
            return later(60, detail.to_owned());
        }
        Problem::internal(&error)
    }
}

impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        Problem::internal(&error)
    }
}

impl From<Limited> for Problem {
    fn from(limited: Limited) -> Self {
        Refusal::Limited(limited).into()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::Invalid(error) => {
                Problem { field: Some(error.field.clone()), ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail) }
            }
            Refusal::NoPlan(refused) => {
                let explanation = serde_json::to_value(&refused.explanation).ok();
                let from_source = refused.from_source;
                let offer = if from_source {
                    "\nIt can be built from source first: with `from_source = true` the order waits for that."
                } else {
                    ""
                };
                let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail + offer).of_kind(Kind::NoPlan);
                Problem { explanation, from_source, ..problem }
            }
            Refusal::Unavailable { .. } => later(60, detail),
            Refusal::QueueFull { .. } => later(600, detail).of_kind(Kind::QueueFull),
            Refusal::Closed => later(3_600, detail).of_kind(Kind::Closed),
            Refusal::Limited(limited) => {
                Problem { retry_after: Some(limited.retry_after), ..Problem::new(StatusCode::TOO_MANY_REQUESTS, detail) }
            }
            Refusal::TooLarge { .. } => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).of_kind(Kind::SystemTooLarge),
            Refusal::NotInvited => Problem::new(StatusCode::FORBIDDEN, detail),
            Refusal::KeyReused => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).of_kind(Kind::KeyReused),
            Refusal::Internal(error) => match error.downcast::<sqlx::Error>() {
                Ok(of_database) => (*of_database).into(),
                Err(other) => Problem::internal(other.as_ref()),
            },
        }
    }
}

/// It cannot be done now, but maybe after so many seconds.
pub fn later(seconds: u32, detail: String) -> Problem {
    Problem { retry_after: Some(seconds), ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
}

impl Problem {
    pub fn disk_is_full() -> Problem {
        Problem::new(StatusCode::INSUFFICIENT_STORAGE, "The server's disk is full; its operator has to make room.")
    }

    /// The response, which says when it is worth coming again, where that is known.
    pub fn tell_when(&self, mut response: Response) -> Response {
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(&self)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        self.tell_when(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_is_away_is_a_passing_trouble() {
        for error in [sqlx::Error::PoolTimedOut, sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into())] {
            let problem = Problem::from(error);
            assert_eq!((problem.status, problem.retry_after), (StatusCode::SERVICE_UNAVAILABLE, Some(60)));
        }
        assert_eq!(Problem::from(sqlx::Error::RowNotFound).status, StatusCode::INTERNAL_SERVER_ERROR);
    }
}
