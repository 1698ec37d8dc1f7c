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
use wasmtime::{Config, Enabled, Engine, PoolingAllocationConfig, Store};
use wasmtime_wasi::p2::bindings as wasi;
use wasmtime_wasi::{HostMonotonicClock, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::bindings::Connector;
use crate::connection::API_KEY;
use crate::dynamic::{self, Function, Outcome};
use crate::egress::{Egress, Excess, Refusal, Traffic, Vault};
use crate::isolation::{Kept, MOST_KEPT_MEMORY, Place};
use crate::json::JsonError;
use crate::keys::{ApiKey, KeyError, KeyStore};
use crate::limits::{ITEMS, Meter, TABLE_ELEMENTS, Ticker};
use crate::precompiled::{self, PrecompiledError};
use crate::sender::{HttpSender, PooledSender, Reach};
use crate::{COMPONENT, Connection, Limits, Origin, Tenant};

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
}

/// Which origins may be at addresses that are not public.
enum Internal {
    These(Vec<Origin>),
    All,
}

/// Settings of a [`Host`].
#[must_use]
pub struct HostBuilder {
    limits: Limits,
    sender: Option<Arc<dyn HttpSender>>,
    keys: Option<Arc<dyn KeyStore>>,
    internal: BTreeSet<String>,
    all_internal: bool,
    component: Cow<'static, [u8]>,
    precompiled: Option<PathBuf>,
    pool: Option<u32>,
    fuel: bool,
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
            pool: None,
            fuel: false,
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
        let sender = match &self.0.sender {
            Some(sender) => sender.clone(),
            None => Arc::new(PooledSender::new(self.reach(connection.origin().as_ref()))),
        };
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
        let function = self.function(function)?;
        let arguments = function.arguments(input)?;
        let traffic = Arc::new(Traffic::new(tenant.limits()));
        let keep = tenant.limits().isolation.permits_another(1);
        let work = async |live: &mut Live, instance| call(live, instance, function, &arguments).await;
        judged(self.run(tenant, &traffic, keep, work).await?, &traffic)
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
        let function = self.function(function)?;
        let traffic = Arc::new(Traffic::new(tenant.limits()));
        let keep = tenant.limits().isolation.permits_another(1);
        self.run(tenant, &traffic, keep, async |live, instance| {
            let exported = instance.get_typed_func::<P, R>(&mut live.store, function.index).map_err(HostError::Load)?;
            exported.call_async(&mut live.store, parameters).await.map_err(HostError::Trap)
        })
        .await
    }

    /// Calls functions by name, all in one new instance and within the limits of one call.
    ///
    /// ```no_run
    /// # async fn example(host: memberspot_host::Host, school: memberspot_host::Tenant) -> Result<(), memberspot_host::HostError> {
    /// host.batch(&school, async |batch| {
    ///     for email in ["ada@example.com", "ben@example.com"] {
    ///         let input = serde_json::json!({"email": email, "offerId": "o1"});
    ///         println!("{:?}", batch.call("grant-access", &input).await?);
    ///     }
    ///     Ok(())
    /// })
    /// .await
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When the work does not come to an end.
    pub async fn batch<T>(
        &self,
        tenant: &Tenant,
        work: impl AsyncFnOnce(&mut Batch<'_>) -> Result<T, HostError>,
    ) -> Result<T, HostError> {
        let traffic = Arc::new(Traffic::new(tenant.limits()));
        let (host, traffic) = (self, &traffic);
        self.run(tenant, traffic, false, async |live, instance| work(&mut Batch { host, live, instance, traffic }).await).await
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
        let traffic = Arc::new(Traffic::new(tenant.limits()));
        // Whether a call within it trapped is known to the caller alone, so the instance is not kept.
        self.run(tenant, &traffic, false, async |live, instance| {
            let connector = Connector::new(&mut live.store, &instance).map_err(HostError::Load)?;
            work(&connector, &mut live.store).await.map_err(HostError::Trap)
        })
        .await
    }

    /// The work that a call makes for the component, in the engine's units: with [`HostBuilder::fuel`] alone.
    #[doc(hidden)]
    pub async fn fuel_of(&self, tenant: &Tenant, function: &str, input: &Value) -> Result<(Outcome, u64), HostError> {
        let function = self.function(function)?;
        let arguments = function.arguments(input)?;
        let traffic = Arc::new(Traffic::new(tenant.limits()));
        self.run(tenant, &traffic, false, async |live, instance| {
            let outcome = call(live, instance, function, &arguments).await?;
            let left = live.store.get_fuel().map_err(HostError::Engine)?;
            Ok((outcome, u64::MAX - left))
        })
        .await
    }

    /// Makes an instance for this tenant, or takes one that was kept, and works with it within the limits.
    async fn run<T>(
        &self,
        tenant: &Tenant,
        traffic: &Arc<Traffic>,
        keep: bool,
        work: impl AsyncFnOnce(&mut Live, Instance) -> Result<T, HostError>,
    ) -> Result<T, HostError> {
        let Inner { pre, ticker, kept, .. } = &*self.0;
        let limits = tenant.limits();
        let busy = || HostError::Busy { calls: limits.calls, waiting: limits.waiting };
        let places = tokio::time::timeout(limits.time, self.places(tenant, keep)).await;
        let (_own, seat) = places.ok().flatten().ok_or_else(busy)?;
        let timed_out = HostError::TimedOut { limit: limits.time };
        let deadline = Instant::now() + limits.time;
        let Ok(key) = tokio::time::timeout_at(deadline, self.key(tenant)).await else { return Err(timed_out) };
        let mut live = self.live(tenant, seat, key?, traffic)?;

        let _ticking = ticker.tick();
        let work = Computing::new(limits.computing, async {
            let instance = match live.instance {
                Some(instance) => instance,
                None => pre.instantiate_async(&mut live.store).await.map_err(HostError::Instantiate)?,
            };
            live.instance = Some(instance);
            work(&mut live, instance).await
        });
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
                if keep && limits.isolation.permits_another(live.calls) && live.is_clean() {
                    kept.put(tenant.serial(), live);
                }
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

    /// Places for a call: the tenant's, then one that all share, perhaps with an instance in it. `None` when too many wait.
    async fn places<'a>(&'a self, tenant: &'a Tenant, keep: bool) -> Option<(SemaphorePermit<'a>, Seat)> {
        let own = tenant.place().await.ok()?;
        let kept = if keep { self.0.kept.take(tenant.serial()) } else { None };
        let seat = match kept {
            Some(live) => Seat::Kept(live),
            None => Seat::Empty(self.0.kept.place().await),
        };
        Some((own, seat))
    }

    /// What a call works in: what was kept, if it was made for this key, or something new.
    fn live(&self, tenant: &Tenant, seat: Seat, key: Option<ApiKey>, traffic: &Arc<Traffic>) -> Result<Live, HostError> {
        let place = match seat {
            Seat::Kept(mut live) if live.is_for(key.as_ref()) => {
                live.renew(traffic);
                return Ok(live);
            }
            // Its memory goes back before its place is taken again.
            Seat::Kept(Live { store, place, .. }) => {
                drop(store);
                place
            }
            Seat::Empty(place) => place,
        };
        let mut store = Store::new(self.0.pre.engine(), State::new(tenant, key, traffic.clone()));
        store.limiter(|state| &mut state.meter);
        store.epoch_deadline_async_yield_and_update(1);
        store.set_epoch_deadline(1);
        if self.0.fuel {
            store.set_fuel(u64::MAX).map_err(HostError::Engine)?;
        }
        Ok(Live { store, instance: None, calls: 0, place })
    }

    /// The key of a tenant: its own, or what the store has. `None` where there is neither.
    async fn key(&self, tenant: &Tenant) -> Result<Option<ApiKey>, HostError> {
        match (tenant.connection().own_key(), &self.0.keys) {
            (Some(key), _) => Ok(Some(key.clone())),
            (None, Some(keys)) => keys.key(tenant.id()).await.map(Some).map_err(HostError::Key),
            (None, None) => Ok(None),
        }
    }
}

/// Where a call may run.
enum Seat {
    Kept(Live),
    Empty(Place),
}

/// An instance, and what belongs to it. Its parts are dropped in this order: its place is free when its memory is.
struct Live {
    store: Store<State>,
    instance: Option<Instance>,
    /// That it has answered.
    calls: u32,
    place: Place,
}

impl Live {
    fn is_for(&self, key: Option<&ApiKey>) -> bool {
        match (&self.store.data().egress.vault, key) {
            (Some(vault), Some(key)) => vault.holds(key),
            (None, None) => true,
            _ => false,
        }
    }

    /// Makes it ready for another call. The environment stays, and in it what stands in for the key: the component may have
    /// read it once and for all.
    fn renew(&mut self, traffic: &Arc<Traffic>) {
        let state = self.store.data_mut();
        state.egress.traffic = traffic.clone();
        state.meter.renew();
        self.store.set_epoch_deadline(1);
    }

    /// Whether the call has left nothing behind that would be there in the next one: a request under way, or much memory.
    fn is_clean(&self) -> bool {
        let state = self.store.data();
        state.table.is_empty() && state.meter.memory() <= MOST_KEPT_MEMORY
    }
}

/// Calls in one instance, within the limits of one call: see [`Host::batch`].
pub struct Batch<'a> {
    host: &'a Host,
    live: &'a mut Live,
    instance: Instance,
    traffic: &'a Traffic,
}

impl Batch<'_> {
    /// As [`Host::call`]. After a call that did not come to an answer, no other one can be made.
    ///
    /// # Errors
    ///
    /// As [`Host::call`].
    pub async fn call(&mut self, function: &str, input: &Value) -> Result<Outcome, HostError> {
        let function = self.host.function(function)?;
        let arguments = function.arguments(input)?;
        judged(call(self.live, self.instance, function, &arguments).await?, self.traffic)
    }
}

/// Calls a function that the instance's component exports.
async fn call(live: &mut Live, instance: Instance, function: &Function, arguments: &[Val]) -> Result<Outcome, HostError> {
    let mut results = vec![Val::Bool(false); function.ty().results().len()];
    // The index comes from the component that the instance was made of.
    let exported = instance
        .get_func(&mut live.store, function.index)
        .ok_or_else(|| HostError::Instantiate(wasmtime::format_err!("the export {} is gone", function.name())))?;
    exported.call_async(&mut live.store, arguments, &mut results).await.map_err(HostError::Trap)?;
    Ok(dynamic::outcome(results))
}

/// The component knows that it was refused, but not by what.
fn judged(outcome: Outcome, traffic: &Traffic) -> Result<Outcome, HostError> {
    match traffic.refusal() {
        Some(refusal) if outcome.is_not_permitted() => Err(HostError::Refused(refusal)),
        _ => Ok(outcome),
    }
}

/// Adds up how long a future takes while it runs, and ends it when that is too long. Without the time that it waits: a guest
/// that computes yields at every tick, and one that waits takes nothing.
struct Computing<F> {
    work: Pin<Box<F>>,
    left: Duration,
    limit: Duration,
}

impl<F> Computing<F> {
    fn new(limit: Duration, work: F) -> Self {
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
    fn new(tenant: &Tenant, key: Option<ApiKey>, traffic: Arc<Traffic>) -> Self {
        let limits = tenant.limits();
        let vault = key.map(Vault::new);
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
            egress: Egress { allowed: tenant.origin().cloned(), vault, traffic, sender: tenant.sender() },
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
struct TokioClock(Instant);

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
