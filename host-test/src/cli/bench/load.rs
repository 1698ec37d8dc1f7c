//! The ways to make calls, and what they take under load.

use std::fs;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cpu_time::ProcessTime;
use http::Request;
use memberspot_host::bindings::exports::memberspot::connector::access::GrantRequest;
use memberspot_host::bindings::exports::memberspot::connector::types::{Error, User};
use memberspot_host::bindings::exports::memberspot::connector::users::{ListUsersRequest, UserPage};
use memberspot_host::sender::{Exchange, HttpSender, UnpooledSender};
use memberspot_host::{Batch, Connection, Host, HostError, Isolation, Limits, Outcome, Tenant};
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::LocalSet;
use wasmtime_wasi_http::{RequestOptions, WasiBody};

use super::native::Native;

const KEY: &str = "bench-key-0123456789";

/// A way to make calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Native,
    Fresh,
    Reused,
    Batch,
    ByName,
    Unpooled,
}

impl Mode {
    pub const ALL: [Self; 6] = [Self::Native, Self::Fresh, Self::Reused, Self::Batch, Self::ByName, Self::Unpooled];

    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Fresh => "fresh",
            Self::Reused => "reused",
            Self::Batch => "batch",
            Self::ByName => "by name",
            Self::Unpooled => "unpooled",
        }
    }

    pub fn description(self) -> &'static str {
        match self {
            Self::Native => "hyper without a sandbox: the same requests, the same typed answers",
            Self::Fresh => "an instance for each call, typed",
            Self::Reused => "an instance for a hundred calls of a tenant, typed",
            Self::Batch => "an instance for all calls of a worker, typed",
            Self::ByName => "an instance for each call, by name with JSON in and out",
            Self::Unpooled => "an instance and a connection for each call, typed",
        }
    }
}

/// What a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    Grant,
    Page,
}

impl Work {
    pub const ALL: [Self; 2] = [Self::Grant, Self::Page];

    pub fn name(self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::Page => "page",
        }
    }
}

/// Everything that calls are made with.
pub struct Callers {
    native: Native,
    pooled: Host,
    unpooled: Host,
    fresh: Tenant,
    reused: Tenant,
    unpooled_tenant: Tenant,
    grant: GrantRequest,
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

impl Callers {
    /// `most` calls can be made at once.
    pub fn new(server: SocketAddr, most: usize) -> Result<Self, HostError> {
        let mut limits = Limits::default();
        limits.calls = most;
        let places = places_for(most);
        let builder = || Host::builder().limits(limits.clone()).pool(places).allow_all_internal().no_rate_limiter();
        let (pooled, unpooled) = (builder().build()?, builder().sender(UnpooledSender).build()?);
        let connection = connection(server);
        let mut reusing = limits.clone();
        reusing.isolation = Isolation::Reuse { calls: 100 };
        let optional = |text: &str| Some(text.to_owned());
        Ok(Self {
            native: Native::new(server, KEY),
            fresh: pooled.tenant("fresh", connection.clone()),
            reused: pooled.tenant_within("reused", connection.clone(), reusing),
            unpooled_tenant: unpooled.tenant("unpooled", connection),
            pooled,
            unpooled,
            grant: GrantRequest {
                email: "member-0@example.com".into(),
                offer_id: "offer-1".into(),
                first_name: optional("Ada"),
                last_name: optional("Lovelace"),
                order_id: None,
            },
        })
    }

    /// Makes one call.
    pub async fn call(&self, mode: Mode, work: Work) -> Result<(), Failed> {
        let (host, tenant) = match mode {
            Mode::Native => {
                let members = match work {
                    Work::Grant => vec![self.native.grant(&self.grant).await?],
                    Work::Page => self.native.page().await?,
                };
                return checked(work, &members);
            }
            Mode::ByName => return self.by_name(work).await,
            Mode::Batch => return self.in_batch(&mut self.pooled.batch(&self.fresh), work).await,
            Mode::Fresh => (&self.pooled, &self.fresh),
            Mode::Reused => (&self.pooled, &self.reused),
            Mode::Unpooled => (&self.unpooled, &self.unpooled_tenant),
        };
        match work {
            Work::Grant => granted(host.typed(tenant, GRANT, (&self.grant,)).await?),
            Work::Page => listed(host.typed(tenant, LIST, (&PAGE,)).await?),
        }
    }

    async fn in_batch(&self, batch: &mut Batch<'_>, work: Work) -> Result<(), Failed> {
        match work {
            Work::Grant => granted(batch.typed(GRANT, (&self.grant,)).await?),
            Work::Page => listed(batch.typed(LIST, (&PAGE,)).await?),
        }
    }

    async fn by_name(&self, work: Work) -> Result<(), Failed> {
        let (function, input) = match work {
            Work::Grant => {
                let GrantRequest { email, offer_id, first_name, last_name, .. } = &self.grant;
                let input = json!({"email": email, "offerId": offer_id, "firstName": first_name, "lastName": last_name});
                (GRANT, input)
            }
            Work::Page => (LIST, json!({"pageLength": 100})),
        };
        match self.pooled.call(&self.fresh, function, &input).await? {
            Outcome::Success(answer) => {
                // What a caller by name is after.
                std::hint::black_box(answer.to_json());
                Ok(())
            }
            Outcome::Failure(error) => Err(error.to_json().to_string().into()),
        }
    }

    /// Makes calls until it is enough, one after another.
    async fn worker(&self, mode: Mode, work: Work, until: Until) -> Worker {
        let mut worker = Worker::default();
        let mut batch = self.pooled.batch(&self.fresh);
        while until.is_open(worker.calls()) {
            let start = Instant::now();
            let outcome = match mode {
                Mode::Batch => self.in_batch(&mut batch, work).await,
                _ => self.call(mode, work).await,
            };
            worker.count(start, outcome);
        }
        worker
    }
}

const GRANT: &str = "grant-access";
const LIST: &str = "list-users";

const PAGE: ListUsersRequest =
    ListUsersRequest { offer_id: None, course_id: None, active: None, page_token: None, page_length: Some(100) };

/// A pool in which one tenant, which gets three quarters of it, can make so many calls at once.
fn places_for(calls: usize) -> u32 {
    u32::try_from(calls.div_ceil(3).saturating_mul(4)).unwrap_or(u32::MAX)
}

fn connection(server: SocketAddr) -> Connection {
    Connection::new(KEY).base_url(format!("http://{server}")).variable("MEMBERSPOT_MAX_ATTEMPTS", "1")
}

fn granted((user,): (Result<User, Error>,)) -> Result<(), Failed> {
    checked(Work::Grant, &[user?])
}

fn listed((page,): (Result<UserPage, Error>,)) -> Result<(), Failed> {
    checked(Work::Page, &page?.users)
}

/// Whether all was read that was sent.
fn checked(work: Work, members: &[User]) -> Result<(), Failed> {
    let expected = if work == Work::Page { 100 } else { 1 };
    let whole = |member: &User| member.progress.len() == 2 && member.custom_properties.len() == 3 && !member.raw.is_empty();
    let right = members.len() == expected && (work == Work::Grant || members.iter().all(whole));
    right.then_some(()).ok_or_else(|| "a wrong answer".into())
}

/// When a worker has made enough calls.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    Moment(Instant),
    Calls(u64),
}

impl Until {
    fn is_open(self, calls: u64) -> bool {
        match self {
            Self::Moment(moment) => Instant::now() < moment,
            Self::Calls(most) => calls < most,
        }
    }
}

#[derive(Debug, Default)]
struct Worker {
    /// In nanoseconds.
    latencies: Vec<u64>,
    failures: Vec<String>,
}

impl Worker {
    fn calls(&self) -> u64 {
        (self.latencies.len() + self.failures.len()) as u64
    }

    fn count(&mut self, start: Instant, outcome: Result<(), Failed>) {
        match outcome {
            Ok(()) => self.latencies.push(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)),
            Err(error) => self.failures.push(error.to_string()),
        }
    }
}

/// What one measurement has shown.
#[derive(Debug, Clone)]
pub struct Sample {
    pub calls: u64,
    pub failures: Vec<String>,
    pub per_second: f64,
    /// In microseconds.
    pub cpu: f64,
    pub p50: f64,
    pub p99: f64,
    /// The most memory of the process meanwhile, in bytes, where the system says so.
    pub memory: Option<u64>,
}

/// How long a measurement takes: a time, or a number of calls for each worker.
#[derive(Debug, Clone, Copy)]
pub enum Extent {
    Time(Duration),
    Calls(u64),
}

/// Lets workers make calls side by side.
pub async fn measure(callers: &Rc<Callers>, mode: Mode, work: Work, concurrency: usize, extent: Extent) -> Sample {
    forget_peak();
    let (start, cpu) = (Instant::now(), ProcessTime::now());
    let until = match extent {
        Extent::Time(time) => Until::Moment(start + time),
        Extent::Calls(calls) => Until::Calls(calls),
    };
    let local = LocalSet::new();
    let workers: Vec<_> = (0..concurrency)
        .map(|_| {
            let callers = callers.clone();
            local.spawn_local(async move { callers.worker(mode, work, until).await })
        })
        .collect();
    local.await;
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu.elapsed());
    let memory = peak();
    let (mut latencies, mut failures) = (vec![], vec![]);
    for worker in workers {
        match worker.await {
            Ok(worker) => {
                latencies.extend(worker.latencies);
                failures.extend(worker.failures);
            }
            Err(error) => failures.push(error.to_string()),
        }
    }
    latencies.sort_unstable();
    let calls = latencies.len() as u64;
    let at = |share: f64| {
        let index = ((latencies.len() as f64 * share) as usize).min(latencies.len().saturating_sub(1));
        latencies.get(index).map_or(f64::NAN, |nanos| *nanos as f64 / 1000.0)
    };
    Sample {
        calls,
        per_second: calls as f64 / seconds,
        cpu: cpu.as_secs_f64() * 1e6 / (calls as f64).max(1.0),
        p50: at(0.5),
        p99: at(0.99),
        failures,
        memory,
    }
}

/// Makes calls at a steady rate. Returns how many ended well, of how many.
pub async fn sustain(callers: &Rc<Callers>, mode: Mode, per_second: u64, time: Duration) -> (u64, u64) {
    let local = LocalSet::new();
    let calls = local
        .run_until(async {
            let mut turns = tokio::time::interval(Duration::from_secs(1) / u32::try_from(per_second).unwrap_or(u32::MAX));
            let until = Instant::now() + time;
            let mut calls = vec![];
            while Instant::now() < until {
                turns.tick().await;
                let callers = callers.clone();
                calls.push(tokio::task::spawn_local(async move { callers.call(mode, Work::Grant).await.is_ok() }));
            }
            let all = calls.len() as u64;
            let mut good = 0;
            for call in calls {
                good += u64::from(call.await.unwrap_or(false));
            }
            (good, all)
        })
        .await;
    local.await;
    calls
}

/// How long it takes to make an instance and to throw it away, in microseconds; with the typed bindings of all functions, or
/// without. The time of one call is too short for the clock of some machines, so they are measured together.
pub async fn instance(callers: &Callers, bindings: bool, times: u32) -> Result<f64, HostError> {
    let start = Instant::now();
    for _ in 0..times {
        if bindings {
            callers.pooled.with(&callers.fresh, async |_, _| Ok(())).await?;
        } else {
            callers.pooled.instantiate(&callers.fresh).await?;
        }
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / f64::from(times))
}

/// The memory of each of so many instances that wait for an answer at the same time, in bytes. `None` where the system does
/// not say.
pub async fn memory_of_instances(instances: usize) -> Result<Option<u64>, HostError> {
    let mut limits = Limits::default();
    limits.calls = instances;
    let silent = Silent::default();
    let host = Host::builder().limits(limits).pool(places_for(instances)).sender(silent.clone()).build()?;
    let tenant = host.tenant("memory", Connection::new(KEY));
    // What the first call makes ready for all.
    let call = |host: Host, tenant: Tenant| async move { host.call(&tenant, "list-offers", &json!({})).await.is_ok() };
    let local = LocalSet::new();
    let each = local
        .run_until(async {
            let first = tokio::task::spawn_local(call(host.clone(), tenant.clone()));
            silent.wait(1).await;
            let before = resident();
            let calls: Vec<_> = (1..instances).map(|_| tokio::task::spawn_local(call(host.clone(), tenant.clone()))).collect();
            silent.wait(instances).await;
            let after = resident();
            calls.iter().for_each(tokio::task::JoinHandle::abort);
            first.abort();
            before.zip(after).map(|(before, after)| after.saturating_sub(before) / (instances as u64 - 1).max(1))
        })
        .await;
    local.await;
    Ok(each)
}

/// A network that never answers.
#[derive(Clone, Default)]
struct Silent(Arc<(AtomicUsize, Notify)>);

impl Silent {
    /// Waits until so many requests were made.
    async fn wait(&self, requests: usize) {
        while self.0.0.load(Ordering::Acquire) < requests {
            self.0.1.notified().await;
        }
    }
}

impl HttpSender for Silent {
    fn send(&self, _: Request<WasiBody>, _: Option<RequestOptions>) -> Pin<Box<dyn Future<Output = Exchange> + Send>> {
        self.0.0.fetch_add(1, Ordering::AcqRel);
        self.0.1.notify_one();
        Box::pin(std::future::pending())
    }
}

/// What the process holds in memory, in bytes.
fn resident() -> Option<u64> {
    status("VmRSS:")
}

/// The most that it held since [`forget_peak`].
fn peak() -> Option<u64> {
    status("VmHWM:")
}

fn forget_peak() {
    // Linux's word for it. Elsewhere there is no such file, and the peak is not known.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

fn status(field: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

/// Connections to a port that have ended and are remembered by the system. `None` where it does not say.
pub fn time_wait(port: u16) -> Option<u64> {
    const TIME_WAIT: &str = "06";
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let port = format!(":{port:04X}");
    let is_one = |line: &&str| {
        let mut fields = line.split_whitespace().skip(1);
        let ends = [fields.next(), fields.next()];
        fields.next() == Some(TIME_WAIT) && ends.iter().flatten().any(|end| end.ends_with(&port))
    };
    Some(table.lines().filter(is_one).count() as u64)
}
