//! How long a tenant's single call takes: alone, and beside another tenant that makes thousands.
//!
//! ```text
//! cargo run --release --example fairness
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memberspot_host::simulator::{Options, School, Simulator};
use memberspot_host::{Connection, Host, Limits, Outcome, Tenant};
use serde_json::{Value, json};

const CALLS: u32 = 300;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let schools = vec![School::with_members(1000), School::new("single", "single-key")];
    let origin = server(Options { rate_limit: None, schools, ..Options::default() });
    println!("{:32} {:>8} {:>8} {:>8} {:>8}", "a single call", "flood/s", "p50 ms", "p90 ms", "p99 ms");
    for (name, pool) in [("", None), (", pool of 16", Some(16))] {
        let mut builder = Host::builder().allow_internal(&origin);
        if let Some(pool) = pool {
            builder = builder.pool(pool);
        }
        let host = builder.build()?;
        let connection = |key| Connection::new(key).base_url(&origin).variable("MEMBERSPOT_REQUESTS_PER_SECOND", "0");
        let single = host.tenant("single", connection("single-key"));
        let flooding = host.tenant_within("flooding", connection("demo-key"), Limits::default());
        measure(&format!("alone{name}"), &host, &single, None).await;
        for (what, function, input) in [
            ("beside small calls", "list-offers", json!({})),
            ("beside long lists", "collect-users", json!({"maxUsers": 1000})),
        ] {
            let flood = Flood::start(&host, &flooding, function, &input);
            measure(&format!("{what}{name}"), &host, &single, Some(&flood)).await;
            flood.stop().await;
        }
    }
    Ok(())
}

/// A server on a thread of its own, which the host's runtime has nothing to do with.
fn server(options: Options) -> String {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let simulator = Simulator::start(options).await.expect("a free port");
            sender.send(simulator.origin()).expect("somebody waits for it");
            std::future::pending::<()>().await;
        });
    });
    receiver.recv().expect("the server starts")
}

/// Thousands of calls that wait, from a tenant that makes a new one whenever one ends.
struct Flood {
    done: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Flood {
    fn start(host: &Host, tenant: &Tenant, function: &'static str, input: &Value) -> Self {
        let (done, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let task = |_| {
            let (host, tenant, input) = (host.clone(), tenant.clone(), input.clone());
            let (done, over) = (done.clone(), over.clone());
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let outcome = host.call(&tenant, function, &input).await.expect("an answer");
                    assert!(matches!(outcome, Outcome::Success(_)));
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let tasks = (0..2000).map(task).collect();
        Self { done, over, tasks }
    }

    async fn stop(self) {
        self.over.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.abort();
            let _ = task.await;
        }
    }
}

async fn measure(name: &str, host: &Host, tenant: &Tenant, flood: Option<&Flood>) {
    // The first calls open a connection, and let a flood begin.
    for _ in 0..20 {
        assert!(host.call(tenant, "list-offers", &json!({})).await.is_ok());
    }
    let done = || flood.map_or(0, |flood| flood.done.load(Ordering::Relaxed));
    let (before, started) = (done(), Instant::now());
    let mut times = Vec::new();
    for _ in 0..CALLS {
        let started = Instant::now();
        assert!(host.call(tenant, "list-offers", &json!({})).await.is_ok());
        times.push(started.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let flooded = u64::from(flood.is_some()) * (done() - before);
    times.sort_unstable();
    let milliseconds = |percent: usize| times[times.len() * percent / 100].as_secs_f64() * 1000.0;
    #[allow(clippy::cast_precision_loss)]
    let rate = flooded as f64 / started.elapsed().as_secs_f64();
    println!("{name:32} {rate:>8.0} {:>8.2} {:>8.2} {:>8.2}", milliseconds(50), milliseconds(90), milliseconds(99));
}
