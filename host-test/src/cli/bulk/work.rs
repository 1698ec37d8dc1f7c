//! The work: call after call until every row is settled, or something says to stop.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::pin::pin;
use std::time::Duration;

use memberspot_bulk_file::reading::Row;
use memberspot_host::json::Answer;
use memberspot_host::{Host, HostError, Outcome as Answered, Tenant};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::operations::FUNCTION;
use super::order::{self, Aside, Member};
use super::progress::Progress;
use super::results::{Line, Outcome, Results};
use crate::cli::interrupt::Interrupt;
use crate::cli::output::Failure;

/// Operations in one call: enough that the wait for its slowest one does not matter, and few enough to be repeated when
/// the run is killed.
const OPERATIONS_A_CALL: usize = 500;
/// Operations in one call that sends nothing: as many as the component takes.
const CHECKS_A_CALL: usize = 10_000;
/// What the operations of one call may be long, in bytes: the component holds them in memory.
const BYTES_A_CALL: usize = 4 << 20;
/// How many calls a row may fail in before it is set aside, and how many calls in a row may settle nothing.
const MOST_TRIES: u32 = 5;
/// How often rows may be set aside with nothing settled in between: then it is not the rows that are the trouble.
const MOST_BARREN: u32 = 2;
/// Rows that were not sent, among the codes.
const NOT_STARTED: &str = "notStarted";
/// Rows of a call whose answer was lost, among the codes.
const OUTCOME_UNKNOWN: &str = "outcomeUnknown";
/// Rows that are not sent because a later one on the same member is done, among the codes.
pub const OVERTAKEN: &str = "overtaken";
/// The longest wait that Memberspot can ask for; a run that should wait longer ends instead.
const LONGEST_WAIT: Duration = Duration::from_mins(10);
/// The wait after a call that settled nothing, doubled after each such call.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// How many rows are named for each code.
const MOST_NAMED: usize = 5;

/// What a call of many operations answers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    results: Vec<Fate>,
    retry_after_ms: Option<u64>,
}

/// What became of an operation.
#[derive(Deserialize)]
#[serde(tag = "tag", content = "val", rename_all = "camelCase")]
enum Fate {
    Done(String),
    Failed(Value),
    NotStarted,
}

/// Why work ended before every row was settled.
#[derive(Debug)]
pub enum Stop {
    /// By Ctrl-C, after the call under way.
    Interrupted,
    /// By Ctrl-C twice: what became of the call under way is not known.
    Abandoned,
    /// This row, or all, failed too often.
    Tries(u32),
    /// This row failed, and may still take effect.
    Unknown(u32),
    /// This row failed, and that was to be the end.
    Failed(u32),
    /// The key is not accepted.
    Unauthorized,
    /// A long wait is due.
    Wait(Duration),
    /// The component refused the call as a whole.
    Refused(Answer),
    /// The call did not come to an end.
    Host(HostError),
    /// What became of the call under way could not be written down.
    Results(Failure),
}

/// What became of the rows.
#[derive(Debug, Default)]
pub struct Tally {
    pub done: usize,
    /// Rows that failed for good, by code.
    pub failed: BTreeMap<String, Failed>,
    /// Rows that are still to be done, by the code of the error that held them up.
    pub held_up: BTreeMap<String, Failed>,
    pub left: usize,
    pub calls: u32,
}

/// Rows that failed with the same code.
#[derive(Debug, Default)]
pub struct Failed {
    pub count: usize,
    /// The first of them.
    pub rows: Vec<u32>,
}

impl Failed {
    fn add(&mut self, row: u32) {
        self.count += 1;
        if self.rows.len() < MOST_NAMED {
            self.rows.push(row);
        }
    }
}

impl Tally {
    pub fn failures(&self) -> usize {
        self.failed.values().map(|failed| failed.count).sum()
    }
}

/// A file's rows, and how far they are.
pub struct Work<'a> {
    host: &'a Host,
    tenant: Tenant,
    pub rows: &'a [Row],
    members: Vec<Member>,
    /// Places of the rows that are to be done, in the order of the file.
    pub pending: VecDeque<usize>,
    pub stop_on_error: bool,
    pub tally: Tally,
    /// In how many calls these rows failed, and the last code.
    failing: HashMap<usize, (u32, String)>,
    /// How many calls in a row settled nothing.
    stuck: u32,
    /// How often rows were set aside since the last call that settled something.
    barren: u32,
    aside: Aside,
    /// The rows that are set aside.
    waiting: Vec<usize>,
    /// Why the first of them is.
    why_aside: Option<Stop>,
    /// The rows of a call whose answer was lost.
    lost: HashSet<usize>,
}

impl<'a> Work<'a> {
    pub fn new(host: &'a Host, tenant: Tenant, rows: &'a [Row]) -> Self {
        Self {
            host,
            tenant,
            rows,
            members: order::members(rows),
            pending: (0..rows.len()).collect(),
            stop_on_error: false,
            tally: Tally::default(),
            failing: HashMap::new(),
            stuck: 0,
            barren: 0,
            aside: Aside::default(),
            waiting: Vec::new(),
            why_aside: None,
            lost: HashSet::new(),
        }
    }

    /// Leaves out what an earlier run has done, and what may not be sent after that. `done` are places in `rows`.
    pub fn leave_out(&mut self, done: &HashSet<usize>) {
        let overtaken = order::overtaken(&self.members, |index| done.contains(&index));
        for index in &overtaken {
            self.tally.failed.entry(OVERTAKEN.into()).or_default().add(self.rows[*index].number);
        }
        self.pending.retain(|index| !done.contains(index) && overtaken.binary_search(index).is_err());
    }

    /// Applies the operations. What becomes of them is in `results` before the next call begins.
    pub async fn apply(
        &mut self,
        mut results: Option<&mut Results>,
        progress: &Progress,
        mut interrupt: Interrupt,
    ) -> Option<Stop> {
        let stop = loop {
            let batch = self.batch(OPERATIONS_A_CALL);
            if batch.is_empty() {
                break None;
            }
            let answer = self.call(&batch, progress, &mut interrupt).await;
            let report = match answer {
                Ok(report) => report,
                Err(stop) => {
                    if matches!(stop, Stop::Abandoned | Stop::Host(_)) {
                        self.lost.extend(&batch);
                    }
                    self.put_back(batch);
                    break Some(stop);
                }
            };
            self.tally.calls += 1;
            let wait = report.retry_after_ms.map(Duration::from_millis);
            let written = results.as_mut().map_or(Ok(()), |results| results.append(&self.lines(&batch, &report)));
            if let Err(trouble) = written {
                self.lost.extend(&batch);
                self.put_back(batch);
                break Some(Stop::Results(trouble));
            }
            let stop = self.settle(&batch, report);
            progress.show(&self.tally, self.pending.len());
            if stop.is_some() {
                break stop;
            }
            if let Err(stop) = self.pause(&batch, wait, progress, &mut interrupt).await {
                break Some(stop);
            }
        };
        self.count_left();
        stop.or(self.why_aside.take())
    }

    fn count_left(&mut self) {
        let mut left: Vec<_> = self.pending.iter().chain(&self.waiting).copied().collect();
        left.sort_unstable();
        self.tally.left = left.len();
        for index in left {
            let code = match self.failing.get(&index) {
                _ if self.lost.contains(&index) => OUTCOME_UNKNOWN,
                Some((_, code)) => code,
                None => NOT_STARTED,
            };
            self.tally.held_up.entry(code.to_owned()).or_default().add(self.rows[index].number);
        }
    }

    /// Has the operations checked, and sends nothing. The result are those that are not acceptable, with the error.
    pub async fn check(&mut self, mut bad: impl FnMut(u32, &Value)) -> Result<(), Stop> {
        loop {
            let batch = self.batch(CHECKS_A_CALL);
            if batch.is_empty() {
                return Ok(());
            }
            let report = self.ask(&batch, true).await?;
            for (index, fate) in batch.into_iter().zip(report.results) {
                if let Fate::Failed(error) = fate {
                    bad(self.rows[index].number, &error);
                }
            }
        }
    }

    /// The next rows, at most so many. Those that have to wait are set aside.
    fn batch(&mut self, most: usize) -> Vec<usize> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(&index) = self.pending.front() {
            if self.aside.holds(index, self.members[index]) {
                self.waiting.push(index);
                self.pending.pop_front();
                continue;
            }
            bytes += self.rows[index].json.len();
            if batch.len() == most || (bytes > BYTES_A_CALL && !batch.is_empty()) {
                break;
            }
            batch.push(index);
            self.pending.pop_front();
        }
        batch
    }

    fn put_back(&mut self, batch: impl IntoIterator<Item = usize, IntoIter: DoubleEndedIterator>) {
        for index in batch.into_iter().rev() {
            self.pending.push_front(index);
        }
    }

    /// One call, which the first Ctrl-C lets come to its end and the second does not.
    async fn call(&self, batch: &[usize], progress: &Progress, interrupt: &mut Interrupt) -> Result<Report, Stop> {
        if interrupt.is_pressed() {
            return Err(Stop::Interrupted);
        }
        let mut call = pin!(self.ask(batch, false));
        tokio::select! {
            report = &mut call => return report,
            () = interrupt.pressed(1) => progress.say("finishing the call under way; Ctrl-C again ends at once"),
        }
        tokio::select! {
            report = &mut call => report,
            () = interrupt.pressed(2) => Err(Stop::Abandoned),
        }
    }

    async fn ask(&self, batch: &[usize], dry_run: bool) -> Result<Report, Stop> {
        // The rows are JSON that this program wrote.
        let operations = batch.iter().map(|index| serde_json::from_str(&self.rows[*index].json).unwrap_or_default());
        let operations = operations.collect::<Vec<Value>>();
        let input = json!({"operations": operations, "stopOnError": self.stop_on_error, "dryRun": dry_run});
        let report = match self.host.call(&self.tenant, FUNCTION, &input).await.map_err(Stop::Host)? {
            Answered::Success(report) => report,
            Answered::Failure(error) => return Err(Stop::Refused(error)),
        };
        let report = serde_json::from_value(report.to_json()).ok();
        // A component that answers for other operations than it was given cannot be worked with.
        report
            .filter(|report: &Report| report.results.len() == batch.len())
            .ok_or_else(|| Stop::Host(HostError::NoJsonForm { function: FUNCTION.into() }))
    }

    fn lines(&self, batch: &[usize], report: &Report) -> Vec<Line> {
        let line = |(index, fate): (&usize, &Fate)| {
            let row = &self.rows[*index];
            let (outcome, result, error) = match fate {
                Fate::Done(result) => (Outcome::Done, RawValue::from_string(result.clone()).ok(), None),
                Fate::Failed(error) => (Outcome::Failed, None, Some(error.clone())),
                Fate::NotStarted => (Outcome::NotStarted, None, None),
            };
            let operation = RawValue::from_string(row.json.to_string()).unwrap_or_default();
            Line { row: row.number, operation, outcome, result, error }
        };
        batch.iter().zip(&report.results).map(line).collect()
    }

    /// Notes what became of the rows; those that may succeed later go back to where they were.
    fn settle(&mut self, batch: &[usize], report: Report) -> Option<Stop> {
        let mut stop = None;
        let mut again = Vec::new();
        let mut why_aside = None;
        for (&index, fate) in batch.iter().zip(report.results) {
            let row = self.rows[index].number;
            match fate {
                Fate::Done(_) => {
                    self.tally.done += 1;
                    self.failing.remove(&index);
                }
                Fate::NotStarted => again.push(index),
                Fate::Failed(error) => {
                    let code = error["val"]["code"].as_str().unwrap_or_default().to_owned();
                    let is_transient = error["tag"] == "transient";
                    if !is_transient && code == "unauthorized" {
                        stop = Some(Stop::Unauthorized);
                    } else if !is_transient && self.stop_on_error {
                        stop.get_or_insert(Stop::Failed(row));
                    }
                    // As in the component: what may still take effect is not overtaken either.
                    if is_transient || error["val"]["outcomeUnknown"] == true {
                        again.push(index);
                        let (tries, last) = self.failing.entry(index).or_default();
                        *tries += 1;
                        *last = code;
                        if !is_transient || *tries >= MOST_TRIES {
                            self.aside.add(index, self.members[index]);
                            why_aside.get_or_insert(if is_transient { Stop::Tries(row) } else { Stop::Unknown(row) });
                        }
                        continue;
                    }
                    self.failing.remove(&index);
                    self.tally.failed.entry(code).or_default().add(row);
                }
            }
        }
        (self.stuck, self.barren) = match (again.len() == batch.len(), &why_aside) {
            (false, _) => (0, 0),
            (true, Some(_)) => (0, self.barren + 1),
            (true, None) => (self.stuck + 1, self.barren),
        };
        if self.stuck >= MOST_TRIES || self.barren >= MOST_BARREN {
            stop.get_or_insert(Stop::Tries(self.rows[batch[0]].number));
        }
        self.why_aside = self.why_aside.take().or(why_aside);
        let (waiting, again): (Vec<_>, Vec<_>) =
            again.into_iter().partition(|index| self.aside.holds(*index, self.members[*index]));
        self.waiting.extend(waiting);
        self.put_back(again);
        stop
    }

    /// Waits before rows of the last call are passed again, as long as Memberspot asked for.
    async fn pause(
        &self,
        batch: &[usize],
        asked: Option<Duration>,
        progress: &Progress,
        interrupt: &mut Interrupt,
    ) -> Result<(), Stop> {
        let is_repeated = self.pending.front().is_some_and(|next| batch.contains(next));
        let wait = match asked {
            _ if !is_repeated => return Ok(()),
            Some(asked) if asked > LONGEST_WAIT => return Err(Stop::Wait(asked)),
            Some(asked) => {
                progress.say(&format!("waiting for {} s", asked.as_secs_f64().ceil()));
                asked
            }
            None if self.stuck > 0 => FIRST_WAIT * 2_u32.pow(self.stuck - 1),
            None => return Ok(()),
        };
        tokio::select! {
            () = sleep(wait) => Ok(()),
            () = interrupt.pressed(1) => Err(Stop::Interrupted),
        }
    }
}
