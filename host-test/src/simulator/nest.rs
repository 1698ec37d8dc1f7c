//! Answers in the shapes that a NestJS server on Express gives them.

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

/// A whole answer, not yet dated.
pub(super) type Answer = Response<Bytes>;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// A 200 with JSON.
pub(super) fn json(value: &Value) -> Answer {
    with_type(JSON, value.to_string().into())
}

/// A 200 with a string, which Express labels as HTML.
pub(super) fn text(text: impl Into<Bytes>) -> Answer {
    with_type(HTML, text.into())
}

/// A 200 without a body, from a handler that returns nothing.
pub(super) fn empty() -> Answer {
    Answer::default()
}

fn with_type(content_type: HeaderValue, body: Bytes) -> Answer {
    let mut answer = Answer::new(body);
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

/// A request that is not carried out, as NestJS' exceptions say it.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    message: Value,
    /// Whether the body repeats the status as words in `error`; exceptions without a text of their own do not.
    named: bool,
    retry_after: Option<HeaderValue>,
}

impl Refusal {
    /// An exception with its own text: `statusCode`, `message` and `error`.
    pub(super) fn new(status: StatusCode, message: impl Into<Value>) -> Self {
        Self { status, message: message.into(), named: true, retry_after: None }
    }

    /// An exception of which only `statusCode` and `message` are told.
    pub(super) fn bare(status: StatusCode, message: &str) -> Self {
        Self { named: false, ..Self::new(status, message) }
    }

    pub(super) fn not_found(message: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(super) fn bad_request(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// What the validation pipe found, one text for each mistake.
    pub(super) fn invalid(complaints: Vec<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, complaints)
    }

    pub(super) fn unauthorized() -> Self {
        Self::bare(StatusCode::UNAUTHORIZED, "Unauthorized")
    }

    pub(super) fn too_many_requests(retry_after: HeaderValue) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::bare(StatusCode::TOO_MANY_REQUESTS, "ThrottlerException: Too Many Requests")
        }
    }

    pub(super) fn into_answer(self) -> Answer {
        let mut body = json!({"statusCode": self.status.as_u16(), "message": self.message});
        if self.named {
            body["error"] = self.status.canonical_reason().unwrap_or_default().into();
        }
        let mut answer = json(&body);
        *answer.status_mut() = self.status;
        if let Some(retry_after) = self.retry_after {
            answer.headers_mut().insert(RETRY_AFTER, retry_after);
        }
        answer
    }
}
