//! What the tests stand on: a simulator of their own, on a free port or in memory, and the built component in wasmtime.

use std::sync::OnceLock;

use memberspot_host::{
    Connection, Host,
    simulator::{Clock, Entry, Fault, Injection, Network, Options, School, Simulator},
};
use serde_json::Value;

/// The key of the simulator's demo school.
pub const KEY: &str = "demo-key";
/// Another one of its keys. No part of an answer that stands still ends as it begins: what may be the beginning of a key is held
/// back for a while, which is not what tests of time are about.
const UNLIKE_ANSWERS: &str = "~demo-key";

/// The component, compiled once for all tests.
pub fn host() -> &'static Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(|| Host::builder().allow_all_internal().build().expect("the component compiles"))
}

/// The network of all simulators that are in memory.
pub fn network() -> &'static Network {
    static NETWORK: OnceLock<Network> = OnceLock::new();
    NETWORK.get_or_init(Network::default)
}

/// The component on that network, compiled once for all tests.
pub fn host_in_memory() -> &'static Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(|| Host::builder().pool(64).sender(network().clone()).build().expect("the component compiles"))
}

/// A simulator and a connection to it.
pub struct Stage {
    pub simulator: Simulator,
    pub connection: Connection,
    host: &'static Host,
}

impl Stage {
    /// The demo school on a clock that stands still, without a rate limit. Requests are made once, so that a test sees each
    /// failure; the tests of repetition say otherwise.
    pub async fn new() -> Self {
        Self::with(Options { clock: Clock::manual(), rate_limit: None, ..Options::default() }).await
    }

    pub async fn with(options: Options) -> Self {
        Self::on(Simulator::start(options).await.expect("a free port"), host())
    }

    /// Without a socket: where a test has paused tokio's time, nothing waits for real.
    pub fn in_memory(options: Options) -> Self {
        let simulator = Simulator::in_memory(options, network()).expect("a free port");
        simulator.edit_school(KEY, |school| school.keys.push(UNLIKE_ANSWERS.into()));
        let stage = Self::on(simulator, host_in_memory());
        Self { connection: stage.connection.clone().key(UNLIKE_ANSWERS), ..stage }
    }

    pub fn on(simulator: Simulator, host: &'static Host) -> Self {
        let connection = Connection::new(KEY).base_url(simulator.origin()).variable("MEMBERSPOT_MAX_ATTEMPTS", "1");
        Self { simulator, connection, host }
    }

    /// The same with another variable in the component's environment.
    pub fn configured(mut self, name: &str, value: &str) -> Self {
        self.connection = self.connection.variable(name, value);
        self
    }

    /// Calls a function of the component.
    pub async fn call(&self, function: &str, input: Value) -> Result<Value, Failure> {
        self.call_with(&self.connection, function, input).await
    }

    /// The same with another connection.
    pub async fn call_with(&self, connection: &Connection, function: &str, input: Value) -> Result<Value, Failure> {
        call_on(self.host, connection, function, input).await
    }

    /// Lets every request run into a fault, and calls.
    pub async fn faulty(&self, fault: Fault, function: &str, input: Value) -> Result<Value, Failure> {
        self.simulator.clear_faults();
        self.simulator.inject(Injection::everywhere(fault));
        self.call(function, input).await
    }

    /// The only request that the simulator received.
    #[track_caller]
    pub fn request(&self) -> Entry {
        let mut journal = self.simulator.journal();
        assert_eq!(journal.len(), 1, "{journal:?}");
        journal.remove(0)
    }

    /// The demo school as it is now.
    pub fn school(&self) -> School {
        self.simulator.school(KEY).expect("the demo school")
    }
}

/// Calls a function of the component.
pub async fn call(connection: &Connection, function: &str, input: Value) -> Result<Value, Failure> {
    call_on(host(), connection, function, input).await
}

async fn call_on(host: &Host, connection: &Connection, function: &str, input: Value) -> Result<Value, Failure> {
    let outcome = host.call(&host.tenant("test", connection.clone()), function, &input).await;
    let outcome = outcome.unwrap_or_else(|error| panic!("{function} did not come to an end: {error:?}"));
    outcome.into_json().map_err(|error| Failure::read(&error))
}

/// An error of the component.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    pub transient: bool,
    pub code: String,
    pub message: String,
    pub status: Option<u64>,
    pub retry_after_ms: Option<u64>,
    pub outcome_unknown: bool,
    pub attempts: u64,
    pub details: Vec<String>,
}

impl Failure {
    /// Reads `{"tag": …, "val": …}`, every part of it.
    pub fn read(error: &Value) -> Self {
        let tag = error["tag"].as_str().expect("a tag");
        assert!(matches!(tag, "permanent" | "transient"), "{tag} is never returned");
        let failure = &error["val"];
        let details = failure["details"].as_array().expect("details");
        Self {
            transient: tag == "transient",
            code: failure["code"].as_str().expect("a code").to_owned(),
            message: failure["message"].as_str().expect("a message").to_owned(),
            status: failure["status"].as_u64(),
            retry_after_ms: failure["retryAfterMs"].as_u64(),
            outcome_unknown: failure["outcomeUnknown"].as_bool().expect("outcomeUnknown"),
            attempts: failure["attempts"].as_u64().expect("attempts"),
            details: details.iter().map(|detail| detail.as_str().expect("a text").to_owned()).collect(),
        }
    }

    /// Asserts an error that was found before anything was sent.
    #[track_caller]
    pub fn assert_unsent(&self, code: &str) {
        assert_eq!(
            (self.code.as_str(), self.transient, self.outcome_unknown, self.attempts, self.status),
            (code, false, false, 0, None),
            "{self:?}"
        );
    }
}
