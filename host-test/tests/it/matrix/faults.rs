//! The faults, and what each one says about the request that it befell. Nothing here knows the component.

use std::time::Duration;

use memberspot_host::simulator::{ConnectFault, Fault, HeaderValue, Reshape, StatusCode};
use serde_json::{Value, json};

/// A fault of the matrix.
pub struct Case {
    pub group: &'static str,
    pub name: &'static str,
    pub play: Play,
    pub means: Means,
}

impl Case {
    /// Whether it strikes before the simulator sees a request.
    pub fn is_unseen(&self) -> bool {
        matches!(self.play, Play::Connect(_) | Play::ResetConnection)
    }
}

/// How it is brought about.
#[derive(Clone)]
pub enum Play {
    /// In the answer to a request.
    Fault(Fault),
    /// The same, and the request takes effect.
    WithEffect(Fault),
    /// The same, by a server that wants a property's id under its other name.
    OtherPropertyKey(Fault),
    /// Before there is a connection.
    Connect(ConnectFault),
    /// At the first byte of a connection.
    ResetConnection,
}

/// What an observer who knows HTTP and Memberspot's API says about the request.
#[derive(Clone, Copy)]
pub enum Means {
    /// It was carried out, and the answer is as always, if one waits for it.
    Whole(Late),
    /// It was carried out, and the answer says so in another shape.
    Drift,
    /// It was answered with success and this body, which may not say what was promised.
    Body(Status, Body),
    /// What it is about does not exist, says the route.
    Missing,
    /// It was refused, and would be again.
    Refused(&'static str, u16),
    /// It was not processed, and may be later.
    Busy(&'static str, u16, Ask),
    /// It was not sent.
    Unsent,
    /// Nothing is known but that it failed.
    Lost(&'static str, Status),
    /// Nothing is known: no answer began.
    NoAnswer,
    /// Nothing is known: the body of the answer stands still.
    Standstill,
    /// It was answered, with something that is no answer.
    Strange(&'static str, Status),
}

/// The status that came with it.
#[derive(Clone, Copy)]
pub enum Status {
    None,
    /// That of the real answer.
    Real,
    Is(u16),
}

/// What is late.
#[derive(Clone, Copy)]
pub enum Late {
    /// The head.
    Head(Duration),
    /// The rest of the body, where there is one.
    Rest(Duration),
    /// Each byte of the body.
    Byte(Duration),
    /// The body, by less than the deadline.
    Somewhat,
}

/// When the server wants to be asked again.
#[derive(Clone, Copy)]
pub enum Ask {
    /// It does not say, or nothing that can be read or lies ahead.
    Nothing,
    /// After so long.
    After(Duration),
    /// So long after the beginning of the call.
    At(Duration),
}

/// Bodies of successful answers, most of which are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    Html,
    BrokenJson,
    NotUtf8,
    Compressed,
    Empty,
    EmptyObject,
    Null,
    Word,
    LongText,
    EmptyList,
    WrappedEmptyList,
    /// A list of numbers and the like.
    Scalars,
    /// `{"statusCode": 400, …}`
    Refusal,
    /// The real answer, but nothing in it has an id,
    WithoutIds,
    /// or a name, or anything else that may be missing.
    WithoutOptional,
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn refused(status: u16) -> Fault {
    Fault::status(StatusCode::from_u16(status).expect("a status"))
}

/// A refusal of another server than Memberspot's.
fn foreign(status: u16) -> Fault {
    Fault::canned(status, &[("content-type", "text/html")], "<html><body>No.</body></html>")
}

fn asking(status: StatusCode, retry_after: &'static str) -> Fault {
    Fault::retry_after(status, HeaderValue::from_static(retry_after))
}

fn ok(body: impl Into<String>) -> Fault {
    Fault::json(body.into())
}

/// Changes the real answer.
fn with(change: fn(Value) -> Value) -> Fault {
    Fault::reshape(Reshape::With(std::sync::Arc::new(change)))
}

/// Changes every object of a value.
fn each_object(value: Value, change: &impl Fn(&mut serde_json::Map<String, Value>)) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(|item| each_object(item, change)).collect(),
        Value::Object(fields) => {
            let mut fields = fields.into_iter().map(|(name, value)| (name, each_object(value, change))).collect();
            change(&mut fields);
            Value::Object(fields)
        }
        other => other,
    }
}

/// A wrapped list without its wrapper.
fn bare(answer: Value) -> Value {
    match answer {
        Value::Object(mut fields) => {
            let list = ["users", "data"].iter().find_map(|name| fields.remove(*name).filter(Value::is_array));
            list.unwrap_or(Value::Object(fields))
        }
        other => other,
    }
}

/// What is in a `data` already stays there: twice is nothing that servers do.
fn wrapped(answer: Value) -> Value {
    if answer.get("data").is_some() { answer } else { json!({"data": answer}) }
}

fn renamed(answer: Value) -> Value {
    each_object(answer, &|fields| {
        for (old, new) in
            [("users", "members"), ("nextPage", "next_page"), ("firstname", "firstName"), ("hasCourseIds", "courseIds")]
        {
            if let Some(value) = fields.remove(old) {
                fields.insert(new.into(), value);
            }
        }
    })
}

fn nulled(answer: Value) -> Value {
    const OPTIONAL: [&str; 9] =
        ["nextPage", "name", "firstname", "active", "created", "customUserProperties", "priority", "updated", "completedPosts"];
    each_object(answer, &|fields| {
        for (_, value) in fields.iter_mut().filter(|(name, _)| OPTIONAL.contains(&name.as_str())) {
            *value = Value::Null;
        }
    })
}

fn extended(answer: Value) -> Value {
    each_object(answer, &|fields| {
        fields.insert("addedLater".into(), json!({"deep": [[1], null]}));
    })
}

const IDS: [&str; 3] = ["id", "uid", "courseId"];

fn without_ids(answer: Value) -> Value {
    each_object(answer, &|fields| fields.retain(|name, _| !IDS.contains(&name.as_str())))
}

fn strange_ids(answer: Value) -> Value {
    each_object(answer, &|fields| {
        for (_, id) in fields.iter_mut().filter(|(name, _)| IDS.contains(&name.as_str())) {
            *id = json!({"value": [id.take()]});
        }
    })
}

fn numbers_as_texts(answer: Value) -> Value {
    each_object(answer, &|fields| {
        for (_, number) in fields.iter_mut().filter(|(_, value)| value.is_number()) {
            *number = number.to_string().into();
        }
    })
}

/// All faults, in the order of the table.
pub fn cases() -> Vec<Case> {
    let groups = [
        ("Before a connection", before_a_connection()),
        ("Refusals", refusals()),
        ("Overload and failure", overload()),
        ("Other statuses", other_statuses()),
        ("Time", time()),
        ("Broken connections", broken()),
        ("Bodies of status 2xx", bodies()),
        ("Too large", sizes()),
        ("Other shapes of the real answer", shapes()),
    ];
    let cases = groups
        .into_iter()
        .flat_map(|(group, cases)| cases.into_iter().map(move |(name, play, means)| Case { group, name, play, means }));
    cases.collect()
}

type Cases = Vec<(&'static str, Play, Means)>;

fn before_a_connection() -> Cases {
    vec![
        ("the host name has no address", Play::Connect(ConnectFault::Unresolved), Means::Unsent),
        ("connection refused", Play::Connect(ConnectFault::Refused), Means::Unsent),
        ("nobody answers the connect", Play::Connect(ConnectFault::Silent), Means::NoAnswer),
        ("reset at once", Play::ResetConnection, Means::Lost("unreachable", Status::None)),
    ]
}

fn refusals() -> Cases {
    let status = |name, status: u16, code| (name, Play::Fault(refused(status)), Means::Refused(code, status));
    let other = |name, fault, status, code| (name, Play::Fault(fault), Means::Refused(code, status));
    let complaint = |message: &str| Fault::refusal(StatusCode::BAD_REQUEST, json!([message]));
    let unknown_route = Fault::refusal(StatusCode::NOT_FOUND, "Cannot GET /v1/nowhere");
    vec![
        status("400", 400, "rejected"),
        other("400 without a body", Fault::canned(400, &[], ""), 400, "rejected"),
        other("400 that misses `emails`", complaint("emails must be an array"), 400, "rejected"),
        (
            "400 that asks for `propertyId`",
            Play::OtherPropertyKey(complaint("properties.0.propertyId must be a string")),
            Means::Refused("rejected", 400),
        ),
        other("400 that repeats the request", Fault::Echo, 400, "rejected"),
        status("401", 401, "unauthorized"),
        status("402", 402, "rejected"),
        status("403", 403, "forbidden"),
        ("404 from the route", Play::Fault(refused(404)), Means::Missing),
        other("404 of an unknown route", unknown_route, 404, "not-found"),
        other("404 of another server", foreign(404), 404, "not-found"),
        status("405", 405, "rejected"),
        status("409", 409, "conflict"),
        status("411", 411, "rejected"),
        status("413", 413, "too-large"),
        other("413 before the body is read", Fault::EarlyAnswer(StatusCode::PAYLOAD_TOO_LARGE), 413, "too-large"),
        status("418", 418, "rejected"),
        status("422", 422, "rejected"),
        other("401 with a broken body", Fault::canned(401, &[("content-length", "500")], "{\"mess"), 401, "unauthorized"),
    ]
}

fn overload() -> Cases {
    let (limited, busy) = (StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE);
    let rate_limited = |name, fault, ask| (name, Play::Fault(fault), Means::Busy("rate-limited", 429, ask));
    let unavailable = |name, fault, ask| (name, Play::Fault(fault), Means::Busy("unavailable", 503, ask));
    let lost = |name, fault, status, code| (name, Play::Fault(fault), Means::Lost(code, Status::Is(status)));
    // The simulator's clock stands at 12:00:00 when a call begins.
    vec![
        rate_limited("429", refused(429), Ask::Nothing),
        rate_limited("429, retry after 7 s", asking(limited, "7"), Ask::After(seconds(7))),
        rate_limited("429, retry after 0 s", asking(limited, "0"), Ask::After(seconds(0))),
        rate_limited("429, retry after a date in 7 s", asking(limited, "Thu, 15 Jan 2026 12:00:07 GMT"), Ask::At(seconds(7))),
        rate_limited("429, retry after a date gone by", asking(limited, "Thu, 15 Jan 2026 11:59:00 GMT"), Ask::Nothing),
        rate_limited("429, retry after 59 s", asking(limited, "59"), Ask::After(seconds(59))),
        rate_limited("429, retry after 60 s", asking(limited, "60"), Ask::After(seconds(60))),
        rate_limited("429, retry after an hour", asking(limited, "3600"), Ask::After(seconds(3600))),
        rate_limited(
            "429, retry after a date in an hour",
            asking(limited, "Thu, 15 Jan 2026 13:00:00 GMT"),
            Ask::At(seconds(3600)),
        ),
        rate_limited("429, retry after nonsense", asking(limited, "soon"), Ask::Nothing),
        unavailable("503, retry after 7 s", asking(busy, "7"), Ask::After(seconds(7))),
        unavailable("503, retry after a date in 7 s", asking(busy, "Thu, 15 Jan 2026 12:00:07 GMT"), Ask::At(seconds(7))),
        unavailable("503, retry after an hour", asking(busy, "3600"), Ask::After(seconds(3600))),
        lost("503, retry after nonsense", asking(busy, "soon"), 503, "unavailable"),
        lost("503", refused(503), 503, "unavailable"),
        lost("503 before the body is read", Fault::EarlyAnswer(busy), 503, "unavailable"),
        lost("500", refused(500), 500, "unavailable"),
        lost("501", refused(501), 501, "unavailable"),
        lost("502 with a proxy's page", Fault::html_page(), 502, "unavailable"),
        lost("504", refused(504), 504, "timed-out"),
        lost("408", refused(408), 408, "timed-out"),
        lost("599", Fault::canned(599, &[], ""), 599, "unavailable"),
    ]
}

fn other_statuses() -> Cases {
    let strange = |name, fault, status| (name, Play::Fault(fault), Means::Strange("invalid-response", Status::Is(status)));
    vec![
        strange("301", Fault::redirect(StatusCode::MOVED_PERMANENTLY, "https://elsewhere.invalid/"), 301),
        strange("302", Fault::redirect(StatusCode::FOUND, "/v1/offers"), 302),
        strange("304", Fault::canned(304, &[], ""), 304),
        strange("308", Fault::redirect(StatusCode::PERMANENT_REDIRECT, "/v1/offers"), 308),
        strange("600", Fault::canned(600, &[], ""), 600),
        strange("999", Fault::canned(999, &[], "{}"), 999),
        ("204", Play::Fault(Fault::canned(204, &[], "")), Means::Body(Status::Is(204), Body::Empty)),
        ("299 with `{}`", Play::Fault(Fault::canned(299, &[], "{}")), Means::Body(Status::Is(299), Body::EmptyObject)),
        ("a status of two digits", Play::Fault(Fault::canned(99, &[], "")), Means::Lost("unreachable", Status::None)),
        (
            "103 and no more",
            Play::Fault(Fault::Raw("HTTP/1.1 103 Early Hints\r\n\r\n".into())),
            Means::Lost("unreachable", Status::None),
        ),
        ("no HTTP", Play::Fault(Fault::Raw("SSH-2.0-OpenSSH_9.9\r\n".into())), Means::Lost("unreachable", Status::None)),
    ]
}

fn time() -> Cases {
    let stall = |pause| Play::Fault(Fault::StallBody { after: 3, pause });
    let trickle = |bytes, every| Play::Fault(Fault::Trickle { bytes, every });
    vec![
        ("the head 29 s late", Play::Fault(Fault::Delay(seconds(29))), Means::Whole(Late::Head(seconds(29)))),
        ("the head 31 s late", Play::Fault(Fault::Delay(seconds(31))), Means::Whole(Late::Head(seconds(31)))),
        ("the head an hour late", Play::Fault(Fault::Delay(seconds(3600))), Means::Whole(Late::Head(seconds(3600)))),
        ("no answer", Play::Fault(Fault::HangBeforeHeaders), Means::NoAnswer),
        ("no answer, but the effect", Play::WithEffect(Fault::HangBeforeHeaders), Means::NoAnswer),
        ("the body pauses for 14 s", stall(Some(seconds(14))), Means::Whole(Late::Rest(seconds(14)))),
        ("the body pauses for 16 s", stall(Some(seconds(16))), Means::Whole(Late::Rest(seconds(16)))),
        ("the body stands still", stall(None), Means::Standstill),
        ("a body in pieces", trickle(64, Duration::from_millis(50)), Means::Whole(Late::Somewhat)),
        ("a byte every 14 s", trickle(1, seconds(14)), Means::Whole(Late::Byte(seconds(14)))),
        ("a byte every 16 s", trickle(1, seconds(16)), Means::Whole(Late::Byte(seconds(16)))),
    ]
}

fn broken() -> Cases {
    let before = Means::Lost("unreachable", Status::None);
    let within = Means::Lost("unreachable", Status::Real);
    vec![
        ("reset before the head", Play::Fault(Fault::ResetBeforeHeaders), before),
        ("reset before the head, but the effect", Play::WithEffect(Fault::ResetBeforeHeaders), before),
        ("reset in the head", Play::Fault(Fault::ResetInHeaders { after: 20 }), before),
        ("reset at the end of the head", Play::Fault(Fault::ResetInHeaders { after: usize::MAX }), before),
        ("reset before the body", Play::Fault(Fault::ResetInBody { after: 0 }), within),
        ("reset in the body", Play::Fault(Fault::ResetInBody { after: 9 }), within),
        ("closed before the request is read", Play::Fault(Fault::DropUnread), before),
        ("closed before the body", Play::Fault(Fault::TruncateBody { after: 0 }), within),
        ("closed in the body", Play::Fault(Fault::TruncateBody { after: 9 }), within),
        ("closed between chunks", Play::Fault(Fault::TruncateChunks { after: 9 }), within),
    ]
}

fn bodies() -> Cases {
    let body = |name, fault, body| (name, Play::Fault(fault), Means::Body(Status::Is(200), body));
    let long = "Please sign in to the guest network of this hotel before you go on to the internet.";
    vec![
        body("a web page", Fault::html_instead_of_json(), Body::Html),
        body("JSON that breaks off", Fault::malformed_json(), Body::BrokenJson),
        body("not UTF-8", Fault::invalid_utf8(), Body::NotUtf8),
        body("gzip", Fault::gzip(), Body::Compressed),
        body("nothing", Fault::empty_body(), Body::Empty),
        body("`{}`", ok("{}"), Body::EmptyObject),
        body("`null`", ok("null"), Body::Null),
        body("`ok`", Fault::canned(200, &[("content-type", "text/html")], "ok"), Body::Word),
        body("a long text", Fault::canned(200, &[("content-type", "text/plain")], long), Body::LongText),
        body("`[]`", ok("[]"), Body::EmptyList),
        body("`{\"users\":[]}`, labelled as text", Fault::wrong_content_type(), Body::WrappedEmptyList),
        body("`[1,\"a\",null]`", ok(r#"[1,"a",null]"#), Body::Scalars),
        body("a refusal", ok(r#"{"statusCode":400,"message":"no","error":"Bad Request"}"#), Body::Refusal),
        ("the real answer without ids", Play::Fault(with(without_ids)), Means::Body(Status::Real, Body::WithoutIds)),
        ("the real answer, ids of another type", Play::Fault(with(strange_ids)), Means::Body(Status::Real, Body::WithoutIds)),
    ]
}

fn sizes() -> Cases {
    let large = |name, fault| (name, Play::Fault(fault), Means::Strange("too-large", Status::Is(200)));
    vec![
        large("a body over the limit, declared", Fault::OversizedBody { bytes: 1 << 20, declared: true }),
        large("a body over the limit, in chunks", Fault::OversizedBody { bytes: 1 << 20, declared: false }),
        large("a body without end", Fault::EndlessBody),
    ]
}

fn shapes() -> Cases {
    let drift = |name, change| (name, Play::Fault(with(change)), Means::Drift);
    vec![
        drift("lists bare", bare),
        drift("wrapped in `data`", wrapped),
        drift("fields and lists under other names", renamed),
        ("`null` for what may be missing", Play::Fault(with(nulled)), Means::Body(Status::Real, Body::WithoutOptional)),
        drift("more fields", extended),
        drift("numbers as texts", numbers_as_texts),
    ]
}
