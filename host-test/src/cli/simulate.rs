//! `memberspot simulate`: a Memberspot of one's own to try things against.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};
use http::Uri;
use http::uri::Scheme;
use memberspot_host::sender::{PooledSender, Reach};
use memberspot_host::simulator::{
    Delivery, Entry, Fault, Injection, Observer, Options, School, Simulator, StatusCode, Webhook,
};
use serde_json::json;

use super::SUCCESS;
use super::output::{self, BOLD, Failure, NAME};

/// The key of the demo school.
pub const KEY: &str = "demo-key";

/// A simulator with the demo school, on a free port.
pub async fn demo_school() -> Result<Simulator, Failure> {
    Simulator::start(Options::default()).await.map_err(|error| Failure::host(&error))
}

/// Run a simulated Memberspot until Ctrl-C.
///
/// It keeps a demo school in memory, behaves as the API is known to, and prints a line for each request, without keys and
/// without addresses.
#[derive(Debug, Args)]
pub struct Simulate {
    /// The port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 8800)]
    port: u16,
    /// The address to listen on.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Fill the school with so many members instead of the demo's twelve.
    #[arg(long, value_name = "NUMBER")]
    members: Option<u32>,
    /// Requests a second on the routes that Memberspot limits; 0 for no limit.
    #[arg(long, value_name = "NUMBER", default_value_t = 4)]
    rate_limit: u32,
    /// Hold each answer back for so many milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency_ms: u64,
    /// Let requests run into a fault; repeat for several, which then take turns by chance.
    #[arg(long)]
    fault: Vec<Trouble>,
    /// How many of the requests run into a fault, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 100.0, value_parser = percent, requires = "fault")]
    fault_rate: f64,
    /// Chooses the requests that run into a fault; the same number chooses the same ones.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, requires = "fault")]
    seed: u64,
    /// The path of the requests that run into the fault; `{}` stands for a segment, a `*` at the end for any rest.
    #[arg(long, value_name = "PATH", default_value = "*", requires = "fault")]
    fault_path: String,
    /// Send webhooks there: a handshake now, and an event for each new member and each grant. The URL has a token in it: as
    /// MEMBERSPOT_WEBHOOK_URL in the environment, nobody sees it in the list of processes.
    #[arg(long, value_name = "URL", env = "MEMBERSPOT_WEBHOOK_URL", hide_env_values = true, value_hint = ValueHint::Url)]
    #[arg(value_parser = url)]
    webhook: Option<Uri>,
    /// Print e-mail addresses too.
    #[arg(long)]
    show_addresses: bool,
}

/// A fault, by what it looks like from outside.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Trouble {
    /// No answer, ever.
    Silence,
    /// A connection that is reset.
    Reset,
    /// An answer that stops in the middle.
    Truncated,
    /// An answer of 100 MB.
    Huge,
    /// An answer that never ends.
    Endless,
    /// A page of somebody else's.
    Html,
    /// JSON that is none.
    Malformed,
    /// Status 503.
    Busy,
    /// Status 500.
    Broken,
}

impl From<Trouble> for Fault {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Silence => Self::HangBeforeHeaders,
            Trouble::Reset => Self::ResetBeforeHeaders,
            Trouble::Truncated => Self::TruncateBody { after: 10 },
            Trouble::Huge => Self::OversizedBody { bytes: 100 << 20, declared: false },
            Trouble::Endless => Self::EndlessBody,
            Trouble::Html => Self::html_instead_of_json(),
            Trouble::Malformed => Self::malformed_json(),
            Trouble::Busy => Self::status(StatusCode::SERVICE_UNAVAILABLE),
            Trouble::Broken => Self::status(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let percent = text.parse().map_err(|_| "not a number")?;
    if (0.0..=100.0).contains(&percent) { Ok(percent) } else { Err("not from 0 to 100".into()) }
}

/// An address for webhooks. What is wrong with it is said without it.
fn url(text: &str) -> Result<Uri, &'static str> {
    let url = text.parse::<Uri>().ok().filter(|url| url.authority().is_some());
    url.filter(|url| [Some(&Scheme::HTTP), Some(&Scheme::HTTPS)].contains(&url.scheme()))
        .ok_or("not an http:// or https:// URL")
}

impl Simulate {
    pub fn execute(&self, json: bool) -> Result<u8, Failure> {
        let runtime = tokio::runtime::Runtime::new().map_err(|error| Failure::host(&error))?;
        runtime.block_on(self.serve(json))
    }

    async fn serve(&self, json: bool) -> Result<u8, Failure> {
        let school = match self.members {
            Some(members) => School::with_members(members),
            None => School::demo(),
        };
        // The key of a simulated school is no secret.
        let key = school.keys.first().map_or_else(String::new, |key| key.reveal().to_owned());
        let options = Options {
            host: self.host,
            port: self.port,
            rate_limit: (self.rate_limit > 0).then_some(self.rate_limit),
            latency: Duration::from_millis(self.latency_ms),
            schools: vec![school],
            on_request: Some(printer(json, self.show_addresses)),
            ..Options::default()
        };
        let simulator = Simulator::start(options)
            .await
            .map_err(|error| Failure::usage(format!("cannot listen on {}, port {}: {error}", self.host, self.port)))?;
        self.injections().for_each(|injection| simulator.inject(injection));
        let origin = simulator.origin();
        if json {
            output::json(&json!({"origin": origin, "key": key}))?;
        } else {
            output::stdout(|out| {
                writeln!(out, "{BOLD}A simulated Memberspot listens.{BOLD:#} Ctrl-C ends it. In another terminal:")?;
                writeln!(out, "  {NAME}export MEMBERSPOT_BASE_URL={origin} MEMBERSPOT_API_KEY={key}{NAME:#}")?;
                writeln!(out, "  {NAME}memberspot run list-offers{NAME:#}")
            })?;
        }
        if let Some(url) = &self.webhook {
            simulator.send_webhooks(webhook(json, url.clone()));
        }
        tokio::signal::ctrl_c().await.map_err(|error| Failure::host(&error))?;
        Ok(SUCCESS)
    }

    /// An injection for each fault, which together befall the wanted share of the requests, each as many.
    fn injections(&self) -> impl Iterator<Item = Injection> {
        #[expect(clippy::cast_precision_loss, reason = "a handful of faults")]
        let each = self.fault_rate / 100.0 / self.fault.len() as f64;
        // A request comes to an injection only when those before it have let it pass.
        let mut passed = 1.0;
        let seeds = std::iter::successors(Some(self.seed), |seed| Some(seed.wrapping_add(1)));
        self.fault.iter().zip(seeds).map(move |(fault, seed)| {
            let share = each / passed;
            passed -= each;
            // A rounding error must not let a request pass when all are meant.
            let share = if share > 1.0 - 1e-9 { 1.0 } else { share };
            Injection::new(self.fault_path.as_str(), (*fault).into()).by_chance(share, seed)
        })
    }
}

/// Prints a line for each request.
fn printer(json: bool, addresses: bool) -> Observer {
    Arc::new(move |entry: &Entry| {
        let line = if addresses { entry.with_addresses().to_string() } else { entry.to_string() };
        let line = output::visible(&line).into_owned();
        // A closed output does not end the server.
        let _ =
            output::stdout(|out| if json { writeln!(out, "{}", json!({"request": line})) } else { writeln!(out, "{line}") });
    })
}

/// Sends webhooks, and prints a line for each attempt.
fn webhook(json: bool, url: Uri) -> Webhook {
    let print = move |delivery: &Delivery| {
        let line = delivery.to_string();
        let _ =
            output::stdout(|out| if json { writeln!(out, "{}", json!({"webhook": line})) } else { writeln!(out, "{line}") });
    };
    // Who types the address may reach it, wherever it is.
    Webhook { url, sender: Arc::new(PooledSender::new(Reach::Internal)), on_delivery: Arc::new(print) }
}
