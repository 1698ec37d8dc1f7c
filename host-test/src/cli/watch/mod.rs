//! `memberspot watch`: polls, and hands on what is new.

mod command;
mod cursor_file;

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};
use memberspot_host::json::Answer;
use memberspot_host::{Connection, Host, Outcome, Tenant};
use serde_json::{Value, json};

use super::interrupt::Interrupt;
use super::output::{self, ERROR, Failure, HINT, one_line};
use super::run::{self, ConnectionOptions};
use super::{SUCCESS, TRANSIENT, simulate};
use command::Trouble;
use cursor_file::{CursorFile, Subject};

/// How many items a poll brings at the most: few enough to come again after a kill.
const ITEMS_A_POLL: u32 = 100;
/// Half the wait within a round after a first fault for which Memberspot asks no wait; it doubles with each further one.
const AFTER_A_FAULT: Duration = Duration::from_secs(1);
/// The longest wait within a round.
const LONGEST_WAIT: Duration = Duration::from_mins(10);
/// How many faults in a row end a round.
const MOST_FAULTS: u32 = 5;

/// Wait for something new, and hand it on: members, exam results, completed courses.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  memberspot watch new-users --every 5m --exec './welcome.sh'
  memberspot watch new-users --once >> new-users.jsonl
  memberspot watch exam-results --exam e1 --every 1m
  memberspot watch course-completions --course c1 --emails class.txt --every 1h
  memberspot watch new-users --simulator --include-existing --once

Each item is a line of JSON: on standard output, or on the standard input of --exec, which is run by the shell for one item \
after the other. An item is delivered when its line is written, or the command has ended with status 0. A command that fails, or \
takes longer than --exec-timeout, is run again in the next round, and what is behind the item waits.

Where the watch is, is kept in the cursor file, after the items are delivered. So each is delivered at least once: a watch that is \
killed delivers some again. The first round only notes what is there, unless --include-existing says otherwise.

Trouble that may pass is waited for. Ctrl-C ends the watch with 0, after the command under way. Exit codes: 1 the function failed \
for good; 3 with --once, a round that did not come to its end; 2 and 4 as usual.")]
pub struct Watch {
    /// What to wait for.
    what: What,
    /// The exam.
    #[arg(long, value_name = "ID", required_if_eq("what", "exam-results"))]
    exam: Option<String>,
    /// The course.
    #[arg(long, value_name = "ID", required_if_eq("what", "course-completions"))]
    course: Option<String>,
    /// A file of e-mail addresses, one a line, at most 100; read anew in each round.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, required_if_eq("what", "course-completions"))]
    emails: Option<PathBuf>,
    /// The wait between two rounds: a number with s, m, h or d.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration)]
    every: Duration,
    /// One round only, as for cron.
    #[arg(long, conflicts_with = "every")]
    once: bool,
    /// A command for the shell, which gets each item as JSON on its standard input.
    #[arg(long, value_name = "COMMAND", value_hint = ValueHint::CommandString)]
    exec: Option<String>,
    /// How long the command may take.
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = duration, requires = "exec")]
    exec_timeout: Duration,
    /// Deliver also what is there already.
    #[arg(long)]
    include_existing: bool,
    /// The cursor file; without it, memberspot-watch-WHAT.json.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    cursor: Option<PathBuf>,
    /// Use a simulated Memberspot with a demo school instead, made for this watch; no account is needed, and no cursor is kept.
    #[arg(long, conflicts_with_all = ["key_file", "base_url", "cursor"])]
    simulator: bool,
    #[command(flatten)]
    connection: ConnectionOptions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Members who are new.
    NewUsers,
    /// Submissions of an exam.
    ExamResults,
    /// Members who complete a course.
    CourseCompletions,
}

impl What {
    fn name(self) -> &'static str {
        match self {
            Self::NewUsers => "new-users",
            Self::ExamResults => "exam-results",
            Self::CourseCompletions => "course-completions",
        }
    }

    /// The field of the result that has the items.
    fn items(self) -> &'static str {
        match self {
            Self::NewUsers => "users",
            Self::ExamResults => "results",
            Self::CourseCompletions => "completions",
        }
    }
}

/// `90s`, `5m`, `2h`, `1d`
fn duration(text: &str) -> Result<Duration, &'static str> {
    const EXPECTED: &str = "expected a number from 1 on with s, m, h or d, such as 5m";
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or(EXPECTED)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => return Err(EXPECTED),
    };
    let number = number.parse::<u32>().map_err(|_| EXPECTED)?;
    if number == 0 { Err(EXPECTED) } else { Ok(Duration::from_secs(u64::from(number) * seconds)) }
}

/// Why a round, or the watch, ended.
enum End {
    /// The round came to its end.
    Round,
    /// It did not, and the next one may.
    Trouble,
    /// By Ctrl-C.
    Interrupted,
    /// The function failed for good.
    Refused(Answer),
}

/// What was polled and is not delivered yet.
#[derive(Default)]
struct Batch {
    items: VecDeque<Value>,
    /// What to keep once all of it is.
    cursor: Option<String>,
    more: bool,
    /// What ended the poll early.
    fault: Option<Fault>,
}

/// A fault that may pass, or may not.
struct Fault {
    /// How long it asks to wait.
    asks_for: Option<Duration>,
}

/// A watch under way.
struct Round<'a> {
    watch: &'a Watch,
    host: &'a Host,
    tenant: Tenant,
    file: Option<CursorFile>,
    cursor: Option<String>,
    batch: Batch,
    interrupt: Interrupt,
}

impl Watch {
    pub fn execute(&self, json: bool) -> Result<u8, Failure> {
        self.check()?;
        let mut connection = self.connection.connection()?;
        let host = run::host(run::limits(&connection))?;
        let runtime = tokio::runtime::Runtime::new().map_err(|error| Failure::host(&error))?;
        let simulator = if self.simulator { Some(runtime.block_on(simulate::demo_school())?) } else { None };
        if let Some(simulator) = &simulator {
            connection = connection.base_url(simulator.origin()).key(simulate::KEY);
        }
        let (file, cursor) = if self.simulator {
            (None, None)
        } else {
            let (file, cursor) = CursorFile::open(&self.cursor_path(), self.subject(&connection)?)?;
            (Some(file), cursor)
        };
        runtime.block_on(async {
            let (interrupt, batch) = (Interrupt::listen(), Batch::default());
            let tenant = run::tenant(&host, connection.clone());
            let mut round = Round { watch: self, host: &host, tenant, file, cursor, batch, interrupt };
            match round.go_on().await? {
                End::Round | End::Interrupted => Ok(SUCCESS),
                End::Trouble => Ok(TRANSIENT),
                End::Refused(error) => {
                    if json {
                        output::json(&error)?;
                    }
                    Ok(run::report(&error, &connection))
                }
            }
        })
    }

    /// Options that say nothing to this watch.
    fn check(&self) -> Result<(), Failure> {
        let unused = [
            ("--exam", self.exam.is_some() && self.what != What::ExamResults),
            ("--course", self.course.is_some() && self.what != What::CourseCompletions),
            ("--emails", self.emails.is_some() && self.what != What::CourseCompletions),
        ];
        match unused.iter().find(|(_, unused)| *unused) {
            Some((option, _)) => Err(Failure::usage(format!("{option} says nothing to a watch of {}", self.what.name()))),
            None => Ok(()),
        }
    }

    fn cursor_path(&self) -> PathBuf {
        self.cursor.clone().unwrap_or_else(|| format!("memberspot-watch-{}.json", self.what.name()).into())
    }

    fn subject(&self, connection: &Connection) -> Result<Subject, Failure> {
        let origin = connection.origin().ok_or_else(|| Failure::usage("the base URL is no origin; nothing was sent"))?;
        let id = self.exam.as_ref().or(self.course.as_ref()).cloned();
        Ok(Subject { origin: origin.to_string(), function: self.function(), id })
    }

    fn function(&self) -> String {
        format!("poll-{}", self.what.name())
    }

    fn input(&self, cursor: Option<&str>) -> Result<Value, Failure> {
        let existing = self.include_existing;
        Ok(match self.what {
            What::NewUsers => json!({"cursor": cursor, "maxUsers": ITEMS_A_POLL, "includeExisting": existing}),
            What::ExamResults => {
                json!({"examId": self.exam, "cursor": cursor, "maxResults": ITEMS_A_POLL, "includeExisting": existing})
            }
            What::CourseCompletions => {
                let emails = addresses(self.emails.as_deref().unwrap_or(Path::new("")))?;
                json!({"courseId": self.course, "emails": emails, "cursor": cursor, "includeExisting": existing})
            }
        })
    }
}

/// The lines of a file that are not empty.
fn addresses(path: &Path) -> Result<Vec<String>, Failure> {
    let text = fs::read_to_string(path).map_err(|error| Failure::input(path, &error))?;
    let text = text.trim_start_matches('\u{feff}');
    Ok(text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect())
}

impl Round<'_> {
    /// Round after round.
    async fn go_on(&mut self) -> Result<End, Failure> {
        loop {
            match self.round().await? {
                end @ (End::Interrupted | End::Refused(_)) => return Ok(end),
                end if self.watch.once => return Ok(end),
                _ => {}
            }
            if !self.wait(self.watch.every).await {
                return Ok(End::Interrupted);
            }
        }
    }

    /// Delivers what is left of the round before, and polls until there is no more.
    async fn round(&mut self) -> Result<End, Failure> {
        if let Some(end) = self.deliver().await? {
            return Ok(end);
        }
        let mut faults = 0;
        loop {
            if let Some(end) = self.poll().await? {
                return Ok(end);
            }
            if let Some(end) = self.deliver().await? {
                return Ok(end);
            }
            let Some(fault) = self.batch.fault.take() else {
                if !self.batch.more {
                    return Ok(End::Round);
                }
                faults = 0;
                continue;
            };
            faults += 1;
            if !self.batch.more || faults == MOST_FAULTS {
                return Ok(End::Trouble);
            }
            if !self.wait(fault.asks_for.unwrap_or(AFTER_A_FAULT * (1 << faults)).min(LONGEST_WAIT)).await {
                return Ok(End::Interrupted);
            }
        }
    }

    /// Asks for what is new.
    async fn poll(&mut self) -> Result<Option<End>, Failure> {
        let input = self.watch.input(self.cursor.as_deref())?;
        let function = self.watch.function();
        let call = self.host.call(&self.tenant, &function, &input);
        let outcome = tokio::select! {
            outcome = call => outcome.map_err(|error| Failure::host(&error))?,
            // Polls only read: one that is dropped leaves nothing behind.
            () = self.interrupt.pressed(1) => return Ok(Some(End::Interrupted)),
        };
        self.batch = match outcome {
            Outcome::Success(answer) => Batch::of(answer.to_json(), self.watch.what),
            Outcome::Failure(error) if error.to_json()["tag"] == "transient" => {
                let failure = &error.to_json()["val"];
                Batch { more: true, fault: Some(Fault::said(failure)), ..Batch::default() }
            }
            Outcome::Failure(error) => return Ok(Some(End::Refused(error))),
        };
        Ok(None)
    }

    /// Hands on what is there, and then keeps the cursor.
    async fn deliver(&mut self) -> Result<Option<End>, Failure> {
        while let Some(item) = self.batch.items.front() {
            if self.interrupt.is_pressed() {
                return Ok(Some(End::Interrupted));
            }
            match self.watch.exec.clone() {
                None => output::stdout(|out| writeln!(out, "{item}"))?,
                Some(line) => {
                    let (item, longest) = (format!("{item}\n"), self.watch.exec_timeout);
                    let run = tokio::task::spawn_blocking(move || command::run(&line, item, longest));
                    if let Err(trouble) = run.await.map_err(|error| Failure::host(&error))? {
                        say_trouble(&trouble);
                        return Ok(Some(End::Trouble));
                    }
                }
            }
            self.batch.items.pop_front();
        }
        if let Some(cursor) = self.batch.cursor.take() {
            if let Some(file) = &self.file {
                file.keep(&cursor)?;
            }
            self.cursor = Some(cursor);
        }
        Ok(None)
    }

    /// Waits; false when Ctrl-C was pressed meanwhile.
    async fn wait(&mut self, time: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(time) => true,
            () = self.interrupt.pressed(1) => false,
        }
    }
}

impl Batch {
    fn of(mut result: Value, what: What) -> Self {
        let items = result.get_mut(what.items()).and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
        let fault = result.get("interruptedBy").map(Fault::said);
        Self { items: items.into(), cursor: result["cursor"].as_str().map(str::to_owned), more: result["more"] == true, fault }
    }
}

impl Fault {
    /// Tells people of a failure.
    fn said(failure: &Value) -> Self {
        let text = |key: &str| one_line(failure[key].as_str().unwrap_or_default()).into_owned();
        output::message(|err| writeln!(err, "{ERROR}error[{}]:{ERROR:#} {}", text("code"), text("message")));
        Self { asks_for: failure["retryAfterMs"].as_u64().map(Duration::from_millis) }
    }
}

fn say_trouble(trouble: &Trouble) {
    let problem = match trouble {
        Trouble::Machine(error) => format!("the command cannot be run: {error}"),
        Trouble::Status(status) => format!("the command ended with {status}"),
        Trouble::Slow => "the command took longer than --exec-timeout".to_owned(),
    };
    output::message(|err| {
        writeln!(err, "{ERROR}error:{ERROR:#} {problem}")?;
        writeln!(err, "{HINT}hint:{HINT:#} its item is not delivered, and is handed to it again in the next round")
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        for (text, seconds) in [("1s", 1), ("90s", 90), ("5m", 300), ("2h", 7200), ("1d", 86400)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "s", "5", "0m", "-1m", "1.5h", "5 m", "5mé", "99999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
