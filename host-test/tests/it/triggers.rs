//! Polls over several calls, whatever becomes of the calls.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use memberspot_host::simulator::{Clock, Fault, Injection, Member, Options, School, Simulator, StatusCode};
use serde_json::{Value, json};

use crate::stage::{KEY, Stage};

const LIST: &str = "/v1/users/list";

/// A school of so many members on a clock that stands still, without a rate limit on either side.
async fn school_of(members: u32) -> Stage {
    let schools = vec![School::with_members(members)];
    let options = Options { clock: Clock::manual(), rate_limit: None, schools, ..Options::default() };
    Stage::with(options).await.configured("MEMBERSPOT_REQUESTS_PER_SECOND", "0")
}

fn uids(batch: &Value) -> Vec<String> {
    let users = batch["users"].as_array().expect("users");
    users.iter().map(|user| user["uid"].as_str().expect("a uid").to_owned()).collect()
}

/// Lets so many members come, with names that put them anywhere on the list.
fn come(simulator: &Simulator, number: &mut u32, count: u32) {
    let now = simulator.clock().now();
    simulator.edit_school(KEY, |school| {
        for _ in 0..count {
            *number += 1;
            let uid = format!("uid-{:08}-new", *number * 7919 % 50_000);
            school.insert(Member::new(uid, format!("new-{number}@example.org"), now));
        }
    });
}

async fn poll(stage: &Stage, cursor: &Value) -> Value {
    stage.call("poll-new-users", json!({"maxUsers": 1000, "cursor": cursor})).await.unwrap()
}

#[tokio::test]
async fn a_pass_goes_on_where_a_fault_ended_it() {
    let stage = school_of(1000).await;
    let first = poll(&stage, &Value::Null).await;
    let mut number = 0;
    come(&stage.simulator, &mut number, 50);
    stage.simulator.clock().advance(Duration::from_secs(5));
    stage.simulator.inject(Injection::new(LIST, Fault::status(StatusCode::SERVICE_UNAVAILABLE)).after(6).once());
    let part = poll(&stage, &first["cursor"]).await;
    assert_eq!((&part["more"], &part["interruptedBy"]["code"]), (&json!(true), &json!("unavailable")));
    stage.simulator.clear_journal();
    let rest = poll(&stage, &part["cursor"]).await;
    assert_eq!((&rest["more"], rest.get("interruptedBy")), (&json!(false), None));
    assert_eq!(stage.simulator.journal().len(), 5, "the pages that were left");
    let all = [uids(&part), uids(&rest)].concat();
    assert_eq!((all.len(), all.iter().collect::<BTreeSet<_>>().len()), (50, 50));
}

#[tokio::test]
async fn a_pass_begins_anew_where_its_token_is_refused() {
    let stage = school_of(300).await;
    let first = poll(&stage, &Value::Null).await;
    let mut number = 0;
    come(&stage.simulator, &mut number, 40);
    stage.simulator.clock().advance(Duration::from_secs(5));
    stage.simulator.inject(Injection::new(LIST, Fault::status(StatusCode::SERVICE_UNAVAILABLE)).after(1).once());
    let part = poll(&stage, &first["cursor"]).await;
    assert_eq!(part["more"], true);
    let refusal = Fault::refusal(StatusCode::BAD_REQUEST, json!(["lastLoadedId is unknown"]));
    stage.simulator.inject(Injection::new(LIST, refusal).once());
    let rest = poll(&stage, &part["cursor"]).await;
    assert_eq!(rest["more"], false);
    // Those who were reported already were created so late that they are remembered.
    let all = [uids(&part), uids(&rest)].concat();
    assert_eq!((all.len(), all.iter().collect::<BTreeSet<_>>().len()), (40, 40));
}

/// What becomes of a poll.
#[derive(Clone, Copy)]
enum End {
    /// Its members were dealt with and its cursor kept.
    Kept,
    /// Killed after its members were dealt with, and before its cursor was kept.
    CursorLost,
    /// Killed before that.
    AllLost,
}

/// Somebody who polls, and is killed at times.
#[derive(Default)]
struct Poller {
    cursor: Value,
    calls: u32,
    reported: BTreeMap<String, u32>,
}

impl Poller {
    async fn poll(&mut self, stage: &Stage, end: End) -> bool {
        let batch = poll(stage, &self.cursor).await;
        self.calls += 1;
        assert!(batch["cursor"].as_str().unwrap().len() <= 20 << 10);
        if !matches!(end, End::AllLost) {
            uids(&batch).into_iter().for_each(|uid| *self.reported.entry(uid).or_default() += 1);
        }
        if matches!(end, End::Kept) {
            self.cursor = batch["cursor"].clone();
        }
        batch["more"] == true
    }
}

/// As over the internet, with the pace that Memberspot asks for, only that nobody has to wait for it.
#[tokio::test(start_paused = true)]
async fn nobody_is_missed_among_fifty_thousand() {
    let schools = vec![School::with_members(50_000)];
    let stage = Stage::in_memory(Options { clock: Clock::tokio(), schools, ..Options::default() });
    let stage = stage.configured("MEMBERSPOT_MAX_ATTEMPTS", "3");
    let mut poller = Poller::default();
    assert!(!poller.poll(&stage, End::Kept).await);
    let mut number = 0;
    for seed in 1..=2 {
        stage.simulator.edit_school(KEY, |school| school.shuffle_members(seed));
        come(&stage.simulator, &mut number, 60);
        tokio::time::sleep(Duration::from_secs(240)).await;
        // A pass takes three calls of a minute each, and more where one is killed.
        let mut ends = [End::Kept, End::CursorLost, End::AllLost].into_iter();
        while poller.poll(&stage, ends.next().unwrap_or(End::Kept)).await {
            come(&stage.simulator, &mut number, 20);
        }
    }
    stage.simulator.edit_school(KEY, |school| school.shuffle_members(3));
    tokio::time::sleep(Duration::from_secs(1)).await;
    while poller.poll(&stage, End::Kept).await {}

    let came = stage.school().member_count() - 50_000;
    let repeats = poller.reported.values().sum::<u32>() as usize - poller.reported.len();
    let requests = stage.simulator.journal().last().map_or(0, |entry| entry.sequence);
    println!("{came} new members: {repeats} repeats, {} calls, {requests} requests", poller.calls);
    assert_eq!(came, usize::try_from(number).unwrap(), "no two have the same uid");
    assert_eq!(poller.reported.len(), came, "each of them, and nobody else");
}
