//! The listener before a [`Hook`], and its connections.

use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::{Forwarded, Hook};

/// How long the head of a request may take to arrive.
const HEAD: Duration = Duration::from_secs(10);
/// How long the head may be, in bytes. Memberspot's is short; proxies add to it.
const MOST_HEAD: usize = 32 << 10;
/// How much of a body that nobody read is taken and thrown away, and for how long, so that its sender gets to read the answer
/// instead of a reset.
const MOST_DRAINED: u64 = 4 << 20;
const DRAINING: Duration = Duration::from_secs(2);
/// How long the listener rests when the machine has no connection to give.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// A request and what became of it: nothing of what it said, of people or of secrets.
///
/// `Display` is a line for people to read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// 1 for the first request that was received.
    pub sequence: u64,
    /// Whether it was a POST, as Memberspot's are.
    pub post: bool,
    /// The answer's status; nothing where who asked went away before it.
    pub status: Option<StatusCode>,
    /// What became of the event, if one was sent on.
    pub forwarded: Option<Forwarded>,
    /// What ended the component before its answer: [`HostError::code`](crate::HostError::code).
    pub error: Option<&'static str>,
    /// How long it took from its head to its answer.
    pub took: Duration,
}

impl Entry {
    /// What it comes to, in a word or two.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match (self.status.map_or(0, |status| status.as_u16()), self.forwarded) {
            _ if self.error.is_some() => "broken off",
            (0, _) => "given up by its sender",
            (200, Some(_)) => "forwarded",
            (200, None) => "handshake",
            (400, _) => "no event",
            (404, _) => "not found",
            (408, _) => "too slow",
            (413, _) => "too long",
            (503, _) => "not forwarded",
            _ => "misconfigured",
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.sequence)?;
        if let Some(status) = self.status {
            write!(f, " {}", status.as_u16())?;
        }
        write!(f, " {}", self.outcome())?;
        match (self.error, self.forwarded) {
            (Some(error), _) => write!(f, ": {error}")?,
            (None, Some(Forwarded::Answered(status))) => write!(f, ": the target answered {}", status.as_u16())?,
            (None, Some(Forwarded::Unanswered)) => f.write_str(": the target did not answer")?,
            (None, None) => {}
        }
        write!(f, " ({} ms)", self.took.as_millis())
    }
}

/// What the connections share.
struct Shared<F> {
    hook: Hook,
    observer: F,
    /// How many requests there have been.
    received: AtomicU64,
}

/// Serves a hook until `end`, and then the requests that are there to their ends, which the limits of the hook bound. Dropping
/// the future closes everything at once. The observer is told of each request, before its answer is sent, and should be quick.
///
/// HTTP/1, without TLS, a connection for each request. As many connections are served as the limits allow calls, and calls that
/// wait; more wait in the listener's backlog.
pub async fn serve(
    hook: Hook,
    listener: TcpListener,
    observer: impl Fn(&Entry) + Send + Sync + 'static,
    end: impl Future<Output = ()>,
) {
    let limits = &hook.receiver.0.limits;
    let most = limits.calls.saturating_add(limits.waiting).max(1);
    // Waiting for a place and being answered; each takes as long as a call may at the most.
    let longest = HEAD.saturating_add(limits.time.saturating_mul(2));
    let (ending, ended) = watch::channel(());
    let shared = Arc::new(Shared { hook, observer, received: AtomicU64::new(0) });
    let mut connections = JoinSet::new();
    let mut end = std::pin::pin!(end);
    loop {
        tokio::select! {
            biased;
            () = &mut end => break,
            // A finished connection frees its place.
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < most => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(timeout(longest, serve_connection(stream, shared.clone(), ended.clone())));
                }
                Err(_) => sleep(ACCEPT_REST).await,
            },
        }
    }
    drop((listener, ending));
    while connections.join_next().await.is_some() {}
}

async fn serve_connection<F>(stream: TcpStream, shared: Arc<Shared<F>>, mut ended: watch::Receiver<()>)
where
    F: Fn(&Entry) + Send + Sync + 'static,
{
    // Boxed, because a connection can be taken apart only when its service's future can be moved.
    let service = service_fn(move |request| Box::pin(answer(shared.clone(), request)));
    let mut connection = http1::Builder::new()
        .keep_alive(false)
        // Who has said everything may close that way, and still gets the answer.
        .half_close(true)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(MOST_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let ending = async {
        // It never changes: what is waited for is that its sender is gone.
        while ended.changed().await.is_ok() {}
    };
    let mut ending = std::pin::pin!(ending);
    let mut is_ending = false;
    let served = poll_fn(|cx| {
        if !is_ending && ending.as_mut().poll(cx).is_ready() {
            is_ending = true;
            // One on which nothing has come yet is closed.
            std::pin::Pin::new(&mut connection).graceful_shutdown();
        }
        connection.poll_without_shutdown(cx)
    });
    // Whatever went wrong, nobody is left to be told.
    let _ = served.await;
    let mut stream = connection.into_parts().io.into_inner();
    if stream.shutdown().await.is_ok() {
        let _ = timeout(DRAINING, tokio::io::copy(&mut stream.take(MOST_DRAINED), &mut tokio::io::sink())).await;
    }
}

async fn answer<F: Fn(&Entry)>(
    shared: Arc<Shared<F>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let sequence = shared.received.fetch_add(1, Ordering::Relaxed) + 1;
    let post = request.method() == Method::POST;
    let entry = Entry { sequence, post, status: None, forwarded: None, error: None, took: Duration::ZERO };
    let mut telling = Telling { entry, begin: Instant::now(), shared: &shared };
    let response = match shared.hook.answer(request).await {
        Ok(answer) => {
            telling.entry.forwarded = answer.forwarded;
            answer.response
        }
        Err(error) => {
            telling.entry.error = Some(error.code());
            let mut response = Response::new(Bytes::new());
            // Whatever it was may pass, and then the sender has it again.
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response
        }
    };
    telling.entry.status = Some(response.status());
    Ok(response.map(Full::new))
}

/// Tells of a request when its future ends, also where that is dropped because who asked is gone.
struct Telling<'a, F: Fn(&Entry)> {
    entry: Entry,
    begin: Instant,
    shared: &'a Shared<F>,
}

impl<F: Fn(&Entry)> Drop for Telling<'_, F> {
    fn drop(&mut self) {
        self.entry.took = self.begin.elapsed();
        (self.shared.observer)(&self.entry);
    }
}
