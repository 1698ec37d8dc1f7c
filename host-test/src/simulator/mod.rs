//! A simulator of the Memberspot API: a small HTTP server that keeps schools in memory and behaves as the real service
//! is known, or thought, to behave.
//!
//! It exists because nobody can test against the real service without a paid account and real members. The connector's
//! integration tests, the `simulate` command and the demo run against it. It shares nothing with the connector, so that a
//! mistake cannot be made on both sides at once.
//!
//! What is certain about the API and what is guessed stands at the item or the route that it concerns. Where public
//! clients disagree, a [`Dialect`] chooses. Everything that can go wrong on the way is an [`Injection`] of a [`Fault`];
//! everything received is in the [journal](Simulator::journal). The simulator never prints.
//!
//! The real API is a NestJS application on Express, and most shapes follow from that: a refusal for instance is
//! `{"statusCode": 400, "message": "…" or ["…"], "error": "Bad Request"}`.

mod clock;
mod demo;
mod faults;
mod form;
mod journal;
mod limiter;
mod nest;
mod network;
mod paths;
mod routes;
mod school;
mod script;
mod server;
mod stream;
mod tokens;
mod webhooks;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use clock::Clock;
pub use faults::{Chance, ConnectFault, Fault, Injection, Reshape};
pub use hyper::header::HeaderValue;
pub use hyper::{HeaderMap, Method, StatusCode};
pub use journal::{Entry, MOST_BODY_BYTES, MOST_ENTRIES, Outcome};
pub use network::Network;
pub use school::{
    ApiKey, Course, Dialect, Exam, ExamResult, Grant, LoginTokenForm, Member, Offer, PageField, PageToken, Progress, Property,
    PropertyKey, School,
};
pub use stream::MemoryStream;
pub use webhooks::{Delivered, Delivery, Webhook};

/// Is told of each request when its outcome is decided, before the client can know. It runs on the server's task with no
/// lock held, so it may ask the simulator, but should be quick.
pub type Observer = Arc<dyn Fn(&Entry) + Send + Sync>;

/// How a simulator is set up.
#[derive(Clone)]
pub struct Options {
    /// The address to listen on; 127.0.0.1 by default.
    pub host: IpAddr,
    /// The port to listen on; 0, the default, takes any free one.
    pub port: u16,
    /// The time it believes in; the machine's by default.
    pub clock: Clock,
    /// Requests per second and API key on the routes that are limited: listing users, finding a user, and both course
    /// progress routes, counted together. 4 by default (documented); no limit when absent.
    pub rate_limit: Option<u32>,
    /// The form of `Retry-After` in a 429. That the real service sends it is not documented.
    pub retry_after: RetryAfter,
    /// How long each answer is held back, in tokio's time, after the request took effect; not at all by default.
    pub latency: Duration,
    /// The longest request body, in bytes; a longer one is refused with 413. 10 MiB by default; Express' own default is
    /// 100 KiB.
    pub body_limit: usize,
    /// The accounts; by default only [`School::demo`]. Their ids and keys should differ.
    pub schools: Vec<School>,
    /// Is told of each request.
    pub on_request: Option<Observer>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            host: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            clock: Clock::real(),
            rate_limit: Some(4),
            retry_after: RetryAfter::default(),
            latency: Duration::ZERO,
            body_limit: 10 * 1024 * 1024,
            schools: vec![School::demo()],
            on_request: None,
        }
    }
}

/// The form of the `Retry-After` header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetryAfter {
    /// Whole seconds.
    #[default]
    Seconds,
    /// An HTTP date.
    Date,
}

/// A running simulator. Dropping it closes the listener and every connection.
pub struct Simulator {
    address: SocketAddr,
    shared: Arc<server::Shared>,
    task: JoinHandle<()>,
    /// Where it listens, when that is not the machine's.
    network: Option<Network>,
}

impl Simulator {
    /// Listens and serves in the background of the current tokio runtime, whose IO and timers must be on.
    ///
    /// # Errors
    ///
    /// The address cannot be listened on.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind((options.host, options.port)).await?;
        let address = reachable(listener.local_addr()?);
        let shared = Arc::new(server::Shared::new(options, origin(address)));
        let task = tokio::spawn(server::serve(server::Listener::Socket(listener), Arc::clone(&shared)));
        Ok(Self { address, shared, task, network: None })
    }

    /// Listens on a network in memory, and serves in the background of the current tokio runtime. Its address means nothing
    /// outside of that network. With [`Clock::tokio`], all of it keeps tokio's time.
    ///
    /// # Errors
    ///
    /// The address is taken.
    pub fn in_memory(options: Options, network: &Network) -> io::Result<Self> {
        let wanted = SocketAddr::new(options.host, options.port);
        let (address, shared, connections) = network.listen(wanted, |address| server::Shared::new(options, origin(address)))?;
        let task = tokio::spawn(server::serve(server::Listener::Memory(connections), Arc::clone(&shared)));
        Ok(Self { address, shared, task, network: Some(network.clone()) })
    }

    /// The base URL, `http://127.0.0.1:PORT`, without a slash at the end.
    #[must_use]
    pub fn origin(&self) -> String {
        origin(self.address)
    }

    /// The address to connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The time that the simulator believes in.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// The requests received since the start or the last clearing, in the order their heads arrived; the newest
    /// [`MOST_ENTRIES`] of them, fewer when their bodies are large.
    #[must_use]
    pub fn journal(&self) -> Vec<Entry> {
        self.shared.journal().entries()
    }

    /// Forgets all requests. Sequence numbers go on.
    pub fn clear_journal(&self) {
        self.shared.journal().clear();
    }

    /// Lets requests run into a fault from now on.
    pub fn inject(&self, injection: Injection) {
        self.shared.faults().inject(injection);
    }

    /// Takes all injections back, those before a connection too.
    pub fn clear_faults(&self) {
        self.shared.faults().clear();
        self.shared.connects().clear();
    }

    /// Resets so many of the next connections as soon as they are made. No request is read, so the journal shows none.
    pub fn reset_connections(&self, count: u32) {
        let counter = &self.shared.connections_to_reset;
        counter.store(count, Ordering::Relaxed);
    }

    /// Decides on so many attempts to connect, after those that are decided already: they fail, or go through. All later ones
    /// go through. Only in memory: what comes before a connection is not the business of a server with a socket.
    pub fn plan_connects(&self, fault: Option<ConnectFault>, times: u32) {
        self.shared.connects().push_back((fault, times));
    }

    /// A copy of the school that a key opens, as it is now.
    #[must_use]
    pub fn school(&self, key: &str) -> Option<School> {
        self.shared.world().school(key).cloned()
    }

    /// Changes the school that a key opens, between two requests; nothing when no school has the key.
    ///
    /// Requests wait until `edit` returns, and it must not call this simulator.
    pub fn edit_school<T>(&self, key: &str, edit: impl FnOnce(&mut School) -> T) -> Option<T> {
        self.shared.world().school(key).map(edit)
    }

    /// Sends the events of all schools to an address from now on, beginning with the check of it, in the background of the current
    /// tokio runtime. What was to go to an address before it is not sent any more.
    pub fn send_webhooks(&self, webhook: Webhook) {
        *self.shared.webhooks() = Some(webhooks::Webhooks::start(webhook));
    }

    /// Holds every later answer back for so long, in tokio's time.
    pub fn set_latency(&self, latency: Duration) {
        *self.shared.latency() = latency;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        if let Some(network) = &self.network {
            network.close(self.address);
        }
        self.task.abort();
    }
}

fn origin(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// Where a client on this machine finds a listener: one on all addresses is on the loopback too.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
