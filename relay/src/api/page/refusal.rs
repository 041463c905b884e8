//! What the page answers where it cannot answer: a status and a sentence.

use axum::Json;
use axum::http::header::HeaderName;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::spool::StoreError;

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    problem: String,
    header: Option<(HeaderName, &'static str)>,
}

impl Refusal {
    /// Refuses, with a sentence for people.
    pub(super) fn new(status: StatusCode, problem: impl Into<String>) -> Self {
        Self { status, problem: problem.into(), header: None }
    }

    /// Says that there is no such thing.
    pub(super) fn missing(problem: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, problem)
    }

    /// Says that somebody else does not answer.
    pub(super) fn unavailable(problem: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, problem)
    }

    /// Adds a header to the answer.
    pub(super) fn with(self, name: HeaderName, value: &'static str) -> Self {
        Self { header: Some((name, value)), ..self }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Gone => Self::missing("there is no such message any more"),
            StoreError::Full
            | StoreError::ShareUsed
            | StoreError::Failed(_)
            | StoreError::Damaged(_)
            | StoreError::Claimed
            | StoreError::Held
            | StoreError::Captured
            | StoreError::Repeat(_)
            | StoreError::TooLarge
            | StoreError::Newer { .. }
            | StoreError::Locked
            | StoreError::Closed => Self::unavailable(error.to_string()),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut answer = (self.status, Json(json!({ "error": self.problem }))).into_response();
        if let Some((name, value)) = self.header {
            answer.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        answer
    }
}
