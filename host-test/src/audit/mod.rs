//! Every call on record: who asked for what, when, and what became of it, without secrets.
//!
//! A host tells its [`AuditSink`] of each call when it begins and when it has ended, and of each request that changes
//! something before it leaves, and of every request when it is over. What began and did not end shows what was under way
//! when the process broke off. [`FileAudit`] writes JSON lines that are chained by hashes; [`verify`](verify::verify) says
//! whether a line was altered, removed, moved or added.

mod chain;
mod event;
mod file;
mod log;
mod personal;
pub mod verify;

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

pub use chain::{AuditKey, Head};
pub use event::{Ended, Event, Outcome, RequestEnded, What};
pub use file::{FileAudit, FileOptions};
pub use log::OpenError;
pub use personal::{Path, Personal, Pseudonyms};

/// Whether an event is kept, as soon as that is known. To drop it changes nothing.
pub type Receipt = Pin<Box<dyn Future<Output = Result<(), AuditError>> + Send>>;

/// Where events go.
pub trait AuditSink: Send + Sync {
    /// Takes an event over, at once and without waiting for anything: a call that is dropped has no time left.
    ///
    /// The receipt resolves when the event is kept, or is known not to be. Calls that need to be recorded wait for it before
    /// they go on, for [`PATIENCE`] at the most. After each event that [begins](What::begins) something comes exactly one that
    /// ends it: a sink with little room does well to keep some for that.
    fn record(&self, event: Event) -> Receipt;
}

impl<T: AuditSink + ?Sized> AuditSink for Arc<T> {
    fn record(&self, event: Event) -> Receipt {
        (**self).record(event)
    }
}

/// How long a call waits until it is recorded. Then it is refused.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// Which calls are refused when they cannot be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Required {
    /// All.
    All,
    /// Those that may change something, hand out a login, or are not known; and every request but GET and HEAD, whatever the
    /// call. Others are made also when their record is lost.
    #[default]
    Writes,
    /// None: the record is a convenience.
    Nothing,
}

/// Why an event is not kept.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// More is under way than the sink has room for.
    #[error("the audit log has no room for more at a time")]
    Full,
    /// The sink has come to its end.
    #[error("the audit log is closed")]
    Closed,
    /// The event was not kept within [`PATIENCE`].
    #[error("the audit log does not answer")]
    Slow,
    /// The file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Arc<io::Error>,
    },
    /// A sink of another kind failed.
    #[error("the audit log failed")]
    Sink(#[source] Arc<dyn std::error::Error + Send + Sync>),
}
