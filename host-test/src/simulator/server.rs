//! The listener, its connections, and the way of a request through the simulator.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::clock::Clock;
use super::faults::{ConnectFault, Fault, FaultQueue};
use super::journal::{Entry, Journal, MOST_BODY_BYTES, Outcome};
use super::nest::{self, Answer, Refusal};
use super::routes::{self, World};
use super::script::{self, Reaction, Script};
use super::stream::{MemoryStream, Stream};
use super::webhooks::{Event, Webhooks};
use super::{Observer, Options};

/// The most connections served at a time; more wait in the listener's backlog.
const MOST_CONNECTIONS: usize = 1024;

/// How much of a body that is too long is read and thrown away, so that the client gets to read the refusal instead of
/// a reset.
const MOST_DRAINED: u64 = 64 * 1024 * 1024;

/// How long the listener rests when the machine has no connection to give.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// What the simulator's owner and its connections share.
pub(super) struct Shared {
    pub(super) clock: Clock,
    world: Mutex<World>,
    faults: Mutex<FaultQueue>,
    journal: Mutex<Journal>,
    latency: Mutex<Duration>,
    /// How many of the next connections are reset at once.
    pub(super) connections_to_reset: AtomicU32,
    /// What befalls the next attempts to connect, in memory only, and how many of them; then what befalls those after them.
    connects: Mutex<VecDeque<(Option<ConnectFault>, u32)>>,
    body_limit: usize,
    on_request: Option<Observer>,
    webhooks: Mutex<Option<Webhooks>>,
}

impl Shared {
    pub(super) fn new(options: Options, origin: String) -> Self {
        let Options { schools, rate_limit, retry_after, .. } = options;
        Self {
            world: Mutex::new(World::new(schools, rate_limit, retry_after, origin)),
            faults: Mutex::default(),
            journal: Mutex::default(),
            latency: Mutex::new(options.latency),
            connections_to_reset: AtomicU32::new(0),
            connects: Mutex::default(),
            body_limit: options.body_limit,
            on_request: options.on_request,
            webhooks: Mutex::default(),
            clock: options.clock,
        }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    pub(super) fn faults(&self) -> MutexGuard<'_, FaultQueue> {
        lock(&self.faults)
    }

    pub(super) fn journal(&self) -> MutexGuard<'_, Journal> {
        lock(&self.journal)
    }

    pub(super) fn latency(&self) -> MutexGuard<'_, Duration> {
        lock(&self.latency)
    }

    pub(super) fn webhooks(&self) -> MutexGuard<'_, Option<Webhooks>> {
        lock(&self.webhooks)
    }

    /// Records what became of a request and tells the observer, both before the client can know.
    fn close(&self, mut entry: Entry, outcome: Outcome) {
        entry.outcome = outcome;
        self.journal().close(&entry);
        if let Some(observer) = &self.on_request {
            observer(&entry);
        }
    }

    pub(super) fn connects(&self) -> MutexGuard<'_, VecDeque<(Option<ConnectFault>, u32)>> {
        lock(&self.connects)
    }

    /// What befalls an attempt to connect.
    pub(super) fn take_connect_fault(&self) -> Option<ConnectFault> {
        let mut connects = self.connects();
        while let Some((fault, left)) = connects.front_mut() {
            if let Some(less) = left.checked_sub(1) {
                *left = less;
                return *fault;
            }
            connects.pop_front();
        }
        None
    }

    fn take_connection_to_reset(&self) -> bool {
        let less = |count: u32| count.checked_sub(1);
        self.connections_to_reset.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

/// A test that panics while it edits a school should fail alone, not take every later request with it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where connections come from.
pub(super) enum Listener {
    Socket(TcpListener),
    Memory(mpsc::Receiver<MemoryStream>),
}

impl Listener {
    async fn accept(&mut self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Socket(listener) => {
                let (stream, _) = listener.accept().await?;
                // Without it a trickle would be gathered into larger pieces; if it cannot be set, only timing suffers.
                let _ = stream.set_nodelay(true);
                Ok(Box::new(stream))
            }
            Self::Memory(connections) => match connections.recv().await {
                Some(stream) => Ok(Box::new(stream)),
                // The network is gone, and nobody will connect any more.
                None => pending().await,
            },
        }
    }
}

/// Serves connections for ever. Dropping the future closes them all.
pub(super) async fn serve(mut listener: Listener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    let mut accepted_so_far = 0;
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MOST_CONNECTIONS => match accepted {
                Ok(stream) => {
                    accepted_so_far += 1;
                    connections.spawn(serve_connection(stream, accepted_so_far, Arc::clone(&shared)));
                }
                Err(_) => sleep(ACCEPT_REST).await,
            },
            // A finished connection frees its place.
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(stream: Box<dyn Stream>, number: u64, shared: Arc<Shared>) {
    if shared.take_connection_to_reset() {
        stream.reset_on_close();
        return;
    }
    let (takeover, mut taken) = mpsc::channel(1);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        let takeover = takeover.clone();
        // Boxed, because a connection can be taken apart only when its service's future can be moved.
        Box::pin(async move { Ok::<_, Infallible>(answer(shared, takeover, number, request).await) })
    });
    let mut connection =
        http1::Builder::new().auto_date_header(false).timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    // Without a shutdown, because a client that half-closes after its request ends HTTP here while a script waits.
    let served = poll_fn(|cx| connection.poll_without_shutdown(cx));
    let script = tokio::select! {
        script = taken.recv() => script,
        _ = served => taken.try_recv().ok(),
    };
    if let Some(script) = script {
        script.play(connection.into_parts().io.into_inner()).await;
    }
}

/// Answers a request, or hands a script to the connection and never returns.
async fn answer(
    shared: Arc<Shared>,
    takeover: mpsc::Sender<Script>,
    connection: u64,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let now = shared.clock.now();
    let key = routes::api_key(&head.headers);
    let school = key.and_then(|key| Some(shared.world().school(key)?.name.clone()));
    let mut entry = Entry::new(&head, now, school);
    entry.connection = connection;
    shared.journal().open(&mut entry);

    let has_body = !body.is_end_stream();
    let hit = shared.faults().take(&head.method, head.uri.path(), has_body);
    let mut happened = Vec::new();
    let reaction = match hit {
        Some((fault, _)) if fault.leaves_body_unread() => faulted(&shared, entry, &head, fault, None),
        hit => {
            let Ok(received) = receive(body, shared.body_limit).await else {
                // The client is gone, so nobody reads this; the entry stays unfinished.
                return Response::default();
            };
            let kept = received.bytes.len().min(MOST_BODY_BYTES);
            entry.body = Bytes::copy_from_slice(&received.bytes[..kept]);
            entry.body_length = received.length;
            match hit {
                Some((fault, applies_effect)) => {
                    let real = (applies_effect || fault.needs_answer()).then(|| carry_out(&shared, &head, &received));
                    let (real, events) = real.unzip();
                    happened = events.unwrap_or_default();
                    faulted(&shared, entry, &head, fault, real)
                }
                None => {
                    let answer;
                    (answer, happened) = carry_out(&shared, &head, &received);
                    shared.close(entry, Outcome::Answered(answer.status().as_u16()));
                    Reaction::Answer { answer, delay: Duration::ZERO }
                }
            }
        }
    };
    // After what made it happen was told of.
    if let Some(webhooks) = &*shared.webhooks() {
        happened.iter().for_each(|event| webhooks.fire(event));
    }

    let latency = *shared.latency();
    match reaction {
        Reaction::Answer { mut answer, delay } => {
            let pause = latency.saturating_add(delay);
            if !pause.is_zero() {
                sleep(pause).await;
            }
            script::dress(&mut answer, shared.clock.now());
            answer.map(Full::new)
        }
        Reaction::Script(script) => {
            if !latency.is_zero() {
                sleep(latency).await;
            }
            // It fails only when the connection is gone, and then there is nothing left to do either.
            let _ = takeover.send(script).await;
            pending().await
        }
    }
}

/// The answer, and what has happened.
fn carry_out(shared: &Shared, head: &Parts, received: &Received) -> (Answer, Vec<Event>) {
    if received.too_long {
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        return (Refusal::bare(status, "request entity too large").into_answer(), Vec::new());
    }
    let now = shared.clock.now();
    shared.world().handle(head, &received.bytes, now)
}

/// Prepares a fault and records it. `real` is the server's own answer, if the request was carried out.
fn faulted(shared: &Shared, entry: Entry, head: &Parts, fault: Fault, real: Option<Answer>) -> Reaction {
    let effect = real.as_ref().map(|answer| answer.status().as_u16());
    let name = fault.name();
    let answer = real.unwrap_or_else(nest::empty);
    let reaction = script::react(fault, head, answer, shared.clock.now());
    let sent = match &reaction {
        Reaction::Answer { answer, .. } => Some(answer.status().as_u16()),
        Reaction::Script(script) => script.sent,
    };
    let outcome = Outcome::Faulted { fault: name, sent, effect };
    shared.close(entry, outcome);
    reaction
}

/// A request body, kept up to the limit.
struct Received {
    bytes: Bytes,
    /// How much was read, in bytes.
    length: u64,
    too_long: bool,
}

async fn receive(mut body: Incoming, limit: usize) -> Result<Received, hyper::Error> {
    let mut kept = BytesMut::new();
    let mut length = 0;
    let mut too_long = false;
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let Ok(data) = frame?.into_data() else {
            // Trailers, which the API knows nothing of.
            continue;
        };
        length += data.len() as u64;
        if data.len() > limit - kept.len() {
            too_long = true;
        }
        let room = data.len().min(limit - kept.len());
        kept.extend_from_slice(&data[..room]);
        if too_long && length > MOST_DRAINED {
            break;
        }
    }
    Ok(Received { bytes: kept.freeze(), length, too_long })
}
