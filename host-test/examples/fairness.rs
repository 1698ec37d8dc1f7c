//! How long a tenant's single call takes: alone, and beside another tenant that makes thousands.
//!
//! ```text
//! cargo run --release --example fairness
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use memberspot_host::sender::{Exchange, HttpSender};
use memberspot_host::{Connection, Host, Outcome, Tenant};
use serde_json::{Value, json};
use wasmtime_wasi_http::{RequestOptions, WasiBody};

const CALLS: u32 = 300;
/// How long the network takes.
const ANSWER: Duration = Duration::from_millis(2);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let members = (0..1000).map(|number| json!({"uid": format!("uid-{number}"), "email": format!("m{number}@example.com")}));
    let network = Network { members: json!({"users": members.collect::<Vec<_>>()}).to_string().into() };
    println!("{:36} {:>8} {:>8} {:>8} {:>8}", "a single call", "flood/s", "p50 ms", "p90 ms", "p99 ms");
    for (name, pool) in [("", None), (", pool of 16", Some(16))] {
        let mut builder = Host::builder().sender(network.clone()).no_rate_limiter();
        if let Some(pool) = pool {
            builder = builder.pool(pool);
        }
        let host = builder.build()?;
        let single = host.tenant("single", Connection::new("single-key"));
        let flooding = host.tenant("flooding", Connection::new("flooding-key"));
        measure(&format!("alone{name}"), &host, &single, None).await;
        for (what, function, input) in [
            ("beside small calls", "list-offers", json!({})),
            ("beside 1,000 members each", "list-users", json!({"pageLength": 1000})),
        ] {
            let flood = Flood::start(&host, &flooding, function, &input);
            measure(&format!("{what}{name}"), &host, &single, Some(&flood)).await;
            flood.stop().await;
        }
    }
    Ok(())
}

/// A network with a server that is never busy: what is measured is the host.
#[derive(Clone)]
struct Network {
    members: Bytes,
}

impl HttpSender for Network {
    fn send(&self, request: Request<WasiBody>, _: Option<RequestOptions>) -> Pin<Box<dyn Future<Output = Exchange> + Send>> {
        let offers = Bytes::from_static(br#"[{"id":"offer-1","name":"An offer","hasCourseIds":["course-1"]}]"#);
        let body = if request.uri().path().starts_with("/v1/users") { self.members.clone() } else { offers };
        Box::pin(async move {
            tokio::time::sleep(ANSWER).await;
            let length = body.len();
            let body = WasiBody::new(Full::new(body).map_err(|never| match never {}));
            let response = Response::builder().header("content-type", "application/json").header("content-length", length);
            let response = response.body(body).expect("headers that are ones");
            let driver = Box::pin(std::future::ready(Ok(())));
            Ok((response, driver as Pin<Box<dyn Future<Output = Result<(), wasmtime_wasi_http::Error>> + Send>>))
        })
    }
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
    println!("{name:36} {rate:>8.0} {:>8.2} {:>8.2} {:>8.2}", milliseconds(50), milliseconds(90), milliseconds(99));
}
