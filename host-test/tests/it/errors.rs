//! Every error code, reached through the component: from the status, from the network, from the body, from the
//! configuration. The prose of messages is nobody's business here.

use std::pin::Pin;

use memberspot_host::{
    Connection, Host,
    sender::{Exchange, HttpSender},
    simulator::{Clock, Fault, HeaderValue, Injection, Options, RetryAfter, StatusCode},
};
use serde_json::{Value, json};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use crate::stage::{Failure, Stage};

/// A function that reads, one that writes and may be repeated, one that writes and may not.
fn natures() -> [(&'static str, Value); 3] {
    [
        ("list-offers", json!({})),
        ("revoke-access", json!({"email": "anna@example.com", "offerId": "offer-breath"})),
        ("call-api", json!({"method": "post", "path": "/v1/users/grant-user-offer-by-mail", "headers": [], "body": "{}"})),
    ]
}

/// Asserts code, case and `outcome-unknown` for each of the three natures.
async fn assert_natures(stage: &Stage, fault: Fault, code: &str, status: Option<u64>, passing: bool, effect_possible: bool) {
    for (index, (function, input)) in natures().into_iter().enumerate() {
        let failure = stage.faulty(fault.clone(), function, input).await.expect_err(function);
        let transient = passing && (index < 2 || !effect_possible);
        let unknown = index > 0 && effect_possible;
        assert_eq!(
            (failure.code.as_str(), failure.status, failure.transient, failure.outcome_unknown, failure.attempts),
            (code, status, transient, unknown, 1),
            "{function} with {fault:?}: {failure:?}"
        );
    }
}

#[tokio::test]
async fn from_the_status() {
    let stage = Stage::new().await;
    for (status, code, passing, effect_possible) in [
        (301, "invalidResponse", false, true),
        (304, "invalidResponse", false, true),
        (307, "invalidResponse", false, true),
        (400, "rejected", false, false),
        (401, "unauthorized", false, false),
        (402, "rejected", false, false),
        (403, "forbidden", false, false),
        (404, "notFound", false, false),
        (405, "rejected", false, false),
        (408, "timedOut", true, true),
        (409, "conflict", false, false),
        (411, "rejected", false, false),
        (413, "tooLarge", false, false),
        (422, "rejected", false, false),
        (429, "rateLimited", true, false),
        (500, "unavailable", true, true),
        (502, "unavailable", true, true),
        (503, "unavailable", true, true),
        (504, "timedOut", true, true),
        (507, "unavailable", true, true),
    ] {
        let fault = Fault::status(StatusCode::from_u16(status).unwrap());
        assert_natures(&stage, fault, code, Some(status.into()), passing, effect_possible).await;
    }
    let busy = Fault::retry_after(StatusCode::SERVICE_UNAVAILABLE, HeaderValue::from_static("7"));
    assert_natures(&stage, busy, "unavailable", Some(503), true, false).await;
}

#[tokio::test]
async fn from_the_network() {
    let stage = Stage::new().await;
    for fault in [Fault::ResetBeforeHeaders, Fault::ResetInHeaders { after: 20 }, Fault::DropUnread] {
        assert_natures(&stage, fault, "unreachable", None, true, true).await;
    }
    for fault in [Fault::ResetInBody { after: 3 }, Fault::TruncateBody { after: 3 }, Fault::TruncateChunks { after: 3 }] {
        let natures = natures();
        let failure = stage.faulty(fault, natures[0].0, natures[0].1.clone()).await.unwrap_err();
        assert_eq!((failure.code.as_str(), failure.status, failure.transient), ("unreachable", Some(200), true));
    }
}

#[tokio::test]
async fn nobody_listens() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let connection = Connection::new("k").base_url(format!("http://{closed}")).variable("MEMBERSPOT_MAX_ATTEMPTS", "1");
    for (function, input) in natures() {
        let failure = crate::stage::call(&connection, function, input).await.unwrap_err();
        assert_eq!(
            (failure.code.as_str(), failure.transient, failure.outcome_unknown, failure.attempts),
            ("unreachable", true, false, 1),
            "{function}: nothing was sent, so anything may be repeated"
        );
    }
}

/// Makes one of the engine's own errors, which cannot be cloned.
type MakeError = fn() -> Error;

/// Answers every request with one of the engine's own errors.
struct Engine(MakeError);

impl HttpSender for Engine {
    fn send(&self, _: http::Request<WasiBody>, _: Option<RequestOptions>) -> Pin<Box<dyn Future<Output = Exchange> + Send>> {
        let error = (self.0)();
        Box::pin(async move { Err(error) })
    }
}

#[tokio::test]
async fn from_the_engine() {
    let cases: [(MakeError, &str, bool, bool); 11] = [
        (|| Error::DnsError { rcode: None, info_code: None }, "unreachable", true, false),
        (|| Error::ConnectionRefused, "unreachable", true, false),
        (|| Error::HttpRequestDenied, "notPermitted", false, false),
        (|| Error::TlsCertificateError, "unreachable", false, true),
        (|| Error::ConnectionTimeout, "timedOut", true, true),
        (|| Error::HttpResponseTimeout, "timedOut", true, true),
        (|| Error::ConnectionTerminated, "unreachable", true, true),
        (|| Error::HttpProtocolError, "unreachable", true, true),
        (|| Error::HttpResponseBodySize(None), "tooLarge", false, true),
        (|| Error::HttpRequestUriTooLong, "invalidInput", false, false),
        (|| Error::InternalError(Some("the engine's own words".into())), "unreachable", true, true),
    ];
    for (error, code, passing, effect_possible) in cases {
        let host = Host::builder().sender(Engine(error)).build().unwrap();
        let connection = Connection::new("k").variable("MEMBERSPOT_MAX_ATTEMPTS", "1");
        for (index, (function, input)) in natures().into_iter().enumerate() {
            let outcome = host.call(&host.tenant("t", connection.clone()), function, &input).await.unwrap();
            let error = outcome.into_json().unwrap_err();
            let transient = if passing && (index < 2 || !effect_possible) { "transient" } else { "permanent" };
            assert_eq!((&error["tag"], &error["val"]["code"]), (&json!(transient), &json!(code)), "{function}");
            assert_eq!(error["val"]["outcomeUnknown"], index > 0 && effect_possible, "{function} {code}");
        }
    }
}

#[tokio::test]
async fn from_the_clock() {
    let stage = Stage::new().await.configured("MEMBERSPOT_DEADLINE_MS", "150");
    assert_natures(&stage, Fault::HangBeforeHeaders, "timedOut", None, true, true).await;
    for fault in
        [Fault::StallBody { after: 1, pause: None }, Fault::Trickle { bytes: 1, every: std::time::Duration::from_millis(5) }]
    {
        let failure = stage.faulty(fault, "list-offers", json!({})).await.unwrap_err();
        assert_eq!((failure.code.as_str(), failure.status, failure.transient), ("timedOut", Some(200), true));
    }
}

#[tokio::test]
async fn from_the_body() {
    let stage = Stage::new().await;
    for fault in [
        Fault::html_instead_of_json(),
        Fault::malformed_json(),
        Fault::invalid_utf8(),
        Fault::gzip(),
        Fault::empty_body(),
        Fault::json("{}"),
        Fault::json("null"),
        Fault::json(r#"[{"name":"an offer without an id"}]"#),
    ] {
        let failure = stage.faulty(fault.clone(), "list-offers", json!({})).await.expect_err("list-offers");
        assert_eq!(
            (failure.code.as_str(), failure.transient, failure.outcome_unknown, failure.attempts),
            ("invalidResponse", false, false, 1),
            "{fault:?}"
        );
        assert!(failure.status.is_some_and(|status| status < 300));
    }
    for (fault, function, input) in [
        (Fault::html_instead_of_json(), "revoke-access", natures()[1].1.clone()),
        (Fault::html_instead_of_json(), "delete-users", json!({"emails": ["a@b.de"]})),
        (Fault::html_instead_of_json(), "create-login-token", json!({"uid": "u"})),
        (Fault::html_instead_of_json(), "check-connection", json!({})),
        (Fault::invalid_utf8(), "call-api", json!({"method": "get", "path": "/v1/offers", "headers": []})),
        (Fault::gzip(), "call-api", json!({"method": "get", "path": "/v1/offers", "headers": []})),
    ] {
        let failure = stage.faulty(fault, function, input).await.expect_err(function);
        assert_eq!((failure.code.as_str(), failure.transient), ("invalidResponse", false), "{function}");
        assert_eq!(failure.outcome_unknown, matches!(function, "revoke-access" | "delete-users"));
    }
}

#[tokio::test]
async fn a_success_that_is_none() {
    let stage = Stage::new().await;
    let disguised = Fault::json(r#"{"statusCode":400,"message":"no","error":"Bad Request"}"#);
    let access = natures()[1].1.clone();
    for function in ["grant-access", "revoke-access", "delete-access"] {
        let failure = stage.faulty(disguised.clone(), function, access.clone()).await.expect_err(function);
        assert_eq!((failure.code.as_str(), failure.outcome_unknown), ("invalidResponse", true), "{function}");
    }
    for body in [
        r#"{"email":"anna@example.com","offerId":"offer-breath","active":true}"#,
        r#"{"email":"other@example.com","offerId":"offer-breath","active":false}"#,
        r#"{"email":"anna@example.com","offerId":"other","active":false}"#,
    ] {
        let failure = stage.faulty(Fault::json(body), "revoke-access", access.clone()).await.expect_err(body);
        assert_eq!((failure.code.as_str(), failure.transient, failure.outcome_unknown), ("invalidResponse", false, true));
    }
}

#[tokio::test]
async fn from_the_size() {
    let stage = Stage::new().await;
    let many = format!("[{}]", vec![r#"{"id":"1"}"#; 700_000].join(","));
    let failure = stage.faulty(Fault::json(many), "list-offers", json!({})).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.transient), ("tooLarge", false), "more than can be handed over");
    for fault in [
        Fault::OversizedBody { bytes: 100 << 20, declared: true },
        Fault::OversizedBody { bytes: 100 << 20, declared: false },
        Fault::EndlessBody,
    ] {
        assert_natures(&stage, fault, "tooLarge", Some(200), false, true).await;
    }
    let small = Stage::new().await.configured("MEMBERSPOT_MAX_RESPONSE_BYTES", "100");
    let failure = small.call("list-offers", json!({})).await.unwrap_err();
    assert_eq!(failure.code, "tooLarge");
    let exact = Stage::new().await.configured("MEMBERSPOT_MAX_RESPONSE_BYTES", "2");
    assert_eq!(exact.faulty(Fault::json("[]"), "list-offers", json!({})).await, Ok(json!([])));

    let body = "x".repeat((4 << 20) + 1);
    let input = json!({"method": "post", "path": "/v1/x", "headers": [], "body": body});
    stage.simulator.clear_journal();
    stage.call("call-api", input).await.unwrap_err().assert_unsent("tooLarge");
    assert_eq!(stage.simulator.journal().len(), 0);
}

#[tokio::test]
async fn the_status_of_an_error_counts_even_when_its_body_is_broken() {
    let stage = Stage::new().await.configured("MEMBERSPOT_DEADLINE_MS", "2000");
    let large = "x".repeat(1 << 20);
    for (body, content_length) in [(large.as_str(), "1048576"), ("{\"mess", "500")] {
        let fault = Fault::canned(401, &[("content-length", content_length)], body.to_owned());
        let failure = stage.faulty(fault, "list-offers", json!({})).await.unwrap_err();
        assert_eq!((failure.code.as_str(), failure.status), ("unauthorized", Some(401)));
    }
}

#[tokio::test]
async fn from_the_configuration() {
    let stage = Stage::new().await;
    for (variable, value) in [
        ("MEMBERSPOT_API_KEY", ""),
        ("MEMBERSPOT_API_KEY", "key\n"),
        ("MEMBERSPOT_API_KEY", &"k".repeat(200_000)),
        ("MEMBERSPOT_BASE_URL", ""),
        ("MEMBERSPOT_BASE_URL", "ftp://127.0.0.1"),
        ("MEMBERSPOT_BASE_URL", "http://example.com"),
        ("MEMBERSPOT_BASE_URL", "https://api.memberspot.de/v1"),
        ("MEMBERSPOT_SCOPES", "everything"),
        ("MEMBERSPOT_DEADLINE_MS", "soon"),
        ("MEMBERSPOT_MAX_ATTEMPTS", "0"),
        ("MEMBERSPOT_MAX_RESPONSE_BYTES", "-1"),
    ] {
        let connection = stage.connection.clone().variable(variable, value);
        let failure = crate::stage::call(&connection, "list-offers", json!({})).await.unwrap_err();
        failure.assert_unsent("notConfigured");
        assert!(failure.message.starts_with(variable), "{}", failure.message);
    }
    let without_key = Connection::default().base_url(stage.simulator.origin());
    crate::stage::call(&without_key, "list-offers", json!({})).await.unwrap_err().assert_unsent("notConfigured");
    assert_eq!(stage.simulator.journal().len(), 0);
    let slash = stage.connection.clone().base_url(format!("{}/", stage.simulator.origin()));
    assert!(crate::stage::call(&slash, "list-offers", json!({})).await.is_ok());
}

#[tokio::test]
async fn the_rate_limit_says_how_long_to_wait() {
    for retry_after in [RetryAfter::Seconds, RetryAfter::Date] {
        let stage = Stage::with(Options { clock: Clock::manual(), retry_after, ..Options::default() }).await;
        let mut failures: Vec<Failure> = vec![];
        for _ in 0..5 {
            failures.extend(stage.call("list-users", json!({})).await.err());
        }
        let [failure] = failures.as_slice() else { panic!("the fifth within a second is one too many: {failures:?}") };
        assert_eq!((failure.code.as_str(), failure.transient, failure.status), ("rateLimited", true, Some(429)));
        assert_eq!(failure.retry_after_ms, Some(1000));
        assert!(stage.call("list-offers", json!({})).await.is_ok(), "other routes have no limit");
        stage.simulator.clock().advance(std::time::Duration::from_secs(2));
        assert!(stage.call("list-users", json!({})).await.is_ok());
    }
}

#[tokio::test]
async fn memberspots_own_messages_reach_the_user() {
    let stage = Stage::new().await;
    stage.simulator.edit_school(crate::stage::KEY, |school| school.enterprise = false);
    let failure = stage.call("find-user", json!({"email": "anna@example.com"})).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.status), ("forbidden", Some(403)));
    assert!(!failure.details.is_empty());
    let failure =
        stage.call("grant-access", json!({"email": "anna@example.com", "offerId": "offer-unknown"})).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.details.len()), ("notFound", 1));
    let list = Fault::refusal(StatusCode::BAD_REQUEST, json!(["email must be an email", "offerId should not be empty"]));
    let failure = stage.faulty(list, "list-offers", json!({})).await.unwrap_err();
    assert_eq!(failure.details, ["email must be an email", "offerId should not be empty"]);
    stage.simulator.clear_faults();
    let wrong = stage.connection.clone().key("another-key");
    assert_eq!(crate::stage::call(&wrong, "list-offers", json!({})).await.unwrap_err().code, "unauthorized");
}

/// The text of an answer may be short, and what is read from it long.
#[tokio::test]
async fn many_small_things_are_too_large() {
    let stage = Stage::new().await.configured("MEMBERSPOT_MAX_RESPONSE_BYTES", "16777216");
    let of_members = |member: &str, members: usize| format!("[{}]", vec![member; members].join(","));
    let progress = format!(r#"{{"uid":"u","email":"e","progress":[{}]}}"#, vec![r#"{"courseId":1}"#; 10_000].join(","));
    let properties: Vec<_> = (0..10_000).map(|nth| format!("\"{nth}\":1")).collect();
    let properties = format!(r#"{{"uid":"u","email":"e","customUserProperties":{{{}}}}}"#, properties.join(","));
    for body in
        [of_members(&progress, 110), of_members(&properties, 180), of_members("1", 8_000_000), of_members("{}", 5_000_000)]
    {
        let failure = stage.faulty(Fault::json(body), "list-users", json!({})).await.unwrap_err();
        assert_eq!(failure.code, "tooLarge");
    }
    // As much as is allowed.
    for body in [of_members(&progress, 20), of_members(&properties, 90)] {
        stage.simulator.clear_faults();
        stage.simulator.inject(Injection::everywhere(Fault::json(body)));
        stage.call("list-users", json!({})).await.unwrap();
    }
}
