//! The engine with the component compiled in it, and the calls.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use wasmtime::component::{Component, HasData, Instance, InstancePre, Linker, ResourceTable, Val};
use wasmtime::{Config, Engine, PoolingAllocationConfig, Store};
use wasmtime_wasi::p2::bindings as wasi;
use wasmtime_wasi::{HostMonotonicClock, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::bindings::Connector;
use crate::dynamic::{self, Function, Outcome};
use crate::egress::{DefaultSender, Egress, HttpSender};
use crate::json::JsonError;
use crate::limits::{ITEMS, Meter, TABLE_ELEMENTS, Ticker};
use crate::{COMPONENT, Connection, Limits};

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

/// The connector, compiled and ready. Cheap to clone; all clones share one engine.
///
/// Each call runs in an instance of its own, which ends with it: calls share no memory, and may run at the same time.
/// Calls run on tokio, with its timers and I/O enabled. The component's clock is tokio's: where tokio's time is paused,
/// so is the component's.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    pre: InstancePre<State>,
    functions: Vec<Function>,
    limits: Limits,
    sender: Arc<dyn HttpSender>,
    ticker: Ticker,
    places: Option<Semaphore>,
}

/// Settings of a [`Host`].
#[must_use]
pub struct HostBuilder {
    limits: Limits,
    sender: Arc<dyn HttpSender>,
    component: Vec<u8>,
    pool: Option<u32>,
}

impl HostBuilder {
    /// What a call may use.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What sends the requests that the policy lets through; [`DefaultSender`] when not set.
    pub fn sender(mut self, sender: impl HttpSender + 'static) -> Self {
        self.sender = Arc::new(sender);
        self
    }

    /// Another component than the embedded one. It is given the same few interfaces of WASI.
    pub fn component(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.component = bytes.into();
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
        let mut config = Config::new();
        config.epoch_interruption(true);
        if let Some(calls) = self.pool {
            config.allocation_strategy(pool(calls, &self.limits));
        }
        let engine = Engine::new(&config).map_err(HostError::Engine)?;
        let component = Component::from_binary(&engine, &self.component).map_err(HostError::Load)?;
        let pre = linker(&engine).and_then(|linker| linker.instantiate_pre(&component)).map_err(HostError::Load)?;
        Ok(Host(Arc::new(Inner {
            pre,
            functions: dynamic::exports(&engine, &component),
            limits: self.limits,
            sender: self.sender,
            ticker: Ticker::start(&engine).map_err(|error| HostError::Engine(error.into()))?,
            places: self.pool.map(|calls| Semaphore::new(calls as usize)),
        })))
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
        HostBuilder { limits: Limits::default(), sender: Arc::new(DefaultSender), component: COMPONENT.to_vec(), pool: None }
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
    pub async fn call(&self, connection: &Connection, function: &str, input: &Value) -> Result<Outcome, HostError> {
        let function = self.function(function)?;
        let arguments = function.arguments(input)?;
        let mut results = vec![Val::Bool(false); function.ty().results().len()];
        self.run(connection, async |store, instance| {
            // The index comes from the component that the instance was made of.
            let exported = instance
                .get_func(&mut *store, function.index)
                .ok_or_else(|| HostError::Instantiate(wasmtime::format_err!("the export {} is gone", function.name())))?;
            exported.call_async(store, &arguments, &mut results).await.map_err(HostError::Trap)
        })
        .await?;
        Ok(dynamic::outcome(results))
    }

    /// Calls functions through the typed [`bindings`](crate::bindings), all in one new instance.
    ///
    /// # Errors
    ///
    /// When the work does not come to an end, or the component is not this version of the connector.
    pub async fn with<T>(
        &self,
        connection: &Connection,
        work: impl AsyncFnOnce(&Connector, &mut Store<State>) -> wasmtime::Result<T>,
    ) -> Result<T, HostError> {
        self.run(connection, async |store, instance| {
            let connector = Connector::new(&mut *store, &instance).map_err(HostError::Load)?;
            work(&connector, store).await.map_err(HostError::Trap)
        })
        .await
    }

    /// Makes an instance for this connection and works with it, within the limits.
    async fn run<T>(
        &self,
        connection: &Connection,
        work: impl AsyncFnOnce(&mut Store<State>, Instance) -> Result<T, HostError>,
    ) -> Result<T, HostError> {
        let Inner { pre, limits, sender, ticker, places, .. } = &*self.0;
        let _place = match places {
            // Nobody closes the semaphore.
            Some(places) => places.acquire().await.ok(),
            None => None,
        };
        let mut store = Store::new(pre.engine(), State::new(connection, limits, sender.clone()));
        store.limiter(|state| &mut state.meter);
        store.epoch_deadline_async_yield_and_update(1);
        store.set_epoch_deadline(1);

        let _ticking = ticker.tick();
        let result = tokio::time::timeout(limits.time, async {
            let instance = pre.instantiate_async(&mut store).await.map_err(HostError::Instantiate)?;
            work(&mut store, instance).await
        })
        .await
        .unwrap_or(Err(HostError::TimedOut { limit: limits.time }));
        match result {
            Err(HostError::Trap(source) | HostError::Instantiate(source)) if store.data().meter.refused_memory() => {
                Err(HostError::OutOfMemory { limit: limits.memory, source })
            }
            result => result,
        }
    }
}

/// Room for this many components, each as large as the limits allow.
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
        .max_memory_size(limits.memory);
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
    fn new(connection: &Connection, limits: &Limits, sender: Arc<dyn HttpSender>) -> Self {
        let mut wasi = WasiCtx::builder();
        for (name, value) in connection.environment() {
            wasi.env(name, value);
        }
        wasi.monotonic_clock(TokioClock(Instant::now()));
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        Self {
            wasi: wasi.build(),
            http: WasiHttpCtx::new(),
            egress: Egress { allowed: connection.origin(), sender },
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
