//! The webhook receiver, built and served as engines serve it, between a Memberspot and an engine's endpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::{Body, Frame};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::{Instant, Interval};
use wasmparser::{Parser, Payload};
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::{HostMonotonicClock, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::stage::Stage;

const RECEIVER: &[u8] = include_bytes!(env!("MEMBERSPOT_WEBHOOK_RECEIVER"));

const TOKEN: &str = "Zk3-_9aBcDeFgHiJkLmNoP";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const HANDSHAKE: &str = r#"{"event":"auth_test"}"#;
const EVENT: &str = r#"{"event":"user_added","data":{"email":"mia@example.com","uid":"u1"},"offerId":"offer-yoga-basic"}"#;

/// A host of the test's own, which gives the interfaces of `wasi:http/proxy` and the environment, and nothing else.
struct State {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: Default::default() }
    }
}

/// So that the component's time stands still where tokio's does.
struct TokioClock(Instant);

impl HostMonotonicClock for TokioClock {
    fn resolution(&self) -> u64 {
        1_000_000
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap()
    }
}

fn compiled() -> &'static ProxyPre<State> {
    static COMPILED: OnceLock<ProxyPre<State>> = OnceLock::new();
    COMPILED.get_or_init(|| {
        let engine = Engine::default();
        let component = Component::new(&engine, RECEIVER).unwrap();
        let mut linker = Linker::new(&engine);
        wasmtime_wasi_http::p2::add_to_linker_async(&mut linker).unwrap();
        wasmtime_wasi::p2::bindings::cli::environment::add_to_linker::<State, wasmtime_wasi::cli::WasiCli>(
            &mut linker,
            wasmtime_wasi::cli::WasiCliView::cli,
        )
        .unwrap();
        ProxyPre::new(linker.instantiate_pre(&component).unwrap()).unwrap()
    })
}

/// The receiver with its environment; each request gets an instance of its own.
#[derive(Clone)]
struct Receiver(BTreeMap<&'static str, String>);

impl Receiver {
    fn forwarding_to(url: impl Into<String>) -> Self {
        let token = ("MEMBERSPOT_WEBHOOK_TOKEN", TOKEN.into());
        Self([token, ("MEMBERSPOT_FORWARD_URL", url.into()), ("MEMBERSPOT_FORWARD_SECRET", SECRET.into())].into())
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.0.insert(name, value.into());
        self
    }

    fn without(mut self, name: &'static str) -> Self {
        self.0.remove(name).expect("it was set");
        self
    }

    /// Lets it answer a request, and says how: the status and the body. It never traps.
    async fn answer<B>(&self, mut request: Request<B>) -> (u16, String)
    where
        B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
    {
        let mut wasi = WasiCtx::builder();
        self.0.iter().for_each(|(name, value)| {
            wasi.env(name, value);
        });
        wasi.monotonic_clock(TokioClock(Instant::now()));
        let state = State { wasi: wasi.build(), http: WasiHttpCtx::new(), table: ResourceTable::new() };
        let mut store = Store::new(compiled().engine(), state);
        request.headers_mut().insert("host", "receiver.example.com".parse().unwrap());
        let (sender, answer) = oneshot::channel::<Result<_, ErrorCode>>();
        let request = store.data_mut().http().new_incoming_request(Scheme::Http, request).unwrap();
        let out = store.data_mut().http().new_response_outparam(sender).unwrap();
        let handled = tokio::spawn(async move {
            let proxy = compiled().instantiate_async(&mut store).await?;
            proxy.wasi_http_incoming_handler().call_handle(&mut store, request, out).await
        });
        let (head, body) = answer.await.expect("an answer").expect("no error").into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        handled.await.unwrap().expect("no trap");
        (head.status.as_u16(), String::from_utf8(body.into()).unwrap())
    }

    /// Answers what Memberspot sends.
    async fn receive(&self, body: &str) -> u16 {
        self.answer(hook(body.to_owned())).await.0
    }
}

/// What Memberspot sends.
fn hook(body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(format!("/hooks/{TOKEN}")).body(Full::new(body.into())).unwrap()
}

/// An engine's endpoint: keeps what it gets, and answers with a status.
struct Endpoint {
    address: SocketAddr,
    received: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
}

impl Endpoint {
    async fn start(status: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::<Mutex<Vec<_>>>::default();
        let kept = received.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let kept = kept.clone();
                let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let kept = kept.clone();
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await?.to_bytes();
                        kept.lock().unwrap().push((head.headers, body));
                        // Where a status of 3xx leads to: itself.
                        let answer = Response::builder().status(status).header("location", "/elsewhere");
                        Ok::<_, hyper::Error>(answer.body(Full::new(Bytes::from_static(b"{}"))).unwrap())
                    }
                });
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection), service));
            }
        });
        Self { address, received }
    }

    fn url(&self) -> String {
        format!("http://{}/in?x=1", self.address)
    }

    fn received(&self) -> Vec<(HeaderMap, Bytes)> {
        self.received.lock().unwrap().clone()
    }

    /// The only event that came, if its signature is right.
    fn event(&self) -> Value {
        let received = self.received();
        let [(headers, body)] = received.as_slice() else { panic!("{} requests", received.len()) };
        Webhook::new(SECRET).unwrap().verify(body, headers).unwrap();
        serde_json::from_slice(body).unwrap()
    }
}

/// A listener that says this to whoever connects, and then nothing any more.
async fn saying(answer: &'static str) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = connection.write_all(answer.as_bytes()).await;
                // Reads until the other side is gone.
                let _ = connection.read_to_end(&mut Vec::new()).await;
            });
        }
    });
    url
}

#[tokio::test]
async fn from_event_to_access() {
    let (endpoint, stage) = (Endpoint::start(204).await, Stage::new().await);
    let receiver = Receiver::forwarding_to(endpoint.url());
    assert_eq!(receiver.receive(HANDSHAKE).await, 200);
    assert!(endpoint.received().is_empty(), "the handshake is not forwarded");

    assert_eq!(receiver.receive(EVENT).await, 200);
    let event = endpoint.event();
    let expected =
        json!({"name": "user_added", "email": "mia@example.com", "uid": "u1", "offerId": "offer-yoga-basic", "raw": EVENT});
    assert_eq!(event, expected);
    let parsed = stage.call("parse-webhook", json!({"body": EVENT})).await.unwrap();
    assert_eq!(parsed, json!({"tag": "event", "val": event}), "as the connector has it");

    // What the engine does with it.
    stage.call("grant-access", json!({"email": event["email"], "offerId": event["offerId"]})).await.unwrap();
    let school = stage.school();
    assert!(school.member("mia@example.com").unwrap().has_access("offer-yoga-basic", stage.simulator.clock().now()));
}

#[tokio::test]
async fn a_redelivery_keeps_its_id() {
    let endpoint = Endpoint::start(200).await;
    let receiver = Receiver::forwarding_to(endpoint.url());
    for body in [EVENT, &format!("{EVENT}\n"), r#"{"event":"user_added"}"#] {
        assert_eq!(receiver.receive(body).await, 200);
    }
    let received = endpoint.received();
    let ids: Vec<_> = received.iter().map(|(headers, _)| &headers["webhook-id"]).collect();
    assert!(ids[0] == ids[1] && ids[0] != ids[2], "{ids:?}");
    for (headers, body) in &received {
        let webhook = Webhook::new(SECRET).unwrap();
        webhook.verify(body, headers).unwrap();
        webhook.verify(&[body, &b" "[..]].concat(), headers).unwrap_err();
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["host"], endpoint.address.to_string());
    }
}

#[tokio::test]
async fn everything_else_is_not_found() {
    let endpoint = Endpoint::start(200).await;
    let receiver = Receiver::forwarding_to(endpoint.url());
    let path = format!("/hooks/{TOKEN}");
    let nothing = (404, String::new());
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::OPTIONS, Method::PATCH, Method::DELETE] {
        let request = Request::builder().method(&method).uri(&path).body(Full::from(EVENT)).unwrap();
        assert_eq!(receiver.answer(request).await, nothing, "{method}");
    }
    let almost = TOKEN.replace('Z', "z");
    for path in
        ["/", "/hooks", "/hooks/", &format!("{path}/"), &format!("/hooks/{almost}"), &format!("{path}x"), &format!("/{TOKEN}")]
    {
        let request = Request::post(path).body(Full::from(EVENT)).unwrap();
        assert_eq!(receiver.answer(request).await, nothing, "{path}");
    }
    // Without a token that is worth the name, nobody is admitted.
    let unset = receiver.clone().without("MEMBERSPOT_WEBHOOK_TOKEN");
    assert_eq!(unset.answer(hook(EVENT)).await, nothing);
    for token in ["", "short", &TOKEN[1..]] {
        let weak = receiver.clone().with("MEMBERSPOT_WEBHOOK_TOKEN", token);
        let request = Request::post(format!("/hooks/{token}")).body(Full::from(EVENT)).unwrap();
        assert_eq!(weak.answer(request).await, nothing, "{token}");
    }
    assert!(endpoint.received().is_empty());
}

#[tokio::test]
async fn what_is_no_event_is_refused() {
    let endpoint = Endpoint::start(200).await;
    let receiver = Receiver::forwarding_to(endpoint.url());
    let nested = format!("{{\"event\":\"e\",\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    for body in ["", "{", "[]", "<html>", "event=auth_test", r#"{"event":1}"#, &nested] {
        assert_eq!(receiver.receive(body).await, 400, "{body:.40}");
    }
    assert_eq!(receiver.answer(hook(&b"{\"event\":\"\xff\"}"[..])).await.0, 400);
    assert!(endpoint.received().is_empty());
}

#[tokio::test]
async fn a_body_may_have_256_kib() {
    let endpoint = Endpoint::start(200).await;
    let receiver = Receiver::forwarding_to(endpoint.url());
    let filled = |length: usize| format!("{{\"event\":\"e\",\"x\":\"{}\"}}", "x".repeat(length - 20));
    let (most, more) = (filled(256 << 10), filled((256 << 10) + 1));
    assert_eq!((most.len(), receiver.receive(&most).await), (256 << 10, 200));
    assert_eq!(receiver.receive(&more).await, 413);
    // A length that is said is believed before anything has come.
    let mut declared = Request::post(format!("/hooks/{TOKEN}")).body(Trickle(None)).unwrap();
    declared.headers_mut().insert("content-length", "262145".parse().unwrap());
    assert_eq!(receiver.answer(declared).await.0, 413);
    assert_eq!(endpoint.received().len(), 1);
}

/// A body of spaces that come one by one, or never.
struct Trickle(Option<Interval>);

impl Body for Trickle {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(interval) = &mut self.0 else { return Poll::Pending };
        interval.poll_tick(context).map(|_| Some(Ok(Frame::data(Bytes::from_static(b" ")))))
    }
}

/// Time passes at once here, since nothing but time is waited for.
#[tokio::test(start_paused = true)]
async fn a_sender_cannot_hold_the_receiver() {
    let receiver = Receiver::forwarding_to("http://127.0.0.1:9/");
    for interval in [None, Some(tokio::time::interval(Duration::from_secs(1)))] {
        let request = Request::post(format!("/hooks/{TOKEN}")).body(Trickle(interval)).unwrap();
        assert_eq!(receiver.answer(request).await.0, 408);
    }
}

#[tokio::test]
async fn only_what_was_accepted_is_done() {
    for (status, expected) in
        [(200, 200), (201, 200), (202, 200), (204, 200), (301, 503), (307, 503), (400, 503), (401, 503), (404, 503), (410, 503)]
            .into_iter()
            .chain([(429, 503), (500, 503), (503, 503)])
    {
        let endpoint = Endpoint::start(status).await;
        let receiver = Receiver::forwarding_to(endpoint.url());
        assert_eq!(receiver.receive(EVENT).await, expected, "{status}");
        assert_eq!(endpoint.received().len(), 1, "once, and no redirect followed: {status}");
    }
}

/// Nothing but the deadline ends these.
#[tokio::test]
async fn a_target_cannot_hold_the_receiver() {
    for answer in ["", "HTTP/1.1 200", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let receiver = Receiver::forwarding_to(saying(answer).await).with("MEMBERSPOT_FORWARD_TIMEOUT_MS", "300");
        assert_eq!(receiver.receive(EVENT).await, 503, "{answer}");
    }
    // With the status, it is accepted; the body may never come.
    let headers = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n";
    let receiver = Receiver::forwarding_to(saying(headers).await).with("MEMBERSPOT_FORWARD_TIMEOUT_MS", "300");
    assert_eq!(receiver.receive(EVENT).await, 200);
    // Nobody listens any more.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    assert_eq!(Receiver::forwarding_to(url).receive(EVENT).await, 503);
    // Somebody else listens.
    assert_eq!(Receiver::forwarding_to(saying("SSH-2.0-nobody\r\n").await).receive(EVENT).await, 503);
}

/// Whoever knows the token is told what the operator has to set, and no values.
#[tokio::test]
async fn a_wrong_configuration_is_named_to_the_handshake() {
    let receiver = Receiver::forwarding_to("https://engine.example.com/");
    let wrong = [
        ("MEMBERSPOT_FORWARD_URL", "http://engine.example.com/hush"),
        ("MEMBERSPOT_FORWARD_URL", "https://hush:hush@engine.example.com/"),
        ("MEMBERSPOT_FORWARD_SECRET", "whsec_aHVzaA=="),
        ("MEMBERSPOT_FORWARD_SECRET", "hush"),
        ("MEMBERSPOT_FORWARD_TIMEOUT_MS", "60001"),
    ];
    for (name, value) in wrong {
        let (status, text) = receiver.clone().with(name, value).answer(hook(HANDSHAKE)).await;
        assert!(status == 500 && text.starts_with(name) && !text.contains("hush") && !text.contains(value), "{status} {text}");
    }
    for name in ["MEMBERSPOT_FORWARD_URL", "MEMBERSPOT_FORWARD_SECRET"] {
        let (status, text) = receiver.clone().without(name).answer(hook(HANDSHAKE)).await;
        assert!(status == 500 && text.starts_with(name), "{status} {text}");
    }
}

#[tokio::test]
async fn answers_say_nothing_of_people_and_secrets() {
    let endpoint = Endpoint::start(500).await;
    let receiver = Receiver::forwarding_to(endpoint.url());
    let bodies = [EVENT.to_owned(), format!("{EVENT} {SECRET}"), "mia@example.com".repeat(20_000)];
    for body in bodies {
        let (status, text) = receiver.answer(hook(body)).await;
        for private in ["mia", "user_added", TOKEN, SECRET, &SECRET[6..], &endpoint.address.to_string()] {
            assert!(status >= 400 && !text.contains(private), "{text}");
        }
    }
    let (status, text) = receiver.answer(Request::get("/").body(Empty::new()).unwrap()).await;
    assert_eq!((status, text.as_str()), (404, ""));
}

/// What it asks of an engine, and what it offers: none of the connector's interfaces.
#[test]
fn its_world_is_what_is_documented() {
    let (mut imports, mut exports) = (BTreeSet::new(), BTreeSet::new());
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(RECEIVER) {
        match payload.unwrap() {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                imports.extend(section.into_iter().map(|import| import.unwrap().name.name.split_once('@').unwrap().0));
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                exports.extend(section.into_iter().map(|export| export.unwrap().name.name.split_once('@').unwrap().0));
            }
            _ => {}
        }
    }
    let expected = [
        "wasi:cli/environment",
        "wasi:clocks/monotonic-clock",
        "wasi:clocks/wall-clock",
        "wasi:http/outgoing-handler",
        "wasi:http/types",
        "wasi:io/error",
        "wasi:io/poll",
        "wasi:io/streams",
    ];
    assert_eq!(imports, BTreeSet::from(expected));
    assert_eq!(exports, BTreeSet::from(["wasi:http/incoming-handler"]));
}

/// Junk costs nothing that lasts: the next event goes through as the first one did.
#[tokio::test]
async fn a_thousand_junk_bodies_change_nothing() {
    let endpoint = Endpoint::start(200).await;
    let receiver = Receiver::forwarding_to(endpoint.url());
    let mut random = fastrand::Rng::with_seed(6);
    let mut statuses = BTreeMap::<u16, u32>::new();
    for number in 0..1000 {
        let length = random.usize(0..if number % 100 == 0 { 600 << 10 } else { 4 << 10 });
        let body: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
        let (status, _) = receiver.answer(hook(body)).await;
        *statuses.entry(status).or_default() += 1;
    }
    println!("{statuses:?}");
    assert!(statuses.keys().all(|status| [400, 413].contains(status)), "{statuses:?}");
    assert!(endpoint.received().is_empty());
    assert_eq!(receiver.receive(EVENT).await, 200);
}
