//! `memberspot audit`: looks at what was recorded. And the options by which `run` and `bulk` record.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use memberspot_host::audit::verify::{self, Expected, Report};
use memberspot_host::audit::{AuditKey, FileAudit, FileOptions, Personal};
use memberspot_host::{HostBuilder, Tenant};

use super::output::{self, ERROR, Failure, HINT, one_line};
use super::{PERMANENT, SUCCESS};

/// The variable with the key of the log. The connector is not given it.
const KEY: &str = "MEMBERSPOT_AUDIT_KEY";

/// Where calls are recorded.
#[derive(Debug, Args)]
#[command(next_help_heading = "Audit")]
pub struct AuditOptions {
    /// Record calls and requests in this file: JSON lines, chained by hashes. `memberspot audit verify` checks it.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    audit: Option<PathBuf>,
    /// Read the key of the audit log from a file [env: MEMBERSPOT_AUDIT_KEY].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "audit")]
    audit_key_file: Option<PathBuf>,
    /// Record addresses and ids as they are, instead of as keyed hashes.
    #[arg(long, requires = "audit")]
    audit_plain: bool,
    /// Who asks, to be recorded with each call.
    #[arg(long, value_name = "WHO", requires = "audit")]
    actor: Option<String>,
}

impl AuditOptions {
    /// A host that records what these options say.
    pub fn apply(&self, builder: HostBuilder) -> Result<HostBuilder, Failure> {
        let Some(path) = &self.audit else { return Ok(builder) };
        let mut options = FileOptions::default();
        options.key = key(self.audit_key_file.as_ref())?;
        options.plain = self.audit_plain;
        let log = FileAudit::open(path, &options).map_err(|error| Failure::host(&error))?;
        Ok(builder.audit(log))
    }

    /// The tenant with the name of who asks.
    pub fn name(&self, tenant: &Tenant) -> Tenant {
        match &self.actor {
            Some(actor) => tenant.on_behalf_of(actor.as_str()),
            None => tenant.clone(),
        }
    }
}

/// The key of a log, from a file or the environment: arguments can be seen by everybody on the machine.
fn key(file: Option<&PathBuf>) -> Result<Option<AuditKey>, Failure> {
    if let Some(file) = file {
        return AuditKey::from_file(file).map(Some).map_err(|error| Failure::usage(output::chain(&error)));
    }
    let Some(key) = std::env::var_os(KEY) else { return Ok(None) };
    let key = AuditKey::new(key.into_encoded_bytes());
    key.map(Some).ok_or_else(|| Failure::usage(format!("{KEY} is too short for a key: 16 bytes at least")))
}

/// Check an audit log, or find somebody in it.
#[derive(Debug, Args)]
pub struct Audit {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Verify(Verify),
    Hash(Hash),
}

/// Say whether a log is as it was written: no line altered, removed, moved or added.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  memberspot audit verify audit.jsonl
  memberspot audit verify audit.jsonl --expect 5f0c…
  memberspot audit verify --part archive/audit.jsonl.000007 archive/audit.jsonl.000008

Without a key in the log, anybody who can write it can write another one that is right as well. The end of a log may have \
been cut off after a line with which a run ended: only --expect finds that, with a hash that was kept elsewhere.

Exit codes: 0 the log is as it was written; 1 it is not, or its key is another; 2 as usual.")]
struct Verify {
    /// The log. Of one file, those that were put aside when they were full belong to it; several are read in this order.
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    files: Vec<PathBuf>,
    /// Read the key of the log from a file [env: MEMBERSPOT_AUDIT_KEY].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    audit_key_file: Option<PathBuf>,
    /// The hash of a line that has to be there: the last one of an earlier verification, kept elsewhere.
    #[arg(long, value_name = "HASH")]
    expect: Option<String>,
    /// Accept that the log begins before these files, and goes on behind them.
    #[arg(long)]
    part: bool,
}

/// Print what stands for an address or an id in a log, to search for it.
#[derive(Debug, Args)]
struct Hash {
    /// The address or id.
    text: String,
    /// The tenant. What is recorded by this command line has the tenant `local`.
    #[arg(long, value_name = "ID", default_value = super::run::TENANT)]
    tenant: String,
    /// Read the key of the log from a file [env: MEMBERSPOT_AUDIT_KEY].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    audit_key_file: Option<PathBuf>,
}

impl Audit {
    pub fn execute(&self, json: bool) -> Result<u8, Failure> {
        match &self.action {
            Action::Verify(verify) => verify.execute(json),
            Action::Hash(hash) => hash.execute(),
        }
    }
}

impl Verify {
    fn execute(&self, json: bool) -> Result<u8, Failure> {
        let unreadable = |error: verify::ReadError| Failure::input(&error.path, &error.source);
        let mut expected = Expected::default();
        expected.key = key(self.audit_key_file.as_ref())?;
        expected.line.clone_from(&self.expect);
        expected.part = self.part;
        let files = match self.files.as_slice() {
            [log] if !self.part => verify::files(log).map_err(unreadable)?,
            files => files.to_vec(),
        };
        let report = verify::verify(&files, &expected).map_err(unreadable)?;
        if json {
            output::json(&report)?;
        } else {
            print(&report)?;
        }
        Ok(if report.broken.is_none() { SUCCESS } else { PERMANENT })
    }
}

fn print(report: &Report) -> Result<(), Failure> {
    if let Some(broken) = &report.broken {
        let file = broken.file.to_string_lossy();
        let place = format!("{}:{}", one_line(&file), broken.line);
        output::message(|err| writeln!(err, "{ERROR}error:{ERROR:#} {place}: {}", broken.kind));
    }
    output::stdout(|out| {
        writeln!(out, "{:<10} {} right, {} calls", "lines", report.lines, report.calls)?;
        if let Some(chain) = &report.chain {
            let note = if chain == "sha256" { " (without a key: shows mistakes, not forgeries)" } else { "" };
            writeln!(out, "{:<10} {}{note}", "chain", one_line(chain))?;
        }
        if let (Some(first), Some(last)) = (report.first, &report.last) {
            writeln!(out, "{:<10} {first} to {}", "numbers", last.seq)?;
            writeln!(out, "{:<10} {}", "last", last.hash)?;
        }
        if !report.unfinished.is_empty() {
            let why = if report.in_use { "under way, or broken off" } else { "broken off" };
            writeln!(out, "{:<10} {} calls {why}: {}", "unfinished", report.unfinished.len(), report.unfinished.join(", "))?;
        }
        if report.unfinished_requests > 0 {
            let count = report.unfinished_requests;
            writeln!(out, "{:<10} {count} requests without an end, which may have taken effect", "")?;
        }
        if report.lost > 0 {
            writeln!(out, "{:<10} {} events could not be written", "lost", report.lost)?;
        }
        if report.torn > 0 {
            writeln!(out, "{:<10} {} incomplete lines were cut off", "torn", report.torn)?;
        }
        if report.broken.is_none() {
            writeln!(out, "{HINT}as it was written{HINT:#}")?;
        }
        Ok(())
    })?;
    Ok(())
}

impl Hash {
    fn execute(&self) -> Result<u8, Failure> {
        let key = key(self.audit_key_file.as_ref())?;
        let key = key.ok_or_else(|| Failure::usage(format!("put the key of the log into {KEY}, or name its file")))?;
        let hash = key.pseudonyms().of(&self.tenant, &Personal::new(&self.text));
        output::stdout(|out| writeln!(out, "{hash}"))?;
        Ok(SUCCESS)
    }
}
