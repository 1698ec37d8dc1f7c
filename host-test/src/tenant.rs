//! The tenants of a platform.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::sender::HttpSender;
use crate::{Connection, Limits, Origin};

/// An account that a platform makes calls for: whose it is, how it is configured, what its calls may use. Made by
/// [`Host::tenant`](crate::Host::tenant).
///
/// Clones are the same tenant: they share its connections to Memberspot and its places for calls. To change something, make
/// another one; calls that run go on as they began.
#[derive(Clone)]
pub struct Tenant(Arc<Inner>);

struct Inner {
    /// No two tenants of the process have the same, whatever they are called.
    serial: u64,
    id: String,
    connection: Connection,
    origin: Option<Origin>,
    limits: Limits,
    sender: Arc<dyn HttpSender>,
    places: Semaphore,
    waiting: AtomicUsize,
}

/// All places are taken, and as many calls wait for one as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Busy;

impl Tenant {
    pub(crate) fn new(id: String, connection: Connection, limits: Limits, sender: Arc<dyn HttpSender>) -> Self {
        static SERIAL: AtomicU64 = AtomicU64::new(0);

        let places = Semaphore::new(limits.calls.clamp(1, Semaphore::MAX_PERMITS));
        Self(Arc::new(Inner {
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            id,
            origin: connection.origin(),
            connection,
            limits,
            sender,
            places,
            waiting: AtomicUsize::new(0),
        }))
    }

    /// What the platform calls it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// How it is configured.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.0.connection
    }

    /// The one origin that its calls may reach. `None`, which allows nothing, when the configured address has none.
    #[must_use]
    pub fn origin(&self) -> Option<&Origin> {
        self.0.origin.as_ref()
    }

    /// What its calls may use.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(crate) fn serial(&self) -> u64 {
        self.0.serial
    }

    pub(crate) fn sender(&self) -> Arc<dyn HttpSender> {
        self.0.sender.clone()
    }

    /// Waits for a place. Tenants wait for their own places first, so that one with many calls has few of them before those
    /// of the others when it comes to what all share.
    pub(crate) async fn place(&self) -> Result<SemaphorePermit<'_>, Busy> {
        /// Counts also when the call is given up while it waits.
        struct Waiting<'a>(&'a AtomicUsize);

        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::AcqRel);
            }
        }

        if let Ok(place) = self.0.places.try_acquire() {
            return Ok(place);
        }
        let before = self.0.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(&self.0.waiting);
        if before >= self.0.limits.waiting {
            return Err(Busy);
        }
        // Nobody closes the semaphore.
        self.0.places.acquire().await.map_err(|_| Busy)
    }
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { id, connection, limits, .. } = &*self.0;
        f.debug_struct("Tenant").field("id", id).field("connection", connection).field("limits", limits).finish_non_exhaustive()
    }
}
