//! The limit of Memberspot, kept over all calls with a key: as the simulator counts it, in virtual time.

use std::time::Duration;

use memberspot_host::simulator::{Clock, Fault, HeaderValue, Injection, Options, School, StatusCode};
use memberspot_host::{Connection, Host, rate::Buckets};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::stage::{KEY, Stage, network};

/// The demo school, and another one.
fn stage() -> Stage {
    stage_with(School::demo())
}

fn stage_with(school: School) -> Stage {
    let latency = Duration::from_millis(20);
    Stage::in_memory(Options {
        clock: Clock::tokio(),
        latency,
        schools: vec![school, School::new("other", OTHER_KEY)],
        ..Options::default()
    })
}

const OTHER_KEY: &str = "other-key";

/// The functions with a limit, in turn.
fn limited(number: usize) -> (&'static str, Value) {
    let email = "anna@example.com";
    match number % 4 {
        0 => ("list-users", json!({})),
        1 => ("find-user", json!({"email": email})),
        2 => ("list-course-progress", json!({"email": email})),
        _ => ("get-course-progress", json!({"courseId": "course-breathing", "email": email})),
    }
}

fn refused(stage: &Stage) -> usize {
    stage.simulator.journal().iter().filter(|entry| entry.status() == Some(429)).count()
}

#[tokio::test(start_paused = true)]
async fn calls_with_the_same_key_share_the_limit_and_none_is_lost() {
    let stage = stage();
    let calls = (0..10).map(async |instance| {
        for number in 0..5 {
            let (function, input) = limited(instance + number);
            stage.call(function, input).await.unwrap_or_else(|failure| panic!("{function}: {failure:?}"));
        }
    });
    futures_util::future::join_all(calls).await;
    assert_eq!((stage.simulator.journal().len(), refused(&stage)), (50, 0));
}

/// The other side of the test above.
#[tokio::test(start_paused = true)]
async fn without_it_the_limit_is_hit() {
    let stage = stage();
    let host = Host::builder().sender(network().clone()).no_rate_limiter().build().unwrap();
    let tenant = host.tenant("t", stage.connection.clone());
    let calls = (0..10).map(async |_| host.call(&tenant, "list-users", &json!({})).await.unwrap());
    futures_util::future::join_all(calls).await;
    assert_eq!(refused(&stage), 6);
}

#[tokio::test(start_paused = true)]
async fn other_keys_and_other_routes_do_not_wait() {
    let stage = stage();
    let other = stage.connection.clone().key(OTHER_KEY);
    let started = Instant::now();
    let call = async |connection: &Connection, function| {
        stage.call_with(connection, function, json!({})).await.unwrap();
        started.elapsed()
    };
    let flood = (0..8).map(|_| call(&stage.connection, "list-users"));
    let flood = futures_util::future::join_all(flood);
    let (flood, other, offers) = tokio::join!(flood, call(&other, "list-users"), call(&stage.connection, "list-offers"));
    let quick = Duration::from_secs(1);
    assert!(other < quick && offers < quick, "{other:?} {offers:?}");
    assert!(flood.iter().filter(|elapsed| **elapsed < quick).count() == 4, "{flood:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_beyond_the_deadline_is_the_callers() {
    let stage = stage().configured("MEMBERSPOT_DEADLINE_MS", "5000").configured("MEMBERSPOT_MAX_ATTEMPTS", "3");
    let calls = (0..30).map(async |_| stage.call("list-users", json!({})).await);
    let results = futures_util::future::join_all(calls).await;
    let failures: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    assert_eq!((stage.simulator.journal().len() + failures.len(), refused(&stage)), (30, 0), "what is refused is not sent");
    assert!((8..15).contains(&failures.len()), "{failures:?}");
    for failure in failures {
        assert_eq!((failure.code.as_str(), failure.transient, failure.outcome_unknown), ("rateLimited", true, false));
        // After five rounds of four, in whole seconds.
        assert!(matches!(failure.retry_after_ms, Some(5000 | 6000)), "{failure:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_by_the_server_holds_all_calls_with_the_key() {
    let stage = stage();
    let fault = Fault::retry_after(StatusCode::TOO_MANY_REQUESTS, HeaderValue::from_static("7"));
    stage.simulator.inject(Injection::everywhere(fault).once());
    let failure = stage.call("list-users", json!({})).await.unwrap_err();
    assert_eq!(failure.retry_after_ms, Some(7000));
    let started = Instant::now();
    let other = stage.connection.clone().key(OTHER_KEY);
    stage.call_with(&other, "list-users", json!({})).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(1));
    stage.call("find-user", json!({"email": "anna@example.com"})).await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(6), "{:?}", started.elapsed());
    assert_eq!(stage.simulator.journal().len(), 3);
}

/// One setting for both: a call that is alone is as quick as with the component's pace alone.
#[tokio::test(start_paused = true)]
async fn the_two_paces_do_not_add_up() {
    let walk = async |host: &Host| {
        let stage = stage_with(School::with_members(1500));
        let tenant = host.tenant("t", stage.connection.clone());
        let started = Instant::now();
        let walked = host.call(&tenant, "collect-users", &json!({"maxUsers": 100_000})).await.unwrap().into_json().unwrap();
        assert_eq!((&walked["complete"], refused(&stage)), (&json!(true), 0));
        (stage.simulator.journal().len(), started.elapsed())
    };
    let builder = || Host::builder().sender(network().clone());
    let with = builder().rate_limiter(Buckets::default()).build().unwrap();
    let without = builder().no_rate_limiter().build().unwrap();
    let (requests, elapsed) = walk(&without).await;
    assert!(requests >= 15 && elapsed > Duration::from_secs(3), "{requests} in {elapsed:?}");
    assert_eq!(walk(&with).await, (requests, elapsed));
}

#[tokio::test(start_paused = true)]
async fn tenants_with_the_same_key_share_the_limit() {
    let stage = stage();
    let tenants = ["a", "b", "c"].map(|id| crate::stage::host_in_memory().tenant(id, stage.connection.clone().key(KEY)));
    let calls = tenants.iter().cycle().take(12).map(async |tenant| {
        let outcome = crate::stage::host_in_memory().call(tenant, "list-users", &json!({})).await.unwrap();
        outcome.into_json().unwrap();
    });
    let started = Instant::now();
    futures_util::future::join_all(calls).await;
    assert!(started.elapsed() >= Duration::from_secs(2), "three rounds of four, whoever makes them");
    assert_eq!((stage.simulator.journal().len(), refused(&stage)), (12, 0));
}
