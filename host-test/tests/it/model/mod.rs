//! Random operations, in random faults, applied at once through the component, in virtual time: what is reported is held
//! against the school as it is afterwards, and against every request.
//!
//! What may be true follows from a small school of our own (`school.rs`) and from what is promised of the results
//! (`promises.rs`) and of the requests (`journal.rs`). None of them asks which faults there were.
//!
//! The simulator lets a request take effect when it has read it, also where it never answers.

mod journal;
mod promises;
mod scenario;
mod school;

use std::{
    env,
    slice::from_ref,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use memberspot_host::{
    Connection,
    simulator::{Clock, ConnectFault, Fault, Injection, Method, Observer, Options, PropertyKey, School, Simulator, StatusCode},
};
use proptest::{
    strategy::Strategy,
    test_runner::{Config, FileFailurePersistence, RngSeed, TestCaseError, TestRunner},
};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    bulk::{Outcome, Report, read},
    stage::{Failure, KEY, host_in_memory, network},
};
use {
    journal::Audit,
    promises::{Promises, is_open},
    scenario::{Mishap, OWNER, Oddities, Op, Round, Scenario, Setup, Strike, any_scenario, passing_scenario},
    school::{Catalog, Judge, Members, members},
};

/// How many sequences of operations each property is tried with, unless `SEQUENCES` says otherwise.
const SEQUENCES: u32 = 1000;

/// Where proptest keeps what has failed once.
const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/model/regressions.txt");

/// So much later than its deadline a call may end: timers have whole milliseconds.
const TICK: Duration = Duration::from_millis(1);

/// Nothing reported as done is missing, and nothing else has happened.
#[test]
fn what_is_reported_is_what_happened() {
    for_all(any_scenario, async |scenario| {
        let stage = Stage::new(scenario.oddities);
        for round in &scenario.rounds {
            stage.apply(&scenario.operations, round).await?;
        }
        Ok(())
    });
}

/// What has not succeeded is passed again until nothing is left but what the school refuses: then all is as if nothing had
/// ever gone wrong. Faults after which the component reports a failure for good and for certain are left out here.
#[test]
fn what_is_passed_again_ends_as_if_nothing_had_gone_wrong() {
    for_all(passing_scenario, async |scenario| {
        let stage = Stage::new(scenario.oddities);
        let mut left = scenario.operations.clone();
        for round in &scenario.rounds {
            let report = stage.apply(&left, round).await?;
            left = left.into_iter().zip(&report.results).filter(|(_, result)| is_open(result)).map(|(op, _)| op).collect();
        }
        let report = stage.apply(&left, &calm()).await?;
        if let Some(place) = report.results.iter().position(is_open) {
            return Err(format!("without a fault, {place} of what was left is {:?}", report.results[place]));
        }
        let calmly = Stage::new(scenario.oddities);
        calmly.apply(&scenario.operations, &calm()).await?;
        let (seen, expected) = (stage.members(), calmly.members());
        let other = seen.keys().chain(expected.keys()).find(|key| seen.get(*key) != expected.get(*key));
        let differs = |key| format!("{key} ended as {:#?} instead of {:#?}", seen.get(key), expected.get(key));
        other.map_or(Ok(()), |key| Err(differs(key)))
    });
}

/// A call in which nothing goes wrong.
fn calm() -> Round {
    let setup = Setup { concurrency: 8, max_attempts: 1, deadline: Duration::from_mins(1), stop_on_error: false };
    Round { setup, strikes: vec![] }
}

/// Tries a property with many scenarios on all cores.
fn for_all<S: Strategy<Value = Scenario>>(
    scenarios: impl Fn() -> S + Sync,
    property: impl AsyncFn(&Scenario) -> Result<(), String> + Sync,
) {
    let asked = env::var("SEQUENCES").ok().map(|number| number.parse().expect("SEQUENCES is a number"));
    let sequences: u32 = asked.unwrap_or(SEQUENCES);
    let threads = thread::available_parallelism().map_or(1, |number| u32::try_from(number.get()).unwrap_or(1));
    let start = std::time::Instant::now();
    let part = |nth: u32| {
        let config = Config {
            cases: sequences.div_ceil(threads),
            failure_persistence: Some(Box::new(FileFailurePersistence::Direct(REGRESSIONS))),
            max_shrink_iters: 4000,
            // Ordinarily the same ones each time, so that nobody is held up by what another change brought; a search is new.
            rng_seed: if asked.is_some() { RngSeed::Random } else { RngSeed::Fixed(nth.into()) },
            ..Config::default()
        };
        let test = |scenario| virtual_time(property(&scenario)).map_err(TestCaseError::fail);
        TestRunner::new(config).run(&scenarios(), test).map_err(|failure| failure.to_string())
    };
    let failures: Vec<_> = thread::scope(|scope| {
        let parts: Vec<_> = (0..threads).map(|nth| scope.spawn(move || part(nth))).collect();
        parts.into_iter().filter_map(|part| part.join().expect("no panic").err()).collect()
    });
    println!("{sequences} sequences in {:?}", start.elapsed());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn virtual_time<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(work)
}

/// A simulator in which things go wrong.
struct Stage {
    simulator: Arc<Simulator>,
    /// What is still to go wrong before requests are seen: the observer brings it about.
    unseen: Arc<OnceLock<Unseen>>,
    oddities: Oddities,
}

/// What goes wrong with connections, by the number of requests that come before.
struct Unseen {
    simulator: Weak<Simulator>,
    strikes: std::sync::Mutex<Vec<Strike>>,
    seen: AtomicU32,
}

impl Unseen {
    fn one_more(&self) {
        self.strike(self.seen.fetch_add(1, Ordering::Relaxed) + 1);
    }

    fn strike(&self, seen: u32) {
        let Some(simulator) = self.simulator.upgrade() else { return };
        let strikes = self.strikes.lock().expect("no panic");
        for strike in strikes.iter().filter(|strike| strike.after == seen) {
            match strike.mishap {
                Mishap::Unresolved => simulator.plan_connects(Some(ConnectFault::Unresolved), 1),
                Mishap::Refused => simulator.plan_connects(Some(ConnectFault::Refused), 1),
                Mishap::Silent => simulator.plan_connects(Some(ConnectFault::Silent), 1),
                Mishap::ResetConnection => simulator.reset_connections(1),
                Mishap::WithEffect(_) | Mishap::WithoutEffect(_) => {}
            }
        }
    }
}

impl Stage {
    fn new(oddities: Oddities) -> Self {
        let unseen: Arc<OnceLock<Unseen>> = Arc::default();
        let observer: Observer = {
            let unseen = Arc::clone(&unseen);
            Arc::new(move |_| unseen.get().into_iter().for_each(Unseen::one_more))
        };
        let options = Options {
            clock: Clock::tokio(),
            rate_limit: None,
            schools: vec![school(oddities)],
            on_request: Some(observer),
            ..Options::default()
        };
        let simulator = Arc::new(Simulator::in_memory(options, network()).expect("a free port"));
        let strikes = Unseen { simulator: Arc::downgrade(&simulator), strikes: vec![].into(), seen: 0.into() };
        unseen.get_or_init(|| strikes);
        Self { simulator, unseen, oddities }
    }

    fn school(&self) -> School {
        self.simulator.school(KEY).expect("the school")
    }

    fn members(&self) -> Members {
        members(&self.school())
    }

    /// Applies operations while things go wrong, and says what of the report is not true.
    async fn apply(&self, operations: &[Op], round: &Round) -> Result<Report, String> {
        self.arm(&round.strikes);
        let before = self.school();
        let start = Instant::now();
        let report = self.call(operations, &round.setup).await;
        let took = start.elapsed();
        let journal = self.simulator.journal();
        let after = self.members();
        let results = &report.results;
        let wrong = |why: String| {
            let journal = journal.iter().map(|entry| format!("\n  {} {}", entry.with_addresses(), text(&entry.body)));
            let results = results.iter().enumerate().map(|(place, result)| format!("\n  {place}: {}", brief(result)));
            format!("{why}\nrequests:{}\nresults:{}", journal.collect::<String>(), results.collect::<String>())
        };
        if took > round.setup.deadline + TICK {
            return Err(wrong(format!("it took {took:?}")));
        }
        // Whatever was still under way would be seen by then.
        sleep(Duration::from_mins(10)).await;
        if self.simulator.journal().len() != journal.len() || self.members() != after {
            return Err(wrong("something happened after the call".into()));
        }
        let faultless = round.strikes.is_empty();
        let catalog = Catalog::of(&before, &scenario::ORDERS);
        Promises { operations, report: &report, setup: &round.setup, faultless }.check().map_err(wrong)?;
        Judge { catalog: &catalog, operations, results, faultless }.check(&members(&before), &after).map_err(wrong)?;
        Audit { round, operations, results, journal: &journal }.check().map_err(wrong)?;
        Ok(report)
    }

    async fn call(&self, operations: &[Op], setup: &Setup) -> Report {
        let Setup { concurrency, max_attempts, deadline, stop_on_error } = setup;
        let connection = Connection::new(KEY)
            .base_url(self.simulator.origin())
            .variable("MEMBERSPOT_CONCURRENCY", concurrency.to_string())
            .variable("MEMBERSPOT_MAX_ATTEMPTS", max_attempts.to_string())
            .variable("MEMBERSPOT_DEADLINE_MS", deadline.as_millis().to_string());
        let operations: Vec<_> = operations.iter().map(Op::json).collect();
        let request = json!({"operations": operations, "stopOnError": stop_on_error});
        let outcome = host_in_memory().call(&host_in_memory().tenant("model", connection), "apply-operations", &request).await;
        read(&outcome.expect("an end").into_json().expect("a report"))
    }

    /// Takes back what was to go wrong, and lets other things go wrong from now on.
    fn arm(&self, strikes: &[Strike]) {
        self.simulator.clear_journal();
        self.simulator.clear_faults();
        self.simulator.reset_connections(0);
        // Before the others, since a server that takes it once takes it always.
        if self.oddities.no_body_of_delete {
            let refusal = Fault::RefuseBody(StatusCode::METHOD_NOT_ALLOWED);
            self.simulator.inject(Injection::everywhere(refusal).method(Method::DELETE));
        }
        for Strike { after, mishap } in strikes {
            let injection = match mishap {
                Mishap::WithEffect(play) => Injection::everywhere(play.fault()).with_effect(),
                Mishap::WithoutEffect(play) => Injection::everywhere(play.fault()),
                _ => continue,
            };
            self.simulator.inject(injection.after(*after).once());
        }
        let unseen = self.unseen.get().expect("is set first");
        *unseen.strikes.lock().expect("no panic") = strikes.to_vec();
        unseen.seen.store(0, Ordering::Relaxed);
        unseen.strike(0);
    }
}

fn brief(result: &Outcome) -> String {
    match result {
        Outcome::Done(_) => "done".into(),
        Outcome::Failed(Failure { code, transient, outcome_unknown, attempts, .. }) => {
            format!("failed: {code}, transient: {transient}, unknown: {outcome_unknown}, attempts: {attempts}")
        }
        Outcome::NotStarted => "not started".into(),
    }
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}

/// The demo school with an owner.
fn school(oddities: Oddities) -> School {
    let mut school = School::demo();
    let member = school.member("greta@example.org").expect("a member");
    school.insert(memberspot_host::simulator::Member::new("uid-owner", OWNER, member.created));
    school.undeletable.insert(OWNER.into());
    if oddities.property_id {
        school.dialect.property_key = PropertyKey::PropertyId;
    }
    school
}

/// The model can fail: it knows a report that is not true.
#[test]
fn a_report_that_is_not_true_is_found_out() {
    let calmly = Oddities { property_id: false, no_body_of_delete: false };
    let op = Op::Grant { email: "zoe@example.com", offer: "offer-breath", order: None, name: None };
    let before = school(calmly);
    let catalog = Catalog::of(&before, &scenario::ORDERS);
    let absent = members(&before);
    let present = virtual_time(async {
        let stage = Stage::new(calmly);
        stage.apply(from_ref(&op), &calm()).await.expect("a true report");
        stage.members()
    });
    let failure = |outcome_unknown| {
        let failure = json!({"tag": "transient", "val": {
            "code": "unreachable", "message": "", "outcomeUnknown": outcome_unknown, "attempts": 1, "details": []
        }});
        Outcome::Failed(Failure::read(&failure))
    };
    for (result, when_absent, when_present) in [
        (Outcome::Done(json!(null)), false, true),
        (failure(false), true, false),
        (failure(true), true, true),
        (Outcome::NotStarted, true, false),
    ] {
        let judge = Judge { catalog: &catalog, operations: from_ref(&op), results: from_ref(&result), faultless: false };
        let seen = [&absent, &present].map(|after| judge.check(&absent, after).is_ok());
        assert_eq!(seen, [when_absent, when_present], "{result:?}");
    }
}
