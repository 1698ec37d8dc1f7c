//! The tenants of a platform.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::egress::Vault;
use crate::keys::ApiKey;
use crate::rate::Pacing;
use crate::sender::HttpSender;
use crate::turns::{Processor, Tenants};
use crate::{Connection, Limits, Origin};

/// An account that a platform makes calls for: whose it is, how it is configured, what its calls may use. Made by
/// [`Host::tenant`](crate::Host::tenant).
///
/// Clones are the same tenant: they share its connections to Memberspot and its places for calls. To change something, make
/// another one; calls that run go on as they began.
#[derive(Clone)]
pub struct Tenant {
    inner: Arc<Inner>,
    actor: Option<Arc<str>>,
}

struct Inner {
    /// No two tenants of the process have the same, whatever they are called.
    serial: u64,
    id: Arc<str>,
    connection: Connection,
    origin: Option<Origin>,
    limits: Limits,
    pacing: Option<Pacing>,
    sender: Arc<dyn HttpSender>,
    places: Semaphore,
    waiting: AtomicUsize,
    processor: OnceLock<Processor>,
    vault: Mutex<Option<Vault>>,
}

/// All places are taken, and as many calls wait for one as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Busy;

impl Tenant {
    pub(crate) fn new(id: String, connection: Connection, limits: Limits, sender: Arc<dyn HttpSender>) -> Self {
        static SERIAL: AtomicU64 = AtomicU64::new(0);

        let places = Semaphore::new(limits.calls.clamp(1, Semaphore::MAX_PERMITS));
        let inner = Inner {
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            id: id.into(),
            origin: connection.origin(),
            pacing: Pacing::of(&connection),
            connection,
            limits,
            sender,
            places,
            waiting: AtomicUsize::new(0),
            processor: OnceLock::new(),
            vault: Mutex::default(),
        };
        Self { inner: Arc::new(inner), actor: None }
    }

    /// The same tenant, with a name for who asks: a user, a workflow. It is recorded with each call.
    #[must_use]
    pub fn on_behalf_of(&self, actor: impl Into<Arc<str>>) -> Self {
        Self { inner: self.inner.clone(), actor: Some(actor.into()) }
    }

    /// Who asks, where that was said.
    #[must_use]
    pub fn actor(&self) -> Option<&str> {
        self.actor.as_deref()
    }

    /// What the platform calls it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// How it is configured.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.inner.connection
    }

    /// The one origin that its calls may reach. `None`, which allows nothing, when the configured address has none.
    #[must_use]
    pub fn origin(&self) -> Option<&Origin> {
        self.inner.origin.as_ref()
    }

    /// What its calls may use.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    pub(crate) fn serial(&self) -> u64 {
        self.inner.serial
    }

    pub(crate) fn sender(&self) -> Arc<dyn HttpSender> {
        self.inner.sender.clone()
    }

    /// Its key, and what stands in for it: the same until the key is another one.
    pub(crate) fn vault(&self, key: ApiKey) -> Vault {
        let mut kept = self.inner.vault.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some(vault) if *vault.key() == key => vault.clone(),
            _ => kept.insert(Vault::new(key)).clone(),
        }
    }

    pub(crate) fn forget_key(&self) {
        *self.inner.vault.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn shared_id(&self) -> Arc<str> {
        self.inner.id.clone()
    }

    pub(crate) fn pacing(&self) -> Option<Pacing> {
        self.inner.pacing
    }

    /// What its calls share of the processor. Its size is that of the runtime of the first call.
    pub(crate) fn processor(&self, tenants: &Tenants) -> Processor {
        self.inner.processor.get_or_init(|| Processor::new(tenants.clone())).clone()
    }

    /// Waits for a place. What all tenants share is waited for after that, so that only these calls stand in line for it.
    pub(crate) async fn place(&self) -> Result<SemaphorePermit<'_>, Busy> {
        /// Counts also when the call is given up while it waits.
        struct Waiting<'a>(&'a AtomicUsize);

        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::AcqRel);
            }
        }

        if let Ok(place) = self.inner.places.try_acquire() {
            return Ok(place);
        }
        let before = self.inner.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(&self.inner.waiting);
        if before >= self.inner.limits.waiting {
            return Err(Busy);
        }
        // Nobody closes the semaphore.
        self.inner.places.acquire().await.map_err(|_| Busy)
    }
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { id, connection, limits, .. } = &*self.inner;
        f.debug_struct("Tenant").field("id", id).field("connection", connection).field("limits", limits).finish_non_exhaustive()
    }
}
