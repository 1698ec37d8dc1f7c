//! The webhook receiver, the other component that is embedded: what Memberspot sends goes in, and events go on to one address,
//! signed.
//!
//! ```no_run
//! use memberspot_host::ApiKey;
//! use memberspot_host::receiver::{self, Receiver};
//! use memberspot_host::sender::{PooledSender, Reach};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let variables = [
//!     (receiver::FORWARD_URL, ApiKey::new("https://engine.example.com/in")),
//!     (receiver::TOKEN, ApiKey::from_file("token".as_ref())?),
//!     (receiver::FORWARD_SECRET, ApiKey::from_file("secret".as_ref())?),
//! ];
//! let hook = Receiver::new()?.hook(variables, PooledSender::new(Reach::Public));
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! receiver::serve(hook, listener, |_| {}, std::future::pending()).await;
//! # Ok(())
//! # }
//! ```
//!
//! Each request is answered by an instance of its own, which can reach its variables, the time, and the origin of the address
//! that events go to.

mod server;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Body;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;
use wasmtime::component::{Component, HasData, Linker, ResourceTable};
use wasmtime::{Config, Engine, Store};
use wasmtime_wasi::p2::bindings as wasi;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

pub use server::{Entry, serve};

use crate::egress::{Egress, Traffic};
use crate::host::{Computing, TokioClock};
use crate::limits::{Meter, Ticker};
use crate::sender::{Exchange, HttpSender};
use crate::{ApiKey, HostError, Limits, Origin, WEBHOOK_RECEIVER};

/// The variable of the token that the path of a request must end in.
pub const TOKEN: &str = "MEMBERSPOT_WEBHOOK_TOKEN";
/// The variable of the address that events go to.
pub const FORWARD_URL: &str = "MEMBERSPOT_FORWARD_URL";
/// The variable of the secret that they are signed with.
pub const FORWARD_SECRET: &str = "MEMBERSPOT_FORWARD_SECRET";
/// The variable of how long forwarding may take, in milliseconds.
pub const FORWARD_TIMEOUT_MS: &str = "MEMBERSPOT_FORWARD_TIMEOUT_MS";

/// What Memberspot sends to see whether there is a receiver.
const HANDSHAKE: &str = r#"{"event":"auth_test"}"#;

/// The longest answer. The component's are a line at the most.
const MOST_ANSWERED: usize = 64 << 10;

/// The receiver, compiled and ready. Cheap to clone.
#[derive(Clone)]
pub struct Receiver(Arc<Compiled>);

struct Compiled {
    pre: ProxyPre<Serving>,
    limits: Limits,
    ticker: Ticker,
    /// Those that are answered, and those that wait for it as well.
    answered: Semaphore,
    admitted: Semaphore,
}

/// A receiver with its variables.
#[derive(Clone)]
pub struct Hook {
    receiver: Receiver,
    variables: Arc<[(String, ApiKey)]>,
    forward: Option<Origin>,
    sender: Arc<dyn HttpSender>,
}

/// What the component made of a request.
#[derive(Debug)]
pub struct Answer {
    /// What it answers.
    pub response: Response<Bytes>,
    /// What became of the event, if it sent one.
    pub forwarded: Option<Forwarded>,
}

/// What became of an event that was sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarded {
    /// There was an answer, with this status.
    Answered(StatusCode),
    /// There was none: no connection, a broken one, or none in time.
    Unanswered,
}

impl Receiver {
    /// The embedded receiver, with limits that leave it the time that it gives others.
    ///
    /// # Errors
    ///
    /// When the engine does not start.
    pub fn new() -> Result<Self, HostError> {
        Self::within(Limits {
            // A body of 256 KiB exists several times: as it came, as the event, and as the JSON of it.
            memory: 16 << 20,
            // Ten seconds for the body to arrive, and a minute at the most for its target.
            time: Duration::from_secs(80),
            // The longest body takes some milliseconds.
            computing: Duration::from_secs(5),
            handles: 100,
            requests: 1,
            open: 1,
            // As JSON in JSON, a body is up to twice as long.
            sent: 1 << 20,
            received: 1 << 20,
            calls: 64,
            waiting: 192,
            ..Limits::default()
        })
    }

    /// The same with other limits: a request is a call there, and all that come to this receiver are of one tenant.
    ///
    /// # Errors
    ///
    /// When the engine does not start.
    pub fn within(limits: Limits) -> Result<Self, HostError> {
        let engine = Engine::new(Config::new().epoch_interruption(true)).map_err(HostError::Engine)?;
        let component = Component::from_binary(&engine, WEBHOOK_RECEIVER).map_err(HostError::Load)?;
        let pre = linker(&engine).and_then(|linker| ProxyPre::new(linker.instantiate_pre(&component)?));
        let places = |count: usize| Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS));
        Ok(Self(Arc::new(Compiled {
            pre: pre.map_err(HostError::Load)?,
            ticker: Ticker::start(&engine).map_err(|error| HostError::Engine(error.into()))?,
            answered: places(limits.calls),
            admitted: places(limits.calls.saturating_add(limits.waiting)),
            limits,
        })))
    }

    /// A receiver with these variables of its environment. They are not checked: the component answers a handshake with what
    /// is wrong. Events are sent by `sender`, to the origin of [`FORWARD_URL`] and nowhere else.
    pub fn hook<N: Into<String>>(
        &self,
        variables: impl IntoIterator<Item = (N, ApiKey)>,
        sender: impl HttpSender + 'static,
    ) -> Hook {
        let variables: Arc<[_]> = variables.into_iter().map(|(name, value)| (name.into(), value)).collect();
        let url = variables.iter().find(|(name, _)| name == FORWARD_URL);
        let forward = url.and_then(|(_, url)| Origin::parse(url.expose().trim()));
        Hook { receiver: self.clone(), variables, forward, sender: Arc::new(sender) }
    }
}

impl Hook {
    /// Lets the component answer a request, in an instance of its own.
    ///
    /// # Errors
    ///
    /// When it does not come to an answer within the limits, or as many requests as they allow are there already.
    pub async fn answer<B>(&self, request: Request<B>) -> Result<Answer, HostError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Error>,
    {
        let Compiled { limits, ticker, answered, admitted, .. } = &*self.receiver.0;
        let busy = || HostError::Busy { calls: limits.calls, waiting: limits.waiting };
        let _admitted = admitted.try_acquire().map_err(|_| busy())?;
        let _place = tokio::time::timeout(limits.time, answered.acquire()).await.map_err(|_| busy())?;

        let traffic = Arc::new(Traffic::new(limits));
        let note = Note::default();
        let sender = Arc::new(Noting { sender: self.sender.clone(), note: note.clone() });
        let egress = Egress { allowed: self.forward.clone(), vault: None, traffic: traffic.clone(), sender, rate: None };
        let _ticking = ticker.tick();
        let work = Computing::new(limits.computing, self.instance(request, egress));
        let result = tokio::select! {
            biased;
            result = tokio::time::timeout(limits.time, work) => {
                result.unwrap_or(Err(HostError::TimedOut { limit: limits.time }))
            }
            () = traffic.exceeded() => Err(HostError::TimedOut { limit: limits.time }),
        };
        if let Some((of, limit)) = traffic.excess() {
            return Err(HostError::OutOfTraffic { of, limit });
        }
        Ok(Answer { response: result?, forwarded: note.get() })
    }

    /// Lets the component answer the handshake by which Memberspot checks an address. 200 says that the variables are in order,
    /// 404 that there is no token that is worth the name, and the text of a 500 what else is wrong.
    ///
    /// # Errors
    ///
    /// As [`Hook::answer`].
    pub async fn handshake(&self) -> Result<Answer, HostError> {
        let token = self.variables.iter().find(|(name, _)| name == TOKEN).map_or("", |(_, token)| token.expose().trim());
        let request = Request::post(format!("/hooks/{token}")).body(Full::from(HANDSHAKE));
        // What cannot stand in a path is no token.
        self.answer(request.unwrap_or_default()).await
    }

    async fn instance<B>(&self, mut request: Request<B>, egress: Egress) -> Result<Response<Bytes>, HostError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Error>,
    {
        let Compiled { pre, limits, .. } = &*self.receiver.0;
        // HTTP/1.0 does without it, and a request of `wasi:http` cannot.
        request.headers_mut().entry(HOST).or_insert(HeaderValue::from_static("localhost"));
        let mut store = Store::new(pre.engine(), Serving::new(&self.variables, egress, limits));
        store.limiter(|serving| &mut serving.meter);
        store.epoch_deadline_async_yield_and_update(1);
        store.set_epoch_deadline(1);
        let (sender, answer) = oneshot::channel::<Result<_, ErrorCode>>();
        let work = async move {
            let mut http = store.data_mut().http();
            let request = http.new_incoming_request(Scheme::Http, request).map_err(HostError::Trap)?;
            let out = http.new_response_outparam(sender).map_err(HostError::Trap)?;
            let handled = match pre.instantiate_async(&mut store).await {
                Ok(proxy) => proxy.wasi_http_incoming_handler().call_handle(&mut store, request, out).await,
                Err(source) => Err(source),
            };
            let out_of_memory = store.data().meter.refused_memory();
            handled.map_err(|source| {
                if out_of_memory { HostError::OutOfMemory { limit: limits.memory, source } } else { HostError::Trap(source) }
            })
            // The store ends here, and with it whatever of an answer has not come by now.
        };
        let broken = |problem: &'static str| HostError::Trap(wasmtime::Error::msg(problem));
        let receive = async {
            let response = answer.await.map_err(|_| broken("no answer"))?.map_err(|_| broken("an error for an answer"))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MOST_ANSWERED).collect().await.map_err(|_| broken("an answer without an end"))?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        // At the same time: the component waits until its answer is taken.
        let (worked, response) = tokio::join!(work, receive);
        worked.and(response)
    }
}

/// The interfaces that the receiver may import, and no others.
fn linker(engine: &Engine) -> wasmtime::Result<Linker<Serving>> {
    struct Io;
    impl HasData for Io {
        type Data<'a> = &'a mut ResourceTable;
    }

    let mut linker = Linker::new(engine);
    wasi::io::error::add_to_linker::<_, Io>(&mut linker, |serving: &mut Serving| &mut serving.table)?;
    wasi::io::poll::add_to_linker::<_, Io>(&mut linker, |serving| &mut serving.table)?;
    wasi::io::streams::add_to_linker::<_, Io>(&mut linker, |serving| &mut serving.table)?;
    let clocks = wasmtime_wasi::clocks::WasiClocksView::clocks;
    wasi::clocks::monotonic_clock::add_to_linker::<Serving, wasmtime_wasi::clocks::WasiClocks>(&mut linker, clocks)?;
    wasi::clocks::wall_clock::add_to_linker::<Serving, wasmtime_wasi::clocks::WasiClocks>(&mut linker, clocks)?;
    wasi::cli::environment::add_to_linker::<Serving, wasmtime_wasi::cli::WasiCli>(
        &mut linker,
        wasmtime_wasi::cli::WasiCliView::cli,
    )?;
    let options = wasmtime_wasi_http::p2::bindings::LinkOptions::default();
    wasmtime_wasi_http::p2::bindings::http::types::add_to_linker::<_, wasmtime_wasi_http::WasiHttp>(
        &mut linker,
        &(&options).into(),
        Serving::http,
    )?;
    wasmtime_wasi_http::p2::bindings::http::outgoing_handler::add_to_linker::<_, wasmtime_wasi_http::WasiHttp>(
        &mut linker,
        Serving::http,
    )?;
    Ok(linker)
}

/// What belongs to one instance.
struct Serving {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    egress: Egress,
    table: ResourceTable,
    meter: Meter,
}

impl Serving {
    fn new(variables: &[(String, ApiKey)], egress: Egress, limits: &Limits) -> Self {
        let mut wasi = WasiCtx::builder();
        for (name, value) in variables {
            wasi.env(name, value.expose());
        }
        wasi.monotonic_clock(TokioClock(Instant::now()));
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        Self { wasi: wasi.build(), http: WasiHttpCtx::new(), egress, table, meter: Meter::new(limits) }
    }
}

impl WasiView for Serving {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Serving {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.egress }
    }
}

/// What became of an event, as far as it is known.
#[derive(Clone, Default)]
struct Note(Arc<Mutex<Option<Forwarded>>>);

impl Note {
    fn set(&self, forwarded: Forwarded) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(forwarded);
    }

    fn get(&self) -> Option<Forwarded> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends, and notes what became of it: the component's answer does not say.
struct Noting {
    sender: Arc<dyn HttpSender>,
    note: Note,
}

impl HttpSender for Noting {
    fn send(
        &self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Exchange> + Send>> {
        self.note.set(Forwarded::Unanswered);
        let (note, exchange) = (self.note.clone(), self.sender.send(request, options));
        Box::pin(async move {
            let exchange = exchange.await;
            if let Ok((response, _)) = &exchange {
                note.set(Forwarded::Answered(response.status()));
            }
            exchange
        })
    }
}
