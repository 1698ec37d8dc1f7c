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
    fmt::Debug,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use memberspot_host::simulator::{Clock, Entry, Fault, Injection, Options, PropertyKey};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::stage::{self, KEY, Stage, host};
pub use subjects::{Subject, subjects};
use {
    faults::{Case, Late, Means, Play, cases},
    rules::{Course, Failure, Outcome, Plan, Run},
};

/// What came of a call.
struct Seen {
    run: Run,
    /// What it returned, where it succeeded, as far as two calls return the same.
    result: Option<Value>,
}

/// One call, and what is wrong with it.
struct Cell {
    subject: String,
    case: &'static str,
    plan: Plan,
    run: Run,
    wrong: Option<String>,
}

#[test]
fn every_function_in_every_fault() {
    let (subjects, cases) = (subjects(), cases());
    let cells = for_each(&subjects, async |subject| row(subject, &cases).await);
    assert_right(cells.iter().filter_map(|cell| Some(((&cell.subject, cell.case, cell.plan), cell.wrong.clone()?))));
    table::check(&subjects, &cases, &cells);
}

/// Asserts that nothing is wrong.
#[track_caller]
fn assert_right<K: Debug>(wrong: impl IntoIterator<Item = (K, String)>) {
    let wrong = wrong.into_iter().inspect(|(cell, why)| eprintln!("{cell:?}: {why}")).count();
    assert_eq!(wrong, 0, "cells are wrong");
}

#[test]
fn no_function_is_missing() {
    let exported: BTreeSet<_> =
        host().functions().iter().map(|function| format!("{}.{}", function.short_interface(), function.name())).collect();
    let mut listed: BTreeSet<_> = subjects().iter().map(|subject| subject.function.to_owned()).collect();
    // They send nothing, so nothing can befall them.
    listed.extend(["modules.list-modules", "triggers.parse-webhook"].map(str::to_owned));
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
            let course = Course { cases: &[case], plan: Plan::Single };
            let seen = call(subject, course, &stage).await;
            let run = visible(rules::run(subject, course, 0.0), subject, course);
            let name = subject.name();
            assert_eq!((seen.run.result, seen.run.requests), (run.result, run.requests), "{name} in {}", case.name);
        }
    }
}

/// One fault after another: what one request may have done is not undone by how the next one fails.
#[test]
fn faults_in_a_row() {
    const FIRST: [&str; 9] = [
        "connection refused",
        "reset at once",
        "429, retry after 7 s",
        "503, retry after 7 s",
        "503",
        "no answer",
        "the body pauses for 16 s",
        "reset before the head, but the effect",
        "405",
    ];
    const THEN: [&str; 13] = [
        "429, retry after 7 s",
        "429, retry after an hour",
        "503, retry after 7 s",
        "503",
        "no answer",
        "the head 29 s late",
        "the body pauses for 16 s",
        "reset before the head, but the effect",
        "a web page",
        "404 from the route",
        "405",
        "400 that asks for `propertyId`",
        "401",
    ];
    let cases = cases();
    let is_whole = |case: &Case| matches!(case.means, Means::Whole(_));
    let named = |name| cases.iter().find(|case| case.name == name).expect(name);
    let pairs = FIRST.into_iter().flat_map(|first| THEN.map(|then| (first, then)));
    // The real answer of a server that wants the other key is no success.
    let is_sound = |first, then| !(is_whole(named(first)) && matches!(named(then).play, Play::OtherPropertyKey(_)));
    let pairs: Vec<_> = pairs.filter(|&(first, then)| is_sound(first, then)).collect();
    let mut subjects: Vec<_> = subjects().into_iter().filter(|subject| subject.before == 0).collect();
    // One of each kind.
    let mut kinds = BTreeSet::new();
    subjects.retain(|subject| kinds.insert((subject.nature, subject.slow, subject.may_be_missing, subject.other_form)));
    assert_right(for_each(&subjects, async |subject| {
        let usual = usual(subject).await;
        let mut wrong = vec![];
        for &(first, then) in &pairs {
            for plan in [Plan::Lasting, Plan::Passing] {
                let (_, why) = trial(subject, Course { cases: &[named(first), named(then)], plan }, &usual).await;
                wrong.extend(why.map(|why| ((subject.name(), first, then, plan), why)));
            }
        }
        wrong
    }));
}

/// Does work for each subject, in virtual time and on as many threads as the machine has cores: paused time needs runtimes
/// with one thread.
fn for_each<T: Send>(subjects: &[Subject], work: impl AsyncFn(&Subject) -> Vec<T> + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let turns = || {
        let mut results = vec![];
        loop {
            let nth = next.fetch_add(1, Ordering::Relaxed);
            let Some(subject) = subjects.get(nth) else { return results };
            results.push((nth, virtual_time(work(subject))));
        }
    };
    let mut results: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..thread::available_parallelism().map_or(1, usize::from)).map(|_| scope.spawn(turns)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    results.sort_by_key(|(nth, _)| *nth);
    results.into_iter().flat_map(|(_, results)| results).collect()
}

pub fn virtual_time<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(work)
}

/// One function in every fault.
async fn row(subject: &Subject, cases: &[Case]) -> Vec<Cell> {
    let usual = usual(subject).await;
    let mut cells = vec![];
    for case in cases {
        // The simulator resets the first connections, and no others.
        if subject.before > 0 && matches!(case.play, Play::ResetConnection) {
            continue;
        }
        for plan in Plan::ALL {
            let (run, wrong) = trial(subject, Course { cases: &[case], plan }, &usual).await;
            cells.push(Cell { subject: subject.name(), case: case.name, plan, run, wrong });
        }
    }
    cells
}

/// A call without a fault.
async fn usual(subject: &Subject) -> Seen {
    let seen = call(subject, Course { cases: &[], plan: Plan::Lasting }, &in_memory()).await;
    assert_eq!(seen.run.result, Outcome::Success, "{} without a fault", subject.name());
    seen
}

/// Makes a call and says what is wrong with it.
async fn trial(subject: &Subject, course: Course<'_>, usual: &Seen) -> (Run, Option<String>) {
    let stage = in_memory();
    let seen = call(subject, course, &stage).await;
    sleep(Duration::from_secs(600)).await;
    let late = stage.simulator.journal().len() != seen.run.starts.len();
    let wrong = if late { Some("a request after the call".into()) } else { wrong(subject, course, &seen, usual) };
    (seen.run, wrong)
}

fn options() -> Options {
    Options { clock: Clock::tokio(), rate_limit: None, ..Options::default() }
}

fn in_memory() -> Stage {
    Stage::in_memory(options())
}

/// Calls a function in its faults.
async fn call(subject: &Subject, course: Course<'_>, stage: &Stage) -> Seen {
    let connection = stage.connection.clone().variable("MEMBERSPOT_MAX_RESPONSE_BYTES", "65536");
    // The pace has tests of its own.
    let connection = connection.variable("MEMBERSPOT_REQUESTS_PER_SECOND", "0");
    let connection = connection.variable("MEMBERSPOT_MAX_ATTEMPTS", course.plan.max_attempts().to_string());
    stage.simulator.plan_connects(None, subject.before);
    for (case, times) in course.times() {
        play(subject, case, times, stage);
    }
    let epoch = stage.simulator.clock().now();
    let start = Instant::now();
    let result = stage.call_with(&connection, subject.function, subject.input.clone()).await.and_then(of_operation);
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

/// The result of the only operation, where a function reports on operations.
fn of_operation(result: Value) -> Result<Value, stage::Failure> {
    let operation = result.get("results").map_or(&Value::Null, |results| &results[0]);
    match operation["tag"].as_str() {
        // Other functions have results of their own kind.
        None => Ok(result),
        Some("done") => Ok(operation["val"].clone()),
        Some("failed") => Err(stage::Failure::read(&operation["val"])),
        other => panic!("an operation is {other:?}"),
    }
}

fn play(subject: &Subject, case: &Case, times: u32, stage: &Stage) {
    let injection = |fault: &Fault| Injection::new(subject.path, fault.clone()).after(subject.before).times(times);
    match &case.play {
        Play::Fault(fault) => stage.simulator.inject(injection(fault)),
        Play::WithEffect(fault) => stage.simulator.inject(injection(fault).with_effect()),
        Play::OtherPropertyKey(fault) => {
            stage.simulator.inject(injection(fault));
            stage.simulator.edit_school(KEY, |school| school.dialect.property_key = PropertyKey::PropertyId);
        }
        Play::Connect(fault) => stage.simulator.plan_connects(Some(*fault), times),
        Play::ResetConnection => stage.simulator.reset_connections(times),
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
            // It has the time in it.
            "triggers.poll-new-users" => drop(object.remove("cursor")),
            "users.create-login-token" => object.retain(|name, _| name == "validForSeconds"),
            _ => {}
        }
    }
    result
}

/// What a simulator sees of a call: not the requests that never reached it.
fn visible(mut run: Run, subject: &Subject, course: Course<'_>) -> Run {
    let starts = run.starts.into_iter().enumerate().filter(|(nth, _)| {
        let struck = nth.checked_sub(subject.before as usize).and_then(|nth| course.case(nth));
        !struck.is_some_and(Case::is_unseen)
    });
    run.starts = starts.map(|(_, start)| start).collect();
    run.requests = u32::try_from(run.starts.len()).expect("a handful");
    run
}

/// How long the host holds back the end of a body that stands still, where the key may begin there.
const HELD: Duration = Duration::from_millis(10);

/// What is wrong with what was seen.
fn wrong(subject: &Subject, course: Course<'_>, seen: &Seen, usual: &Seen) -> Option<String> {
    let [least, mut most] = [0.0, 1.0].map(|jitter| visible(rules::run(subject, course, jitter), subject, course));
    assert_eq!(least.requests, most.requests, "{}: its course must not be left to chance", subject.name());
    let any = |is: fn(&Case) -> bool| course.cases.iter().any(|case| is(case));
    if any(|case| matches!(case.means, Means::Whole(Late::Somewhat))) {
        most.took = rules::DEADLINE - Duration::from_millis(1);
        most.starts.iter_mut().skip(1).for_each(|start| *start = most.took);
    }
    // What may be the beginning of the key is held back for a moment.
    for (attempt, moment) in (0..).zip(most.starts.iter_mut().chain([&mut most.took])) {
        *moment += HELD * attempt;
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
    let differs = any(|case| matches!(case.means, Means::Drift | Means::Body(..) | Means::Missing));
    (!differs && run.result == Outcome::Success && seen.result != usual.result)
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
