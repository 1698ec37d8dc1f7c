//! What is recorded.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use time::OffsetDateTime;
use time::macros::format_description;

use super::{Path, Personal, Pseudonyms};

/// Something that happened in a host.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Event {
    /// When, by the clock of the machine.
    pub time: SystemTime,
    /// Whose call it belongs to: [`Tenant::id`](crate::Tenant::id).
    pub tenant: Personal,
    /// Who asked for it, as the embedder says: [`Tenant::on_behalf_of`](crate::Tenant::on_behalf_of).
    pub actor: Option<Personal>,
    /// The call. No other one has the same, in whatever process.
    pub call: Arc<str>,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum What {
    /// A call was asked for; nothing was sent yet.
    CallBegins {
        /// Its interface and name, such as `access.grant-access`. `None` for typed calls, and for a name that there is not.
        function: Option<Arc<str>>,
    },
    /// A call is over.
    CallEnds(Ended),
    /// A request that may change something is about to leave.
    RequestBegins {
        /// Which one of the call, from 1.
        request: u64,
        /// Its method.
        method: &'static str,
        /// The origin that it goes to.
        server: Option<String>,
        /// Its path.
        path: Path,
    },
    /// A request is over: its answer was read, it failed, or nobody waits for it any more.
    RequestEnds(RequestEnded),
    /// A request was not let through. Of each call, the first ones are recorded; the others are counted.
    RequestRefused {
        /// Which one of the call, from 1.
        request: u64,
        /// Its method.
        method: &'static str,
        /// The origin that it was for.
        server: Option<String>,
        /// Its path.
        path: Path,
        /// By what: `origin`, `requests` (too many of them), or `unrecorded`.
        by: &'static str,
    },
}

impl What {
    /// Whether exactly one event follows that ends what this one begins.
    #[must_use]
    pub fn begins(&self) -> bool {
        matches!(self, Self::CallBegins { .. } | Self::RequestBegins { .. })
    }

    /// Which request of the call it is about; 0 for the call itself.
    #[must_use]
    pub fn request(&self) -> u64 {
        match self {
            Self::CallBegins { .. } | Self::CallEnds(_) => 0,
            Self::RequestBegins { request, .. } | Self::RequestRefused { request, .. } => *request,
            Self::RequestEnds(ended) => ended.request,
        }
    }

    /// Whether this ends what an earlier event began.
    #[must_use]
    pub fn ends(&self) -> bool {
        matches!(self, Self::CallEnds(_) | Self::RequestEnds(RequestEnded { announced: true, .. }))
    }
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Outcome {
    /// The function succeeded.
    Success,
    /// The function failed, in its own words.
    Failure,
    /// A typed call came to its end; what it answered, only the caller knows.
    Completed,
    /// The host ended the call, or did not make it.
    Error,
    /// The caller gave it up. What was sent may have taken effect.
    Cancelled,
}

/// A call that is over.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Ended {
    /// As in [`What::CallBegins`].
    pub function: Option<Arc<str>>,
    /// What became of it.
    pub outcome: Outcome,
    /// Of a failure: `transient` or `permanent`.
    pub case: Option<String>,
    /// The code of a failure, such as `notFound`, or [`HostError::code`](crate::HostError::code).
    pub code: Option<String>,
    /// Of a failure: the HTTP status that it comes from.
    pub status: Option<u64>,
    /// Of a failure: how often the request was made.
    pub attempts: Option<u64>,
    /// Of a failure: whether it may have taken effect nevertheless.
    pub outcome_unknown: Option<bool>,
    /// Requests that were let through.
    pub requests: u64,
    /// Requests that were not.
    pub refused: u64,
    /// Bytes of bodies sent.
    pub bytes_out: u64,
    /// Bytes of bodies received.
    pub bytes_in: u64,
    /// From its beginning, waiting for a place included.
    pub duration: Duration,
    /// Of that, how long the component computed, or had the host compute for it.
    pub computing: Duration,
}

/// A request that is over.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RequestEnded {
    /// Which one of the call, from 1.
    pub request: u64,
    /// Whether there was a [`What::RequestBegins`].
    pub announced: bool,
    /// Its method; `_OTHER` for one that HTTP does not define.
    pub method: &'static str,
    /// The origin that it went to.
    pub server: Option<String>,
    /// Its path.
    pub path: Path,
    /// The status of the answer, where there was one.
    pub status: Option<u16>,
    /// What went wrong, by its name in `wasi:http`; `cancelled` when nobody waited any more.
    pub fault: Option<String>,
    /// Bytes of the body sent.
    pub bytes_out: u64,
    /// Bytes of the body received.
    pub bytes_in: u64,
    /// Until the answer was read.
    pub duration: Duration,
}

/// The fields of a line, in their order.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Fields {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) actor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) call: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) function: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) method: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) outcome: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) case: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fault: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) attempts: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) outcome_unknown: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) requests: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes_out: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes_in: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) duration_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) computing_us: Option<u64>,
    // What the log says of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) log: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) oldest: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) chain: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) addresses: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) events: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes: Option<u64>,
}

/// An event as it is recorded: its name and its fields.
pub(super) fn fields(event: &Event, pseudonyms: &Pseudonyms) -> (&'static str, Fields) {
    let tenant = event.tenant.expose();
    let path = |path: &Path| Some(pseudonyms.of_path(tenant, path));
    let common = Fields {
        tenant: Some(pseudonyms.of_name("", &event.tenant)),
        actor: event.actor.as_ref().map(|actor| pseudonyms.of_name(tenant, actor)),
        call: Some(event.call.to_string()),
        ..Fields::default()
    };
    match &event.what {
        What::CallBegins { function } => ("call.begin", Fields { function: function.as_deref().map(str::to_owned), ..common }),
        What::CallEnds(ended) => ("call.end", ended.fields(common)),
        What::RequestBegins { request, method, server, path: to } => (
            "request.begin",
            Fields { request: Some(*request), method: Some(method), server: server.clone(), path: path(to), ..common },
        ),
        What::RequestEnds(ended) => {
            let fields = Fields {
                request: Some(ended.request),
                method: Some(ended.method),
                server: ended.server.clone(),
                path: path(&ended.path),
                status: ended.status.map(u64::from),
                fault: ended.fault.clone(),
                bytes_out: Some(ended.bytes_out),
                bytes_in: Some(ended.bytes_in),
                duration_us: Some(micros(ended.duration)),
                ..common
            };
            ("request.end", fields)
        }
        What::RequestRefused { request, method, server, path: to, by } => {
            let (request, server) = (Some(*request), server.clone());
            ("request.refused", Fields { request, method: Some(method), server, path: path(to), by: Some(by), ..common })
        }
    }
}

impl Ended {
    fn fields(&self, common: Fields) -> Fields {
        Fields {
            function: self.function.as_deref().map(str::to_owned),
            outcome: Some(self.outcome),
            case: self.case.clone(),
            code: self.code.clone(),
            status: self.status,
            attempts: self.attempts,
            outcome_unknown: self.outcome_unknown,
            requests: Some(self.requests),
            refused: Some(self.refused).filter(|refused| *refused > 0),
            bytes_out: Some(self.bytes_out),
            bytes_in: Some(self.bytes_in),
            duration_us: Some(micros(self.duration)),
            computing_us: Some(micros(self.computing)),
            ..common
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// RFC 3339 in UTC, always of the same length.
pub(super) fn rfc3339(time: SystemTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    // A year of five digits has no such form.
    OffsetDateTime::from(time).format(&format).unwrap_or_default()
}
