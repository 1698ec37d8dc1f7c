//! From what happened to the error that a caller decides by.
//!
//! Everything that can go wrong is a [`Trouble`] with three properties: its code, whether it may pass by itself, and
//! whether the request may have taken effect. Together with the [`Nature`] of the request they decide the case of the
//! error and `outcome-unknown`; this is the only place that does.
//!
//! | code | case |
//! |---|---|
//! | `invalid-input`, `not-configured`, `not-permitted` | permanent |
//! | `unauthorized`, `forbidden`, `not-found`, `conflict`, `rejected` | permanent |
//! | `rate-limited` | transient |
//! | `timed-out`, `unavailable` | transient; permanent when the request is not safe to repeat and may have taken effect |
//! | `unreachable` | the same; permanent when the certificate was refused |
//! | `invalid-response`, `too-large` | permanent |

use crate::wit::types::{Error, Failure, FailureCode};

/// What making a request once or twice does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// It changes nothing.
    Read,
    /// It changes something; made twice, it changes nothing more.
    Idempotent,
    /// Made twice, it may act twice.
    Once,
}

impl Nature {
    fn repeatable(self) -> bool {
        self != Self::Once
    }
}

/// Whether a request that failed may have taken effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It surely had none: it never arrived, or it was refused.
    None,
    /// It may have had one.
    Possible,
}

/// One thing that went wrong, before it is known what it means for the request at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The reason.
    pub code: FailureCode,
    /// The reason, for a person.
    pub message: String,
    /// Whether the same request may succeed later.
    pub passing: bool,
    /// Whether the request may have taken effect.
    pub effect: Effect,
    /// The HTTP status, where an answer arrived.
    pub status: Option<u16>,
    /// Milliseconds to wait, where Memberspot said so.
    pub retry_after_ms: Option<u32>,
    /// Memberspot's own messages.
    pub details: Vec<String>,
}

impl Trouble {
    /// Trouble that will not pass and surely had no effect.
    pub fn refused(code: FailureCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, message, passing: false, effect: Effect::None, status: None, retry_after_ms: None, details: vec![] }
    }

    /// The same trouble, with how long to wait.
    #[must_use]
    pub fn asking_for(self, wait: std::time::Duration) -> Self {
        Self { retry_after_ms: u32::try_from(wait.as_millis()).ok().or(Some(u32::MAX)), ..self }
    }

    /// Whether the same request may succeed later, and repeating it is safe.
    pub fn may_be_repeated(&self, nature: Nature) -> bool {
        self.passing && (nature.repeatable() || self.effect == Effect::None)
    }

    /// The error for a request of this nature, after so many requests.
    pub fn into_error(self, nature: Nature, attempts: u32) -> Error {
        let transient = self.may_be_repeated(nature);
        let failure = Failure {
            code: self.code,
            message: self.message,
            status: self.status,
            retry_after_ms: self.retry_after_ms,
            outcome_unknown: nature != Nature::Read && self.effect == Effect::Possible,
            attempts,
            details: self.details,
        };
        if transient { Error::Transient(failure) } else { Error::Permanent(failure) }
    }
}

/// The error for a parameter that is not acceptable: names the field, in the spelling of the WIT, and what to do.
pub fn invalid_input(field: &str, problem: impl std::fmt::Display) -> Error {
    Trouble::refused(FailureCode::InvalidInput, format!("{field}: {problem}")).into_error(Nature::Read, 0)
}

/// The error for a variable of the environment that is missing or wrong.
pub fn not_configured(variable: &str, problem: impl std::fmt::Display) -> Error {
    Trouble::refused(FailureCode::NotConfigured, format!("{variable} {problem}")).into_error(Nature::Read, 0)
}

/// The particulars of an error; none only in the case that is never returned.
pub fn failure(error: &Error) -> Option<&Failure> {
    match error {
        Error::Permanent(failure) | Error::Transient(failure) => Some(failure),
        Error::ExecutionFailed => None,
    }
}

/// The same error, after so many requests.
pub fn counted(error: Error, attempts: u32) -> Error {
    let count = |failure: Failure| Failure { attempts, ..failure };
    match error {
        Error::Permanent(failure) => Error::Permanent(count(failure)),
        Error::Transient(failure) => Error::Transient(count(failure)),
        Error::ExecutionFailed => error,
    }
}

/// Names in a row, for a message.
pub fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.fold(String::new(), |mut list, name| {
        if !list.is_empty() {
            list.push_str(", ");
        }
        list.push_str(name);
        list
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(nature: Nature, passing: bool, effect: Effect) -> (bool, bool) {
        let trouble = Trouble { passing, effect, ..Trouble::refused(FailureCode::Unavailable, "") };
        match trouble.into_error(nature, 1) {
            Error::Transient(failure) => (true, failure.outcome_unknown),
            Error::Permanent(failure) => (false, failure.outcome_unknown),
            Error::ExecutionFailed => unreachable!("never returned"),
        }
    }

    #[test]
    fn case_and_outcome_follow_from_nature_and_trouble() {
        use {Effect::*, Nature::*};
        // (nature, passing, effect) -> (transient, outcome unknown)
        let table = [
            (Read, true, None, true, false),
            (Read, true, Possible, true, false),
            (Read, false, None, false, false),
            (Read, false, Possible, false, false),
            (Idempotent, true, None, true, false),
            (Idempotent, true, Possible, true, true),
            (Idempotent, false, None, false, false),
            (Idempotent, false, Possible, false, true),
            (Once, true, None, true, false),
            (Once, true, Possible, false, true),
            (Once, false, None, false, false),
            (Once, false, Possible, false, true),
        ];
        for (nature, passing, effect, transient, unknown) in table {
            assert_eq!(judge(nature, passing, effect), (transient, unknown), "{nature:?} {passing} {effect:?}");
        }
    }
}
