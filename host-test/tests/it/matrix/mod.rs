//! Every function in every fault that the simulator knows, through the component, in virtual time.
//!
//! What has to come out follows from `rules.rs`, from what the function is (`subjects.rs`) and what the fault says of the
//! request (`faults.rs`). What came out is in docs/faults.md; `UPDATE=1` writes it anew.

mod faults;
mod rules;
mod subjects;
mod table;

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use memberspot_host::simulator::{Clock, Entry, Fault, Injection, Options, PropertyKey};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::stage::{self, KEY, Stage, host};
use {
    faults::{Case, Late, Means, Play, cases},
    rules::{Failure, Outcome, Plan, Run},
    subjects::{Subject, subjects},
};

/// Where the component is known to be wrong, whatever the plan. What is right again fails the test until it is taken off this
/// list.
const KNOWN_WRONG: &[(&str, &str)] = &[
    // `attempts` is 0, though the look-up was sent.
    ("properties.set-properties (by name, at the look-up)", "`[]`"),
    ("properties.set-properties (by name, at the look-up)", "`{\"users\":[]}`, labelled as text"),
    ("properties.set-properties (by name, at the look-up)", "`null` for what may be missing"),
];

/// What came of a call.
struct Seen {
    run: Run,
    /// What it returned, where it succeeded, as far as two calls return the same.
    result: Option<Value>,
}

/// One call, and what is wrong with it.
struct Cell {
    subject: usize,
    case: usize,
    plan: Plan,
    run: Run,
    wrong: Option<String>,
}

#[test]
fn every_function_in_every_fault() {
    let (subjects, cases) = (subjects(), cases());
    let cells = all_cells(&subjects, &cases);
    let known = KNOWN_WRONG.iter().flat_map(|&(subject, case)| Plan::ALL.map(|plan| (subject.to_owned(), case, plan)));
    let known: BTreeSet<_> = known.collect();
    let name = |cell: &Cell| (subjects[cell.subject].name(), cases[cell.case].name, cell.plan);
    let wrong = cells.iter().filter(|cell| cell.wrong.is_some());
    let unknown: Vec<_> = wrong.clone().filter(|cell| !known.contains(&name(cell))).collect();
    for cell in &unknown {
        eprintln!("{:?}: {}", name(cell), cell.wrong.as_deref().unwrap_or_default());
    }
    assert!(unknown.is_empty(), "{} of {} cells are wrong", unknown.len(), cells.len());
    let wrong: BTreeSet<_> = wrong.map(name).collect();
    assert_eq!(known.difference(&wrong).collect::<Vec<_>>(), Vec::<&_>::new(), "no longer wrong");
    table::check(&subjects, &cases, &cells);
}

#[test]
fn no_function_is_missing() {
    let exported: BTreeSet<_> =
        host().functions().iter().map(|function| format!("{}.{}", function.short_interface(), function.name())).collect();
    let listed: BTreeSet<_> = subjects().iter().map(|subject| subject.function.to_owned()).collect();
    assert_eq!(listed, exported);
}

/// A part of the matrix over sockets, where time is real: the network in memory must not be kinder than they are.
#[tokio::test]
async fn sockets_come_to_the_same() {
    let takes_no_time = |case: &&Case| match case.means {
        Means::Whole(_) | Means::NoAnswer | Means::Standstill => false,
        _ => !matches!(case.play, Play::Connect(_)),
    };
    let subjects = subjects();
    let few = subjects.iter().filter(|subject| ["offers.list-offers", "access.revoke-access"].contains(&subject.function));
    let raw_post = subjects.iter().filter(|subject| subject.way == "POST");
    for subject in few.chain(raw_post) {
        for case in cases().iter().filter(takes_no_time) {
            let stage = Stage::with(options()).await;
            let seen = call(subject, Some((case, Plan::Single)), &stage).await;
            let run = visible(rules::run(subject, case, Plan::Single, 0.0), case, Plan::Single);
            let name = subject.name();
            assert_eq!((seen.run.result, seen.run.requests), (run.result, run.requests), "{name} in {}", case.name);
        }
    }
}

/// Works through the whole matrix, on as many threads as the machine has cores: virtual time needs a runtime with one thread.
fn all_cells(subjects: &[Subject], cases: &[Case]) -> Vec<Cell> {
    let next = AtomicUsize::new(0);
    let cells = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let subject = next.fetch_add(1, Ordering::Relaxed);
                    if subject >= subjects.len() {
                        return;
                    }
                    let row = virtual_time(row(subjects, subject, cases));
                    cells.lock().expect("no thread panics with the lock").extend(row);
                }
            });
        }
    });
    let mut cells = cells.into_inner().expect("no thread panics with the lock");
    cells.sort_by_key(|cell: &Cell| (cell.case, cell.subject, cell.plan));
    cells
}

fn virtual_time<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(work)
}

/// One function in every fault.
async fn row(subjects: &[Subject], index: usize, cases: &[Case]) -> Vec<Cell> {
    let subject = &subjects[index];
    let usual = call(subject, None, &in_memory()).await;
    assert_eq!(usual.run.result, Outcome::Success, "{} without a fault", subject.name());
    let mut cells = vec![];
    for (case_index, case) in cases.iter().enumerate() {
        // The simulator cannot let connections pass first.
        if subject.before > 0 && matches!(case.play, Play::Connect(_) | Play::ResetConnection) {
            continue;
        }
        for plan in Plan::ALL {
            let stage = in_memory();
            let seen = call(subject, Some((case, plan)), &stage).await;
            sleep(Duration::from_secs(600)).await;
            let late = stage.simulator.journal().len() != seen.run.starts.len();
            let wrong = if late { Some("a request after the call".into()) } else { wrong(subject, case, plan, &seen, &usual) };
            cells.push(Cell { subject: index, case: case_index, plan, run: seen.run, wrong });
        }
    }
    cells
}

fn options() -> Options {
    Options { clock: Clock::tokio(), rate_limit: None, ..Options::default() }
}

fn in_memory() -> Stage {
    Stage::in_memory(options())
}

/// Calls a function in a fault.
async fn call(subject: &Subject, fault: Option<(&Case, Plan)>, stage: &Stage) -> Seen {
    let mut connection = stage.connection.clone().variable("MEMBERSPOT_MAX_RESPONSE_BYTES", "65536");
    if let Some((case, plan)) = fault {
        connection = connection.variable("MEMBERSPOT_MAX_ATTEMPTS", plan.max_attempts().to_string());
        play(subject, case, plan, stage);
    }
    let epoch = stage.simulator.clock().now();
    let start = Instant::now();
    let result = stage.call_with(&connection, subject.function, subject.input.clone()).await;
    let took = start.elapsed();
    let journal = stage.simulator.journal();
    let since = |entry: &Entry| (entry.received - epoch).try_into().expect("after the beginning");
    let starts: Vec<Duration> = journal.iter().map(since).collect();
    let requests = u32::try_from(starts.len()).expect("a handful");
    let (result, value) = match result {
        Ok(value) => (Outcome::Success, Some(comparable(subject, value))),
        Err(failure) => (Outcome::Failure(read(failure)), None),
    };
    Seen { run: Run { result, requests, starts, took }, result: value }
}

fn play(subject: &Subject, case: &Case, plan: Plan, stage: &Stage) {
    let injection = |fault: &Fault| Injection::new(subject.path, fault.clone()).after(subject.before).times(plan.times());
    match &case.play {
        Play::Fault(fault) => stage.simulator.inject(injection(fault)),
        Play::WithEffect(fault) => stage.simulator.inject(injection(fault).with_effect()),
        Play::OtherPropertyKey(fault) => {
            stage.simulator.inject(injection(fault));
            stage.simulator.edit_school(KEY, |school| school.dialect.property_key = PropertyKey::PropertyId);
        }
        Play::Connect(fault) => stage.simulator.fail_connects(*fault, plan.times()),
        Play::ResetConnection => stage.simulator.reset_connections(plan.times()),
    }
}

fn read(failure: stage::Failure) -> Failure {
    Failure {
        code: kebab(&failure.code),
        transient: failure.transient,
        outcome_unknown: failure.outcome_unknown,
        status: failure.status.map(|status| u16::try_from(status).expect("a status")),
        attempts: u32::try_from(failure.attempts).expect("a handful"),
        retry_after: failure.retry_after_ms.map(Duration::from_millis),
    }
}

/// The spelling of the WIT.
fn kebab(camel: &str) -> String {
    camel.chars().flat_map(|c| c.is_ascii_uppercase().then_some('-').into_iter().chain([c.to_ascii_lowercase()])).collect()
}

/// A result without what differs from call to call.
fn comparable(subject: &Subject, mut result: Value) -> Value {
    if let Some(object) = result.as_object_mut() {
        match subject.function {
            // The date and the framing.
            "api.call-api" => drop(object.remove("headers")),
            // The address of the simulator.
            "connection.check-connection" => drop(object.remove("baseUrl")),
            "users.create-login-token" => object.retain(|name, _| name == "validForSeconds"),
            _ => {}
        }
    }
    result
}

/// What a simulator sees of a call: not the requests that never reached it.
fn visible(mut run: Run, case: &Case, plan: Plan) -> Run {
    if matches!(case.play, Play::Connect(_) | Play::ResetConnection) {
        let struck = run.requests.min(plan.times());
        run.starts.drain(..struck as usize);
        run.requests -= struck;
    }
    run
}

/// What is wrong with what was seen.
fn wrong(subject: &Subject, case: &Case, plan: Plan, seen: &Seen, usual: &Seen) -> Option<String> {
    let [least, mut most] = [0.0, 1.0].map(|jitter| visible(rules::run(subject, case, plan, jitter), case, plan));
    assert_eq!(least.requests, most.requests, "{} in {}: its course must not be left to chance", subject.name(), case.name);
    if matches!(case.means, Means::Whole(Late::Somewhat)) {
        most.took = rules::DEADLINE - Duration::from_millis(1);
        most.starts.iter_mut().skip(1).for_each(|start| *start = most.took);
    }
    let run = &seen.run;
    let expected = || format!("expected {least:?} to {most:?}, saw {run:?}");
    let fits = run.requests == least.requests
        && between(&run.took, &least.took, &most.took)
        && run.starts.iter().zip(least.starts.iter().zip(&most.starts)).all(|(seen, (least, most))| between(seen, least, most))
        && same_outcome(&run.result, &least.result, &most.result);
    if !fits {
        return Some(expected());
    }
    let repeats = matches!(case.means, Means::Drift | Means::Body(..) | Means::Missing);
    (!repeats && run.result == Outcome::Success && seen.result != usual.result)
        .then(|| format!("another result: {:?} instead of {:?}", seen.result, usual.result))
}

fn between<T: PartialOrd>(seen: &T, least: &T, most: &T) -> bool {
    seen >= least && seen <= most
}

/// The same but for a wait that is left to chance.
fn same_outcome(seen: &Outcome, least: &Outcome, most: &Outcome) -> bool {
    let (Outcome::Failure(seen), Outcome::Failure(least), Outcome::Failure(most)) = (seen, least, most) else {
        return seen == least;
    };
    between(&seen.retry_after, &least.retry_after, &most.retry_after)
        && Failure { retry_after: None, ..seen.clone() } == Failure { retry_after: None, ..least.clone() }
}
