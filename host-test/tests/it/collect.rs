//! Whole lists, whatever the pages are like.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use memberspot_host::simulator::{Clock, Fault, Injection, Options, Reshape, School, StatusCode};
use serde_json::{Value, json};

use crate::stage::Stage;

const LIST: &str = "/v1/users/list";

/// A school of so many members, without a rate limit on either side.
async fn school_of(members: u32) -> Stage {
    let schools = vec![School::with_members(members)];
    let options = Options { clock: Clock::manual(), rate_limit: None, schools, ..Options::default() };
    Stage::with(options).await.configured("MEMBERSPOT_REQUESTS_PER_SECOND", "0")
}

fn uids(collected: &Value) -> Vec<String> {
    let users = collected["users"].as_array().expect("users");
    users.iter().map(|user| user["uid"].as_str().expect("a uid").to_owned()).collect()
}

#[track_caller]
fn assert_unique(uids: &[String]) {
    let unique: BTreeSet<_> = uids.iter().collect();
    assert_eq!(unique.len(), uids.len(), "a member came twice");
}

/// How long the pages were that were asked for.
fn lengths(stage: &Stage) -> Vec<String> {
    let pairs = stage.simulator.journal().into_iter().flat_map(|entry| entry.query_pairs());
    pairs.filter(|(name, _)| name == "pageLength").map(|(_, value)| value).collect()
}

#[tokio::test]
async fn all_pages_are_walked() {
    let stage = school_of(250).await;
    let collected = stage.call("collect-users", json!({"maxUsers": 100_000})).await.unwrap();
    let uids = uids(&collected);
    assert_eq!(uids.len(), 250);
    assert_unique(&uids);
    assert_eq!((&collected["complete"], &collected["undated"]), (&json!(true), &json!(0)));
    assert!(collected.get("nextPage").is_none() && collected.get("interruptedBy").is_none());
    assert_eq!(lengths(&stage), ["100", "100", "100"]);
}

#[tokio::test]
async fn as_many_as_wanted_and_then_the_rest() {
    let stage = school_of(250).await;
    let mut all = vec![];
    let mut input = json!({"maxUsers": 120});
    for (number, asked) in [(120, ["100", "20"].as_slice()), (120, &["100", "20"]), (10, &["100"])] {
        stage.simulator.clear_journal();
        let collected = stage.call("collect-users", input).await.unwrap();
        assert_eq!((uids(&collected).len(), lengths(&stage)), (number, asked.iter().map(ToString::to_string).collect()));
        assert_eq!(collected["complete"], number == 10);
        assert!(collected.get("interruptedBy").is_none());
        input = json!({"maxUsers": 120, "pageToken": collected.get("nextPage")});
        all.extend(uids(&collected));
    }
    assert_eq!(all.len(), 250);
    assert_unique(&all);
}

#[tokio::test]
async fn a_fault_on_a_later_page_loses_nothing() {
    let stage = school_of(1000).await;
    let unavailable = Fault::status(StatusCode::SERVICE_UNAVAILABLE);
    stage.simulator.inject(Injection::new(LIST, unavailable).after(6).once());
    let first = stage.call("collect-users", json!({"maxUsers": 5000})).await.unwrap();
    assert_eq!((uids(&first).len(), &first["complete"]), (600, &json!(false)));
    let failure = &first["interruptedBy"];
    assert_eq!((&failure["code"], &failure["status"], &failure["attempts"]), (&json!("unavailable"), &json!(503), &json!(1)));
    let rest = stage.call("collect-users", json!({"maxUsers": 5000, "pageToken": first["nextPage"]})).await.unwrap();
    assert_eq!(rest["complete"], true);
    let all = [uids(&first), uids(&rest)].concat();
    assert_eq!(all.len(), 1000);
    assert_unique(&all);
}

#[tokio::test]
async fn a_first_page_that_fails_is_an_error() {
    let stage = school_of(10).await;
    let failure =
        stage.faulty(Fault::status(StatusCode::BAD_GATEWAY), "collect-users", json!({"maxUsers": 5})).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.transient, failure.attempts), ("unavailable", true, 1));
    let stage = stage.configured("MEMBERSPOT_SCOPES", "write");
    let failure = stage.call("collect-users", json!({"maxUsers": 5})).await.unwrap_err();
    failure.assert_unsent("notPermitted");
    assert!(failure.message.contains("collect-users"), "{}", failure.message);
}

#[tokio::test]
async fn a_page_that_is_too_long_is_halved() {
    let stage = school_of(250).await;
    let refusal = Fault::refusal(StatusCode::BAD_REQUEST, json!(["pageLength must not be greater than 30"]));
    stage.simulator.inject(Injection::new(LIST, refusal).times(2));
    let collected = stage.call("collect-users", json!({"maxUsers": 1000})).await.unwrap();
    assert_eq!(uids(&collected).len(), 250);
    let lengths = lengths(&stage);
    assert_eq!(lengths[..4], ["100", "50", "25", "25"]);
    assert_eq!(lengths.len(), 2 + 10);

    let stage = school_of(10).await;
    let refusal = Fault::refusal(StatusCode::BAD_REQUEST, json!(["offerId is unknown"]));
    let failure = stage.faulty(refusal, "collect-users", json!({"maxUsers": 5, "offerId": "o"})).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.attempts), ("rejected", 1), "that is not about the length");
}

/// A list whose pages are changed on their way, each knowing how many came before it.
async fn with_pages(members: u32, change: impl Fn(usize, &mut Value) + Send + Sync + 'static) -> Stage {
    let stage = school_of(members).await;
    let count = AtomicUsize::new(0);
    let reshape = Reshape::With(Arc::new(move |mut page| {
        change(count.fetch_add(1, Ordering::Relaxed), &mut page);
        page
    }));
    stage.simulator.inject(Injection::new(LIST, Fault::reshape(reshape)));
    stage
}

#[tokio::test]
async fn a_token_that_comes_again_ends_the_walk() {
    let stage = with_pages(500, |_, page| page["nextPage"] = json!("again")).await;
    let collected = stage.call("collect-users", json!({"maxUsers": 1000})).await.unwrap();
    assert_eq!(collected["interruptedBy"]["code"], "invalidResponse");
    assert_eq!(collected["complete"], false);
    assert!(collected.get("nextPage").is_none());
    assert_eq!(stage.simulator.journal().len(), 2);
    assert_unique(&uids(&collected));

    let again = json!({"maxUsers": 1000, "pageToken": "again"});
    stage.simulator.clear_journal();
    let collected = stage.call("collect-users", again).await.unwrap();
    assert_eq!(collected["interruptedBy"]["code"], "invalidResponse");
    assert_eq!(stage.simulator.journal().len(), 1);
}

#[tokio::test]
async fn a_token_that_cannot_be_used_ends_the_walk() {
    let stage = with_pages(500, |_, page| page["nextPage"] = json!("x".repeat(5000))).await;
    let collected = stage.call("collect-users", json!({"maxUsers": 1000})).await.unwrap();
    assert_eq!((uids(&collected).len(), &collected["interruptedBy"]["code"]), (100, &json!("invalidResponse")));
    assert!(collected.get("nextPage").is_none());
}

#[tokio::test]
async fn empty_pages_are_passed_but_not_for_ever() {
    let stage = with_pages(300, |count, page| {
        if count == 0 {
            page["users"] = json!([]);
        }
    })
    .await;
    let collected = stage.call("collect-users", json!({"maxUsers": 1000})).await.unwrap();
    assert_eq!((uids(&collected).len(), &collected["complete"]), (200, &json!(true)));

    let stage = with_pages(300, |count, page| *page = json!({"users": [], "nextPage": format!("page-{count}")})).await;
    let collected = stage.call("collect-users", json!({"maxUsers": 1000})).await.unwrap();
    assert_eq!(collected["interruptedBy"]["code"], "invalidResponse");
    assert_eq!(stage.simulator.journal().len(), 10);
    assert!(collected.get("nextPage").is_none(), "it would lead on and on");

    // The same with members who are not wanted: each counts once, and new tokens do not make them new.
    let stage = with_pages(300, |count, page| {
        *page = json!({"users": [{"uid": "u", "email": "e"}], "nextPage": format!("page-{count}")});
    })
    .await;
    let collected = stage.call("collect-users", json!({"maxUsers": 1000, "createdAfter": "2026-01-01"})).await.unwrap();
    assert_eq!((&collected["interruptedBy"]["code"], &collected["undated"]), (&json!("invalidResponse"), &json!(1)));
    assert_eq!(stage.simulator.journal().len(), 11);
}

#[tokio::test]
async fn a_member_who_comes_twice_is_returned_once() {
    let stage = with_pages(300, |_, page| {
        let users = page["users"].as_array_mut().expect("users");
        users.insert(0, json!({"uid": "always", "email": "always@example.com"}));
        users.push(users[1].clone());
    })
    .await;
    let collected = stage.call("collect-users", json!({"maxUsers": 1000})).await.unwrap();
    assert_eq!((uids(&collected).len(), &collected["complete"]), (301, &json!(true)));
    assert_unique(&uids(&collected));
}

#[tokio::test]
async fn members_are_picked_by_their_creation() {
    let stage = with_pages(300, |_, page| {
        for (index, user) in page["users"].as_array_mut().expect("users").iter_mut().enumerate() {
            match index % 4 {
                0 => user["created"] = json!("2026-03-01T00:00:00.000Z"),
                1 => user["created"] = json!("2026-03-02T01:00:00+01:00"),
                2 => user["created"] = json!("2026-03-02T00:00:00.001Z"),
                _ => user["created"] = Value::Null,
            }
        }
    })
    .await;
    let since = "2026-03-01";
    let collected = stage.call("collect-users", json!({"maxUsers": 1000, "createdAfter": since})).await.unwrap();
    assert_eq!((uids(&collected).len(), &collected["undated"]), (150, &json!(75)));
    // With fewer than there are, the walk stops between two members, and goes on there.
    let mut all = vec![];
    let mut undated = 0;
    let mut input = json!({"maxUsers": 40, "createdAfter": since});
    loop {
        let collected = stage.call("collect-users", input).await.unwrap();
        all.extend(uids(&collected));
        undated += collected["undated"].as_u64().unwrap();
        let Some(next) = collected.get("nextPage") else { break };
        assert_eq!((uids(&collected).len(), &collected["complete"]), (40, &json!(false)));
        input = json!({"maxUsers": 40, "createdAfter": since, "pageToken": next});
    }
    assert_unique(&all);
    assert!(!all.is_empty() && undated > 0);
}

#[tokio::test]
async fn what_comes_back_is_bounded() {
    let stage = school_of(500).await.configured("MEMBERSPOT_MAX_RESPONSE_BYTES", "60000");
    let mut all = vec![];
    let mut calls = 0;
    let mut input = json!({"maxUsers": 1000});
    loop {
        let collected = stage.call("collect-users", input).await.unwrap();
        all.extend(uids(&collected));
        calls += 1;
        assert!(collected.get("interruptedBy").is_none());
        let Some(next) = collected.get("nextPage") else { break };
        input = json!({"maxUsers": 1000, "pageToken": next});
    }
    assert!(calls > 1, "one call brought it all");
    assert_eq!(all.len(), 500);
    assert_unique(&all);
}

#[tokio::test]
async fn as_many_as_there_is_room_for() {
    let stage = school_of(60_000).await.configured("MEMBERSPOT_MAX_RESPONSE_BYTES", "16777216");
    let collected = stage.call("collect-users", json!({"maxUsers": 100_000})).await.unwrap();
    assert_eq!((uids(&collected).len(), &collected["complete"]), (60_000, &json!(true)));
}

#[tokio::test]
async fn progress_in_all_courses_is_collected() {
    let stage = Stage::new().await.configured("MEMBERSPOT_REQUESTS_PER_SECOND", "0");
    let count = AtomicUsize::new(0);
    let pages = Reshape::With(Arc::new(move |_| {
        let page = count.fetch_add(1, Ordering::Relaxed);
        let entries: Vec<_> = (0..100).map(|nth| json!({"courseId": format!("course-{}", page * 99 + nth)})).collect();
        if page < 2 { json!({"data": entries, "nextPage": format!("{page}")}) } else { json!(entries) }
    }));
    stage.simulator.inject(Injection::new("/v1/users/course-progress/list/{}", Fault::reshape(pages)));
    let collected = stage.call("collect-course-progress", json!({"email": "anna@example.com"})).await.unwrap();
    let entries = collected["entries"].as_array().unwrap();
    assert_eq!(
        (entries.len(), &collected["complete"]),
        (298, &json!(true)),
        "each page repeats the last course of the one before"
    );
}
