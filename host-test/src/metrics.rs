//! Counters and histograms of a host, in the text that Prometheus reads.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::audit::{Ended, Outcome, RequestEnded};

/// Different codes of errors that are told apart. The embedded component has a dozen; another one must not fill the memory
/// of whoever collects the metrics.
const MOST_CODES: usize = 64;
/// In seconds. A request to Memberspot takes some tenths of one, a bulk call minutes.
const BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0];

type Labels = Vec<(&'static str, Arc<str>)>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// The metrics of one or more hosts: calls by function and outcome, requests by method and status, durations, bytes, and what
/// runs and waits. Clones count together.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    by_tenant: bool,
    codes: Mutex<BTreeSet<Arc<str>>>,
    calls: Family<Labels, Counter>,
    call_seconds: Histograms,
    computing: Counter<f64, std::sync::atomic::AtomicU64>,
    waiting: Gauge,
    running: Gauge,
    requests: Family<Labels, Counter>,
    request_seconds: Histograms,
    refused: Family<Labels, Counter>,
    sent: Counter,
    received: Counter,
    unrecorded: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics that do not tell tenants apart.
    #[must_use]
    pub fn new() -> Self {
        Self::with(false)
    }

    /// Calls by tenant too. For some hundreds of them: each makes time series of its own, for every function.
    #[must_use]
    pub fn by_tenant() -> Self {
        Self::with(true)
    }

    fn with(by_tenant: bool) -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(BUCKETS);
        let mut inner = Inner {
            registry: Registry::with_prefix("memberspot"),
            by_tenant,
            codes: Mutex::default(),
            calls: Family::default(),
            call_seconds: Family::new_with_constructor(histogram),
            computing: Counter::default(),
            waiting: Gauge::default(),
            running: Gauge::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(histogram),
            refused: Family::default(),
            sent: Counter::default(),
            received: Counter::default(),
            unrecorded: Counter::default(),
        };
        let registry = &mut inner.registry;
        registry.register("calls", "Calls that are over", inner.calls.clone());
        registry.register("call_duration_seconds", "From the beginning of a call to its end", inner.call_seconds.clone());
        registry.register("computing_seconds", "Time that calls computed", inner.computing.clone());
        registry.register("calls_waiting", "Calls that wait for their turn", inner.waiting.clone());
        registry.register("calls_running", "Calls that run", inner.running.clone());
        registry.register("requests", "Requests that are over", inner.requests.clone());
        registry.register("request_duration_seconds", "Until the answer was read", inner.request_seconds.clone());
        registry.register("requests_refused", "Requests that were not let through", inner.refused.clone());
        registry.register("sent_bytes", "Bytes of bodies sent", inner.sent.clone());
        registry.register("received_bytes", "Bytes of bodies received", inner.received.clone());
        registry.register("unrecorded", "Calls and requests refused for want of a record", inner.unrecorded.clone());
        Self(Arc::new(inner))
    }

    /// All of them as `OpenMetrics` text, which Prometheus and its collector for text files read.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        // A text takes whatever is written.
        let _ = text::encode(&mut text, &self.0.registry);
        text
    }

    pub(crate) fn call_waits(&self) {
        self.0.waiting.inc();
    }

    pub(crate) fn call_runs(&self) {
        self.0.waiting.dec();
        self.0.running.inc();
    }

    pub(crate) fn call_ended(&self, tenant: &str, ended: &Ended, ran: bool) {
        if ran {
            self.0.running.dec()
        } else {
            self.0.waiting.dec()
        };
        let function = ended.function.clone().unwrap_or_else(|| "unknown".into());
        let outcome = match ended.outcome {
            Outcome::Success => "success",
            Outcome::Failure => ended.case.as_deref().filter(|case| *case == "transient").unwrap_or("permanent"),
            Outcome::Completed => "completed",
            Outcome::Error => "error",
            Outcome::Cancelled => "cancelled",
        };
        let code = ended.code.as_deref().map_or_else(|| "".into(), |code| self.code(code));
        let mut labels = vec![("function", function.clone()), ("outcome", outcome.into()), ("code", code)];
        if self.0.by_tenant {
            labels.push(("tenant", tenant.into()));
        }
        self.0.calls.get_or_create(&labels).inc();
        self.0.call_seconds.get_or_create(&vec![("function", function)]).observe(ended.duration.as_secs_f64());
        self.0.computing.inc_by(ended.computing.as_secs_f64());
    }

    pub(crate) fn request_ended(&self, ended: &RequestEnded) {
        let status = match (&ended.fault, ended.status) {
            (Some(_), _) => "fault".into(),
            (None, Some(status)) => status.to_string().into(),
            (None, None) => "none".into(),
        };
        self.0.requests.get_or_create(&vec![("method", ended.method.into()), ("status", status)]).inc();
        self.0.request_seconds.get_or_create(&vec![("method", ended.method.into())]).observe(seconds(ended.duration));
        self.0.sent.inc_by(ended.bytes_out);
        self.0.received.inc_by(ended.bytes_in);
    }

    pub(crate) fn request_refused(&self, by: &'static str) {
        self.0.refused.get_or_create(&vec![("by", by.into())]).inc();
    }

    pub(crate) fn unrecorded(&self) {
        self.0.unrecorded.inc();
    }

    /// The code, or `other` when there are too many of them.
    fn code(&self, code: &str) -> Arc<str> {
        let mut codes = self.0.codes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = codes.get(code) {
            return known.clone();
        }
        if codes.len() == MOST_CODES {
            return "other".into();
        }
        let new: Arc<str> = code.into();
        codes.insert(new.clone());
        new
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_bounded() {
        let metrics = Metrics::new();
        let codes: BTreeSet<_> = (0..1000).map(|number| metrics.code(&format!("code-{number}"))).collect();
        assert_eq!(codes.len(), MOST_CODES + 1);
        assert_eq!(metrics.code("code-0").as_ref(), "code-0");
    }
}
