//! `memberspot receive`: the webhook receiver on this machine.

use std::env::{self, VarError};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use clap::{Args, ValueHint};
use http::StatusCode;
use memberspot_host::ApiKey;
use memberspot_host::receiver::{
    self, Entry, FORWARD_SECRET, FORWARD_TIMEOUT_MS, FORWARD_URL, Forwarded, Hook, Receiver, TOKEN,
};
use memberspot_host::sender::{PooledSender, Reach};
use serde_json::json;
use tokio::net::TcpListener;

use super::SUCCESS;
use super::interrupt::Interrupt;
use super::output::{self, BOLD, Failure, NAME};

/// Take Memberspot's webhooks and forward them, signed, until Ctrl-C.
///
/// Runs the webhook receiver, each request in an instance of its own, and prints a line for each, without anything of its
/// content. After Ctrl-C, what has arrived is still dealt with; a second one ends that.
#[derive(Debug, Args)]
#[command(after_help = "\
The token in the path comes from the environment variable MEMBERSPOT_WEBHOOK_TOKEN or from --token-file, the secret that \
events are signed with from MEMBERSPOT_FORWARD_SECRET or from --secret-file. What is given nowhere is made for this run and \
printed, once.

It speaks HTTP without TLS. Memberspot needs an address on the internet: a tunnel or a proxy with TLS, which keeps the path \
out of its logs.")]
pub struct Receive {
    /// Where events go: https://, or http:// for this machine.
    #[arg(long, value_name = "URL", env = FORWARD_URL, hide_env_values = true, value_hint = ValueHint::Url)]
    forward: String,
    /// The port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// The address to listen on.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Read the token from a file that only its owner can read.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    token_file: Option<PathBuf>,
    /// Read the secret from a file that only its owner can read.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    secret_file: Option<PathBuf>,
    /// How long forwarding may take, in milliseconds, at most a minute.
    #[arg(long, value_name = "MS", env = FORWARD_TIMEOUT_MS, default_value = "10000")]
    forward_timeout_ms: String,
}

/// The token or the secret: where it was not given, it is made here, and has to be told.
struct Secret {
    value: ApiKey,
    made: Option<String>,
}

impl Secret {
    /// From the file, if one is named, else from the variable, else made.
    fn find(file: Option<&PathBuf>, variable: &str, make: fn([u8; 32]) -> String) -> Result<Self, Failure> {
        if let Some(path) = file {
            let value = ApiKey::from_file(path).map_err(|error| Failure::usage(output::chain(&error)))?;
            return Ok(Self { value, made: None });
        }
        match env::var(variable) {
            Ok(value) => Ok(Self { value: value.into(), made: None }),
            Err(VarError::NotUnicode(_)) => Err(Failure::usage(format!("{variable} is not UTF-8 text"))),
            Err(VarError::NotPresent) => {
                let mut random = [0; 32];
                getrandom::fill(&mut random).map_err(|error| Failure::host(&error))?;
                let text = make(random);
                Ok(Self { value: text.as_str().into(), made: Some(text) })
            }
        }
    }
}

/// In characters that stand in a path as they are.
fn token(random: [u8; 32]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(random)
}

/// As Standard Webhooks write a secret.
fn secret(random: [u8; 32]) -> String {
    format!("whsec_{}", BASE64_STANDARD.encode(random))
}

impl Receive {
    pub fn execute(&self, json: bool) -> Result<u8, Failure> {
        let runtime = tokio::runtime::Runtime::new().map_err(|error| Failure::host(&error))?;
        runtime.block_on(self.serve(json))
    }

    async fn serve(&self, json: bool) -> Result<u8, Failure> {
        let token = Secret::find(self.token_file.as_ref(), TOKEN, token)?;
        let secret = Secret::find(self.secret_file.as_ref(), FORWARD_SECRET, secret)?;
        let variables = [
            (TOKEN, token.value.clone()),
            (FORWARD_SECRET, secret.value),
            (FORWARD_URL, self.forward.as_str().into()),
            (FORWARD_TIMEOUT_MS, self.forward_timeout_ms.as_str().into()),
        ];
        let receiver = Receiver::new().map_err(|error| Failure::host(&error))?;
        // Who types the address may reach it, wherever it is.
        let hook = receiver.hook(variables, PooledSender::new(Reach::Internal));
        try_out(&hook).await?;

        let cannot = |error| Failure::usage(format!("cannot listen on {}, port {}: {error}", self.host, self.port));
        let listener = TcpListener::bind((self.host, self.port)).await.map_err(cannot)?;
        let origin = format!("http://{}", listener.local_addr().map_err(cannot)?);
        let mut interrupt = Interrupt::listen();
        let made = token.made.map(|token| format!("{origin}/hooks/{token}"));
        announce(json, &origin, made.as_deref(), secret.made.as_deref())?;
        let mut impatient = interrupt.clone();
        let served = receiver::serve(hook, listener, move |entry| print(json, entry), interrupt.pressed(1));
        tokio::select! {
            () = served => {}
            () = impatient.pressed(2) => {}
        }
        Ok(SUCCESS)
    }
}

/// Sends a handshake as Memberspot would: the component knows best what it can work with.
async fn try_out(hook: &Hook) -> Result<(), Failure> {
    let answer = hook.handshake().await.map_err(|error| Failure::host(&error))?;
    match answer.response.status() {
        StatusCode::OK => Ok(()),
        StatusCode::NOT_FOUND => {
            let needed = "at least 32 hexadecimal digits, or 22 characters of base64url, and nothing else";
            Err(Failure::usage(format!("the token is too short, or has other characters: it needs {needed}")))
        }
        _ => Err(Failure::usage(String::from_utf8_lossy(answer.response.body()).trim())),
    }
}

/// Says where it listens, and what was made for this run.
fn announce(json: bool, origin: &str, hook: Option<&str>, secret: Option<&str>) -> Result<(), Failure> {
    if json {
        return output::json(&json!({"origin": origin, "hook": hook, "secret": secret}));
    }
    Ok(output::stdout(|out| {
        writeln!(out, "{BOLD}The webhook receiver listens on {origin}.{BOLD:#} Ctrl-C ends it.")?;
        match hook {
            Some(hook) => writeln!(out, "  Memberspot sends to {NAME}{hook}{NAME:#} (the token was made for this run)")?,
            None => writeln!(out, "  Memberspot sends to {origin}/hooks/ and your token")?,
        }
        match secret {
            Some(secret) => writeln!(out, "  events are signed with {NAME}{secret}{NAME:#} (made for this run)"),
            None => Ok(()),
        }
    })?)
}

/// Prints a line for a request.
fn print(json: bool, entry: &Entry) {
    // A closed output does not end the server.
    let _ = output::stdout(|out| {
        if !json {
            return writeln!(out, "{entry}");
        }
        let target = match entry.forwarded {
            Some(Forwarded::Answered(status)) => Some(status.as_u16()),
            _ => None,
        };
        let line = json!({
            "request": entry.sequence,
            "status": entry.status.map(|status| status.as_u16()),
            "outcome": entry.outcome(),
            "targetStatus": target,
            "error": entry.error,
            "ms": u64::try_from(entry.took.as_millis()).unwrap_or(u64::MAX),
        });
        writeln!(out, "{line}")
    });
}
