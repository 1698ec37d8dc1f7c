//! The boundary to the network: what the client hands over, and what comes back. The component's own transport is in
//! `wasi.rs`; tests bring theirs.

use std::{future::Future, time::Duration};

use crate::{
    error::{Effect, Trouble},
    origin::Origin,
    request::Method,
    wit::types::FailureCode,
};

/// A complete request.
pub struct Outgoing<'a> {
    /// Where it goes.
    pub origin: &'a Origin,
    /// The method.
    pub method: Method,
    /// Path and query.
    pub target: &'a str,
    /// All headers but `Host`, which the engine sets from the origin, in the form in which it takes them. The key is among them.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Option<&'a str>,
}

/// How long and how much an exchange may take. Moments are on the clock of [`Transport::now`].
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// When the exchange ends, whatever it is doing.
    pub deadline: Duration,
    /// How long to wait, after the request is sent, until the headers of the answer are there. A component cannot see
    /// connecting apart from waiting, so this covers name look-up, connecting and TLS as well.
    pub first_byte: Duration,
    /// How long sending or receiving may stand still.
    pub between_bytes: Duration,
    /// How long the body of an answer of status 2xx may be; of any other, [`MOST_ERROR_BYTES`] are enough.
    pub most_bytes: usize,
}

/// More of an error's body is not read: its status has said what counts.
pub const MOST_ERROR_BYTES: usize = 64 << 10;

/// Whether a status is 2xx.
pub fn is_success(status: u16) -> bool {
    (200..=299).contains(&status)
}

/// What came back.
pub struct Incoming {
    /// The HTTP status.
    pub status: u16,
    /// The headers, as they came.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body, as far as it came.
    pub body: Vec<u8>,
    /// What ended the body before its end.
    pub fault: Option<Fault>,
}

/// Why an exchange failed.
///
/// Engines disagree on what they report for one and the same fault, so only what all of them can be believed about is told
/// apart. In particular, a time-out that an engine reports while it connects does not mean that the request was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The host name has no address.
    Dns,
    /// Nobody listens at the address.
    Refused,
    /// The engine does not let this component go there.
    Denied,
    /// No TLS connection: the certificate of the server is not accepted, or it does not speak TLS.
    Certificate,
    /// No answer in time.
    TimedOut,
    /// The call's deadline passed, and nothing was sent.
    DeadlineBeforeSending,
    /// The connection broke.
    Broken,
    /// The answer is larger than allowed.
    TooLarge,
    /// The engine does not take the request.
    Unsendable,
}

impl Fault {
    /// What the fault means for the call.
    pub fn trouble(self, origin: &Origin, most_bytes: usize) -> Trouble {
        use FailureCode as Code;
        let authority = origin.authority();
        let (code, passing, effect, message) = match self {
            Self::Dns => (
                Code::Unreachable,
                true,
                Effect::None,
                format!("the host name of {authority} has no address; check the base URL"),
            ),
            Self::Refused => (Code::Unreachable, true, Effect::None, format!("{authority} refuses connections")),
            Self::Denied => (
                Code::NotPermitted,
                false,
                Effect::None,
                format!(
                    "the engine does not let this component reach {authority}; allow that host in the engine's network settings"
                ),
            ),
            Self::Certificate => (
                Code::Unreachable,
                false,
                Effect::Possible,
                format!("{authority} does not speak TLS, or its certificate is not accepted"),
            ),
            Self::TimedOut => (Code::TimedOut, true, Effect::Possible, format!("{authority} did not answer in time")),
            Self::DeadlineBeforeSending => {
                (Code::TimedOut, true, Effect::None, "the deadline of the call passed before the request was sent".into())
            }
            Self::Broken => (
                Code::Unreachable,
                true,
                Effect::Possible,
                format!("the connection to {authority} broke before the answer was complete"),
            ),
            Self::TooLarge => (
                Code::TooLarge,
                false,
                Effect::Possible,
                format!("the answer is larger than {most_bytes} bytes; ask for less, or raise MEMBERSPOT_MAX_RESPONSE_BYTES"),
            ),
            Self::Unsendable => (
                Code::InvalidInput,
                false,
                Effect::None,
                "the engine does not accept the request; shorten or correct its headers and path".into(),
            ),
        };
        Trouble { passing, effect, ..Trouble::refused(code, message) }
    }
}

/// Carries requests, and has the clock that their bounds are measured on.
pub trait Transport {
    /// The present moment: time since an arbitrary start, never going back.
    fn now(&self) -> Duration;

    /// Waits until a moment.
    fn sleep_until(&self, moment: Duration) -> impl Future<Output = ()>;

    /// Sends a request and receives the answer.
    ///
    /// # Errors
    /// The fault, when no status was received. A fault after that is part of what is returned.
    fn exchange(&self, request: Outgoing<'_>, bounds: Bounds) -> impl Future<Output = Result<Incoming, Fault>>;
}
