//! What can go wrong between a client and the server, and for which requests it does.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::{HeaderMap, Method, StatusCode};
use serde_json::Value;

use super::paths;

/// `{"users":[]}`, gzipped.
const GZIPPED: &[u8] = &[
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xab, 0x56, 0x2a, 0x2d, 0x4e, 0x2d, 0x2a, 0x56, 0xb2, 0x8a,
    0x8e, 0xad, 0x05, 0x00, 0x95, 0xff, 0x26, 0x22, 0x0c, 0x00, 0x00, 0x00,
];

/// A share of the requests, chosen by chance and yet always the same ones: the seed and a request's number among those that
/// match decide, whatever other injections do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chance {
    /// How many of them, from 0 for none to 1 for all.
    pub share: f64,
    /// Another seed chooses others.
    pub seed: u64,
}

/// A fault, the requests that it befalls, and how often.
///
/// Of several injections that match a request, the first that has turns left is used; all of them count the request as
/// seen. So `after` always speaks of the matching requests since the injection.
#[derive(Clone, Debug)]
pub struct Injection {
    /// Only requests with this method; any when absent.
    pub method: Option<Method>,
    /// Only requests whose path matches: a path as in `/v1/users/list`, where `{}` stands for any one segment and a
    /// last segment `*` for any rest. Case and a trailing slash do not matter.
    pub path: String,
    /// What happens to them.
    pub fault: Fault,
    /// How many requests it befalls; no end when absent.
    pub times: Option<u32>,
    /// How many matching requests pass unharmed first.
    pub after: u32,
    /// Which of these it befalls, by chance; all when absent.
    pub chance: Option<Chance>,
    /// Whether the server carries the request out all the same, so that the client cannot know. Faults that spoil the
    /// real answer always do ([`Fault::needs_answer`]); faults before the request body is read never do.
    pub applies_effect: bool,
}

impl Injection {
    /// `fault` for every request whose path matches, without effect.
    #[must_use]
    pub fn new(path: impl Into<String>, fault: Fault) -> Self {
        Self { method: None, path: path.into(), fault, times: None, after: 0, chance: None, applies_effect: false }
    }

    /// `fault` for every request.
    #[must_use]
    pub fn everywhere(fault: Fault) -> Self {
        Self::new("*", fault)
    }

    /// Only for requests with this method.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = Some(method);
        self
    }

    /// Only for so many requests.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Only for one request.
    #[must_use]
    pub fn once(self) -> Self {
        self.times(1)
    }

    /// Only after so many matching requests.
    #[must_use]
    pub fn after(mut self, requests: u32) -> Self {
        self.after = requests;
        self
    }

    /// Only for a share of the requests, from 0 for none to 1 for all.
    #[must_use]
    pub fn by_chance(mut self, share: f64, seed: u64) -> Self {
        self.chance = Some(Chance { share, seed });
        self
    }

    /// The server carries the request out, and the fault hides that from the client.
    #[must_use]
    pub fn with_effect(mut self) -> Self {
        self.applies_effect = true;
        self
    }
}

/// One thing that goes wrong.
///
/// Byte counts are of the body unless said otherwise. A fault that leaves the ordinary course of HTTP ends the
/// connection; its pauses are tokio's time. Answers to `HEAD` get no special care.
#[derive(Clone, Debug)]
pub enum Fault {
    /// A refusal in NestJS' shape. Headers that frame the body are ignored; [`Fault::Canned`] sends those.
    Status {
        /// The status; any but 1xx.
        status: StatusCode,
        /// The `message`: a string or a list.
        message: Value,
        /// Further headers.
        headers: HeaderMap,
    },
    /// An answer sent byte for byte, which need not be right. `Content-Length`, `Date` and `Connection: close` are added
    /// when absent; no length is when `Transfer-Encoding` is given.
    Canned {
        /// The status, also one that does not exist.
        status: u16,
        /// Names and values as they go out.
        headers: Vec<(String, String)>,
        /// The body.
        body: Bytes,
    },
    /// These bytes instead of an HTTP answer, then a clean close.
    Raw(Bytes),
    /// The real answer in another JSON shape; an answer that is not JSON, or a refusal, stays as it is.
    Reshape(Reshape),
    /// A 400 whose message lists every header received, secrets included.
    Echo,
    /// The real answer, so much later.
    Delay(Duration),
    /// No answer, on a connection that stays open until the client closes it.
    HangBeforeHeaders,
    /// The real answer, which pauses after so many bytes: for a while, or until the client closes.
    StallBody {
        /// How many bytes come before the pause, at most all but the last.
        after: usize,
        /// How long it is; endless when absent.
        pause: Option<Duration>,
    },
    /// The real answer in small pieces.
    Trickle {
        /// The bytes of a piece; at least one.
        bytes: usize,
        /// The pause before each piece.
        every: Duration,
    },
    /// A TCP reset instead of an answer.
    ResetBeforeHeaders,
    /// A TCP reset after so many bytes of the status line and headers.
    ResetInHeaders {
        /// How many bytes of the head are sent, at most all but the last.
        after: usize,
    },
    /// The head and so many bytes of the real answer, then a TCP reset. The head promises at least one byte more.
    ResetInBody {
        /// How many bytes are sent.
        after: usize,
    },
    /// The same with a clean close.
    TruncateBody {
        /// How many bytes are sent.
        after: usize,
    },
    /// The real answer in chunked encoding, closed cleanly after so many bytes and without the last chunk.
    TruncateChunks {
        /// How many bytes are sent.
        after: usize,
    },
    /// A 200 with a JSON list that is empty but for white space.
    OversizedBody {
        /// How long the body is; at least 2.
        bytes: u64,
        /// Whether `Content-Length` says so beforehand; chunks tell nothing.
        declared: bool,
    },
    /// A 200 whose chunks never end.
    EndlessBody,
    /// A refusal before the request body is read. The body is then read and discarded until the client closes.
    EarlyAnswer(StatusCode),
    /// A close before the request body is read, without an answer.
    DropUnread,
    /// An empty answer to requests that have a body, as from a proxy that minds a body on `DELETE`. Requests without one
    /// pass unharmed and are not counted.
    RefuseBody(StatusCode),
}

/// What goes wrong before there is a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectFault {
    /// The host name has no address.
    Unresolved,
    /// Nobody listens at the address.
    Refused,
    /// Nobody answers at the address.
    Silent,
}

/// Another shape for a JSON answer.
#[derive(Clone)]
pub enum Reshape {
    /// A wrapped list without its wrapper, and so without the token of the next page.
    Bare,
    /// A list under this name: a bare one is wrapped, a wrapped one renamed and its other fields kept.
    Wrap(String),
    /// Every field of the one name gets the other, at any depth.
    Rename(String, String),
    /// Every field of this name is left out, at any depth.
    Omit(String),
    /// Every field of this name becomes `null`, at any depth.
    Null(String),
    /// Every object gets one more field with this name and value.
    Add(String, Value),
    /// Anything else.
    With(Arc<dyn Fn(Value) -> Value + Send + Sync>),
}

impl Fault {
    /// A refusal with the status' own words.
    #[must_use]
    pub fn status(status: StatusCode) -> Self {
        Self::refusal(status, status.canonical_reason().unwrap_or_default())
    }

    /// A refusal with this `message`.
    #[must_use]
    pub fn refusal(status: StatusCode, message: impl Into<Value>) -> Self {
        Self::Status { status, message: message.into(), headers: HeaderMap::new() }
    }

    /// A refusal with `Retry-After`: seconds, a date, or nonsense.
    #[must_use]
    pub fn retry_after(status: StatusCode, retry_after: HeaderValue) -> Self {
        Self::Status {
            status,
            message: status.canonical_reason().unwrap_or_default().into(),
            headers: HeaderMap::from_iter([(RETRY_AFTER, retry_after)]),
        }
    }

    /// An answer sent as it is.
    #[must_use]
    pub fn canned(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Self {
        let headers = headers.iter();
        Self::Canned {
            status,
            headers: headers.map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
            body: body.into(),
        }
    }

    /// A 200 with this JSON text, right or wrong.
    #[must_use]
    pub fn json(body: impl Into<Bytes>) -> Self {
        Self::canned(200, &[("Content-Type", "application/json; charset=utf-8")], body)
    }

    /// A 502 with the page of a proxy.
    #[must_use]
    pub fn html_page() -> Self {
        let page = "<!DOCTYPE html><html><head><title>502</title></head><body><h1>Bad Gateway</h1></body></html>";
        Self::canned(502, &[("Content-Type", "text/html")], page)
    }

    /// A 200 with a web page where JSON is due, as from a captive portal.
    #[must_use]
    pub fn html_instead_of_json() -> Self {
        let page = "<!DOCTYPE html><html><body>Please log in.</body></html>";
        Self::canned(200, &[("Content-Type", "text/html")], page)
    }

    /// A 200 with JSON that breaks off.
    #[must_use]
    pub fn malformed_json() -> Self {
        Self::json(r#"{"users":[{"uid":"uid-anna","email":"#)
    }

    /// A 200 with JSON that is not UTF-8.
    #[must_use]
    pub fn invalid_utf8() -> Self {
        Self::json(Bytes::from_static(b"{\"uid\":\"\xff\xfe\"}"))
    }

    /// A 200 without any body.
    #[must_use]
    pub fn empty_body() -> Self {
        Self::json("")
    }

    /// A 200 with good JSON that is labelled as plain text.
    #[must_use]
    pub fn wrong_content_type() -> Self {
        Self::canned(200, &[("Content-Type", "text/plain")], r#"{"users":[]}"#)
    }

    /// A 200 with compressed JSON that nobody asked for.
    #[must_use]
    pub fn gzip() -> Self {
        let headers = [("Content-Type", "application/json; charset=utf-8"), ("Content-Encoding", "gzip")];
        Self::canned(200, &headers, GZIPPED)
    }

    /// Sends the client elsewhere.
    #[must_use]
    pub fn redirect(status: StatusCode, location: &str) -> Self {
        Self::canned(status.as_u16(), &[("Location", location)], "")
    }

    /// The real answer in another shape.
    #[must_use]
    pub fn reshape(reshape: Reshape) -> Self {
        Self::Reshape(reshape)
    }

    /// The name that the journal shows.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Status { .. } => "status",
            Self::Canned { .. } => "canned",
            Self::Raw(_) => "raw",
            Self::Reshape(_) => "reshape",
            Self::Echo => "echo",
            Self::Delay(_) => "delay",
            Self::HangBeforeHeaders => "hang-before-headers",
            Self::StallBody { .. } => "stall-body",
            Self::Trickle { .. } => "trickle",
            Self::ResetBeforeHeaders => "reset-before-headers",
            Self::ResetInHeaders { .. } => "reset-in-headers",
            Self::ResetInBody { .. } => "reset-in-body",
            Self::TruncateBody { .. } => "truncate-body",
            Self::TruncateChunks { .. } => "truncate-chunks",
            Self::OversizedBody { .. } => "oversized-body",
            Self::EndlessBody => "endless-body",
            Self::EarlyAnswer(_) => "early-answer",
            Self::DropUnread => "drop-unread",
            Self::RefuseBody(_) => "refuse-body",
        }
    }

    /// Whether it spoils the real answer, for which the request has to be carried out.
    #[must_use]
    pub fn needs_answer(&self) -> bool {
        matches!(
            self,
            Self::Reshape(_)
                | Self::Delay(_)
                | Self::StallBody { .. }
                | Self::Trickle { .. }
                | Self::ResetInBody { .. }
                | Self::TruncateBody { .. }
                | Self::TruncateChunks { .. }
        )
    }

    /// Whether it strikes before the request body is read.
    #[must_use]
    pub fn leaves_body_unread(&self) -> bool {
        matches!(self, Self::EarlyAnswer(_) | Self::DropUnread)
    }
}

impl Reshape {
    /// The answer in the other shape.
    pub(super) fn apply(&self, answer: Value) -> Value {
        match self {
            Self::Bare => match answer {
                Value::Object(mut fields) => {
                    let list = fields.values_mut().find(|value| value.is_array());
                    list.map(Value::take).unwrap_or(Value::Object(fields))
                }
                other => other,
            },
            Self::Wrap(name) => match answer {
                Value::Object(mut fields) => {
                    let list = fields.iter().find(|(_, value)| value.is_array());
                    if let Some(old) = list.map(|(old, _)| old.clone())
                        && let Some(list) = fields.remove(&old)
                    {
                        fields.insert(name.clone(), list);
                    }
                    Value::Object(fields)
                }
                list @ Value::Array(_) => Value::Object([(name.clone(), list)].into_iter().collect()),
                other => other,
            },
            Self::Rename(from, to) => each_object(answer, &|fields| {
                if let Some(value) = fields.remove(from) {
                    fields.insert(to.clone(), value);
                }
            }),
            Self::Omit(name) => each_object(answer, &|fields| {
                fields.remove(name);
            }),
            Self::Null(name) => each_object(answer, &|fields| {
                if let Some(value) = fields.get_mut(name) {
                    *value = Value::Null;
                }
            }),
            Self::Add(name, value) => each_object(answer, &|fields| {
                fields.insert(name.clone(), value.clone());
            }),
            Self::With(reshape) => reshape(answer),
        }
    }
}

/// Changes every object in a value, the inner ones first.
fn each_object(value: Value, change: &impl Fn(&mut serde_json::Map<String, Value>)) -> Value {
    match value {
        Value::Array(values) => values.into_iter().map(|value| each_object(value, change)).collect(),
        Value::Object(fields) => {
            let inner = fields.into_iter();
            let mut fields = inner.map(|(name, value)| (name, each_object(value, change))).collect();
            change(&mut fields);
            Value::Object(fields)
        }
        scalar => scalar,
    }
}

impl fmt::Debug for Reshape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bare => f.write_str("Bare"),
            Self::Wrap(name) => write!(f, "Wrap({name})"),
            Self::Rename(from, to) => write!(f, "Rename({from}, {to})"),
            Self::Omit(name) => write!(f, "Omit({name})"),
            Self::Null(name) => write!(f, "Null({name})"),
            Self::Add(name, value) => write!(f, "Add({name}, {value})"),
            Self::With(_) => f.write_str("With(…)"),
        }
    }
}

/// The injections that have turns left, in the order they were made.
#[derive(Debug, Default)]
pub(super) struct FaultQueue(Vec<Armed>);

#[derive(Debug)]
struct Armed {
    injection: Injection,
    /// Matching requests so far, whatever became of them.
    seen: u32,
    /// Where the injection leaves it to chance.
    random: Rng,
}

impl FaultQueue {
    pub(super) fn inject(&mut self, injection: Injection) {
        let random = Rng::with_seed(injection.chance.map_or(0, |chance| chance.seed));
        self.0.push(Armed { injection, seen: 0, random });
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault that befalls a request, and whether the request takes effect.
    pub(super) fn take(&mut self, method: &Method, path: &str, has_body: bool) -> Option<(Fault, bool)> {
        let mut hit = None;
        for armed in &mut self.0 {
            if !armed.matches(method, path, has_body) {
                continue;
            }
            armed.seen = armed.seen.saturating_add(1);
            // Drawn for every request, so that what befell others does not shift the choice.
            let chosen = armed.is_chosen();
            let injection = &mut armed.injection;
            let has_turn = chosen && armed.seen > injection.after && injection.times != Some(0);
            if hit.is_none() && has_turn {
                injection.times = injection.times.map(|times| times - 1);
                hit = Some((injection.fault.clone(), injection.applies_effect));
            }
        }
        self.0.retain(|armed| armed.injection.times != Some(0));
        hit
    }
}

impl Armed {
    fn is_chosen(&mut self) -> bool {
        self.injection.chance.is_none_or(|chance| self.random.f64() < chance.share)
    }

    fn matches(&self, method: &Method, path: &str, has_body: bool) -> bool {
        let injection = &self.injection;
        injection.method.as_ref().is_none_or(|wanted| wanted == method)
            && paths::capture(&injection.path, path).is_some()
            && (has_body || !matches!(injection.fault, Fault::RefuseBody(_)))
    }
}
