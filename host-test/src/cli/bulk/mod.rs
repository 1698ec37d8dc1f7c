//! `memberspot bulk`: the operations of a file.

mod input;
mod operations;
mod order;
mod progress;
mod results;
mod work;

use std::collections::{BTreeMap, HashSet};
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueHint};
use memberspot_bulk_file::mistakes::MOST_LISTED;
use memberspot_bulk_file::reading::{Reading, Row};
use memberspot_host::connection::DEADLINE_MS;
use memberspot_host::{Connection, Host};
use serde_json::{Map, Value, json};

use super::output::{self, BOLD, ERROR, Failure, HINT, NAME, one_line};
use super::run::{self, ConnectionOptions};
use super::{HOST, PERMANENT, SUCCESS, TRANSIENT, simulate};
use input::Format;
use operations::Operations;
use progress::Progress;
use results::Results;
use work::{Failed, Interrupt, OVERTAKEN, Stop, Tally, Work};

/// How long a call may take where nothing else is said: long enough for the operations of a call at a slow server, and for
/// the waits that Memberspot asks for within it; short enough for who pressed Ctrl-C.
const DEADLINE: u32 = 120_000;

/// Apply the operations of a file: grant, revoke, delete, for many members.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  memberspot bulk grants.csv --operation grant-access --set offer-id=o1 --dry-run
  memberspot bulk grants.csv --operation grant-access --set offer-id=o1
  memberspot bulk changes.jsonl --resume
  memberspot bulk --simulator changes.csv

A CSV file has a header line. The column `operation` says what to do (grant-access, revoke-access, …, delete-user); the \
other columns are what the operations take, such as email, offer-id, first-name, order-id, expires-at. `property:NAME` and \
`property-id:ID` set custom properties. An empty cell counts as left out.

A line of JSON is {\"operation\": \"grant-access\", \"email\": …, \"offerId\": …}, or {\"tag\": \"grantAccess\", \"val\": {…}}.

The whole file is checked for its form before anything is sent. What becomes of each row is added to the results file after \
every call; a run that was interrupted or killed goes on with --resume.

Exit codes: 0 all rows are done; 1 some failed for good; 3 some are left that may succeed with --resume; 2 and 4 as usual.")]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct Bulk {
    /// The file, CSV or JSON lines; - for standard input.
    #[arg(value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// The form of the file; without it, the name of the file says it.
    #[arg(long)]
    format: Option<Format>,
    /// What stands between the cells of a CSV file; without it, the header line shows it. `tab` for a tab.
    #[arg(long, value_name = "CHAR", value_parser = delimiter)]
    delimiter: Option<u8>,
    /// The operation of the rows that name none.
    #[arg(long, value_name = "NAME")]
    operation: Option<String>,
    /// A value for the rows that leave this column out.
    #[arg(long, value_name = "COLUMN=VALUE")]
    set: Vec<String>,
    /// A column that says nothing to this command.
    #[arg(long, value_name = "COLUMN")]
    ignore: Vec<String>,
    /// Check every row, and send nothing.
    #[arg(long, conflicts_with_all = ["resume", "results", "stop_on_error"])]
    dry_run: bool,
    /// The results file; without it, FILE.results.jsonl.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    results: Option<PathBuf>,
    /// Go on where the results file ends: rows that are done are not sent again.
    #[arg(long)]
    resume: bool,
    /// Stop once a row has failed for good.
    #[arg(long)]
    stop_on_error: bool,
    /// Delete without asking.
    #[arg(long, short)]
    yes: bool,
    /// Use a simulated Memberspot with a demo school instead, made for this run; no account is needed.
    #[arg(long, conflicts_with_all = ["key_file", "base_url"])]
    simulator: bool,
    #[command(flatten)]
    connection: ConnectionOptions,
}

fn delimiter(text: &str) -> Result<u8, &'static str> {
    match text.as_bytes() {
        _ if text == "tab" => Ok(b'\t'),
        [byte] if byte.is_ascii_punctuation() && *byte != b'"' || *byte == b'\t' => Ok(*byte),
        _ => Err("expected one ASCII sign, or tab"),
    }
}

impl Bulk {
    pub fn execute(&self, json: bool) -> Result<u8, Failure> {
        let mut connection = self.connection.connection()?;
        if connection.get(DEADLINE_MS).is_none() {
            connection = connection.deadline_ms(DEADLINE);
        }
        let limits = run::limits(&connection);
        let host = run::host(&limits)?;
        let operations = operations::of(&host)?;
        let rows = self.rows(&operations)?;

        let runtime = tokio::runtime::Runtime::new().map_err(|error| Failure::host(&error))?;
        let simulator = if self.simulator { Some(runtime.block_on(simulate::demo_school())?) } else { None };
        if let Some(simulator) = &simulator {
            connection = connection.base_url(simulator.origin()).key(simulate::KEY);
        }
        if self.dry_run {
            return runtime.block_on(self.check(&host, &connection, &rows, json));
        }
        let path = self.results_path()?;
        // Before a file is made that a second try would find in its way.
        if !self.resume {
            self.confirm(&operations, rows.iter())?;
        }
        let (mut results, done) = self.results(path.as_deref(), &connection, &rows)?;
        let mut work = Work::new(&host, &connection, &rows);
        work.leave_out(&done);
        if self.resume {
            self.confirm(&operations, work.pending.iter().map(|index| &rows[*index]))?;
        }
        work.stop_on_error = self.stop_on_error;
        announce(&operations, &work, done.len(), &connection);

        let started = Instant::now();
        let progress = Progress::new(work.pending.len(), !json);
        let stop = runtime.block_on(async { work.apply(results.as_mut(), &progress, Interrupt::listen()).await });
        progress.end();
        let ended =
            Ended { tally: work.tally, rows: rows.len(), done: done.len(), stop, took: started.elapsed(), results: path };
        ended.say(json, &connection)
    }

    /// The results file, where there is to be one, and the rows that are done according to it, by their places.
    fn results(
        &self,
        path: Option<&Path>,
        connection: &Connection,
        rows: &[Row],
    ) -> Result<(Option<Results>, HashSet<usize>), Failure> {
        let Some(path) = path else { return Ok((None, HashSet::new())) };
        let origin = connection.origin().ok_or_else(|| Failure::usage("the base URL is no origin; nothing was sent"))?;
        let origin = origin.to_string();
        if self.resume {
            let (results, done) = Results::resume(path, &origin, rows)?;
            return Ok((Some(results), done));
        }
        Ok((Some(Results::create(path, &origin)?), HashSet::new()))
    }

    /// The operations of the file.
    fn rows(&self, operations: &Operations) -> Result<Vec<Row>, Failure> {
        let named = self.operation.as_deref().map(|name| operations.named(name)).transpose();
        let default = |assignment: &String| {
            operations.default(assignment).map_err(|problem| Failure::usage(format!("--set {assignment}: {problem}")))
        };
        let mut reading = Reading {
            operation: named.map_err(|problem| Failure::usage(format!("--operation: {problem}")))?,
            defaults: self.set.iter().map(default).collect::<Result<_, _>>()?,
            ignored: &self.ignore,
            delimiter: self.delimiter,
            operations,
        };
        let format = self
            .format
            .or_else(|| Format::of(&self.file))
            .ok_or_else(|| Failure::usage(format!("{} may be CSV or JSON lines; --format says which", self.file.display())))?;
        let bytes = input::bytes(&self.file).map_err(|error| Failure::input(&self.file, &error))?;
        let rows = format.read(&mut reading, &bytes).map_err(|mistakes| {
            Failure::usage(format!("{} cannot be used, and nothing was sent:{mistakes}", self.file.display()))
        })?;
        match reading.defaults.iter().find(|default| !default.fits) {
            Some(unused) if !rows.is_empty() => {
                Err(Failure::usage(format!("--set {}: no row has an operation that takes it", unused.name)))
            }
            _ => Ok(rows),
        }
    }

    /// Where the results go. A simulated school ends with the run, and with it what the results would speak of: they are
    /// kept only where that is asked for.
    fn results_path(&self) -> Result<Option<PathBuf>, Failure> {
        match &self.results {
            Some(path) => Ok(Some(path.clone())),
            None if self.simulator && self.resume => {
                Err(Failure::usage("a simulated school begins anew with each run; there is nothing to go on with"))
            }
            None if self.simulator => Ok(None),
            None if self.file == Path::new("-") => {
                Err(Failure::usage("with standard input, --results has to name the results file"))
            }
            None => {
                let mut name = self.file.clone().into_os_string();
                name.push(".results.jsonl");
                Ok(Some(name.into()))
            }
        }
    }

    /// Asks before anything is deleted that nobody can bring back.
    fn confirm<'a>(&self, operations: &Operations, rows: impl Iterator<Item = &'a Row>) -> Result<(), Failure> {
        let counts = counts(operations, rows.filter(|row| operations.get(row.operation).destructive));
        if self.yes || counts.is_empty() {
            return Ok(());
        }
        let counts = listed(&counts);
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return Err(Failure::usage(format!("this would delete for good: {counts}; --yes says that it is meant")));
        }
        output::message(|err| {
            writeln!(err, "{BOLD}This deletes for good, progress included: {counts}.{BOLD:#}")?;
            write!(err, "Type yes to go on: ")?;
            err.flush()
        });
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).map_err(|error| Failure::input(Path::new("standard input"), &error))?;
        if answer.trim() == "yes" { Ok(()) } else { Err(Failure::usage("nothing was sent")) }
    }

    /// Has the component check all rows.
    async fn check(&self, host: &Host, connection: &Connection, rows: &[Row], json: bool) -> Result<u8, Failure> {
        let mut bad = Bad::default();
        let mut work = Work::new(host, connection, rows);
        match work.check(|row, error| bad.add(row, error)).await {
            Ok(()) => bad.say(rows.len(), json),
            Err(Stop::Refused(error)) => {
                if json {
                    output::json(&error)?;
                }
                Ok(run::report(&error, connection))
            }
            Err(Stop::Host(error)) => Err(Failure::host(&error)),
            // No row is sent, so nothing else ends it.
            Err(_) => Ok(HOST),
        }
    }
}

/// What a dry run found.
#[derive(Default)]
struct Bad {
    /// The first ones: row, code and message.
    listed: Vec<(u32, String, String)>,
    codes: BTreeMap<String, usize>,
}

impl Bad {
    fn add(&mut self, row: u32, error: &Value) {
        let text = |key: &str| error["val"][key].as_str().unwrap_or_default().to_owned();
        *self.codes.entry(text("code")).or_default() += 1;
        if self.listed.len() < MOST_LISTED {
            self.listed.push((row, text("code"), text("message")));
        }
    }

    fn say(&self, rows: usize, as_json: bool) -> Result<u8, Failure> {
        let count: usize = self.codes.values().sum();
        let code = if count == 0 { SUCCESS } else { PERMANENT };
        if as_json {
            let bad = self.listed.iter().map(|(row, code, text)| json!({"row": row, "code": code, "message": text}));
            let bad: Vec<_> = bad.collect();
            output::json(&json!({"dryRun": true, "rows": rows, "failed": self.codes, "bad": bad}))?;
            return Ok(code);
        }
        output::message(|err| {
            for (row, code, message) in &self.listed {
                writeln!(err, "{ERROR}row {row}: error[{}]:{ERROR:#} {}", one_line(code), one_line(message))?;
            }
            match count - self.listed.len() {
                0 => Ok(()),
                more => writeln!(err, "and {more} more"),
            }
        });
        output::stdout(|out| match count {
            0 => writeln!(out, "acceptable: {rows} of {rows}; nothing was sent"),
            count => writeln!(out, "not acceptable: {count} of {rows} ({}); nothing was sent", listed(&self.codes)),
        })?;
        Ok(code)
    }
}

/// How many rows of each operation there are.
fn counts<'a>(operations: &Operations, rows: impl Iterator<Item = &'a Row>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for row in rows {
        *counts.entry(operations.get(row.operation).name.clone()).or_default() += 1;
    }
    counts
}

fn listed(counts: &BTreeMap<String, usize>) -> String {
    let texts: Vec<_> = counts.iter().map(|(name, count)| format!("{count} {}", one_line(name))).collect();
    texts.join(", ")
}

/// Says what is about to happen, and where.
fn announce(operations: &Operations, work: &Work, done: usize, connection: &Connection) {
    let counts = counts(operations, work.pending.iter().map(|index| &work.rows[*index]));
    let target = connection.origin().map(|origin| format!(" at {origin}")).unwrap_or_default();
    output::message(|err| {
        if done > 0 {
            writeln!(err, "done already: {done} of {}", work.rows.len())?;
        }
        if counts.is_empty() { Ok(()) } else { writeln!(err, "to do{target}: {}", listed(&counts)) }
    });
}

/// A run that has ended.
struct Ended {
    tally: Tally,
    /// Of the whole file.
    rows: usize,
    /// How many rows an earlier run has done.
    done: usize,
    stop: Option<Stop>,
    took: Duration,
    results: Option<PathBuf>,
}

impl Ended {
    /// Says what became of the rows; the result is the exit code.
    fn say(&self, as_json: bool, connection: &Connection) -> Result<u8, Failure> {
        let code = self.reason(connection);
        if as_json {
            output::json(&self.to_json())?;
        } else {
            output::stdout(|out| self.print(out))?;
        }
        Ok(code)
    }

    /// Says why it ended early, if it did.
    fn reason(&self, connection: &Connection) -> u8 {
        let error = |text: &str| output::message(|err| writeln!(err, "{ERROR}error:{ERROR:#} {text}"));
        match &self.stop {
            None if self.tally.failed.is_empty() => SUCCESS,
            None => PERMANENT,
            Some(Stop::Interrupted) => TRANSIENT,
            Some(Stop::Abandoned) => {
                error("stopped within a call; its rows may be done");
                TRANSIENT
            }
            Some(Stop::Tries(row)) => {
                error(&format!("row {row} did not succeed in several calls{}", self.see_results()));
                TRANSIENT
            }
            Some(Stop::Unknown(row)) => {
                error(&format!("row {row} failed, and may still take effect; what comes after it waits{}", self.see_results()));
                TRANSIENT
            }
            Some(Stop::Wait(wait)) => {
                error(&format!("more can be sent in {} s; go on after that", wait.as_secs()));
                TRANSIENT
            }
            Some(Stop::Failed(row)) => {
                error(&format!("row {row} failed{}", self.see_results()));
                PERMANENT
            }
            Some(Stop::Unauthorized) => {
                error("Memberspot does not accept the API key; nothing more was sent");
                PERMANENT
            }
            Some(Stop::Refused(answer)) => run::report(answer, connection),
            Some(Stop::Host(trouble)) => {
                error(&format!("{}; rows of the call under way may be done", one_line(&output::chain(trouble))));
                HOST
            }
            Some(Stop::Results(trouble)) => {
                let code = trouble.report(false);
                error("rows of the call under way may be done; --resume sends them again");
                code
            }
        }
    }

    fn see_results(&self) -> &'static str {
        if self.results.is_some() { "; the results file says why" } else { "" }
    }

    /// What to do about the rows that are left.
    fn hint(&self) -> Option<&'static str> {
        match &self.stop {
            _ if self.tally.left == 0 || self.results.is_none() => None,
            Some(Stop::Unauthorized) => Some("with a key that is accepted, the same command with --resume goes on"),
            Some(Stop::Refused(answer)) if answer.to_json()["tag"] == "permanent" => {
                Some("once that is put right, the same command with --resume goes on")
            }
            _ => Some("the same command with --resume goes on"),
        }
    }

    fn stopped(&self) -> Option<&'static str> {
        Some(match self.stop.as_ref()? {
            Stop::Interrupted | Stop::Abandoned => "interrupted",
            Stop::Tries(_) => "tooManyTries",
            Stop::Unknown(_) => "outcomeUnknown",
            Stop::Wait(_) => "longWait",
            Stop::Failed(_) => "failed",
            Stop::Unauthorized => "unauthorized",
            Stop::Refused(_) => "refused",
            Stop::Host(_) => "host",
            Stop::Results(_) => "results",
        })
    }

    fn to_json(&self) -> Value {
        let counts = |failed: &BTreeMap<String, Failed>| {
            failed.iter().map(|(code, failed)| (code.clone(), failed.count.into())).collect::<Map<_, _>>()
        };
        let mut summary = json!({
            "rows": self.rows,
            "alreadyDone": self.done,
            "done": self.tally.done,
            "failed": counts(&self.tally.failed),
            "left": counts(&self.tally.held_up),
            "calls": self.tally.calls,
            "milliseconds": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            "results": self.results.as_ref().map(|path| path.to_string_lossy()),
        });
        if let Some(stopped) = self.stopped() {
            summary["stopped"] = stopped.into();
        }
        if let Some(Stop::Refused(error)) = &self.stop {
            summary["error"] = error.to_json();
        }
        summary
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let table = |out: &mut dyn Write, title: &str, failed: &BTreeMap<String, Failed>| {
            failed.iter().try_for_each(|(code, failed)| {
                let mut rows = failed.rows.iter().map(u32::to_string).collect::<Vec<_>>();
                if rows.len() < failed.count {
                    rows.push("…".into());
                }
                writeln!(out, "{title:<8} {:>8}  {}: row {}", failed.count, one_line(code), rows.join(", "))
            })
        };
        writeln!(out, "{:<8} {:>8}", "done", self.tally.done)?;
        if self.done > 0 {
            writeln!(out, "{:<8} {:>8}", "before", self.done)?;
        }
        table(out, "failed", &self.tally.failed)?;
        table(out, "left", &self.tally.held_up)?;
        write!(out, "in {:.1} s", self.took.as_secs_f64())?;
        if let Some(path) = &self.results {
            write!(out, "; results are in {NAME}{}{NAME:#}", path.display())?;
        }
        writeln!(out)?;
        if self.tally.failed.contains_key(OVERTAKEN) {
            let why = "a later row on the same member is done, so this one was not sent; in a file of its own it is";
            writeln!(out, "{HINT}hint:{HINT:#} overtaken: {why}")?;
        }
        if let Some(hint) = self.hint() {
            writeln!(out, "{HINT}hint:{HINT:#} {hint}")?;
        }
        Ok(())
    }
}
