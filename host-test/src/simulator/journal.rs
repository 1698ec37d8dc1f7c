//! What the simulator was asked, in order, so that tests can look at every byte a client sent.

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method};
use serde_json::Value;
use time::OffsetDateTime;

use super::paths;

/// The most requests remembered; beyond it the oldest are forgotten.
pub const MOST_ENTRIES: usize = 100_000;

/// The most bytes kept of one request body.
pub const MOST_BODY_BYTES: usize = 256 * 1024;

/// The most bytes remembered over all entries; beyond it the oldest are forgotten.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// Request headers whose values are never printed.
const SECRET_HEADERS: [&str; 4] = ["x-api-key", "authorization", "proxy-authorization", "cookie"];

/// One received request and what became of it.
///
/// `Debug` and `Display` show neither the API key nor a login token; the fields and methods do. `Display` is a line for
/// people to read and hides e-mail addresses too, unless asked through [`Entry::with_addresses`].
#[derive(Clone)]
pub struct Entry {
    /// 1 for the first request that this simulator received; no number is given twice.
    pub sequence: u64,
    /// The connection that it came over, from 1 in the order in which they were accepted.
    pub connection: u64,
    /// When the head of the request was received, by the simulator's clock.
    pub received: OffsetDateTime,
    /// The method.
    pub method: Method,
    /// The path as sent, percent-encoded.
    pub path: String,
    /// The query as sent, without the `?`; empty when there is none.
    pub query: String,
    /// All headers, names in lower case. Those with secrets are marked as sensitive, so that `Debug` hides them.
    pub headers: HeaderMap,
    /// The body's first bytes, at most [`MOST_BODY_BYTES`].
    pub body: Bytes,
    /// The length of the whole body as far as it was read, in bytes.
    pub body_length: u64,
    /// The name of the school that the API key opens.
    pub school: Option<String>,
    /// What was done about it.
    pub outcome: Outcome,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The body has not arrived as a whole, so nothing was decided.
    Unfinished,
    /// The server's own answer, with this status.
    Answered(u16),
    /// An injected fault stood in for the answer or spoiled it.
    Faulted {
        /// The fault's name, `reset-in-body` for example.
        fault: &'static str,
        /// The status that was sent, when a status line was.
        sent: Option<u16>,
        /// The status of the server's own answer when the request took effect in spite of the fault.
        effect: Option<u16>,
    },
}

impl Entry {
    pub(super) fn new(head: &Parts, received: OffsetDateTime, school: Option<String>) -> Self {
        let mut headers = head.headers.clone();
        for (name, value) in &mut headers {
            value.set_sensitive(SECRET_HEADERS.contains(&name.as_str()));
        }
        Self {
            sequence: 0,
            connection: 0,
            received,
            method: head.method.clone(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            headers,
            body: Bytes::new(),
            body_length: 0,
            school,
            outcome: Outcome::Unfinished,
        }
    }

    /// The first value of a header, if it is visible ASCII.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The API key that was sent. A secret: for comparing, not for printing.
    #[must_use]
    pub fn api_key(&self) -> Option<&str> {
        self.header("x-api-key")
    }

    /// The pairs of the query, decoded, in order.
    #[must_use]
    pub fn query_pairs(&self) -> Vec<(String, String)> {
        paths::pairs(&self.query)
    }

    /// The body as JSON; nothing when it is not, or when it was too long to be kept.
    #[must_use]
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The status that was sent, if one was.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self.outcome {
            Outcome::Unfinished => None,
            Outcome::Answered(status) => Some(status),
            Outcome::Faulted { sent, .. } => sent,
        }
    }

    /// The line of `Display` with e-mail addresses left in.
    #[must_use]
    pub fn with_addresses(&self) -> impl fmt::Display + '_ {
        fmt::from_fn(|f| self.write_line(f, true))
    }

    fn write_line(&self, f: &mut fmt::Formatter<'_>, addresses: bool) -> fmt::Result {
        write!(f, "#{} {} ", self.sequence, self.method)?;
        self.write_target(f, addresses)?;
        match self.outcome {
            Outcome::Unfinished => f.write_str(" unfinished")?,
            Outcome::Answered(status) => write!(f, " {status}")?,
            Outcome::Faulted { fault, sent, effect } => {
                match sent {
                    Some(status) => write!(f, " {status} fault {fault}")?,
                    None => write!(f, " fault {fault}")?,
                }
                if let Some(effect) = effect {
                    write!(f, " after {effect}")?;
                }
            }
        }
        match &self.school {
            Some(school) => write!(f, " ({school})"),
            None => Ok(()),
        }
    }

    fn write_target(&self, f: &mut fmt::Formatter<'_>, addresses: bool) -> fmt::Result {
        let hidden = |text: &str| !addresses && paths::decode(text).is_none_or(|text| text.contains('@'));
        let login = paths::capture("/login/*", &self.path).is_some();
        for (nth, segment) in self.path.split('/').enumerate() {
            let separator = if nth > 0 { "/" } else { "" };
            let secret = login && nth > 1;
            let shown = if secret || hidden(segment) { "…" } else { segment };
            write!(f, "{separator}{shown}")?;
        }
        if self.query.is_empty() {
            return Ok(());
        }
        for (nth, pair) in self.query.split('&').enumerate() {
            let separator = if nth > 0 { "&" } else { "?" };
            let shown = if login || hidden(pair) { "…" } else { pair };
            write!(f, "{separator}{shown}")?;
        }
        Ok(())
    }

    /// About how much memory it takes.
    fn weight(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 64).sum();
        256 + self.path.len() + self.query.len() + headers + self.body.len()
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_line(f, false)
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("line", &format_args!("{}", self.with_addresses()))
            .field("received", &self.received)
            .field("headers", &self.headers)
            .field("body", &String::from_utf8_lossy(&self.body))
            .field("body_length", &self.body_length)
            .finish_non_exhaustive()
    }
}

/// The bounded record of all entries.
#[derive(Debug, Default)]
pub(super) struct Journal {
    entries: VecDeque<Entry>,
    given: u64,
    bytes: usize,
}

impl Journal {
    /// Numbers an entry and records it.
    pub(super) fn open(&mut self, entry: &mut Entry) {
        self.given += 1;
        entry.sequence = self.given;
        self.bytes += entry.weight();
        self.entries.push_back(entry.clone());
        self.shrink();
    }

    /// Records what an open entry has become, unless it is already forgotten.
    pub(super) fn close(&mut self, entry: &Entry) {
        // Sequence numbers are consecutive, so the place of an entry follows from the first one's.
        let first = self.entries.front().map_or(0, |first| first.sequence);
        let place = entry.sequence.checked_sub(first);
        let place = place.and_then(|place| usize::try_from(place).ok());
        if let Some(open) = place.and_then(|place| self.entries.get_mut(place)) {
            self.bytes = self.bytes - open.weight() + entry.weight();
            *open = entry.clone();
            self.shrink();
        }
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        self.entries.iter().cloned().collect()
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    fn shrink(&mut self) {
        while self.entries.len() > MOST_ENTRIES || self.bytes > MOST_BYTES {
            let Some(oldest) = self.entries.pop_front() else {
                return;
            };
            self.bytes -= oldest.weight();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;
    use time::macros::datetime;

    fn entry(uri: &str) -> Entry {
        let request = Request::builder().uri(uri).header("x-api-key", "hush");
        let (head, ()) = request.body(()).unwrap().into_parts();
        Entry::new(&head, datetime!(2026-01-01 00:00 UTC), None)
    }

    #[test]
    fn the_oldest_entries_make_way() {
        let mut journal = Journal::default();
        let mut late = entry("/late");
        journal.open(&mut late);
        for _ in 0..MOST_ENTRIES {
            journal.open(&mut entry("/"));
        }
        late.outcome = Outcome::Answered(200);
        journal.close(&late);
        let entries = journal.entries();
        assert_eq!(entries.len(), MOST_ENTRIES);
        assert!(entries.iter().all(|entry| entry.status().is_none()));
    }

    #[test]
    fn bodies_are_bounded_together() {
        let mut journal = Journal::default();
        let body = Bytes::from(vec![b' '; MOST_BODY_BYTES]);
        for _ in 0..300 {
            let mut large = entry("/");
            journal.open(&mut large);
            large.body = body.clone();
            journal.close(&large);
        }
        let kept: usize = journal.entries.iter().map(Entry::weight).sum();
        assert!(kept <= MOST_BYTES);
        assert_eq!(journal.bytes, kept);
        journal.clear();
        assert_eq!(journal.bytes, 0);
    }

    #[test]
    fn lines_keep_secrets_and_addresses() {
        let line = entry("/v1/users/find-by-mail/anna%40example.com?a=b%40c.de&d=1").to_string();
        assert!(!line.contains("anna") && !line.contains("c.de") && line.contains("d=1"));
        let asked = entry("/v1/users/find-by-mail/anna%40example.com");
        assert!(asked.with_addresses().to_string().contains("anna"));
        let login = entry("/Login/simlogin-1?x");
        assert!(!format!("{login} {login:?} {}", login.with_addresses()).contains("simlogin"));
        assert!(!format!("{login:?} {:?}", login.headers).contains("hush"));
        assert_eq!(login.api_key(), Some("hush"));
    }
}
