//! Errors of the API as RFC 9457 problem documents.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::limits::Limited;
use crate::orders::Refusal;

/// An error as an answer.
#[derive(Debug, Serialize)]
pub struct Problem {
    #[serde(skip)]
    status: StatusCode,
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
    explanation: Option<serde_json::Value>,
    #[serde(skip)]
    retry_after: Option<u32>,
}

impl Problem {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        Problem {
            status,
            code: status.as_u16(),
            title: status.canonical_reason().unwrap_or("Error"),
            detail: detail.into(),
            field: None,
            explanation: None,
            retry_after: None,
        }
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
                Problem { explanation, ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail) }
            }
            Refusal::Unavailable { .. } => {
                Problem { retry_after: Some(60), ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
            }
            Refusal::QueueFull { .. } => {
                Problem { retry_after: Some(600), ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
            }
            Refusal::Limited(limited) => {
                Problem { retry_after: Some(limited.retry_after), ..Problem::new(StatusCode::TOO_MANY_REQUESTS, detail) }
            }
            Refusal::TooLarge { .. } => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail),
            Refusal::NotInvited => Problem::new(StatusCode::FORBIDDEN, detail),
            Refusal::Closed => Problem { retry_after: Some(3_600), ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail) },
            Refusal::KeyReused => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail),
            Refusal::Internal(error) => Problem::internal(error.as_ref()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, retry_after) = (self.status, self.retry_after);
        let mut response = (status, Json(self)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
