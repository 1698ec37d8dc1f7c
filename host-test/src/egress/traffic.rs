//! What a call sends and receives, and where that ends.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use wasmtime_wasi_http::{Error, WasiBody};

use super::Refusal;
use crate::Limits;
use crate::observe::Call;

/// Of what a call had too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Excess {
    /// Requests: see [`Limits::requests`].
    Requests,
    /// Bytes of bodies that it sent: see [`Limits::sent`].
    Sent,
    /// Bytes of bodies that it received: see [`Limits::received`].
    Received,
}

impl std::fmt::Display for Excess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Requests => "requests",
            Self::Sent => "bytes sent",
            Self::Received => "bytes received",
        })
    }
}

/// Counts for one call.
#[derive(Debug)]
pub(crate) struct Traffic {
    requests: Counter,
    sent: Counter,
    received: Counter,
    open: Arc<Semaphore>,
    excess: OnceLock<(Excess, u64)>,
    ended: Notify,
    refusal: Mutex<Option<Refusal>>,
    /// The call, where somebody is told of it.
    call: Option<Arc<Call>>,
}

#[derive(Debug)]
struct Counter {
    count: AtomicU64,
    limit: u64,
    of: Excess,
}

impl Counter {
    fn new(of: Excess, limit: u64) -> Self {
        Self { count: AtomicU64::new(0), limit, of }
    }

    fn get(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl Traffic {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            requests: Counter::new(Excess::Requests, limits.requests),
            sent: Counter::new(Excess::Sent, limits.sent),
            received: Counter::new(Excess::Received, limits.received),
            open: Arc::new(Semaphore::new(limits.open.clamp(1, Semaphore::MAX_PERMITS))),
            excess: OnceLock::new(),
            ended: Notify::new(),
            refusal: Mutex::new(None),
            call: None,
        }
    }

    /// The traffic of a call that somebody may be told of.
    pub(crate) fn of(call: Option<Arc<Call>>, limits: &Limits) -> Self {
        Self { call, ..Self::new(limits) }
    }

    pub(crate) fn call(&self) -> Option<&Arc<Call>> {
        self.call.as_ref()
    }

    /// Counts a request. `false` when it is one too many.
    pub(crate) fn request(&self) -> bool {
        self.add(&self.requests, 1)
    }

    /// Waits until one more request may be under way. It is until the result is dropped.
    pub(crate) async fn open(&self) -> Option<OwnedSemaphorePermit> {
        // Nobody closes the semaphore.
        self.open.clone().acquire_owned().await.ok()
    }

    pub(crate) fn outgoing(self: &Arc<Self>, body: WasiBody) -> WasiBody {
        WasiBody::new(Counted { body, traffic: self.clone(), counter: |traffic| &traffic.sent, _open: None })
    }

    pub(crate) fn incoming(self: &Arc<Self>, body: WasiBody, open: Option<OwnedSemaphorePermit>) -> WasiBody {
        WasiBody::new(Counted { body, traffic: self.clone(), counter: |traffic| &traffic.received, _open: open })
    }

    /// Notes what was not let through. The last one says most of how the call ended.
    pub(crate) fn refuse(&self, refusal: Refusal) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
    }

    /// What was not let through since the last time that somebody asked.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Of what there was too much, and how much there may be.
    pub(crate) fn excess(&self) -> Option<(Excess, u64)> {
        self.excess.get().copied()
    }

    /// Waits until there is too much of something.
    pub(crate) async fn exceeded(&self) {
        // The permit is kept where that comes before the wait.
        self.ended.notified().await;
    }

    /// Requests, bytes sent, bytes received.
    pub(crate) fn totals(&self) -> [u64; 3] {
        [&self.requests, &self.sent, &self.received].map(Counter::get)
    }

    fn add(&self, counter: &Counter, amount: u64) -> bool {
        let before = counter.count.fetch_add(amount, Ordering::Relaxed);
        let within = before.saturating_add(amount) <= counter.limit;
        if !within && self.excess.set((counter.of, counter.limit)).is_ok() {
            self.ended.notify_one();
        }
        within
    }
}

/// A body whose bytes are counted.
struct Counted {
    body: WasiBody,
    traffic: Arc<Traffic>,
    counter: fn(&Traffic) -> &Counter,
    _open: Option<OwnedSemaphorePermit>,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref) {
            let within = this.traffic.add((this.counter)(&this.traffic), data.len() as u64);
            if !within {
                // The call is over in a moment, so nobody learns of this.
                return Poll::Ready(Some(Err(Error::ConnectionTerminated)));
            }
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
