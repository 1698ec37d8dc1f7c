//! The transport of the component: `wasi:http` for requests, `wasi:io/poll` to wait, `wasi:clocks` to know how long.
//!
//! The component runs all its time-outs itself, since engines differ in theirs; theirs are set a little above.
//!
//! A rule of the component model shapes this file: a resource must be gone before the one that it was made from. Values are
//! therefore bound in that order, and go in the reverse one; and a wait that is given up takes its pollables with it.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use wasi::{
    clocks::monotonic_clock,
    http::{
        outgoing_handler,
        types::{
            ErrorCode, Fields, FutureIncomingResponse, IncomingResponse, Method as WasiMethod, OutgoingBody, OutgoingRequest,
            RequestOptions, Scheme,
        },
    },
    io::{
        poll::{self, Pollable},
        streams::{OutputStream, StreamError},
    },
};

use memberspot_core::{
    request::Method,
    transport::{Bounds, Fault, Incoming, MOST_ERROR_BYTES, Outgoing, Transport, is_success},
};

/// How far the engine's own time-outs lie above ours.
const ENGINE_SLACK: Duration = Duration::from_secs(5);

/// At most this much is handed to or taken from the engine at once.
const PIECE: usize = 64 << 10;

/// The engine below the component: its clock, its network, and the waits that are under way.
#[derive(Default)]
pub struct Wasi {
    waits: RefCell<Vec<Rc<Wait>>>,
}

/// Somebody waits until one of the pollables is ready, or until a moment.
struct Wait {
    pollables: Vec<Pollable>,
    until: Duration,
    outcome: Cell<Option<Result<(), Elapsed>>>,
    /// Who waits.
    waker: RefCell<Waker>,
}

impl Wait {
    fn end(&self, outcome: Result<(), Elapsed>) {
        self.outcome.set(Some(outcome));
        self.waker.borrow().wake_by_ref();
    }
}

/// The moment came first.
#[derive(Clone, Copy)]
struct Elapsed;

impl Wasi {
    /// Runs a future to its end. Whenever it waits, so does the whole instance, until something that it waits for happens.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        // The future is polled again after every event; what is within it may look at who was woken.
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            self.park();
        }
    }

    /// Sleeps until at least one of the waits has an outcome.
    fn park(&self) {
        let waits: Vec<_> = self.waits.borrow().iter().filter(|wait| wait.outcome.get().is_none()).cloned().collect();
        let Some(earliest) = waits.iter().map(|wait| wait.until).min() else { return };
        let timer = monotonic_clock::subscribe_instant(nanoseconds(earliest));
        let owners = waits.iter().flat_map(|wait| wait.pollables.iter().map(move |pollable| (wait, pollable)));
        let (owners, mut pollables): (Vec<_>, Vec<_>) = owners.unzip();
        pollables.push(&timer);
        for index in poll::poll(&pollables) {
            if let Some(wait) = usize::try_from(index).ok().and_then(|index| owners.get(index)) {
                wait.end(Ok(()));
            }
        }
        let mut waiting = waits.iter().filter(|wait| wait.outcome.get().is_none()).peekable();
        if waiting.peek().is_some() {
            let now = self.now();
            waiting.filter(|wait| wait.until <= now).for_each(|wait| wait.end(Err(Elapsed)));
        }
    }

    /// Waits until one of the pollables is ready, or until a moment.
    async fn ready(&self, pollables: Vec<Pollable>, until: Duration) -> Result<(), Elapsed> {
        /// Takes the wait off the list, also when the future is dropped half-way.
        struct Registered<'a>(&'a Wasi, Rc<Wait>);

        impl Drop for Registered<'_> {
            fn drop(&mut self) {
                self.0.waits.borrow_mut().retain(|wait| !Rc::ptr_eq(wait, &self.1));
            }
        }

        let waker = RefCell::new(Waker::noop().clone());
        let wait = Rc::new(Wait { pollables, until, outcome: Cell::new(None), waker });
        self.waits.borrow_mut().push(wait.clone());
        let registered = Registered(self, wait);
        poll_fn(|context| {
            registered.1.waker.borrow_mut().clone_from(context.waker());
            registered.1.outcome.get().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Sends what is left of the body, piece by piece as the engine takes it. Stops early when the answer is there already, or
    /// when the connection does not take more: an answer may still come then, and it says more than the broken upload. The body
    /// that is not finished comes back: to drop it would abort the exchange, and the answer with it.
    async fn upload(
        &self,
        mut upload: Upload<'_>,
        response: &FutureIncomingResponse,
        bounds: Bounds,
    ) -> Result<Option<OutgoingBody>, Fault> {
        loop {
            match upload.stream.check_write() {
                Ok(0) => {
                    let until = bounds.deadline.min(self.now().saturating_add(bounds.between_bytes));
                    let answered = response.subscribe();
                    self.ready(vec![upload.stream.subscribe(), answered], until).await.map_err(|Elapsed| Fault::TimedOut)?;
                    if response.subscribe().ready() {
                        return Ok(Some(upload.body));
                    }
                }
                Ok(_) if upload.flushing => {
                    upload.finish();
                    return Ok(None);
                }
                Ok(room) => {
                    if upload.write(room).is_err() {
                        return Ok(Some(upload.body));
                    }
                }
                Err(_) => return Ok(Some(upload.body)),
            }
        }
    }

    /// Waits for status and headers.
    async fn head(&self, response: &FutureIncomingResponse, bounds: Bounds) -> Result<IncomingResponse, Fault> {
        let until = bounds.deadline.min(self.now().saturating_add(bounds.first_byte));
        loop {
            self.ready(vec![response.subscribe()], until).await.map_err(|Elapsed| Fault::TimedOut)?;
            match response.get() {
                Some(Ok(Ok(response))) => return Ok(response),
                Some(Ok(Err(code))) => return Err(fault(&code)),
                // Taken before, which nobody did.
                Some(Err(())) => return Err(Fault::Broken),
                None => {}
            }
        }
    }

    /// Receives the body. Returns what came, and what ended it before its end.
    async fn download(
        &self,
        response: &IncomingResponse,
        length: Option<usize>,
        most: usize,
        bounds: Bounds,
    ) -> (Vec<u8>, Option<Fault>) {
        let mut received = vec![];
        if length.is_some_and(|length| length > most) {
            return (received, Some(Fault::TooLarge));
        }
        let Ok(body) = response.consume() else { return (received, Some(Fault::Broken)) };
        let Ok(stream) = body.stream() else { return (received, Some(Fault::Broken)) };
        loop {
            match stream.read(PIECE as u64) {
                Ok(piece) if piece.is_empty() => {
                    let until = bounds.deadline.min(self.now().saturating_add(bounds.between_bytes));
                    if self.ready(vec![stream.subscribe()], until).await.is_err() {
                        return (received, Some(Fault::TimedOut));
                    }
                }
                Ok(piece) => {
                    let room = most.saturating_sub(received.len());
                    if piece.len() > room {
                        received.extend(piece.into_iter().take(room));
                        return (received, Some(Fault::TooLarge));
                    }
                    if received.is_empty() {
                        // Most answers come in one piece.
                        received = piece;
                        received.reserve_exact(length.unwrap_or(0).min(PIECE).saturating_sub(received.len()));
                    } else {
                        received.extend(piece);
                    }
                    // A server that trickles keeps the stream ready, so the deadline is looked at here as well.
                    if length != Some(received.len()) && self.now() >= bounds.deadline {
                        return (received, Some(Fault::TimedOut));
                    }
                }
                Err(StreamError::Closed) => {
                    // Some engines end a body that was cut off like one that is complete.
                    let cut_off = length.is_some_and(|length| received.len() < length);
                    return (received, cut_off.then_some(Fault::Broken));
                }
                Err(StreamError::LastOperationFailed(_)) => return (received, Some(Fault::Broken)),
            }
        }
    }
}

/// A body on its way to the engine.
struct Upload<'a> {
    stream: OutputStream,
    body: OutgoingBody,
    rest: &'a [u8],
    /// Nothing is left to be written: what was, is on its way.
    flushing: bool,
}

impl<'a> Upload<'a> {
    /// Hands over a body before its request leaves, as far as the engine takes it without a wait: they then leave together.
    /// `None` when it has taken all of it.
    fn begin(body: OutgoingBody, bytes: &'a [u8]) -> Result<Option<Self>, Fault> {
        let Ok(stream) = body.write() else { return Err(Fault::Unsendable) };
        let mut upload = Self { stream, body, rest: bytes, flushing: false };
        let fits = |room: &u64| usize::try_from(*room).is_ok_and(|room| room >= bytes.len());
        if bytes.len() <= PIECE
            && let Some(room) = upload.stream.check_write().ok().filter(fits)
        {
            upload.write(room).map_err(|_| Fault::Unsendable)?;
            if upload.stream.check_write().is_ok_and(|room| room > 0) {
                upload.finish();
                return Ok(None);
            }
        }
        Ok(Some(upload))
    }

    /// Writes as much as there is room for. After the last piece, more room means that the engine has it.
    fn write(&mut self, room: u64) -> Result<(), StreamError> {
        let room = usize::try_from(room).unwrap_or(PIECE).min(PIECE);
        let (piece, later) = self.rest.split_at_checked(room).unwrap_or((self.rest, &[]));
        self.rest = later;
        self.flushing = later.is_empty();
        self.stream.write(piece)?;
        if self.flushing { self.stream.flush() } else { Ok(()) }
    }

    /// The engine has it all.
    fn finish(self) {
        let Self { stream, body, .. } = self;
        drop(stream);
        // An engine that counts differently says so in its answer, too.
        let _ = OutgoingBody::finish(body, None);
    }
}

impl Transport for Wasi {
    fn now(&self) -> Duration {
        Duration::from_nanos(monotonic_clock::now())
    }

    async fn sleep_until(&self, moment: Duration) {
        // With nothing else to wait for, only the moment can come.
        let _ = self.ready(vec![], moment).await;
    }

    async fn exchange(&self, request: Outgoing<'_>, bounds: Bounds) -> Result<Incoming, Fault> {
        let outgoing = outgoing(&request)?;
        let upload = match request.body {
            Some(bytes) => Upload::begin(outgoing.body().map_err(|()| Fault::Unsendable)?, bytes.as_bytes())?,
            None => None,
        };
        let response = outgoing_handler::handle(outgoing, Some(options(bounds))).map_err(|code| fault(&code))?;
        let unfinished = match upload {
            Some(upload) => self.upload(upload, &response, bounds).await?,
            None => None,
        };
        let head = self.head(&response, bounds).await?;
        let status = head.status();
        let headers = head.headers().entries();
        let most = if is_success(status) { bounds.most_bytes } else { bounds.most_bytes.min(MOST_ERROR_BYTES) };
        let (received, fault) = self.download(&head, content_length(&headers), most, bounds).await;
        drop(unfinished);
        Ok(Incoming { status, headers, body: received, fault })
    }
}

/// The request as `wasi:http` has it.
fn outgoing(request: &Outgoing<'_>) -> Result<OutgoingRequest, Fault> {
    let headers = Fields::from_list(&request.headers).map_err(|_| Fault::Unsendable)?;
    let outgoing = OutgoingRequest::new(headers);
    let method = match request.method {
        Method::Get => WasiMethod::Get,
        Method::Post => WasiMethod::Post,
        Method::Put => WasiMethod::Put,
        Method::Patch => WasiMethod::Patch,
        Method::Delete => WasiMethod::Delete,
    };
    let scheme = if request.origin.secure() { Scheme::Https } else { Scheme::Http };
    let set = || -> Result<(), ()> {
        // What it is from the beginning.
        if request.method != Method::Get {
            outgoing.set_method(&method)?;
        }
        outgoing.set_scheme(Some(&scheme))?;
        outgoing.set_authority(Some(request.origin.authority()))?;
        outgoing.set_path_with_query(Some(request.target))
    };
    set().map_err(|()| Fault::Unsendable)?;
    Ok(outgoing)
}

/// The engine's own time-outs, a little above ours. An engine may not support one; ours hold all the same.
fn options(bounds: Bounds) -> RequestOptions {
    let options = RequestOptions::new();
    let until_first_byte = nanoseconds(bounds.first_byte.saturating_add(ENGINE_SLACK));
    let between_bytes = nanoseconds(bounds.between_bytes.saturating_add(ENGINE_SLACK));
    let _ = options.set_connect_timeout(Some(until_first_byte));
    let _ = options.set_first_byte_timeout(Some(until_first_byte));
    let _ = options.set_between_bytes_timeout(Some(between_bytes));
    options
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn content_length(headers: &[(String, Vec<u8>)]) -> Option<usize> {
    let (_, value) = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// What can be believed of an engine's error.
fn fault(code: &ErrorCode) -> Fault {
    match code {
        ErrorCode::DnsError(_) => Fault::Dns,
        ErrorCode::ConnectionRefused => Fault::Refused,
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => Fault::Denied,
        ErrorCode::TlsCertificateError | ErrorCode::TlsAlertReceived(_) | ErrorCode::TlsProtocolError => Fault::Certificate,
        ErrorCode::DnsTimeout
        | ErrorCode::ConnectionTimeout
        | ErrorCode::ConnectionReadTimeout
        | ErrorCode::ConnectionWriteTimeout
        | ErrorCode::HttpResponseTimeout => Fault::TimedOut,
        ErrorCode::HttpResponseBodySize(_)
        | ErrorCode::HttpResponseHeaderSectionSize(_)
        | ErrorCode::HttpResponseHeaderSize(_)
        | ErrorCode::HttpResponseTrailerSectionSize(_)
        | ErrorCode::HttpResponseTrailerSize(_) => Fault::TooLarge,
        ErrorCode::HttpRequestUriInvalid
        | ErrorCode::HttpRequestUriTooLong
        | ErrorCode::HttpRequestMethodInvalid
        | ErrorCode::HttpRequestHeaderSectionSize(_)
        | ErrorCode::HttpRequestHeaderSize(_) => Fault::Unsendable,
        _ => Fault::Broken,
    }
}
