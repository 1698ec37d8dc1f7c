//! Counts the functions of WASI that a component calls, by the spans in which wasmtime's bindings run them.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

/// What the spans are called.
const SPAN: &str = "wit-bindgen import";

/// How often each function was called, by interface and name, such as `poll.poll`.
#[derive(Debug, Clone, Default)]
pub struct Census(Arc<Mutex<BTreeMap<String, u64>>>);

impl Census {
    /// Does some work, and counts what components call on this thread meanwhile: on a runtime with a single thread, all of
    /// it.
    pub fn count<T>(&self, work: impl FnOnce() -> T) -> T {
        tracing::subscriber::with_default(self.clone(), work)
    }

    /// What was counted since the last time that somebody asked.
    #[must_use]
    pub fn take(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Subscriber for Census {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.name() == SPAN
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut name = Name::default();
        span.record(&mut name);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name.0).or_default() += 1;
        // Nobody asks which one it was.
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Name(String);

impl Visit for Name {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "module" => value.clone_into(&mut self.0),
            "function" => {
                self.0.push('.');
                self.0.push_str(value.strip_prefix("[method]").or(value.strip_prefix("[static]")).unwrap_or(value));
            }
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}
