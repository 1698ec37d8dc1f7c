//! How a fault looks on the wire: what is sent, when, and how the connection ends.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderValue, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::{HeaderMap, StatusCode};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

use super::clock::http_date;
use super::faults::{Fault, Reshape};
use super::nest::{Answer, Refusal, empty};
use super::stream::Stream;

/// How much filling is written at once.
const PIECE: usize = 16 * 1024;

/// What is done about a faulted request.
pub(super) enum Reaction {
    /// An ordinary answer, after a while.
    Answer { answer: Answer, delay: Duration },
    /// The connection is taken from the HTTP server and this is played on it.
    Script(Script),
}

/// What happens on a bare connection, after which it is closed.
pub(super) struct Script {
    steps: Vec<Step>,
    /// The status in the head that is sent, if a whole one is.
    pub(super) sent: Option<u16>,
}

enum Step {
    Send(Bytes),
    Pause(Duration),
    /// These bytes in pieces, with a pause before each.
    Trickle {
        body: Bytes,
        piece: usize,
        every: Duration,
    },
    /// So many spaces, or spaces without end.
    Fill {
        bytes: Option<u64>,
        chunked: bool,
    },
    /// Nothing, until the client closes.
    Hang,
    /// A close that the client sees as a TCP reset. What its machine has not yet taken is lost.
    Reset,
}

/// How a body ends.
#[derive(Clone, Copy)]
enum Framing {
    Length(u64),
    Chunks,
}

/// Turns a fault into what is done. `answer` is the server's own answer, or an empty one when there is none.
pub(super) fn react(fault: Fault, request: &Parts, answer: Answer, now: OffsetDateTime) -> Reaction {
    let (mut real, body) = answer.into_parts();
    date(&mut real.headers, now);
    let status = Some(real.status.as_u16());
    let whole = Framing::Length(body.len() as u64);
    let head = |framing| Step::Send(head(real.status.as_u16(), &real.headers, framing));
    // More than is sent, so that the client notices.
    let cut = |after: usize| {
        let sent = body.slice(..after.min(body.len()));
        let promised = body.len().max(sent.len() + 1) as u64;
        [head(Framing::Length(promised)), Step::Send(sent)]
    };
    let script = |sent, steps: Vec<Step>| Reaction::Script(Script { steps, sent });
    match fault {
        Fault::Status { status, message, headers } => {
            let mut answer = Refusal::new(status, message).into_answer();
            answer.headers_mut().extend(headers);
            at_once(answer)
        }
        Fault::Echo => {
            let headers = request.headers.iter();
            let lines = headers.map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
            at_once(Refusal::invalid(lines.collect()).into_answer())
        }
        Fault::RefuseBody(status) => {
            let mut answer = empty();
            *answer.status_mut() = status;
            at_once(answer)
        }
        Fault::Reshape(reshape) => at_once(reshaped(Answer::from_parts(real, body), &reshape)),
        Fault::Delay(delay) => Reaction::Answer { answer: Answer::from_parts(real, body), delay },
        Fault::Canned { status, headers, body } => {
            let head = Step::Send(canned_head(status, &headers, body.len(), now));
            script(Some(status), vec![head, Step::Send(body)])
        }
        Fault::Raw(bytes) => script(None, vec![Step::Send(bytes)]),
        Fault::HangBeforeHeaders => script(None, vec![Step::Hang]),
        Fault::StallBody { after, pause } => {
            // At least one byte is held back, or the client would not notice.
            let mut first = body.clone();
            let rest = first.split_off(after.min(body.len().saturating_sub(1)));
            let steps = match pause {
                Some(pause) => vec![head(whole), Step::Send(first), Step::Pause(pause), Step::Send(rest)],
                None => {
                    let promised = Framing::Length(body.len().max(1) as u64);
                    vec![head(promised), Step::Send(first), Step::Hang]
                }
            };
            script(status, steps)
        }
        Fault::Trickle { bytes, every } => {
            let trickle = Step::Trickle { body: body.clone(), piece: bytes, every };
            script(status, vec![head(whole), trickle])
        }
        Fault::ResetBeforeHeaders => script(None, vec![Step::Reset]),
        Fault::ResetInHeaders { after } => {
            let head = self::head(real.status.as_u16(), &real.headers, whole);
            let part = head.slice(..after.min(head.len() - 1));
            script(None, vec![Step::Send(part), Step::Reset])
        }
        Fault::ResetInBody { after } => {
            let [head, part] = cut(after);
            script(status, vec![head, part, Step::Reset])
        }
        Fault::TruncateBody { after } => script(status, cut(after).into()),
        Fault::TruncateChunks { after } => {
            let part = chunk(&body[..after.min(body.len())]);
            script(status, vec![head(Framing::Chunks), Step::Send(part)])
        }
        Fault::OversizedBody { bytes, declared } => script(Some(200), oversized(bytes, declared, now)),
        Fault::EndlessBody => {
            let filling = Step::Fill { bytes: None, chunked: true };
            script(Some(200), vec![json_head(Framing::Chunks, now), filling])
        }
        Fault::EarlyAnswer(status) => {
            let refusal = Refusal::new(status, status.canonical_reason().unwrap_or_default());
            let (mut parts, body) = refusal.into_answer().into_parts();
            date(&mut parts.headers, now);
            let framing = Framing::Length(body.len() as u64);
            let head = Step::Send(self::head(status.as_u16(), &parts.headers, framing));
            // To close while the body is still arriving would reset the connection and take the answer with it (RFC 9112,
            // section 9.6), so the close is left to the client.
            script(Some(status.as_u16()), vec![head, Step::Send(body), Step::Hang])
        }
        Fault::DropUnread => script(None, Vec::new()),
    }
}

fn at_once(answer: Answer) -> Reaction {
    Reaction::Answer { answer, delay: Duration::ZERO }
}

/// Makes an answer ready for the HTTP server, which frames the body itself and fails on a frame that contradicts it.
pub(super) fn dress(answer: &mut Answer, now: OffsetDateTime) {
    let headers = answer.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.remove(TRANSFER_ENCODING);
    date(headers, now);
}

fn date(headers: &mut HeaderMap, now: OffsetDateTime) {
    if !headers.contains_key(DATE)
        && let Ok(date) = HeaderValue::try_from(http_date(now))
    {
        headers.insert(DATE, date);
    }
}

fn reshaped(mut answer: Answer, reshape: &Reshape) -> Answer {
    if answer.status().is_success()
        && let Ok(value) = serde_json::from_slice::<Value>(answer.body())
    {
        *answer.body_mut() = reshape.apply(value).to_string().into();
    }
    answer
}

fn oversized(bytes: u64, declared: bool, now: OffsetDateTime) -> Vec<Step> {
    let framing = match declared {
        true => Framing::Length(bytes.max(2)),
        false => Framing::Chunks,
    };
    let filling = Step::Fill { bytes: Some(bytes.saturating_sub(2)), chunked: !declared };
    let mut steps = vec![json_head(framing, now)];
    match declared {
        true => {
            let (open, close) = (Bytes::from_static(b"["), Bytes::from_static(b"]"));
            steps.extend([Step::Send(open), filling, Step::Send(close)]);
        }
        false => {
            let last = Step::Send(Bytes::from_static(b"0\r\n\r\n"));
            steps.extend([Step::Send(chunk(b"[")), filling, Step::Send(chunk(b"]")), last]);
        }
    }
    steps
}

fn json_head(framing: Framing, now: OffsetDateTime) -> Step {
    let mut headers = HeaderMap::new();
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    headers.insert(CONTENT_TYPE, json);
    date(&mut headers, now);
    Step::Send(head(200, &headers, framing))
}

fn head(status: u16, headers: &HeaderMap, framing: Framing) -> Bytes {
    let mut head = status_line(status);
    for (name, value) in headers {
        header(&mut head, name.as_str(), value.as_bytes());
    }
    match framing {
        Framing::Length(length) => {
            header(&mut head, CONTENT_LENGTH.as_str(), length.to_string().as_bytes());
        }
        Framing::Chunks => header(&mut head, TRANSFER_ENCODING.as_str(), b"chunked"),
    }
    header(&mut head, CONNECTION.as_str(), b"close");
    head.extend_from_slice(b"\r\n");
    head.into()
}

fn canned_head(status: u16, headers: &[(String, String)], length: usize, now: OffsetDateTime) -> Bytes {
    let given = |wanted: &hyper::header::HeaderName| headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted.as_str()));
    let mut head = status_line(status);
    for (name, value) in headers {
        header(&mut head, name, value.as_bytes());
    }
    if !given(&CONTENT_LENGTH) && !given(&TRANSFER_ENCODING) {
        header(&mut head, CONTENT_LENGTH.as_str(), length.to_string().as_bytes());
    }
    if !given(&DATE) {
        header(&mut head, DATE.as_str(), http_date(now).as_bytes());
    }
    if !given(&CONNECTION) {
        header(&mut head, CONNECTION.as_str(), b"close");
    }
    head.extend_from_slice(b"\r\n");
    head.into()
}

fn status_line(status: u16) -> Vec<u8> {
    let known = StatusCode::from_u16(status).ok();
    let reason = known.and_then(|status| status.canonical_reason());
    format!("HTTP/1.1 {status} {}\r\n", reason.unwrap_or("Unknown")).into_bytes()
}

fn header(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    head.extend_from_slice(name.as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}

/// One chunk; nothing for no bytes, because an empty chunk would be the last one.
fn chunk(bytes: &[u8]) -> Bytes {
    if bytes.is_empty() {
        return Bytes::new();
    }
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    chunk.into()
}

impl Script {
    /// Plays all steps and closes. A client that goes away early ends it too.
    pub(super) async fn play(self, mut stream: Box<dyn Stream>) {
        for step in self.steps {
            if let Step::Reset = step {
                stream.reset_on_close();
                return;
            }
            if step.run(&mut *stream).await.is_err() {
                return;
            }
        }
        // The client may be gone by now, which is no concern of ours.
        let _ = stream.shutdown().await;
    }
}

impl Step {
    async fn run(self, stream: &mut dyn Stream) -> io::Result<()> {
        match self {
            Self::Send(bytes) => stream.write_all(&bytes).await,
            Self::Pause(pause) => {
                sleep(pause).await;
                Ok(())
            }
            Self::Trickle { body, piece, every } => {
                for piece in body.chunks(piece.max(1)) {
                    sleep(every).await;
                    stream.write_all(piece).await?;
                }
                Ok(())
            }
            Self::Fill { bytes, chunked } => fill(stream, bytes, chunked).await,
            Self::Hang => {
                let mut unread = [0; 1024];
                while stream.read(&mut unread).await? > 0 {}
                Ok(())
            }
            Self::Reset => Ok(()),
        }
    }
}

async fn fill(stream: &mut dyn Stream, bytes: Option<u64>, chunked: bool) -> io::Result<()> {
    let spaces = [b' '; PIECE];
    let mut left = bytes;
    while left != Some(0) {
        // At most a piece, so the cast keeps it whole.
        let now = left.map_or(PIECE, |left| left.min(PIECE as u64) as usize);
        if chunked {
            stream.write_all(&chunk(&spaces[..now])).await?;
        } else {
            stream.write_all(&spaces[..now]).await?;
        }
        left = left.map(|left| left - now as u64);
    }
    Ok(())
}
