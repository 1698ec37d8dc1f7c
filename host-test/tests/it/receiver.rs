//! The webhook receiver, built and served as engines serve it, between a Memberspot and an engine's endpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::{Body, Frame};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use memberspot_host::receiver::{self, FORWARD_SECRET, FORWARD_TIMEOUT_MS, FORWARD_URL, Forwarded, Hook, TOKEN as TOKEN_NAME};
use memberspot_host::sender::{PooledSender, Reach};
use memberspot_host::simulator::{Delivered, Webhook as Webhooks};
use memberspot_host::{ApiKey, HostError, Limits, WEBHOOK_RECEIVER as RECEIVER};
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Interval;
use wasmparser::{Parser, Payload};

use crate::stage::Stage;

const TOKEN: &str = "Zk3-_9aBcDeFgHiJkLmNoP";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const HANDSHAKE: &str = r#"{"event":"auth_test"}"#;
const EVENT: &str = r#"{"event":"user_added","data":{"email":"mia@example.com","uid":"u1"},"offerId":"offer-yoga-basic"}"#;

fn compiled() -> &'static receiver::Receiver {
    static COMPILED: OnceLock<receiver::Receiver> = OnceLock::new();
    COMPILED.get_or_init(|| receiver::Receiver::new().unwrap())
}

/// The receiver with its environment; each request gets an instance of its own.
#[derive(Clone)]
struct Receiver(BTreeMap<&'static str, String>);

impl Receiver {
    fn forwarding_to(url: impl Into<String>) -> Self {
        Self([(TOKEN_NAME, TOKEN.into()), (FORWARD_URL, url.into()), (FORWARD_SECRET, SECRET.into())].into())
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.0.insert(name, value.into());
        self
    }

    fn without(mut self, name: &'static str) -> Self {
        self.0.remove(name).expect("it was set");
        self
    }

    fn hook(&self) -> Hook {
        let variables = self.0.iter().map(|(name, value)| (*name, ApiKey::new(value.as_str())));
        compiled().hook(variables, PooledSender::new(Reach::Internal))
    }

    /// Lets it answer a request, and says how: the status and the body. It never traps.
    async fn answer<B>(&self, request: Request<B>) -> (u16, String)
    where
        B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
    {
        let (head, body) = self.hook().answer(request).await.expect("an answer").response.into_parts();
        (head.status.as_u16(), String::from_utf8(body.into()).unwrap())
    }

    /// Answers what Memberspot sends.
    async fn receive(&self, body: &str) -> u16 {
        self.answer(hook(body.to_owned())).await.0
    }

    /// Serves it until the test ends, and gives its address.
    async fn serve(&self) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(receiver::serve(self.hook(), listener, |_| {}, pending()));
        address
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
    /// As above, one after the other.
    arriving: mpsc::UnboundedReceiver<(HeaderMap, Bytes)>,
}

impl Endpoint {
    async fn start(status: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::<Mutex<Vec<_>>>::default();
        let (arrives, arriving) = mpsc::unbounded_channel();
        let kept = received.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (kept, arrives) = (kept.clone(), arrives.clone());
                let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let (kept, arrives) = (kept.clone(), arrives.clone());
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await?.to_bytes();
                        kept.lock().unwrap().push((head.headers.clone(), body.clone()));
                        let _ = arrives.send((head.headers, body));
                        // Where a status of 3xx leads to: itself.
                        let answer = Response::builder().status(status).header("location", "/elsewhere");
                        Ok::<_, hyper::Error>(answer.body(Full::new(Bytes::from_static(b"{}"))).unwrap())
                    }
                });
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection), service));
            }
        });
        Self { address, received, arriving }
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
        genuine(headers, body)
    }

    /// The next event that comes, if its signature is right.
    async fn next(&mut self) -> Value {
        let (headers, body) = self.arriving.recv().await.unwrap();
        genuine(&headers, &body)
    }
}

/// An event, if its signature is right.
fn genuine(headers: &HeaderMap, body: &[u8]) -> Value {
    Webhook::new(SECRET).unwrap().verify(body, headers).unwrap();
    serde_json::from_slice(body).unwrap()
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

/// Everything is real but Memberspot: somebody buys an offer and becomes a member, which Memberspot sends an event of; the
/// receiver signs it, an engine checks that, and welcomes the new member with another offer.
#[tokio::test]
async fn from_event_to_access() {
    let (mut engine, stage) = (Endpoint::start(204).await, Stage::new().await);
    let receiver = Receiver::forwarding_to(engine.url()).serve().await;
    let (tell, mut told) = mpsc::unbounded_channel();
    stage.simulator.send_webhooks(Webhooks {
        url: format!("http://{receiver}/hooks/{TOKEN}").parse().unwrap(),
        sender: Arc::new(PooledSender::new(Reach::Internal)),
        on_delivery: Arc::new(move |delivery| tell.send(*delivery).unwrap()),
    });
    let mut delivered = async |event: &str| {
        let delivery = told.recv().await.unwrap();
        assert_eq!((delivery.event, delivery.attempt, delivery.delivered), (event, 1, Delivered::Answered(StatusCode::OK)));
    };
    delivered("auth_test").await;

    let bought = json!({"email": "mia@example.com", "offerId": "offer-yoga-basic", "orderId": "order-1"});
    let mia = stage.call("grant-access", bought).await.unwrap();
    let event = engine.next().await;
    assert_eq!(
        (&event["name"], &event["email"], &event["uid"]),
        (&json!("user_added"), &json!("mia@example.com"), &mia["uid"])
    );
    assert!(event["occurredAt"].is_string() && event.get("offerId").is_none(), "{event}");
    let parsed = stage.call("parse-webhook", json!({"body": event["raw"]})).await.unwrap();
    assert_eq!(parsed, json!({"tag": "event", "val": event}), "as the connector has it");
    let granted = engine.next().await;
    assert_eq!((&granted["name"], &granted["offerId"]), (&json!("offer_granted"), &json!("offer-yoga-basic")));
    delivered("user_added").await;
    delivered("offer_granted").await;

    // What the engine does with it.
    stage.call("grant-access", json!({"email": event["email"], "offerId": "offer-breath"})).await.unwrap();
    let welcome = engine.next().await;
    assert_eq!((&welcome["name"], &welcome["offerId"]), (&json!("offer_granted"), &json!("offer-breath")));
    let (school, now) = (stage.school(), stage.simulator.clock().now());
    assert!(
        ["offer-yoga-basic", "offer-breath"].iter().all(|id| school.member("mia@example.com").unwrap().has_access(id, now))
    );
    // What changes nothing is no event.
    stage.call("grant-access", json!({"email": event["email"], "offerId": "offer-breath"})).await.unwrap();
    stage.call("grant-access", json!({"email": "ole@example.com", "offerId": "offer-breath"})).await.unwrap();
    assert_eq!(engine.next().await["email"], "ole@example.com");
    assert_eq!(engine.received().len(), 4, "the handshake is not forwarded");
}

#[tokio::test]
async fn an_event_is_forwarded_as_the_connector_reads_it() {
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
    let unset = receiver.clone().without(TOKEN_NAME);
    assert_eq!(unset.answer(hook(EVENT)).await, nothing);
    for token in ["", "short", &TOKEN[1..]] {
        let weak = receiver.clone().with(TOKEN_NAME, token);
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
        let receiver = Receiver::forwarding_to(saying(answer).await).with(FORWARD_TIMEOUT_MS, "300");
        assert_eq!(receiver.receive(EVENT).await, 503, "{answer}");
    }
    // With the status, it is accepted; the body may never come.
    let headers = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n";
    let receiver = Receiver::forwarding_to(saying(headers).await).with(FORWARD_TIMEOUT_MS, "300");
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
        (FORWARD_URL, "http://engine.example.com/hush"),
        (FORWARD_URL, "https://hush:hush@engine.example.com/"),
        (FORWARD_SECRET, "whsec_aHVzaA=="),
        (FORWARD_SECRET, "hush"),
        (FORWARD_TIMEOUT_MS, "60001"),
    ];
    for (name, value) in wrong {
        let (status, text) = receiver.clone().with(name, value).answer(hook(HANDSHAKE)).await;
        assert!(status == 500 && text.starts_with(name) && !text.contains("hush") && !text.contains(value), "{status} {text}");
    }
    for name in [FORWARD_URL, FORWARD_SECRET] {
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

/// Sends all of this over a connection, and reads until it is closed.
async fn talk(address: SocketAddr, request: &[u8]) -> String {
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(request).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn it_is_served_over_sockets() {
    let endpoint = Endpoint::start(200).await;
    let address = Receiver::forwarding_to(endpoint.url()).serve().await;
    let post = |version: &str, headers: &str, body: &str| {
        let length = body.len();
        format!("POST /hooks/{TOKEN} HTTP/{version}\r\n{headers}content-length: {length}\r\n\r\n{body}")
    };
    for (request, status) in [
        (post("1.1", "host: x\r\n", EVENT), 200),
        // Without what HTTP/1.1 asks for.
        (post("1.0", "", EVENT), 200),
        (post("1.1", "host: x\r\n", "junk"), 400),
        (post("1.1", "host: x\r\n", &" ".repeat(1 << 20)), 413),
        (format!("POST /hooks/x HTTP/1.1\r\nhost: x\r\ncontent-length: 300000\r\n\r\n{}", " ".repeat(300_000)), 404),
        ("GET / HTTP/1.1\r\nhost: x\r\n\r\n".into(), 404),
        ("junk\r\n\r\n".into(), 400),
        (format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(100_000)), 431),
    ] {
        let answer = talk(address, request.as_bytes()).await;
        assert_eq!(answer.split(' ').nth(1), Some(status.to_string().as_str()), "{request:.60}: {answer}");
    }
    assert_eq!(endpoint.received().len(), 2);
}

/// What is there is dealt with, and what only listens is let go of.
#[tokio::test]
async fn it_ends_in_good_order() {
    let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let hook = Receiver::forwarding_to(format!("http://{}/", target.local_addr().unwrap())).hook();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (end, ended) = oneshot::channel::<()>();
    let (tell, mut told) = mpsc::unbounded_channel();
    let observer = move |entry: &receiver::Entry| tell.send(entry.clone()).unwrap();
    let served = tokio::spawn(receiver::serve(hook, listener, observer, async { drop(ended.await) }));
    let silent = TcpStream::connect(address).await.unwrap();
    let request = format!("POST /hooks/{TOKEN} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{EVENT}", EVENT.len());
    let asked = tokio::spawn(async move { talk(address, request.as_bytes()).await });
    let (mut forwarded, _) = target.accept().await.unwrap();

    end.send(()).unwrap();
    forwarded.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    assert!(asked.await.unwrap().starts_with("HTTP/1.1 200 "));
    served.await.unwrap();
    drop(silent);
    assert!(TcpStream::connect(address).await.is_err(), "it still listens");
    let entry = told.recv().await.unwrap();
    assert_eq!((entry.sequence, entry.post, entry.error), (1, true, None));
    assert_eq!((entry.status, entry.forwarded), (Some(StatusCode::OK), Some(Forwarded::Answered(StatusCode::ACCEPTED))));
    assert!(told.recv().await.is_none(), "more than one request");
}

#[tokio::test]
async fn its_instances_are_bounded() {
    let endpoint = Endpoint::start(200).await;
    let within = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        let variables = Receiver::forwarding_to(endpoint.url()).0;
        let variables = variables.into_iter().map(|(name, value)| (name, ApiKey::new(value)));
        receiver::Receiver::within(limits).unwrap().hook(variables, PooledSender::new(Reach::Internal))
    };
    let memory = within(|limits| limits.memory = 256 << 10).answer(hook(vec![b' '; 256 << 10])).await;
    assert!(matches!(memory, Err(HostError::OutOfMemory { .. })), "{memory:?}");
    let sent = within(|limits| limits.sent = 10).answer(hook(EVENT)).await;
    assert!(matches!(sent, Err(HostError::OutOfTraffic { .. })), "{sent:?}");
    let time = within(|limits| limits.time = Duration::from_millis(100));
    let time = time.answer(Request::post(format!("/hooks/{TOKEN}")).body(Trickle(None)).unwrap()).await;
    assert!(matches!(time, Err(HostError::TimedOut { .. })), "{time:?}");
    // One is answered and never ends; there is no room for another.
    let full = within(|limits| (limits.calls, limits.waiting) = (1, 0));
    let endless = Request::post(format!("/hooks/{TOKEN}")).body(Trickle(None)).unwrap();
    let mut endless = Box::pin(full.answer(endless));
    assert!(endless.as_mut().now_or_never().is_none());
    let busy = full.answer(hook(EVENT)).await;
    assert!(matches!(busy, Err(HostError::Busy { .. })), "{busy:?}");
    drop(endless);
    assert_eq!(full.answer(hook(EVENT)).await.unwrap().response.status(), StatusCode::OK);
}
