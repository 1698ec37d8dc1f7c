//! What holds for every result, whatever was answered.

use std::collections::BTreeSet;

use memberspot_core::{
    transport::is_success,
    wit::{
        access::AccessState,
        api::ApiResponse,
        bulk::{BulkReport, OperationResult},
        exams::ExamResult,
        offers::Offer,
        orders::OrderState,
        progress::{CollectedCourseProgress, CourseProgressPage, MemberCourseProgress},
        properties::Property,
        triggers::{CourseCompletions, NewExamResults, NewUsers},
        types::{CourseProgress, Error, Failure, FailureCode, User},
        users::{CollectedUsers, LoginToken, UserPage},
    },
};
use serde::de::IgnoredAny;
use serde_json::Value;

use super::{
    network::Network,
    script::{PRIVATE, Script},
};

/// Engines end a call that hands over longer lists.
const MOST_ITEMS: usize = 10_000;
/// Three attempts for each of the three requests that a call may take.
const MOST_EXCHANGES: usize = 9;
/// The same for each of the pages of a script, or for each of eight operations, and for pages and deletions in halves.
const MOST_EXCHANGES_OF_MANY: usize = 200;

/// Checks the result of a call.
pub fn check<T: Bounded>(result: &Result<T, Error>, script: &Script, network: &Network<'_>) {
    assert!(network.exchanges() <= MOST_EXCHANGES, "{} exchanges", network.exchanges());
    match result {
        Ok(value) => {
            value.check(script.key);
            assert!(!is_plainly_an_error(network), "an error with a status of success was taken");
        }
        Err(Error::Transient(failure)) => {
            assert!(!is_final(failure.code), "{failure:?}");
            check_failure(failure, script, network);
        }
        Err(Error::Permanent(failure)) => {
            assert_ne!(failure.code, FailureCode::RateLimited);
            check_failure(failure, script, network);
        }
        Err(Error::ExecutionFailed) => panic!("never returned"),
    }
}

/// Checks the result of work that goes on when a part of it fails.
pub fn check_many<T: Bounded>(result: &Result<T, Error>, script: &Script, network: &Network<'_>) {
    assert!(network.exchanges() <= MOST_EXCHANGES_OF_MANY, "{} exchanges", network.exchanges());
    match result {
        Ok(value) => value.check(script.key),
        Err(error) => error.check(script.key),
    }
}

/// Whether trouble of this code never passes by itself.
fn is_final(code: FailureCode) -> bool {
    use FailureCode::{RateLimited, TimedOut, Unavailable, Unreachable};
    !matches!(code, RateLimited | TimedOut | Unavailable | Unreachable)
}

fn check_failure(failure: &Failure, script: &Script, network: &Network<'_>) {
    failure.check(script.key);
    let texts = || failure.details.iter().chain([&failure.message]);
    let of_success = failure.status.is_some_and(is_success);
    if of_success && script.keeps_private {
        assert!(texts().all(|text| !text.contains(PRIVATE)), "a body is quoted in {failure:?}");
    }
    assert_eq!(usize::try_from(failure.attempts), Ok(network.exchanges()), "{failure:?}");
    // Input that is refused after a look-up is no answer's fault.
    if failure.code != FailureCode::InvalidInput {
        let last = network.last().expect("an exchange").ok().map(|answer| answer.status);
        assert_eq!(failure.status, last, "the status is the last answer's");
    }
}

/// Whether the last answer says in so many words that it is an error. Who spells the word with escapes is no proxy.
fn is_plainly_an_error(network: &Network<'_>) -> bool {
    let Some(Ok(answer)) = network.last() else { return true };
    let said = answer.body.windows(10).any(|part| part == b"statusCode").then(|| status_code(&answer.body)).flatten();
    let missing = answer.status == 404 && said == Some(404);
    let in_disguise = said.is_some_and(|status| (400..600).contains(&status));
    !missing && (!is_success(answer.status) || answer.fault.is_some() || in_disguise)
}

fn status_code(body: &[u8]) -> Option<u64> {
    // The body of an error is read as far as it is text.
    let body = serde_json::from_str::<Value>(&String::from_utf8_lossy(body)).ok()?;
    let status = body.get("statusCode")?;
    status.as_u64().or_else(|| status.as_str()?.parse().ok())
}

/// A result that engines can take: no list in it is too long, and what it calls raw is JSON without the key.
pub trait Bounded {
    /// Panics where that does not hold.
    fn check(&self, key: &str);
}

/// What Memberspot sent, as it sent it.
fn raw(text: &str, key: &str) {
    assert!(text.is_empty() || serde_json::from_str::<IgnoredAny>(text).is_ok(), "{text:?}");
    assert!(!text.contains(key.trim()), "the key is in {text:?}");
}

impl Bounded for () {
    fn check(&self, _key: &str) {}
}

impl<T: Bounded> Bounded for Vec<T> {
    fn check(&self, key: &str) {
        assert!(self.len() <= MOST_ITEMS, "{} items", self.len());
        for item in self {
            item.check(key);
        }
    }
}

impl<T: Bounded> Bounded for Option<T> {
    fn check(&self, key: &str) {
        if let Some(value) = self {
            value.check(key);
        }
    }
}

impl Bounded for Failure {
    fn check(&self, key: &str) {
        let mut texts = self.details.iter().chain([&self.message]);
        assert!(texts.all(|text| !text.contains(key.trim())), "the key is in {self:?}");
        assert!(self.details.len() <= 20 && self.details.iter().all(|detail| detail.len() <= 500), "{self:?}");
        assert!(self.message.len() <= 4096, "{self:?}");
    }
}

impl Bounded for Error {
    fn check(&self, key: &str) {
        match self {
            Self::Permanent(failure) | Self::Transient(failure) => failure.check(key),
            Self::ExecutionFailed => panic!("never returned"),
        }
    }
}

impl Bounded for CollectedUsers {
    fn check(&self, key: &str) {
        assert!(self.users.len() <= 100_000);
        self.interrupted_by.check(key);
        assert!(!self.complete || (self.next_page.is_none() && self.interrupted_by.is_none()), "complete is complete");
        let uids: BTreeSet<_> = self.users.iter().map(|user| &user.uid).collect();
        assert_eq!(uids.len(), self.users.len(), "nobody comes twice");
    }
}

impl Bounded for CollectedCourseProgress {
    fn check(&self, key: &str) {
        assert!(self.entries.len() <= 100_000);
        self.interrupted_by.check(key);
        assert!(!self.complete || (self.next_page.is_none() && self.interrupted_by.is_none()), "complete is complete");
    }
}

impl Bounded for BulkReport {
    fn check(&self, key: &str) {
        let (mut done, mut failed, mut not_started) = (0, 0, 0);
        for result in &self.results {
            match result {
                OperationResult::Done(text) => {
                    assert!(text.is_empty() || serde_json::from_str::<IgnoredAny>(text).is_ok(), "{text:?}");
                    done += 1;
                }
                OperationResult::Failed(error) => {
                    error.check(key);
                    failed += 1;
                }
                OperationResult::NotStarted => not_started += 1,
            }
        }
        assert_eq!((self.done, self.failed, self.not_started), (done, failed, not_started), "what is counted is there");
        assert_eq!(self.results.len(), 8, "each operation has its result");
    }
}

impl Bounded for User {
    fn check(&self, key: &str) {
        assert!(!self.email.is_empty());
        assert!(self.custom_properties.len() <= MOST_ITEMS);
        self.progress.check(key);
        raw(&self.raw, key);
    }
}

impl Bounded for UserPage {
    fn check(&self, key: &str) {
        self.users.check(key);
        assert!(self.users.iter().all(|user| !user.uid.is_empty() && !user.raw.is_empty()));
        assert_ne!(self.next_page.as_deref(), Some(""), "a token of nothing");
    }
}

impl Bounded for CourseProgress {
    fn check(&self, key: &str) {
        assert!(!self.course_id.is_empty());
        raw(&self.raw, key);
    }
}

impl Bounded for CourseProgressPage {
    fn check(&self, key: &str) {
        self.entries.check(key);
        assert_ne!(self.next_page.as_deref(), Some(""), "a token of nothing");
    }
}

impl Bounded for MemberCourseProgress {
    fn check(&self, key: &str) {
        self.progress.check(key);
        self.user.check(key);
    }
}

impl Bounded for Offer {
    fn check(&self, key: &str) {
        assert!(!self.id.is_empty() && self.course_ids.len() <= MOST_ITEMS);
        raw(&self.raw, key);
    }
}

impl Bounded for Property {
    fn check(&self, key: &str) {
        assert!(!self.id.is_empty());
        raw(&self.raw, key);
    }
}

impl Bounded for ExamResult {
    fn check(&self, key: &str) {
        raw(&self.raw, key);
    }
}

impl Bounded for AccessState {
    fn check(&self, key: &str) {
        assert!(self.email.eq_ignore_ascii_case(super::EMAIL) && self.offer_id == "o1", "what was asked for");
        raw(&self.raw, key);
    }
}

impl Bounded for OrderState {
    fn check(&self, key: &str) {
        assert_eq!(self.order_id, "b1", "what was asked for");
        raw(&self.raw, key);
    }
}

impl Bounded for LoginToken {
    fn check(&self, _key: &str) {
        assert!((1..=8192).contains(&self.token.len()) && self.token.bytes().all(|byte| byte.is_ascii_graphic()));
        assert_eq!(self.valid_for_seconds, 3600);
    }
}

impl Bounded for ApiResponse {
    fn check(&self, key: &str) {
        assert!(is_success(self.status) && !self.body.contains(key.trim()));
        assert!(self.headers.iter().all(|header| !header.value.contains(key.trim())), "{:?}", self.headers);
    }
}

impl Bounded for NewUsers {
    fn check(&self, key: &str) {
        self.users.check(key);
        self.interrupted_by.check(key);
    }
}

impl Bounded for NewExamResults {
    fn check(&self, key: &str) {
        self.results.check(key);
    }
}

impl Bounded for CourseCompletions {
    fn check(&self, key: &str) {
        for completion in &self.completions {
            completion.progress.check(key);
        }
        self.interrupted_by.check(key);
    }
}
