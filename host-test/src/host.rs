//! The engine with the component compiled in it, and the calls.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;
use wasmtime::component::{
    Component, ComponentNamedList, HasData, Instance, InstancePre, Lift, Linker, Lower, ResourceTable, ResourceTableError, Val,
};
use wasmtime::{Config, Enabled, Engine, PoolingAllocationConfig, Store, UpdateDeadline};
use wasmtime_wasi::p2::bindings as wasi;
use wasmtime_wasi::{HostMonotonicClock, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::audit::{AuditError, AuditSink, Required};
use crate::bindings::Connector;
use crate::connection::API_KEY;
use crate::dynamic::{self, Function, Outcome};
use crate::egress::{Egress, Excess, Refusal, Traffic};
use crate::isolation::{Kept, MOST_KEPT_MEMORY};
use crate::json::JsonError;
use crate::keys::{ApiKey, KeyError, KeyStore};
use crate::limits::{ITEMS, Meter, TABLE_ELEMENTS, Ticker};
use crate::observe::{Observer, Told};
use crate::precompiled::{self, PrecompiledError};
use crate::rate::{Buckets, Rate, RateLimiter};
use crate::sender::{HttpSender, PooledSender, Reach};
use crate::turns::{InTurn, Place, Tenants, Yielded};
use crate::{COMPONENT, Connection, Isolation, Limits, Metrics, Origin, Tenant};

/// Why a call could not be made, or did not come to an end. What the component itself answers, errors included, is not
/// one of these.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The engine does not start on this machine.
    #[error("the engine does not start")]
    Engine(#[source] wasmtime::Error),
    /// The bytes are not a component, or one that imports what this host does not give.
    #[error("the component cannot be loaded")]
    Load(#[source] wasmtime::Error),
    /// The precompiled component cannot be used.
    #[error("the precompiled component cannot be used")]
    Precompiled(#[source] PrecompiledError),
    /// The component exports no function of this name.
    #[error("there is no function `{name}`{}", did_you_mean(nearest.as_deref()))]
    UnknownFunction {
        /// The name that was asked for.
        name: String,
        /// The function that was probably meant.
        nearest: Option<String>,
    },
    /// Several interfaces have a function of this name.
    #[error("the function `{name}` exists in {}; write it as interface.function", interfaces.join(" and "))]
    AmbiguousFunction {
        /// The name that was asked for.
        name: String,
        /// Where it exists.
        interfaces: Vec<String>,
    },
    /// The JSON given does not fit the parameters of the function.
    #[error("the input does not fit `{function}`")]
    Input {
        /// The function.
        function: String,
        /// What does not fit, and where.
        source: JsonError,
    },
    /// The function takes or gives a resource or something else that JSON cannot express.
    #[error("the function `{function}` cannot be called with JSON")]
    NoJsonForm {
        /// The function.
        function: String,
    },
    /// No instance of the component could be made.
    #[error("the component does not start")]
    Instantiate(#[source] wasmtime::Error),
    /// The component broke off.
    #[error("the component trapped")]
    Trap(#[source] wasmtime::Error),
    /// The component wanted more memory than [`Limits::memory`].
    #[error("the component needs more than {limit} bytes of memory")]
    OutOfMemory {
        /// The limit.
        limit: usize,
        /// How it broke off.
        source: wasmtime::Error,
    },
    /// The component held more than [`Limits::handles`].
    #[error("the component holds more than {limit} handles")]
    OutOfHandles {
        /// The limit.
        limit: usize,
        /// How it broke off.
        source: wasmtime::Error,
    },
    /// The component computed for longer than [`Limits::computing`]. Requests that it had sent may have taken effect.
    #[error("the component computes for more than {} s; the call may have taken effect", limit.as_secs_f64())]
    OutOfComputing {
        /// The limit.
        limit: Duration,
    },
    /// The component sent or received more than its limits allow. What it had sent may have taken effect.
    #[error("the call needs more than {limit} {of}; it may have taken effect")]
    OutOfTraffic {
        /// Of what it was too much.
        of: Excess,
        /// The limit.
        limit: u64,
    },
    /// The call failed because the host's policy refused a request.
    #[error("{0}")]
    Refused(Refusal),
    /// There is no key for the tenant. Nothing was sent.
    #[error("there is no API key for the tenant")]
    Key(#[source] KeyError),
    /// [`Limits::calls`] of the tenant run, and [`Limits::waiting`] wait. Nothing was sent.
    #[error("the tenant has {calls} calls running and {waiting} waiting; try again later")]
    Busy {
        /// How many may run.
        calls: usize,
        /// How many may wait.
        waiting: usize,
    },
    /// The call could not be recorded, and has to be. Nothing was sent.
    #[error("the call was not made, because it cannot be recorded")]
    Unrecorded(#[source] AuditError),
    /// [`HostBuilder::allow_internal`] was given what is no origin.
    #[error("{text:?} is no origin such as https://memberspot.internal:8443")]
    NoOrigin {
        /// What was given.
        text: String,
    },
    /// The call took longer than [`Limits::time`]. Requests that it had sent may have taken effect.
    #[error("the call did not end within {} s; it may have taken effect", limit.as_secs_f64())]
    TimedOut {
        /// The limit.
        limit: Duration,
    },
}

impl HostError {
    /// A name for the kind of error, for logs and programs: that of the variant, such as `timedOut`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Engine(_) => "engine",
            Self::Load(_) => "load",
            Self::Precompiled(_) => "precompiled",
            Self::UnknownFunction { .. } => "unknownFunction",
            Self::AmbiguousFunction { .. } => "ambiguousFunction",
            Self::Input { .. } => "input",
            Self::NoJsonForm { .. } => "noJsonForm",
            Self::Instantiate(_) => "instantiate",
            Self::Trap(_) => "trap",
            Self::OutOfMemory { .. } => "outOfMemory",
            Self::OutOfHandles { .. } => "outOfHandles",
            Self::OutOfComputing { .. } => "outOfComputing",
            Self::OutOfTraffic { .. } => "outOfTraffic",
            Self::Refused(_) => "refused",
            Self::Key(_) => "key",
            Self::Busy { .. } => "busy",
            Self::Unrecorded(_) => "unrecorded",
            Self::NoOrigin { .. } => "noOrigin",
            Self::TimedOut { .. } => "timedOut",
        }
    }
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default()
}

/// The connector, compiled and ready. One for each process: cheap to clone, all clones share one engine.
///
/// Each call runs in an instance of its own, which ends with it: calls share no memory, and may run at the same time.
/// [`Isolation`](crate::Isolation) says how that can be had otherwise. To drop the future of a call ends the call; requests
/// that it had sent may have taken effect.
/// Calls run on tokio, with its timers and I/O enabled. The component's clock is tokio's: where tokio's time is paused,
/// so is the component's.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    pre: InstancePre<State>,
    functions: Vec<Function>,
    limits: Limits,
    sender: Option<Arc<dyn HttpSender>>,
    keys: Option<Arc<dyn KeyStore>>,
    internal: Internal,
    ticker: Ticker,
    kept: Arc<Kept<Live>>,
    fuel: bool,
    tenants: Tenants,
    rate_limiter: Option<Arc<dyn RateLimiter>>,
    observer: Arc<Observer>,
}

/// Which origins may be at addresses that are not public.
enum Internal {
    These(Vec<Origin>),
    All,
}

/// Settings of a [`Host`].
#[must_use]
#[derive(Clone)]
pub struct HostBuilder {
    limits: Limits,
    sender: Option<Arc<dyn HttpSender>>,
    keys: Option<Arc<dyn KeyStore>>,
    internal: BTreeSet<String>,
    all_internal: bool,
    component: Cow<'static, [u8]>,
    precompiled: Option<PathBuf>,
    fuel: bool,
    pool: Option<u32>,
    rate_limiter: Option<Arc<dyn RateLimiter>>,
    audit: Option<Arc<dyn AuditSink>>,
    audit_required: Required,
    metrics: Option<Metrics>,
}

impl HostBuilder {
    /// What a call may use, where its tenant has no limits of its own.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What sends the requests that the policy lets through, for all tenants, and decides which addresses it dials. When not
    /// set, each tenant has a [`PooledSender`] of its own.
    pub fn sender(mut self, sender: impl HttpSender + 'static) -> Self {
        self.sender = Some(Arc::new(sender));
        self
    }

    /// Where the keys of tenants are whose [`Connection`] has none.
    pub fn keys(mut self, keys: impl KeyStore + 'static) -> Self {
        self.keys = Some(Arc::new(keys));
        self
    }

    /// Lets tenants whose base URL has this origin reach it wherever it is: on this machine, or in its network. Without
    /// it, addresses that are not public are not dialled, whatever name leads to them.
    pub fn allow_internal(mut self, origin: impl Into<String>) -> Self {
        self.internal.insert(origin.into());
        self
    }

    /// Lets every tenant reach its origin wherever it is. For hosts whose base URLs all come from who runs them.
    pub fn allow_all_internal(mut self) -> Self {
        self.all_internal = true;
        self
    }

    /// Another component than the embedded one. It is given the same few interfaces of WASI.
    pub fn component(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.component = Cow::Owned(bytes.into());
        self
    }

    /// The machine code of the component from a file that [`precompile`](Self::precompile) has filled, instead of compiling
    /// it: a matter of milliseconds. [`build`](Self::build) fails when the code was made from another component, by another
    /// version of the engine, for another processor or with other settings, and when the file is damaged or others than
    /// its owner can write to it.
    ///
    /// # Safety
    ///
    /// The file is machine code, which this process executes outside of any sandbox. Whether it is the code that was
    /// compiled from the component, and not somebody else's that says so, cannot be seen. The caller vouches for it: nobody
    /// but who is trusted with this process can have written the file.
    #[allow(unsafe_code, reason = "the caller has to vouch for what is executed")]
    pub unsafe fn precompiled(mut self, file: impl Into<PathBuf>) -> Self {
        self.precompiled = Some(file.into());
        self
    }

    /// Counts the work of instances, which costs a fifth of the speed: for tests that hold how much there is.
    #[doc(hidden)]
    pub fn fuel(mut self) -> Self {
        self.fuel = true;
        self
    }

    /// Keeps memory ready for this many calls, and lets no more run at the same time; others wait their turn. For hosts that
    /// make many calls: an instance then starts in a fraction of the time. It costs address space, not memory.
    pub fn pool(mut self, calls: u32) -> Self {
        self.pool = Some(calls);
        self
    }

    /// Where calls and requests are recorded.
    pub fn audit(mut self, sink: impl AuditSink + 'static) -> Self {
        self.audit = Some(Arc::new(sink));
        self
    }

    /// Which calls are refused when they cannot be recorded. When not set, those that may change something.
    pub fn audit_required(mut self, required: Required) -> Self {
        self.audit_required = required;
        self
    }

    /// Counts calls and requests.
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// What keeps the limits of Memberspot over all calls with the same key; [`Buckets`] in the memory of this process when
    /// not set. [`rate`](crate::rate) says what to do where there are several.
    pub fn rate_limiter(mut self, limiter: impl RateLimiter + 'static) -> Self {
        self.rate_limiter = Some(Arc::new(limiter));
        self
    }

    /// Leaves the limits of Memberspot to the component, which knows of one call at a time.
    pub fn no_rate_limiter(mut self) -> Self {
        self.rate_limiter = None;
        self
    }

    /// Compiles the component: a matter of some hundred milliseconds.
    ///
    /// # Errors
    ///
    /// When the engine does not start or the component cannot be loaded.
    pub fn build(self) -> Result<Host, HostError> {
        let engine = self.engine()?;
        let component = match &self.precompiled {
            Some(file) => precompiled::load(&engine, &self.component, file).map_err(HostError::Precompiled)?,
            None => Component::from_binary(&engine, &self.component).map_err(HostError::Load)?,
        };
        let pre = linker(&engine).and_then(|linker| linker.instantiate_pre(&component)).map_err(HostError::Load)?;
        let origin = |text: String| Origin::parse(&text).ok_or(HostError::NoOrigin { text });
        let internal = self.internal.into_iter().map(origin).collect::<Result<_, _>>()?;
        Ok(Host(Arc::new(Inner {
            pre,
            functions: dynamic::exports(&engine, &component),
            limits: self.limits,
            sender: self.sender,
            keys: self.keys,
            internal: if self.all_internal { Internal::All } else { Internal::These(internal) },
            ticker: Ticker::start(&engine).map_err(|error| HostError::Engine(error.into()))?,
            kept: Arc::new(Kept::new(self.pool)),
            fuel: self.fuel,
            tenants: Tenants::default(),
            rate_limiter: self.rate_limiter,
            observer: Arc::new(Observer::new(self.audit, self.audit_required, self.metrics)),
        })))
    }

    /// Compiles the component for [`precompiled`](Self::precompiled), with these settings and for this machine's processor.
    ///
    /// # Errors
    ///
    /// When the engine does not start or the component cannot be compiled.
    pub fn precompile(&self) -> Result<Vec<u8>, HostError> {
        precompiled::compile(&self.engine()?, &self.component).map_err(HostError::Load)
    }

    /// What tells the code that [`precompile`](Self::precompile) makes from that of other components, engines and settings:
    /// a part of a file's name.
    ///
    /// # Errors
    ///
    /// When the engine does not start.
    pub fn precompiled_name(&self) -> Result<String, HostError> {
        Ok(precompiled::name(&self.engine()?, &self.component))
    }

    fn engine(&self) -> Result<Engine, HostError> {
        let mut config = Config::new();
        config.epoch_interruption(true);
        config.consume_fuel(self.fuel);
        if let Some(calls) = self.pool {
            config.allocation_strategy(pool(calls, &self.limits));
        }
        Engine::new(&config).map_err(HostError::Engine)
    }
}

impl Host {
    /// A host for the embedded component, with the default limits.
    ///
    /// # Errors
    ///
    /// As [`HostBuilder::build`].
    pub fn new() -> Result<Self, HostError> {
        Self::builder().build()
    }

    /// A host with other settings.
    pub fn builder() -> HostBuilder {
        HostBuilder {
            limits: Limits::default(),
            sender: None,
            keys: None,
            internal: BTreeSet::new(),
            all_internal: false,
            component: Cow::Borrowed(COMPONENT),
            precompiled: None,
            fuel: false,
            pool: None,
            rate_limiter: Some(Arc::new(Buckets::default())),
            audit: None,
            audit_required: Required::default(),
            metrics: None,
        }
    }

    /// An account to make calls for, with the limits of this host. Its id is what a [`KeyStore`] knows it by.
    #[must_use]
    pub fn tenant(&self, id: impl Into<String>, connection: Connection) -> Tenant {
        self.tenant_within(id, connection, self.0.limits.clone())
    }

    /// The same with limits of its own. Of the memory, it gets no more than the host's limits say.
    #[must_use]
    pub fn tenant_within(&self, id: impl Into<String>, connection: Connection, mut limits: Limits) -> Tenant {
        limits.memory = limits.memory.min(self.0.limits.memory);
        let sender = self.0.sender.clone().unwrap_or_else(|| {
            let reach = self.reach(connection.origin().as_ref());
            Arc::new(PooledSender::for_requests(reach, limits.calls.saturating_mul(2)))
        });
        Tenant::new(id.into(), connection, limits, sender)
    }

    fn reach(&self, origin: Option<&Origin>) -> Reach {
        match &self.0.internal {
            Internal::These(origins) if !origin.is_some_and(|origin| origins.contains(origin)) => Reach::Public,
            _ => Reach::Internal,
        }
    }

    /// The functions that the component exports, in the order of its interfaces.
    #[must_use]
    pub fn functions(&self) -> &[Function] {
        &self.0.functions
    }

    /// What the component imports: the full names of interfaces.
    #[must_use]
    pub fn imports(&self) -> Vec<String> {
        let component = self.0.pre.component();
        component.component_type().imports(component.engine()).map(|(name, _)| name.to_owned()).collect()
    }

    /// Finds a function by its name, alone (`grant-access`) or after its interface (`access.grant-access`).
    ///
    /// # Errors
    ///
    /// When there is none of this name, or more than one.
    pub fn function(&self, name: &str) -> Result<&Function, HostError> {
        dynamic::find(&self.0.functions, name)
    }

    /// Calls a function by its name, with JSON.
    ///
    /// `input` is an object with a key for each parameter. When the single parameter is a record `request`, the object is
    /// that record. A list gives the parameters in their order, `null` stands for an empty object.
    /// [`json`](crate::json) describes the form of values.
    ///
    /// # Errors
    ///
    /// When the function is not known, the input does not fit it, or the call does not come to an end. A function that
    /// fails is no error here: see [`Outcome::Failure`].
    pub async fn call(&self, tenant: &Tenant, function: &str, input: &Value) -> Result<Outcome, HostError> {
        self.call_in(&mut Seat::of(self, tenant), function, input).await
    }

    /// Calls a function by its name, with the types of the [`bindings`](crate::bindings): a list of its parameters, and a list
    /// of the one thing that it returns. Unlike [`with`](Self::with), it makes nothing ready but this function, and follows
    /// the tenant's [`Isolation`](crate::Isolation).
    ///
    /// ```no_run
    /// # use memberspot_host::bindings::exports::memberspot::connector::{offers::Offer, types::Error};
    /// # async fn example(host: memberspot_host::Host, school: memberspot_host::Tenant) -> Result<(), memberspot_host::HostError> {
    /// let (offers,): (Result<Vec<Offer>, Error>,) = host.typed(&school, "list-offers", ()).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When the function is not known or has other types, or the call does not come to an end.
    pub async fn typed<P, R>(&self, tenant: &Tenant, function: &str, parameters: P) -> Result<R, HostError>
    where
        P: ComponentNamedList + Lower + Send + Sync,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        self.typed_in(&mut Seat::of(self, tenant), function, parameters).await
    }

    /// Calls functions one after the other, all in one instance of their own.
    ///
    /// ```no_run
    /// # async fn example(host: memberspot_host::Host, school: memberspot_host::Tenant) -> Result<(), memberspot_host::HostError> {
    /// let mut batch = host.batch(&school);
    /// for email in ["ada@example.com", "ben@example.com"] {
    ///     let input = serde_json::json!({"email": email, "offerId": "o1"});
    ///     println!("{:?}", batch.call("grant-access", &input).await?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn batch<'a>(&'a self, tenant: &'a Tenant) -> Batch<'a> {
        Batch(Seat { isolation: Isolation::Reuse { calls: u32::MAX }, alone: true, ..Seat::of(self, tenant) })
    }

    /// Calls functions through the typed [`bindings`](crate::bindings), all in one new instance.
    ///
    /// # Errors
    ///
    /// When the work does not come to an end, or the component is not this version of the connector.
    pub async fn with<T>(
        &self,
        tenant: &Tenant,
        work: impl AsyncFnOnce(&Connector, &mut Store<State>) -> wasmtime::Result<T>,
    ) -> Result<T, HostError> {
        // Whether a call within it trapped is known to the caller alone, so the instance is not kept.
        let mut seat = Seat { isolation: Isolation::Fresh, ..Seat::of(self, tenant) };
        self.observed(tenant, None, Told::of_work, async |traffic| {
            seat.run(traffic, async |store, instance| {
                let connector = Connector::new(&mut *store, &instance).map_err(HostError::Load)?;
                work(&connector, store).await.map_err(HostError::Trap)
            })
            .await
        })
        .await
    }

    /// The work that a call makes for the component, in the engine's units: with [`HostBuilder::fuel`] alone.
    #[doc(hidden)]
    pub async fn fuel_of(&self, tenant: &Tenant, function: &str, input: &Value) -> Result<(Outcome, u64), HostError> {
        let function = self.function(function)?;
        let arguments = function.arguments(input)?;
        let traffic = Arc::new(Traffic::new(tenant.limits()));
        let mut seat = Seat { isolation: Isolation::Fresh, ..Seat::of(self, tenant) };
        seat.run(&traffic, async |store, instance| {
            let outcome = call(store, instance, function, &arguments).await?;
            let left = store.get_fuel().map_err(HostError::Engine)?;
            Ok((outcome, u64::MAX - left))
        })
        .await
    }

    /// Makes an instance, and throws it away: for measurements.
    #[doc(hidden)]
    pub async fn instantiate(&self, tenant: &Tenant) -> Result<(), HostError> {
        let mut seat = Seat { isolation: Isolation::Fresh, ..Seat::of(self, tenant) };
        seat.run(&Arc::new(Traffic::new(tenant.limits())), async |_, _| Ok(())).await
    }

    /// Runs a call, and tells of it.
    async fn observed<T>(
        &self,
        tenant: &Tenant,
        function: Option<&Function>,
        told: impl FnOnce(&T) -> Told,
        work: impl AsyncFnOnce(&Arc<Traffic>) -> Result<T, HostError>,
    ) -> Result<T, HostError> {
        let ongoing = self.0.observer.begin(tenant, function).await?;
        let traffic = Arc::new(Traffic::of(ongoing.call(), tenant.limits()));
        ongoing.observe(&traffic, work(&traffic), told).await
    }

    async fn call_in(&self, seat: &mut Seat<'_>, function: &str, input: &Value) -> Result<Outcome, HostError> {
        let function = self.function(function);
        self.observed(seat.tenant, function.as_ref().ok().copied(), Told::of_answer, async |traffic| {
            let function = function?;
            let arguments = function.arguments(input)?;
            let outcome = seat.run(traffic, async |store, instance| call(store, instance, function, &arguments).await).await?;
            match traffic.refusal() {
                // The component knows that it was refused, but not by what.
                Some(refusal) if outcome.is_due_to(&refusal) => Err(HostError::Refused(refusal)),
                _ => Ok(outcome),
            }
        })
        .await
    }

    async fn typed_in<P, R>(&self, seat: &mut Seat<'_>, function: &str, parameters: P) -> Result<R, HostError>
    where
        P: ComponentNamedList + Lower + Send + Sync,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        let function = self.function(function);
        self.observed(seat.tenant, function.as_ref().ok().copied(), Told::of_work, async |traffic| {
            let function = function?;
            seat.run(traffic, async |store, instance| {
                let exported = instance.get_typed_func::<P, R>(&mut *store, function.index).map_err(HostError::Load)?;
                exported.call_async(store, parameters).await.map_err(HostError::Trap)
            })
            .await
        })
        .await
    }

    /// The key of a tenant: its own, or what the store has. `None` where there is neither.
    async fn key(&self, tenant: &Tenant) -> Result<Option<ApiKey>, HostError> {
        match (tenant.connection().own_key(), &self.0.keys) {
            (Some(key), _) => Ok(Some(key.clone())),
            (None, Some(keys)) => {
                let key = keys.key(tenant.id()).await;
                // What the store does not have any more, nobody else has either.
                let key = key.inspect_err(|_| tenant.forget_key());
                key.map(Some).map_err(HostError::Key)
            }
            (None, None) => Ok(None),
        }
    }
}

/// Calls a function that the instance's component exports.
async fn call(
    store: &mut Store<State>,
    instance: Instance,
    function: &Function,
    arguments: &[Val],
) -> Result<Outcome, HostError> {
    let mut results = vec![Val::Bool(false); function.ty().results().len()];
    // The index comes from the component that the instance was made of.
    let exported = instance
        .get_func(&mut *store, function.index)
        .ok_or_else(|| HostError::Instantiate(wasmtime::format_err!("the export {} is gone", function.name())))?;
    exported.call_async(store, arguments, &mut results).await.map_err(HostError::Trap)?;
    Ok(dynamic::outcome(results))
}

/// Calls in one instance: see [`Host::batch`].
///
/// Each call has the limits of a call to itself, and is recorded as one. After a call that did not come to an answer, the
/// next one has another instance. Between its calls, a batch keeps the place of a running call: drop it when there are no more.
pub struct Batch<'a>(Seat<'a>);

impl Batch<'_> {
    /// As [`Host::call`].
    ///
    /// # Errors
    ///
    /// As [`Host::call`].
    pub async fn call(&mut self, function: &str, input: &Value) -> Result<Outcome, HostError> {
        self.0.host.call_in(&mut self.0, function, input).await
    }

    /// As [`Host::typed`].
    ///
    /// # Errors
    ///
    /// As [`Host::typed`].
    pub async fn typed<P, R>(&mut self, function: &str, parameters: P) -> Result<R, HostError>
    where
        P: ComponentNamedList + Lower + Send + Sync,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        self.0.host.typed_in(&mut self.0, function, parameters).await
    }
}

/// Where calls run, one after the other: the places that they take, and the instance.
struct Seat<'a> {
    host: &'a Host,
    tenant: &'a Tenant,
    isolation: Isolation,
    /// Whether the instance is for these calls alone.
    alone: bool,
    /// The place that the tenant has for it.
    own: Option<SemaphorePermit<'a>>,
    live: Option<Live>,
}

impl<'a> Seat<'a> {
    /// For one call.
    fn of(host: &'a Host, tenant: &'a Tenant) -> Self {
        let isolation = tenant.limits().isolation;
        Self { host, tenant, isolation, alone: false, own: None, live: None }
    }

    /// Works with an instance within the limits of a call: with one that was kept, or a new one.
    async fn run<T>(
        &mut self,
        traffic: &Arc<Traffic>,
        work: impl AsyncFnOnce(&mut Store<State>, Instance) -> Result<T, HostError>,
    ) -> Result<T, HostError> {
        let (host, tenant) = (&*self.host.0, self.tenant);
        let limits = tenant.limits();
        let busy = || HostError::Busy { calls: limits.calls, waiting: limits.waiting };
        let place = tokio::time::timeout(limits.time, self.place()).await.ok().flatten().ok_or_else(busy)?;
        if let Some(call) = traffic.call() {
            call.runs();
        }
        let timed_out = HostError::TimedOut { limit: limits.time };
        let deadline = Instant::now() + limits.time;
        let Ok(key) = tokio::time::timeout_at(deadline, self.host.key(tenant)).await else { return Err(timed_out) };
        let mut live = Live::of(host, tenant, place, key?, traffic)?;

        let _ticking = host.ticker.tick();
        let yielded = live.schedule();
        let work = Computing::new(limits.computing, async {
            let instance = live.instantiate(&host.pre).await?;
            work(&mut live.store, instance).await
        });
        let processor = tenant.processor(&host.tenants);
        let _running = processor.running();
        let work = InTurn::new(processor, yielded, work);
        let result = tokio::select! {
            biased;
            result = tokio::time::timeout_at(deadline, work) => result.unwrap_or(Err(timed_out)),
            () = traffic.exceeded() => Err(timed_out),
        };
        if let Some((of, limit)) = traffic.excess() {
            return Err(HostError::OutOfTraffic { of, limit });
        }
        match result {
            Ok(result) => {
                live.calls += 1;
                self.keep(live);
                Ok(result)
            }
            Err(HostError::Trap(source) | HostError::Instantiate(source)) if live.store.data().meter.refused_memory() => {
                Err(HostError::OutOfMemory { limit: limits.memory, source })
            }
            Err(HostError::Trap(source)) if matches!(source.downcast_ref(), Some(ResourceTableError::Full)) => {
                Err(HostError::OutOfHandles { limit: limits.handles, source })
            }
            Err(error) => Err(error),
        }
    }

    /// Waits for places: the tenant's, then one that all share, perhaps with an instance in it. `None` when too many wait.
    async fn place(&mut self) -> Option<Taken> {
        if self.own.is_none() {
            self.own = Some(self.tenant.place().await.ok()?);
        }
        if let Some(live) = self.live.take() {
            return Some(Taken::Kept(live));
        }
        let kept = &self.host.0.kept;
        let reused = if self.alone || self.isolation == Isolation::Fresh { None } else { kept.take(self.tenant.serial()) };
        Some(match reused {
            Some(live) => Taken::Kept(live),
            None => Taken::Empty(kept.place(self.tenant.id()).await),
        })
    }

    /// Keeps an instance for the next call, where there may be one in it.
    fn keep(&mut self, mut live: Live) {
        if !self.isolation.permits_another(live.calls) || !live.is_clean() {
            return;
        }
        live.rest(self.tenant.limits());
        if self.alone {
            self.live = Some(live);
        } else {
            self.host.0.kept.put(self.tenant.serial(), &self.tenant.shared_id(), live);
        }
    }
}

/// What a call has been given to run in.
enum Taken {
    Kept(Live),
    /// `None` where there is no pool, and so no end of places.
    Empty(Option<Place>),
}

/// An instance, and what belongs to it. Its parts are dropped in this order: its place is free when its memory is.
struct Live {
    store: Store<State>,
    instance: Option<Instance>,
    /// That it has answered.
    calls: u32,
    place: Option<Place>,
}

impl Live {
    /// What was kept, if it was made for this key, or something new.
    fn of(host: &Inner, tenant: &Tenant, taken: Taken, key: Option<ApiKey>, traffic: &Arc<Traffic>) -> Result<Self, HostError> {
        let place = match taken {
            Taken::Kept(mut live) if live.is_for(key.as_ref()) => {
                live.renew(tenant, traffic, host.rate_limiter.as_ref());
                return Ok(live);
            }
            // Its memory goes back before its place is taken again.
            Taken::Kept(Self { store, place, .. }) => {
                drop(store);
                place
            }
            Taken::Empty(place) => place,
        };
        let mut store = Store::new(host.pre.engine(), State::new(tenant, key, traffic.clone(), host.rate_limiter.as_ref()));
        store.limiter(|state| &mut state.meter);
        if host.fuel {
            store.set_fuel(u64::MAX).map_err(HostError::Engine)?;
        }
        Ok(Self { store, instance: None, calls: 0, place })
    }

    fn is_for(&self, key: Option<&ApiKey>) -> bool {
        match (&self.store.data().egress.vault, key) {
            (Some(vault), Some(key)) => vault.key() == key,
            (None, None) => true,
            _ => false,
        }
    }

    /// Makes it ready for another call. The environment stays, and in it what stands in for the key: the component may have
    /// read it once and for all.
    fn renew(&mut self, tenant: &Tenant, traffic: &Arc<Traffic>, limiter: Option<&Arc<dyn RateLimiter>>) {
        let state = self.store.data_mut();
        state.egress.traffic = traffic.clone();
        state.egress.rate = rate(tenant, limiter);
        state.meter.renew();
    }

    /// Lets go of the call that has ended: who is told of it learns that when the last one lets go.
    fn rest(&mut self, limits: &Limits) {
        let egress = &mut self.store.data_mut().egress;
        egress.traffic = Arc::new(Traffic::new(limits));
        egress.rate = None;
    }

    /// Has the guest stop for others at each tick from now on. Says when it does.
    fn schedule(&mut self) -> Yielded {
        let yielded = Yielded::default();
        self.store.epoch_deadline_callback({
            let yielded = yielded.clone();
            move |_| {
                yielded.set();
                Ok(UpdateDeadline::Yield(1))
            }
        });
        self.store.set_epoch_deadline(1);
        yielded
    }

    async fn instantiate(&mut self, pre: &InstancePre<State>) -> Result<Instance, HostError> {
        let instance = match self.instance {
            Some(instance) => instance,
            None => pre.instantiate_async(&mut self.store).await.map_err(HostError::Instantiate)?,
        };
        self.instance = Some(instance);
        Ok(instance)
    }

    /// Whether the call has left nothing behind that would be there in the next one: a request under way, or much memory.
    fn is_clean(&self) -> bool {
        let state = self.store.data();
        state.table.is_empty() && state.meter.memory() <= MOST_KEPT_MEMORY
    }
}

/// The limits of Memberspot, for one call.
fn rate(tenant: &Tenant, limiter: Option<&Arc<dyn RateLimiter>>) -> Option<Rate> {
    let (limiter, pacing) = limiter.zip(tenant.pacing())?;
    Rate::of_call(limiter, pacing)
}

/// Adds up how long a future takes while it runs, and ends it when that is too long. Without the time that it waits: a guest
/// that computes yields at every tick, and one that waits takes nothing.
pub(crate) struct Computing<F> {
    work: Pin<Box<F>>,
    left: Duration,
    limit: Duration,
}

impl<F> Computing<F> {
    pub(crate) fn new(limit: Duration, work: F) -> Self {
        Self { work: Box::pin(work), left: limit, limit }
    }
}

impl<T, F: Future<Output = Result<T, HostError>>> Future for Computing<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // Of the machine, whatever tests do to tokio's time.
        let start = std::time::Instant::now();
        let result = self.work.as_mut().poll(cx);
        self.left = self.left.saturating_sub(start.elapsed());
        if result.is_pending() && self.left.is_zero() {
            return Poll::Ready(Err(HostError::OutOfComputing { limit: self.limit }));
        }
        result
    }
}

/// How much of a place's memory is overwritten for the next call, instead of being given back to the system.
const KEPT_RESIDENT: usize = 256 << 10;

/// Room for this many components, each as large as the limits allow.
///
/// What is left as wasmtime has it: memory begins as a copy-on-write image of the constants; a place that had this component
/// before is taken first, since it is ready for it; stacks of the engine are not zeroed, for no component can read them.
fn pool(calls: u32, limits: &Limits) -> PoolingAllocationConfig {
    let items = calls.saturating_mul(ITEMS);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(calls)
        .total_stacks(calls)
        .total_core_instances(items)
        .total_tables(items)
        .table_elements(TABLE_ELEMENTS)
        // A component may have more than one, but each takes the address space of the largest; ours has one.
        .total_memories(calls)
        .max_memory_size(limits.memory)
        // What a call of ours touches of its memory: stack, constants and the beginning of its heap. To overwrite it takes a
        // fraction of the time that it takes the system to take pages away, and to give others at the next call.
        .linear_memory_keep_resident(KEPT_RESIDENT)
        // The same for its functions that are called indirectly.
        .table_keep_resident(16 << 10)
        // Where Linux says which pages were touched, no others are overwritten.
        .pagemap_scan(Enabled::Auto);
    pool
}

/// The interfaces that a component may import. Everything else, files and sockets and standard output among it, makes
/// loading fail.
fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    struct Io;
    impl HasData for Io {
        type Data<'a> = &'a mut ResourceTable;
    }

    let mut linker = Linker::new(engine);
    wasi::io::error::add_to_linker::<_, Io>(&mut linker, |state: &mut State| &mut state.table)?;
    wasi::io::poll::add_to_linker::<_, Io>(&mut linker, |state| &mut state.table)?;
    wasi::io::streams::add_to_linker::<_, Io>(&mut linker, |state| &mut state.table)?;
    wasi::clocks::monotonic_clock::add_to_linker::<State, wasmtime_wasi::clocks::WasiClocks>(
        &mut linker,
        wasmtime_wasi::clocks::WasiClocksView::clocks,
    )?;
    wasi::cli::environment::add_to_linker::<State, wasmtime_wasi::cli::WasiCli>(
        &mut linker,
        wasmtime_wasi::cli::WasiCliView::cli,
    )?;
    crate::handler::add_to_linker(&mut linker)?;
    let options = wasmtime_wasi_http::p2::bindings::LinkOptions::default();
    wasmtime_wasi_http::p2::bindings::http::types::add_to_linker::<_, wasmtime_wasi_http::WasiHttp>(
        &mut linker,
        &(&options).into(),
        State::http,
    )?;
    Ok(linker)
}

/// What belongs to one instance: its environment, its policy, and what it uses.
pub struct State {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    egress: Egress,
    table: ResourceTable,
    meter: Meter,
}

impl State {
    fn new(tenant: &Tenant, key: Option<ApiKey>, traffic: Arc<Traffic>, limiter: Option<&Arc<dyn RateLimiter>>) -> Self {
        let limits = tenant.limits();
        let rate = rate(tenant, limiter);
        let vault = key.map(|key| tenant.vault(key));
        let mut wasi = WasiCtx::builder();
        if let Some(vault) = &vault {
            wasi.env(API_KEY, vault.stand_in());
        }
        for (name, value) in tenant.connection().environment() {
            wasi.env(name, value);
        }
        wasi.monotonic_clock(TokioClock(Instant::now()));
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        Self {
            wasi: wasi.build(),
            http: WasiHttpCtx::new(),
            egress: Egress { allowed: tenant.origin().cloned(), vault, traffic, sender: tenant.sender(), rate },
            table,
            meter: Meter::new(limits),
        }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.egress }
    }
}

/// Tells the time since the instance was made.
///
/// WASI's timers already run on tokio's clock. With the system's clock beside them, the two would disagree as soon as
/// tokio's time is paused.
pub(crate) struct TokioClock(pub(crate) Instant);

impl HostMonotonicClock for TokioClock {
    fn resolution(&self) -> u64 {
        // What tokio's timers can tell apart.
        1_000_000
    }

    fn now(&self) -> u64 {
        // 2^64 nanoseconds are 584 years.
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}
