//! `memberspot run`: calls one function.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueHint};
use memberspot_host::connection::{BASE_URL, DEADLINE_MS, SCOPES};
use memberspot_host::json::Answer;
use memberspot_host::{ApiKey, Connection, Host, HostBuilder, HostError, Limits, Outcome, Tenant};
use serde_json::Value;

use super::audit::AuditOptions;
use super::output::{self, BOLD, ERROR, Failure, HINT, one_line};
use super::{HOST, PERMANENT, SUCCESS, TRANSIENT, code_cache, set, simulate};

/// Call a function of the connector.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  memberspot run --simulator list-offers
  memberspot run check-connection
  memberspot run find-user --set email=ada@example.com
  memberspot run grant-access '{\"email\": \"ada@example.com\", \"offerId\": \"o1\"}'
  memberspot run delete-users @addresses.json

The API key comes from the environment variable MEMBERSPOT_API_KEY or from --key-file. All variables whose names begin \
with MEMBERSPOT_ are handed to the connector.

Standard output has the result as JSON, and nothing when the function fails; with --json it then has the error. What went \
wrong is said on standard error.")]
pub struct Run {
    /// The function, such as grant-access; `memberspot functions` lists them.
    function: String,
    /// The input as JSON, @FILE to read it from a file, or - to read it from standard input.
    #[arg(value_name = "JSON | @FILE | -", allow_hyphen_values = true)]
    input: Option<String>,
    /// Set one field of the input; repeat for more fields, and for more items of a list.
    #[arg(long, value_name = "FIELD=VALUE")]
    set: Vec<String>,
    /// Call a simulated Memberspot with a demo school instead, made for this one call; no account is needed.
    #[arg(long, conflicts_with_all = ["key_file", "base_url"])]
    simulator: bool,
    #[command(flatten)]
    connection: ConnectionOptions,
    #[command(flatten)]
    audit: AuditOptions,
}

/// How to reach Memberspot. Options win over the environment.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionOptions {
    /// Read the API key from a file.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    key_file: Option<PathBuf>,
    /// Read the API key from the system's keyring, where `memberspot key set NAME` puts it.
    #[cfg(feature = "keyring")]
    #[arg(long, value_name = "NAME", conflicts_with_all = ["key_file", "simulator"])]
    keyring: Option<String>,
    /// The origin of the API [env: MEMBERSPOT_BASE_URL] [default: the public one].
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    base_url: Option<String>,
    /// What the connector may do, such as read,write [env: MEMBERSPOT_SCOPES].
    #[arg(long, value_name = "SCOPES")]
    scopes: Option<String>,
    /// How long a call may take, in milliseconds [env: MEMBERSPOT_DEADLINE_MS].
    #[arg(long, value_name = "MS")]
    deadline_ms: Option<String>,
}

impl ConnectionOptions {
    /// The connection that the options and the environment describe.
    ///
    /// The values are not checked: the component names the variable that it cannot use.
    pub fn connection(&self) -> Result<Connection, Failure> {
        let mut connection = Connection::from_vars(std::env::vars_os()).map_err(Failure::usage)?;
        for name in connection.unknown_variables() {
            output::message(|err| writeln!(err, "warning: the connector does not know {name}; is it spelled right?"));
        }
        if let Some(path) = &self.key_file {
            connection = connection.key(read_key(path)?);
        }
        #[cfg(feature = "keyring")]
        if let Some(name) = &self.keyring {
            connection = connection.key(super::key::find(name)?);
        }
        for (name, value) in [(BASE_URL, &self.base_url), (SCOPES, &self.scopes), (DEADLINE_MS, &self.deadline_ms)] {
            if let Some(value) = value {
                connection = connection.variable(name, value);
            }
        }
        Ok(connection)
    }
}

/// The key of a file: its text without the line break that editors put at the end.
fn read_key(path: &Path) -> Result<ApiKey, Failure> {
    let mut text = fs::read_to_string(path).map_err(|error| Failure::input(path, &error))?;
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    Ok(text.into())
}

impl Run {
    pub fn execute(&self, json: bool) -> Result<u8, Failure> {
        let mut connection = self.connection.connection()?;
        let host = finish(self.audit.apply(builder(limits(&connection)))?)?;
        // Names first, input second: of two mistakes, the first one is told.
        let function = host.function(&self.function).map_err(failure)?;
        let input = set::apply(function, self.read_input()?, &self.set)?;

        let runtime = tokio::runtime::Runtime::new().map_err(|error| Failure::host(&error))?;
        let simulator = if self.simulator { Some(runtime.block_on(simulate::demo_school())?) } else { None };
        if let Some(simulator) = &simulator {
            connection = connection.base_url(simulator.origin()).key(simulate::KEY);
        }
        let tenant = self.audit.name(&tenant(&host, connection.clone()));
        match runtime.block_on(host.call(&tenant, &self.function, &input)).map_err(failure)? {
            Outcome::Success(answer) => {
                output::json(&answer)?;
                Ok(SUCCESS)
            }
            Outcome::Failure(error) => {
                if json {
                    output::json(&error)?;
                }
                Ok(report(&error, &connection))
            }
        }
    }

    fn read_input(&self) -> Result<Value, Failure> {
        let (text, source) = match self.input.as_deref() {
            None => return Ok(Value::Null),
            Some("-") => {
                let mut text = String::new();
                io::stdin().read_to_string(&mut text).map_err(|error| Failure::input(Path::new("standard input"), &error))?;
                (text, "standard input")
            }
            Some(argument) => match argument.strip_prefix('@') {
                Some(path) => {
                    let text = fs::read_to_string(path).map_err(|error| Failure::input(Path::new(path), &error))?;
                    (text, path)
                }
                None => (argument.to_owned(), "the input"),
            },
        };
        serde_json::from_str(&text).map_err(|error| Failure::usage(format!("{source} is not JSON: {error}")))
    }
}

/// The host of the command line. Who types the address may reach it, wherever it is.
pub fn host(limits: Limits) -> Result<Host, Failure> {
    finish(builder(limits))
}

/// The same with more to be set.
pub fn builder(limits: Limits) -> HostBuilder {
    Host::builder().limits(limits).allow_all_internal()
}

pub fn finish(builder: HostBuilder) -> Result<Host, Failure> {
    code_cache::build(builder).map_err(|error| Failure::host(&error))
}

/// What the one account of the command line is called.
pub const TENANT: &str = "local";

/// The one account of the command line.
pub fn tenant(host: &Host, connection: Connection) -> Tenant {
    host.tenant(TENANT, connection)
}

/// Limits that leave the component the time that it was given.
pub fn limits(connection: &Connection) -> Limits {
    let mut limits = Limits::default();
    if let Some(deadline) = connection.get(DEADLINE_MS).and_then(|deadline| deadline.parse().ok()) {
        // The component ends the call itself; the host only steps in when it does not.
        limits.time = limits.time.max(Duration::from_millis(deadline).saturating_add(Duration::from_secs(30)));
    }
    limits
}

fn failure(error: HostError) -> Failure {
    match error {
        HostError::UnknownFunction { .. } | HostError::AmbiguousFunction { .. } | HostError::NoJsonForm { .. } => {
            Failure::usage(error)
        }
        HostError::Input { ref function, .. } => {
            let help = format!("`memberspot functions {function}` says what it takes");
            Failure::usage(format!("{}\n{help}", output::chain(&error)))
        }
        error => Failure::host(&error),
    }
}

/// The component names the variable; that there is also an option, only the command line knows.
const NO_KEY: &str = "put the API key into the environment variable MEMBERSPOT_API_KEY, or into a file named by --key-file";

/// Says for people what the function answered; the result is the exit code.
pub fn report(error: &Answer, connection: &Connection) -> u8 {
    let error = error.to_json();
    let failure = &error["val"];
    let text = |key: &str| failure[key].as_str().unwrap_or_default();
    let (code, advice) = match error["tag"].as_str() {
        Some("transient") => (TRANSIENT, Some(retry(failure["retryAfterMs"].as_u64()))),
        Some("permanent") if text("code") == "notConfigured" && !connection.has_key() => (PERMANENT, Some(NO_KEY.to_owned())),
        Some("permanent") => (PERMANENT, None),
        _ => (HOST, None),
    };
    output::message(|err| {
        writeln!(err, "{ERROR}error[{}]:{ERROR:#} {}", one_line(text("code")), one_line(text("message")))?;
        for detail in failure["details"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            writeln!(err, "  - {}", one_line(detail))?;
        }
        if let Some(status) = failure["status"].as_u64() {
            let times = match failure["attempts"].as_u64() {
                Some(attempts @ 2..) => format!(", after {attempts} requests"),
                _ => String::new(),
            };
            writeln!(err, "  HTTP status {status}{times}")?;
        }
        if failure["outcomeUnknown"] == true {
            writeln!(err, "  {BOLD}The request may have taken effect.{BOLD:#}")?;
        }
        match advice {
            Some(advice) => writeln!(err, "{HINT}hint:{HINT:#} {advice}"),
            None => Ok(()),
        }
    });
    code
}

fn retry(after_ms: Option<u64>) -> String {
    match after_ms {
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        Some(ms) => format!("the same call may succeed in {} s", (ms as f64) / 1000.0),
        None => "the same call may succeed later; repeating it is safe".into(),
    }
}
