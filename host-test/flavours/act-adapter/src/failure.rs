//! Errors as ACT has them: a kind for programs, and a message, which is all that an agent sees.

use memberspot_core::{
    error::failure,
    form,
    wit::types::{Error, FailureCode},
};

use crate::bindings::act::core::types::{Error as ActError, LocalizedString};

/// Kinds of ACT's own.
pub const CAPABILITY_DENIED: &str = "std:capability-denied";
pub const INTERNAL: &str = "std:internal";
pub const INVALID_ARGS: &str = "std:invalid-args";
/// For tools only: not for what is missing in a school.
pub const NOT_FOUND: &str = "std:not-found";
pub const SESSION_NOT_FOUND: &str = "std:session-not-found";
pub const TIMEOUT: &str = "std:timeout";

/// The kind of an error: ACT's where ACT has one that means the same, otherwise our code in our own namespace.
pub fn kind(error: &Error) -> &'static str {
    match failure(error).map(|it| it.code) {
        Some(FailureCode::InvalidInput) => INVALID_ARGS,
        Some(FailureCode::NotPermitted) => CAPABILITY_DENIED,
        Some(FailureCode::TimedOut) => TIMEOUT,
        Some(FailureCode::NotConfigured) => "memberspot:not-configured",
        Some(FailureCode::Unauthorized) => "memberspot:unauthorized",
        Some(FailureCode::Forbidden) => "memberspot:forbidden",
        Some(FailureCode::NotFound) => "memberspot:not-found",
        Some(FailureCode::Conflict) => "memberspot:conflict",
        Some(FailureCode::Rejected) => "memberspot:rejected",
        Some(FailureCode::RateLimited) => "memberspot:rate-limited",
        Some(FailureCode::Unavailable) => "memberspot:unavailable",
        Some(FailureCode::Unreachable) => "memberspot:unreachable",
        Some(FailureCode::InvalidResponse) => "memberspot:invalid-response",
        Some(FailureCode::TooLarge) => "memberspot:too-large",
        None => INTERNAL,
    }
}

/// An error of the connector. Its message is the whole error as JSON: an agent has to decide by more than a sentence.
pub fn of_connector(error: &Error) -> ActError {
    new(kind(error), form::text(error))
}

/// An error.
pub fn new(kind: &str, message: impl Into<String>) -> ActError {
    ActError { kind: kind.to_owned(), message: LocalizedString::Plain(message.into()), metadata: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memberspot_core::wit::types::Failure;
    use serde_json::json;

    #[test]
    fn the_message_is_the_whole_error() {
        let failure = Failure {
            code: FailureCode::NotFound,
            message: "gone".into(),
            status: Some(404),
            retry_after_ms: None,
            outcome_unknown: false,
            attempts: 1,
            details: vec!["Offer not found".into()],
        };
        let ActError { kind, message: LocalizedString::Plain(message), .. } = of_connector(&Error::Permanent(failure)) else {
            panic!()
        };
        let expected = json!({"tag": "permanent", "val": {
            "code": "notFound", "message": "gone", "status": 404, "outcomeUnknown": false, "attempts": 1,
            "details": ["Offer not found"],
        }});
        assert_eq!(kind, "memberspot:not-found");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&message).unwrap(), expected);
    }
}
