//! The export: one request, from its arrival to its answer.

use std::time::Duration;

use memberspot_core::{
    form,
    request::Method,
    transport::{Bounds, Outgoing, Transport, is_success},
    webhook::{self, MOST_BODY_BYTES},
    wit::triggers::{EventDetails, WebhookEvent},
};
use wasi::{
    cli::environment::get_environment,
    clocks::{monotonic_clock, wall_clock},
    exports::http::incoming_handler::Guest,
    http::types::{Fields, IncomingRequest, Method as WasiMethod, OutgoingBody, OutgoingResponse, ResponseOutparam},
    io::{poll, streams::StreamError},
};

use crate::{
    config::{Environment, Forward},
    reply::Reply,
    signature,
    transport::Wasi,
};

/// How long a body may take to arrive.
const LONGEST_ARRIVAL: Duration = Duration::from_secs(10);

/// At most this much is taken from the engine at once.
const PIECE: u64 = 64 << 10;

/// What the bindings call.
struct Receiver;

impl Guest for Receiver {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let reply = receive(&request).unwrap_or_else(|refusal| refusal);
        // The body of the request is let go of before its answer begins.
        drop(request);
        answer(&reply, out);
    }
}

/// Deals with a request; both ways are answers.
fn receive(request: &IncomingRequest) -> Result<Reply, Reply> {
    let environment = Environment::new(get_environment());
    admit(request, &environment)?;
    // Before the handshake, so that an address which cannot work is not accepted.
    let forward = environment.forward().map_err(Reply::Misconfigured)?;
    let body = String::from_utf8(body(request)?).map_err(|_| Reply::NoEvent)?;
    match webhook::parse(&body).map_err(|_| Reply::NoEvent)? {
        WebhookEvent::Validation => Ok(Reply::Done),
        WebhookEvent::Event(event) => Ok(send(&event, &forward)),
    }
}

/// Asks for `POST` and the token.
fn admit(request: &IncomingRequest, environment: &Environment) -> Result<(), Reply> {
    let path = request.path_with_query().unwrap_or_default();
    let admitted = environment.token().is_some_and(|token| token.admits(&path));
    if admitted && matches!(request.method(), WasiMethod::Post) { Ok(()) } else { Err(Reply::NotFound) }
}

/// Receives the body, within its bounds.
fn body(request: &IncomingRequest) -> Result<Vec<u8>, Reply> {
    let length = request.headers().get("content-length");
    let length = length.first().and_then(|value| std::str::from_utf8(value).ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > MOST_BODY_BYTES) {
        return Err(Reply::TooLong);
    }
    let body = request.consume().map_err(|()| Reply::NoEvent)?;
    let stream = body.stream().map_err(|()| Reply::NoEvent)?;
    let until = monotonic_clock::now().saturating_add(nanoseconds(LONGEST_ARRIVAL));
    let timer = monotonic_clock::subscribe_instant(until);
    let mut received = Vec::new();
    loop {
        match stream.read(PIECE) {
            Ok(piece) => {
                if piece.len() > MOST_BODY_BYTES.saturating_sub(received.len()) {
                    return Err(Reply::TooLong);
                }
                // A sender that trickles keeps the stream ready, so the time is looked at here as well.
                if monotonic_clock::now() >= until {
                    return Err(Reply::TooSlow);
                }
                if piece.is_empty() {
                    poll::poll(&[&stream.subscribe(), &timer]);
                }
                received.extend(piece);
            }
            // One that was cut off is no JSON.
            Err(StreamError::Closed) => return Ok(received),
            Err(StreamError::LastOperationFailed(_)) => return Err(Reply::NoEvent),
        }
    }
}

/// Forwards an event. Only a status of 2xx means that it was accepted; redirects are not followed.
fn send(event: &EventDetails, forward: &Forward) -> Reply {
    let body = form::text(event);
    let id = signature::id(&event.raw);
    let timestamp = wall_clock::now().seconds;
    let headers = [
        ("content-type", "application/json".to_owned()),
        ("user-agent", concat!("memberspot-webhook-receiver/", env!("CARGO_PKG_VERSION")).to_owned()),
        ("content-length", body.len().to_string()),
        ("webhook-signature", forward.key.sign(&id, timestamp, &body)),
        ("webhook-timestamp", timestamp.to_string()),
        ("webhook-id", id),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.into_bytes())).into();
    let transport = Wasi::default();
    let bounds = Bounds {
        deadline: transport.now().saturating_add(forward.timeout),
        first_byte: forward.timeout,
        between_bytes: forward.timeout,
        // The status says it all.
        most_bytes: 0,
    };
    let request = Outgoing {
        origin: &forward.target.origin,
        method: Method::Post,
        target: &forward.target.path,
        headers,
        body: Some(&body),
    };
    match transport.block_on(transport.exchange(request, bounds)) {
        Ok(answer) if is_success(answer.status) => Reply::Done,
        _ => Reply::NotForwarded,
    }
}

/// Answers. Whoever asked may be gone, which is no reason to fail.
fn answer(reply: &Reply, out: ResponseOutparam) {
    let text = reply.text().as_bytes();
    let headers = [("content-type", "text/plain; charset=utf-8".to_owned()), ("content-length", text.len().to_string())];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.into_bytes()));
    let response = OutgoingResponse::new(Fields::from_list(&headers).unwrap_or_else(|_| Fields::new()));
    let _ = response.set_status_code(reply.status());
    let body = response.body();
    ResponseOutparam::set(out, Ok(response));
    let Ok(body) = body else { return };
    if let Ok(stream) = body.write() {
        let _ = stream.blocking_write_and_flush(text);
    }
    let _ = OutgoingBody::finish(body, None);
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[allow(unsafe_code, reason = "generated: the entry point of the component")]
mod entry {
    use super::Receiver;
    wasi::http::proxy::export!(Receiver);
}
