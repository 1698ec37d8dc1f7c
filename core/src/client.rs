//! One call from its beginning to its end: permission, sending, judging the answer. Repeating, too, has its place here.

use std::{cell::Cell, time::Duration};

use crate::{
    answer::{Answer, Malformed},
    config::{Config, SCOPES},
    error::{Effect, Nature, Trouble},
    request::{Call, Request},
    scopes,
    transport::{Bounds, Fault, Incoming, Outgoing, Transport},
    wit::types::{Error, FailureCode},
};

/// Memberspot answers in well under a second; an answer that has not begun after this long will not come.
const FIRST_BYTE: Duration = Duration::from_secs(30);
/// A connection that stands still for this long is dead.
const BETWEEN_BYTES: Duration = Duration::from_secs(15);

const USER_AGENT: &str = concat!("memberspot-connector/", env!("CARGO_PKG_VERSION"));

/// What one call of an exported function works with.
pub struct Client<T> {
    config: Config,
    transport: T,
    deadline: Duration,
    attempts: Cell<u32>,
}

impl<T: Transport> Client<T> {
    /// Begins a call: its deadline counts from now.
    pub fn new(config: Config, transport: T) -> Self {
        let deadline = transport.now().saturating_add(config.deadline);
        Self { config, transport, deadline, attempts: Cell::new(0) }
    }

    /// The configuration of the instance.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What carries the requests.
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// Makes a call: sends its request, if the scopes allow it, and reads the answer.
    ///
    /// # Errors
    /// Whatever keeps the call from succeeding, as the WIT describes it.
    pub async fn call<R>(&self, call: Call<R>) -> Result<R, Error> {
        let answer = self.answer(&call.request).await?;
        self.read(call, &answer)
    }

    /// Reads the answer to a call.
    ///
    /// # Errors
    /// What the answer's status means, or that its body is not what was promised.
    pub fn read<R>(&self, call: Call<R>, answer: &Answer) -> Result<R, Error> {
        let Call { request, decode, when_missing } = call;
        match when_missing {
            Some(missing) if answer.is_missing() => Ok(missing()),
            _ if !answer.is_success() => Err(self.error(answer.trouble(), request.nature)),
            _ => decode(answer).map_err(|promised| self.error(malformed(answer, promised), request.nature)),
        }
    }

    /// The error that trouble means for a request of this nature.
    fn error(&self, mut trouble: Trouble, nature: Nature) -> Error {
        // The body was searched for the key as it came; a message can still have spelled it with escapes.
        trouble.details = trouble.details.into_iter().map(|detail| self.config.api_key.redact(detail)).collect();
        trouble.into_error(nature, self.attempts.get())
    }

    /// Refuses a request that the scopes of the instance do not allow.
    ///
    /// # Errors
    /// `not-permitted`, naming the scopes that are missing.
    fn permit(&self, request: &Request) -> Result<(), Error> {
        let missing: Vec<_> =
            request.scopes.iter().filter(|scope| !self.config.scopes.contains(*scope)).map(scopes::name).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let message = format!(
            "{}.{} needs the scope {}, which this instance was not given; add it to {SCOPES} if the workflow may do this",
            request.function.interface,
            request.function.name,
            missing.join(" and "),
        );
        Err(self.error(Trouble::refused(FailureCode::NotPermitted, message), request.nature))
    }

    /// Sends a request, if the scopes allow it, and waits for the complete answer.
    ///
    /// # Errors
    /// Whatever keeps an answer from arriving; an answer of any status is one.
    pub async fn answer(&self, request: &Request) -> Result<Answer, Error> {
        self.permit(request)?;
        let config = &self.config;
        let error = |trouble| self.error(trouble, request.nature);
        let fault = |fault: Fault| error(fault.trouble(&config.origin, config.max_response_bytes));
        let now = self.transport.now();
        if now >= self.deadline {
            return Err(fault(Fault::DeadlineBeforeSending));
        }
        let bounds = Bounds {
            deadline: self.deadline,
            first_byte: if request.slow { self.deadline.saturating_sub(now) } else { FIRST_BYTE },
            between_bytes: BETWEEN_BYTES,
            most_bytes: config.max_response_bytes,
        };
        let headers = self.headers(request);
        let outgoing = Outgoing {
            origin: &config.origin,
            method: request.method,
            target: &request.target,
            headers: &headers,
            body: request.body.as_deref(),
        };
        self.attempts.set(self.attempts.get().saturating_add(1));
        let incoming = self.transport.exchange(outgoing, bounds).await.map_err(fault)?;
        self.complete(incoming).map_err(error)
    }

    /// All headers of a request.
    fn headers(&self, request: &Request) -> Vec<(String, String)> {
        let mut headers = vec![
            ("x-api-key".to_owned(), self.config.api_key.expose().to_owned()),
            ("user-agent".to_owned(), USER_AGENT.to_owned()),
            ("accept-encoding".to_owned(), "identity".to_owned()),
        ];
        if !request.headers.iter().any(|(name, _)| name == "accept") {
            headers.push(("accept".to_owned(), "application/json".to_owned()));
        }
        if let Some(body) = &request.body {
            headers.push(("content-length".to_owned(), body.len().to_string()));
        }
        headers.extend(request.headers.iter().cloned());
        headers
    }

    /// Turns what came back into an answer, or says why it is none. The status of an error counts even when its body is
    /// broken; the body of a success must be whole, and text.
    fn complete(&self, incoming: Incoming) -> Result<Answer, Trouble> {
        let config = &self.config;
        let success = (200..=299).contains(&incoming.status);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|broken| broken.into_bytes());
        let lossy = |bytes: Vec<u8>| text(bytes).unwrap_or_else(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let headers = incoming.headers.into_iter();
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), config.api_key.redact(lossy(value)))).collect();
        let mut answer = Answer { status: incoming.status, headers, body: String::new() };
        if !success {
            answer.body = config.api_key.redact(lossy(incoming.body));
            return Ok(answer);
        }
        if let Some(fault) = incoming.fault {
            let trouble = fault.trouble(&config.origin, config.max_response_bytes);
            return Err(Trouble { status: Some(answer.status), ..trouble });
        }
        if answer.header("content-encoding").is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
            return Err(malformed(&answer, Malformed("an uncompressed answer")));
        }
        let size = incoming.body.len();
        match text(incoming.body) {
            Ok(body) => answer.body = config.api_key.redact(body),
            Err(_) => return Err(unexpected(&answer, Malformed("text in UTF-8"), size)),
        }
        Ok(answer)
    }
}

fn malformed(answer: &Answer, promised: Malformed) -> Trouble {
    unexpected(answer, promised, answer.body.len())
}

/// The trouble with an answer of status 2xx that is not what was promised. Its body is never quoted: it may be anybody's.
fn unexpected(answer: &Answer, promised: Malformed, size: usize) -> Trouble {
    // A content type is quoted only as far as it looks like one.
    let kind = answer.header("content-type").unwrap_or("no content type");
    let kind: String = kind.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(100).collect();
    let message = format!(
        "Memberspot answered {} with {size} bytes of {kind}, which is not {}; check the base URL",
        answer.status, promised.0
    );
    Trouble { effect: Effect::Possible, status: Some(answer.status), ..Trouble::refused(FailureCode::InvalidResponse, message) }
}
