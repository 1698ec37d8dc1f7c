//! Components that misbehave: each call ends with an error that says why, others go on, and nothing is left behind.
//!
//! The component is `tests/hostile/`, built when it is first needed.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame};
use memberspot_host::sender::{Exchange, HttpSender};
use memberspot_host::{Connection, Host, HostBuilder, HostError, Limits, Outcome, Tenant};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep};
use wasmtime::Trap;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

const KEY: &str = r#"canary/4711-"quoted"-key"#;
const ORIGIN: &str = "http://school.example";

/// Builds the component.
fn component() -> &'static [u8] {
    static COMPONENT: OnceLock<Vec<u8>> = OnceLock::new();
    COMPONENT.get_or_init(|| {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let target: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile");
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .current_dir(workspace)
            .args(["build", "--profile", "component", "--target", "wasm32-unknown-unknown", "-p", "memberspot-hostile"])
            .env("CARGO_TARGET_DIR", &target);
        for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER"] {
            cargo.env_remove(name);
        }
        let output = cargo.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::read(target.join("wasm32-unknown-unknown/component/memberspot_hostile.wasm")).unwrap()
    })
}

fn hostile() -> HostBuilder {
    Host::builder().component(component())
}

/// A network of one server, which answers by the path.
#[derive(Clone, Default)]
struct Server(Arc<Seen>);

#[derive(Default)]
struct Seen {
    /// Exchanges that have not ended, the bodies of their answers included.
    open: AtomicUsize,
    most_open: AtomicUsize,
    requests: Mutex<Vec<(http::Uri, Option<String>)>>,
}

/// An exchange that has not ended.
struct Open(Arc<Seen>);

impl Open {
    fn new(seen: &Arc<Seen>) -> Self {
        let open = seen.open.fetch_add(1, Ordering::AcqRel) + 1;
        seen.most_open.fetch_max(open, Ordering::AcqRel);
        Self(seen.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Server {
    fn open(&self) -> usize {
        self.0.open.load(Ordering::Acquire)
    }

    fn requests(&self) -> Vec<(http::Uri, Option<String>)> {
        self.0.requests.lock().unwrap().clone()
    }
}

/// The body of an answer: some pieces, or the same one for ever, each after a pause.
struct Pieces {
    pieces: VecDeque<Bytes>,
    for_ever: bool,
    pause: Option<(Duration, Pin<Box<Sleep>>)>,
    _open: Open,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some((pause, sleeping)) = &mut self.pause {
            std::task::ready!(sleeping.as_mut().poll(cx));
            *sleeping = Box::pin(sleep(*pause));
        }
        let piece = self.pieces.pop_front();
        if self.for_ever {
            self.pieces.extend(piece.clone());
        }
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }
}

impl HttpSender for Server {
    fn send(&self, request: Request<WasiBody>, _: Option<RequestOptions>) -> Pin<Box<dyn Future<Output = Exchange> + Send>> {
        let seen = self.0.clone();
        let open = Open::new(&seen);
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let key = head.headers.get("x-api-key").map(|key| key.to_str().unwrap().to_owned());
            seen.requests.lock().unwrap().push((head.uri.clone(), key));
            let mut answer = Response::builder();
            let (mut pieces, mut for_ever, mut pause) = (vec![Bytes::from_static(b"ok")], false, None);
            match head.uri.path() {
                "/silent" => std::future::pending().await,
                "/sink" => drop(body.collect().await?),
                "/endless" => (pieces, for_ever) = (vec![Bytes::from(vec![b'x'; 1 << 16])], true),
                "/trickle" => {
                    for_ever = true;
                    let second = Duration::from_secs(1);
                    pause = Some((second, Box::pin(sleep(second))));
                }
                "/echo" => {
                    let body = body.collect().await?.to_bytes();
                    pieces = echo(&head, &body);
                    for (name, value) in &head.headers {
                        answer = answer.header(format!("echo-{name}"), value);
                    }
                }
                _ => {}
            }
            let body = Pieces { pieces: pieces.into(), for_ever, pause, _open: open };
            Ok((answer.body(WasiBody::new(body)).unwrap(), Box::pin(async { Ok(()) }) as Pin<Box<_>>))
        })
    }
}

/// The request in several spellings, in large pieces and in small ones.
fn echo(head: &http::request::Parts, body: &[u8]) -> Vec<Bytes> {
    let mut text = format!("{:?} {} {}", head.method, head.uri, String::from_utf8_lossy(body));
    for (name, value) in &head.headers {
        let value = value.to_str().unwrap();
        let json = Value::from(value).to_string();
        text += &format!("{name}: {value}\n{json}\n{}\n", json.replace('/', "\\/"));
    }
    let whole = Bytes::from(text.clone().into_bytes());
    let bits = text.as_bytes().chunks(5).map(Bytes::copy_from_slice);
    [whole].into_iter().chain(bits).collect()
}

/// A host for the component, and the only server in its world.
fn stage(pool: Option<u32>) -> (Host, Server) {
    let server = Server::default();
    let mut builder = hostile().sender(server.clone()).limits(limits(|_| {}));
    if let Some(pool) = pool {
        builder = builder.pool(pool);
    }
    (builder.build().unwrap(), server)
}

/// So small that they are reached soon.
fn limits(set: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    limits.memory = 64 << 20;
    limits.computing = Duration::from_secs(5);
    limits.requests = 1000;
    limits.handles = 500;
    limits.sent = 1 << 20;
    limits.received = 1 << 20;
    set(&mut limits);
    limits
}

fn tenant(host: &Host, limits: Limits) -> Tenant {
    host.tenant_within("hostile", Connection::new(KEY).base_url(ORIGIN), limits)
}

async fn call(host: &Host, function: &str, input: Value) -> Result<Outcome, HostError> {
    host.call(&tenant(host, limits(|_| {})), function, &input).await
}

/// A call as it should be.
async fn assert_alive(host: &Host) {
    let good = host.tenant("good", Connection::new("another key").base_url(ORIGIN));
    let answer = host.call(&good, "wait", &json!({"path": "/ok"})).await.unwrap();
    assert_eq!(answer.into_json(), Ok(json!(200)));
}

/// The kind of an error, and what of it is not a number.
fn kind(error: &HostError) -> String {
    match error {
        HostError::OutOfMemory { .. } => "memory".into(),
        HostError::OutOfHandles { .. } => "handles".into(),
        HostError::OutOfComputing { .. } => "computing".into(),
        HostError::OutOfTraffic { of, .. } => of.to_string(),
        HostError::TimedOut { .. } => "time".into(),
        HostError::Trap(trap) => match trap.downcast_ref::<Trap>() {
            Some(trap) => format!("trap: {trap:?}"),
            None => "trap".into(),
        },
        other => format!("{other:?}"),
    }
}

/// What an error was caused by in the end.
fn cause(error: &HostError) -> String {
    let first = std::error::Error::source(error);
    let causes = std::iter::successors(first, |error| error.source());
    causes.last().map(|cause| format!(": {cause}")).unwrap_or_default()
}

const MISDEEDS: [(&str, &str, &str); 20] = [
    ("take-memory", "{}", "memory"),
    ("recurse", r#"{"depth": 1}"#, "trap: StackOverflow"),
    ("recurse-with-data", "{}", "trap: MemoryOutOfBounds"),
    ("flood", r#"{"requests": 100000}"#, "requests"),
    ("open", r#"{"requests": 1000}"#, "handles"),
    ("open-and-trap", r#"{"requests": 50}"#, "trap: UnreachableCodeReached"),
    ("leak-handles", "{}", "handles"),
    ("leak-requests", "{}", "requests"),
    ("text", r#"{"bytes": 1000000000}"#, "memory"),
    ("numbers", r#"{"length": 10000000}"#, "trap"),
    ("same-text", r#"{"texts": 1000000, "bytes": 1000000}"#, "trap"),
    ("headers", r#"{"count": 1, "bytes": 1000000}"#, "trap"),
    ("headers", r#"{"count": 10000, "bytes": 1000}"#, "trap"),
    ("upload", "{}", "bytes sent"),
    ("download", r#"{"path": "/endless"}"#, "bytes received"),
    ("download", r#"{"path": "/trickle"}"#, "time"),
    ("sleep", "{}", "time"),
    ("wait", r#"{"path": "/silent"}"#, "time"),
    ("spin", "{}", "computing"),
    ("poll", "{}", "computing"),
];

async fn assert_ends(pool: Option<u32>) {
    let (host, server) = stage(pool);
    let mut wrong = Vec::new();
    for (function, input, expected) in MISDEEDS {
        let mut limits = limits(|_| {});
        // The processor's time is real.
        if expected == "computing" {
            limits.computing = Duration::from_millis(100);
        }
        if function == "leak-requests" {
            limits.requests = 100;
        }
        let input: Value = serde_json::from_str(input).unwrap();
        let ended = host.call(&tenant(&host, limits), function, &input).await;
        if let (Err(error), None) = (&ended, pool) {
            // For who wants to read them: `cargo test --workspace --test it misdeed -- --nocapture`.
            println!("{function}({input}): {error}{}", cause(error));
        }
        let ended = ended.map_or_else(|error| kind(&error), |outcome| format!("{:?}", outcome.into_json()));
        if ended != expected {
            wrong.push(format!("{function}({input}): {ended}, not {expected}"));
        }
        // Its tasks are told to end, and do so before the time moves on.
        sleep(Duration::from_millis(1)).await;
        assert_eq!(server.open(), 0, "{function}({input}) left something open");
        assert_alive(&host).await;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(start_paused = true)]
async fn every_misdeed_ends() {
    assert_ends(None).await;
}

#[tokio::test(start_paused = true)]
async fn every_misdeed_ends_in_a_pool() {
    assert_ends(Some(2)).await;
}

#[tokio::test(start_paused = true)]
async fn no_misdeed_stops_the_others() {
    let (host, server) = stage(None);
    let misdeeds: Vec<_> = MISDEEDS
        .into_iter()
        .map(|(function, input, _)| {
            let host = host.clone();
            tokio::spawn(async move { call(&host, function, serde_json::from_str(input).unwrap()).await })
        })
        .collect();
    for _ in 0..20 {
        assert_alive(&host).await;
    }
    for misdeed in misdeeds {
        assert!(misdeed.await.unwrap().is_err());
    }
    sleep(Duration::from_millis(1)).await;
    assert_eq!(server.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn so_many_requests_are_open_at_once() {
    let (host, server) = stage(None);
    let limits = limits(|limits| (limits.open, limits.handles, limits.requests) = (10, 10_000, 10_000));
    let answered = host.call(&tenant(&host, limits), "open", &json!({"requests": 1000})).await.unwrap();
    assert_eq!(answered.into_json(), Ok(json!(1000)), "the others waited");
    assert_eq!(server.0.most_open.load(Ordering::Acquire), 10);
}

#[tokio::test]
async fn requests_go_to_the_tenants_origin_alone() {
    let (host, server) = stage(None);
    let fetch = async |base: &str, scheme: &str, authority: &str, key: Option<&str>| {
        let tenant = host.tenant("hostile", Connection::new(KEY).base_url(base));
        let input = json!({"scheme": scheme, "authority": authority, "path": "/latest/meta-data", "key": key});
        host.call(&tenant, "fetch", &input).await.unwrap().into_json()
    };
    let denied = Err(json!("ErrorCode::HttpRequestDenied"));
    for (base, scheme, authority) in [
        (ORIGIN, "http", "evil.example"),
        (ORIGIN, "https", "school.example"),
        (ORIGIN, "http", "school.example:8080"),
        (ORIGIN, "http", "school.example.evil.example"),
        (ORIGIN, "http", "169.254.169.254"),
        (ORIGIN, "http", "[::ffff:169.254.169.254]"),
        (ORIGIN, "http", "metadata.google.internal"),
        (ORIGIN, "http", "localhost"),
        ("http://localhost:8080", "http", "127.0.0.1:8080"),
        ("http://localhost:8080", "http", "[::1]:8080"),
        ("http://127.0.0.1:8080", "http", "2130706433:8080"),
    ] {
        assert_eq!(fetch(base, scheme, authority, None).await, denied, "{base} to {scheme}://{authority}");
    }
    assert_eq!(server.requests().len(), 0);
    // Whoever brings a key sends that.
    assert_eq!(fetch(ORIGIN, "http", "school.example", Some("forged")).await, Ok(json!(200)));
    assert_eq!(fetch(ORIGIN, "http", "school.example", None).await, Ok(json!(200)));
    let keys: Vec<_> = server.requests().into_iter().map(|(_, key)| key.unwrap()).collect();
    assert_eq!(keys, ["forged", KEY]);
}

fn bytes(hexadecimal: &Value) -> Vec<u8> {
    let digits = hexadecimal.as_str().unwrap().as_bytes();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}

#[tokio::test]
async fn the_key_is_neither_in_memory_nor_in_the_environment() {
    let (host, server) = stage(None);
    let limits = limits(|limits| limits.received = 1 << 30);
    let dumped = host.call(&tenant(&host, limits), "dump", &json!({})).await.unwrap().into_json().unwrap();
    let [environment, echoed, memory] = [0, 1, 2].map(|index| dumped[index].clone());
    // The server was sent the key, and sent it back.
    let (uri, key) = server.requests().remove(0);
    assert_eq!(key.as_deref(), Some(KEY));
    let stand_in = uri.query().unwrap().strip_prefix("key=").unwrap().to_owned();
    let (echoed, memory) = (bytes(&echoed), bytes(&memory));
    for text in [&echoed, &memory] {
        assert!(contains(text, stand_in.as_bytes()), "it has the stand-in");
        assert!(contains(text, b"echo-x-api-key"), "it has the answer");
        // Not even in part: what is shorter could be there by chance.
        for part in KEY.as_bytes().windows(8) {
            assert!(!contains(text, part), "{} is there", String::from_utf8_lossy(part));
        }
    }
    let environment = environment.as_str().unwrap();
    assert!(environment.contains(&stand_in) && !environment.contains("canary"), "{environment}");
    assert_ne!(stand_in, KEY);
}

/// Resident memory of this process, in MiB.
#[cfg(target_os = "linux")]
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() / 1024
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn memory_comes_back() {
    for pool in [None, Some(4)] {
        let server = Server::default();
        let limits = limits(|limits| limits.memory = 100 << 20);
        let mut builder = hostile().sender(server).limits(limits.clone());
        if let Some(pool) = pool {
            builder = builder.pool(pool);
        }
        let host = builder.build().unwrap();
        let tenant = tenant(&host, limits);
        let before = resident();
        for _ in 0..50 {
            for (function, input) in [("take-memory", json!({})), ("numbers", json!({"length": 10_000_000}))] {
                assert!(host.call(&tenant, function, &input).await.is_err());
            }
        }
        // Ten gigabytes were taken. What other tests take at the same time is far from that.
        let left = resident().saturating_sub(before);
        assert!(left < 1000, "{left} MiB are left");
    }
}

/// A server on a socket that counts the connections that are open. It answers when so many are.
async fn counting(answer_at: usize) -> (String, watch::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let (sender, receiver) = watch::channel(0);
    let sender = Arc::new(sender);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            sender.send_modify(|open| *open += 1);
            let sender = sender.clone();
            tokio::spawn(async move {
                let mut buffer = [0; 1024];
                let read = stream.read(&mut buffer).await.unwrap_or(0);
                if buffer[..read].starts_with(b"GET /when-open") {
                    sender.subscribe().wait_for(|open| *open >= answer_at).await.unwrap();
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                }
                while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
                sender.send_modify(|open| *open -= 1);
            });
        }
    });
    (origin, receiver)
}

#[tokio::test]
async fn connections_end_with_the_call() {
    let (origin, mut open) = counting(51).await;
    let host = hostile().allow_all_internal().build().unwrap();
    let tenant = host.tenant("hostile", Connection::new(KEY).base_url(origin));
    let error = host.call(&tenant, "open-and-trap", &json!({"requests": 50})).await.unwrap_err();
    assert!(matches!(error, HostError::Trap(_)), "{error:?}");
    // The one that was answered is kept for the next request, and the tenant has it.
    open.wait_for(|open| *open <= 1).await.unwrap();
    drop(tenant);
    open.wait_for(|open| *open == 0).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_tenants_flood_does_not_delay_anothers_call() {
    let (host, _) = stage(Some(8));
    let call = |id: &str, path: &'static str| {
        let mut limits = limits(|limits| limits.time = Duration::from_secs(600));
        limits.calls = 1000;
        let (host, tenant) = (host.clone(), host.tenant_within(id, Connection::new(KEY).base_url(ORIGIN), limits));
        tokio::spawn(async move { host.call(&tenant, "wait", &json!({"path": path})).await.map(|outcome| outcome.into_json()) })
    };
    let flood: Vec<_> = (0..1000).map(|_| call("flood", "/silent")).collect();
    sleep(Duration::from_secs(1)).await;
    // Nothing of the flood ends before its time, and the single call does not wait for that.
    let started = Instant::now();
    assert_eq!(call("single", "/ok").await.unwrap().unwrap(), Ok(json!(200)));
    assert_eq!(started.elapsed(), Duration::ZERO);
    flood.iter().for_each(tokio::task::JoinHandle::abort);
    join_all(flood).await;
    assert_alive(&host).await;
}
