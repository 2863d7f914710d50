//! Errors as problem documents (RFC 9457).

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::authority::AuthorityError;

/// Why a request was refused, and what to do about it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// Names the kind of problem: `urn:writ:problem:<code>`.
    pub r#type: String,
    /// The status in words.
    pub title: String,
    /// The status.
    #[schema(example = 404)]
    pub status: u16,
    /// Names the kind of problem, for programs.
    #[schema(example = "not_found")]
    pub code: &'static str,
    /// One sentence for people.
    pub detail: String,
}

impl From<&AuthorityError> for Problem {
    fn from(error: &AuthorityError) -> Self {
        let (status, code) = error.status_and_code();
        Self {
            r#type: format!("urn:writ:problem:{code}"),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            code,
            detail: error.detail(),
        }
    }
}

/// Writes into the process's log what the caller is not told.
pub(super) fn log(error: &AuthorityError) {
    let (status, code) = error.status_and_code();
    if status.is_server_error() {
        tracing::error!(code, error = %chain(error), "a request failed");
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl Problem {
    /// The document.
    pub(super) fn body(&self) -> Vec<u8> {
        // Expect safety: a structure of strings and one number serialises.
        serde_json::to_vec(self).expect("a problem serialises")
    }
}

/// The type of the document.
pub(super) const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

impl IntoResponse for AuthorityError {
    fn into_response(self) -> Response {
        log(&self);
        let problem = Problem::from(&self);
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, problem.body()).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, PROBLEM_JSON);
        if let Some(seconds) = self.retry_after_s() {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
