//! Many operations in one call: order, independence, and what is reported.

use std::collections::BTreeMap;

use memberspot_host::simulator::{Fault, HeaderValue, Injection, Method, PropertyKey, StatusCode};
use serde_json::{Value, json};

use crate::stage::{Failure, KEY, Stage};

const GRANT: &str = "/v1/users/grant-user-offer-by-mail";
const DELETE: &str = "/v1/users/delete-users";

/// A report, read.
pub struct Report {
    pub results: Vec<Outcome>,
    pub retry_after_ms: Option<u64>,
}

/// What became of an operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Done(Value),
    Failed(Failure),
    NotStarted,
}

impl Outcome {
    #[track_caller]
    fn failure(&self) -> &Failure {
        let Self::Failed(failure) = self else { panic!("{self:?} is no failure") };
        failure
    }

    fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }
}

/// Reads a report, and checks its counts.
pub fn read(report: &Value) -> Report {
    let results = report["results"].as_array().expect("results").iter().map(|result| match result["tag"].as_str() {
        Some("done") => Outcome::Done(serde_json::from_str(result["val"].as_str().expect("a text")).expect("JSON")),
        Some("failed") => Outcome::Failed(Failure::read(&result["val"])),
        Some("notStarted") => Outcome::NotStarted,
        other => panic!("{other:?} is no result"),
    });
    let results: Vec<_> = results.collect();
    let count = |is: fn(&Outcome) -> bool| results.iter().filter(|result| is(result)).count();
    assert_eq!(report["done"], count(Outcome::is_done));
    assert_eq!(report["failed"], count(|result| matches!(result, Outcome::Failed(_))));
    assert_eq!(report["notStarted"], count(|result| *result == Outcome::NotStarted));
    Report { results, retry_after_ms: report["retryAfterMs"].as_u64() }
}

async fn apply(stage: &Stage, operations: &[Value]) -> Report {
    apply_with(stage, operations, json!({"stopOnError": false})).await
}

async fn apply_with(stage: &Stage, operations: &[Value], mut request: Value) -> Report {
    request["operations"] = json!(operations);
    let report = stage.call("apply-operations", request).await.unwrap();
    let report = read(&report);
    assert_eq!(report.results.len(), operations.len());
    report
}

fn operation(tag: &str, val: Value) -> Value {
    json!({"tag": tag, "val": val})
}

fn on_offer(tag: &str, email: &str, offer: &str) -> Value {
    operation(tag, json!({"email": email, "offerId": offer}))
}

fn grant(email: &str) -> Value {
    on_offer("grantAccess", email, "offer-breath")
}

fn delete(email: &str) -> Value {
    operation("deleteUser", json!(email))
}

fn set(email: &str, property: &str, value: &str) -> Value {
    let value = json!({"property": {"tag": "name", "val": property}, "value": value});
    operation("setProperties", json!({"email": email, "values": [value]}))
}

/// The bodies that a path received, in order.
fn bodies(stage: &Stage, path: &str) -> Vec<Value> {
    let journal = stage.simulator.journal().into_iter().filter(|entry| entry.path == path);
    journal.map(|entry| entry.json().expect("JSON")).collect()
}

fn done(json: Value) -> Outcome {
    Outcome::Done(json)
}

#[tokio::test]
async fn every_operation_does_what_its_function_does() {
    let stage = Stage::new().await;
    let anna = "anna@example.com";
    let order = json!({"email": anna, "orderId": "order-1001"});
    let chapter = json!({"email": anna, "courseId": "course-breathing", "chapterId": "chapter-breathing-1"});
    let operations = [
        operation("grantAccess", json!({"email": "ada@example.com", "offerId": "offer-breath", "firstName": "Ada"})),
        on_offer("revokeAccess", anna, "offer-yoga-basic"),
        on_offer("restoreAccess", anna, "offer-yoga-basic"),
        operation("setAccessExpiration", json!({"email": anna, "offerId": "offer-yoga-basic", "expiresAt": "2027-01-31"})),
        on_offer("deleteAccess", anna, "offer-yoga-basic"),
        operation("revokeOrderAccess", order.clone()),
        operation("restoreOrderAccess", order.clone()),
        operation("deleteOrderAccess", order),
        set(anna, "Level", "expert"),
        operation("enableChapterAccess", chapter),
        delete("ben@example.com"),
    ];
    // One by one, through the functions themselves.
    let single = Stage::new().await;
    for (operation, result) in operations.iter().zip(apply(&stage, &operations).await.results) {
        let tag = operation["tag"].as_str().unwrap();
        let name: String =
            tag.chars().flat_map(|c| c.is_uppercase().then_some('-').into_iter().chain(c.to_lowercase())).collect();
        let outcome = match name.as_str() {
            "delete-user" => single.call("delete-users", json!({"emails": [operation["val"]]})).await,
            name => single.call(name, operation["val"].clone()).await,
        };
        match (outcome, result) {
            (Ok(expected), Outcome::Done(json)) => assert_eq!(json, expected, "{tag}"),
            (Err(expected), Outcome::Failed(failure)) => assert_eq!(failure, expected, "{tag}"),
            (expected, other) => panic!("{tag}: {other:?} instead of {expected:?}"),
        }
    }
    let sent = |stage: &Stage| {
        let journal =
            stage.simulator.journal().into_iter().map(|entry| (entry.method.to_string(), entry.path.clone(), entry.json()));
        let mut sent: Vec<_> = journal.map(|sent| format!("{sent:?}")).collect();
        sent.sort_unstable();
        sent
    };
    assert_eq!(sent(&stage), sent(&single));
}

#[tokio::test]
async fn a_bad_operation_fails_alone() {
    let stage = Stage::new().await.configured("MEMBERSPOT_SCOPES", "write");
    let operations = [
        grant("a@example.com"),
        grant("not an address"),
        on_offer("grantAccess", "b@example.com", "no-such-offer"),
        on_offer("deleteAccess", "anna@example.com", "offer-yoga-basic"),
        delete("anna@example.com"),
        delete("nobody"),
        set("a@example.com", "No such property", ""),
        grant("c@example.com"),
    ];
    let results = apply(&stage, &operations).await.results;
    let code = |place: usize| results[place].failure().code.as_str();
    assert!(results[0].is_done() && results[7].is_done());
    results[1].failure().assert_unsent("invalidInput");
    assert_eq!((code(2), results[2].failure().attempts), ("notFound", 1));
    results[3].failure().assert_unsent("notPermitted");
    results[4].failure().assert_unsent("notPermitted");
    results[5].failure().assert_unsent("invalidInput");
    results[6].failure().assert_unsent("invalidInput");
    assert!(stage.school().member("anna@example.com").is_some());
    assert!(stage.school().member("c@example.com").is_some());
}

#[tokio::test]
async fn a_member_keeps_the_order_whatever_the_answers_take() {
    let stage = Stage::new().await;
    // Were it not for the order, the later requests would overtake the first one.
    stage.simulator.inject(Injection::new(GRANT, Fault::Delay(std::time::Duration::from_millis(30))).once());
    let operations = [
        grant("Mia@example.com"),
        on_offer("revokeAccess", "mia@example.com", "offer-breath"),
        grant("tim@example.com"),
        on_offer("restoreAccess", "MIA@example.com", "offer-breath"),
        on_offer("revokeAccess", "mia@example.com", "offer-breath"),
    ];
    assert!(apply(&stage, &operations).await.results.iter().all(Outcome::is_done));
    let states = bodies(&stage, "/v1/users/set-offer-state");
    let active: Vec<_> = states.iter().map(|body| body["active"].as_bool()).collect();
    assert_eq!(active, [Some(false), Some(true), Some(false)]);
    assert!(!stage.school().member("mia@example.com").unwrap().grants["offer-breath"].active);
}

#[tokio::test]
async fn neighbours_that_are_identical_are_sent_once() {
    let stage = Stage::new().await;
    let revoke = on_offer("revokeAccess", "mia@example.com", "offer-breath");
    let mia = grant("mia@example.com");
    let operations = [mia.clone(), grant("tim@example.com"), mia.clone(), revoke.clone(), revoke, mia];
    assert!(apply(&stage, &operations).await.results.iter().all(Outcome::is_done));
    assert_eq!((bodies(&stage, GRANT).len(), bodies(&stage, "/v1/users/set-offer-state").len()), (3, 1));
}

#[tokio::test]
async fn barriers_hold() {
    let stage = Stage::new().await;
    let delay = |path, after| Injection::new(path, Fault::Delay(std::time::Duration::from_millis(20))).after(after).once();
    stage.simulator.inject(delay(GRANT, 0));
    stage.simulator.inject(delay(DELETE, 0));
    stage.simulator.inject(delay("/v1/users/set-order-state", 0));
    let operations = [
        grant("a@example.com"),
        grant("b@example.com"),
        operation("deleteOrderAccess", json!({"orderId": "order-1001"})),
        grant("c@example.com"),
        delete("a@example.com"),
        delete("b@example.com"),
        grant("d@example.com"),
        grant("a@example.com"),
    ];
    let results = apply(&stage, &operations).await.results;
    assert!(results.iter().all(Outcome::is_done), "{results:?}");
    let journal = stage.simulator.journal();
    let paths: Vec<_> = journal.iter().map(|entry| entry.path.rsplit('/').next().unwrap().to_owned()).collect();
    let grant = "grant-user-offer-by-mail";
    assert_eq!(paths, [grant, grant, "set-order-state", grant, "delete-users", grant, grant]);
    assert!(stage.school().member("a@example.com").is_some() && stage.school().member("b@example.com").is_none());
}

#[tokio::test]
async fn a_refused_deletion_is_split_until_the_guilty_stands_alone() {
    let stage = Stage::new().await;
    for nth in 0..150 {
        stage.call("grant-access", json!({"email": format!("m{nth}@example.com"), "offerId": "offer-breath"})).await.unwrap();
    }
    stage.simulator.clear_journal();
    stage.simulator.edit_school(KEY, |school| school.undeletable.insert("m77@example.com".into())).unwrap();
    let operations: Vec<_> = (0..150).map(|nth| delete(&format!("m{nth}@example.com"))).collect();
    let results = apply(&stage, &operations).await.results;
    for (nth, result) in results.iter().enumerate() {
        assert_eq!(result.is_done(), nth != 77, "{nth}: {result:?}");
        let there = stage.school().member(&format!("m{nth}@example.com")).is_some();
        assert_eq!(there, nth == 77);
    }
    assert_eq!(results[77].failure().code, "rejected");
    // 100 and 50; the first is halved seven times.
    assert_eq!(stage.simulator.journal().len(), 2 + 7 * 2);
}

#[tokio::test]
async fn what_was_found_out_is_remembered() {
    let stage = Stage::new().await.configured("MEMBERSPOT_CONCURRENCY", "1");
    stage.simulator.edit_school(KEY, |school| school.dialect.property_key = PropertyKey::PropertyId).unwrap();
    let members = ["anna", "ben", "david", "jonas"].map(|name| format!("{name}@example.com"));
    let operations: Vec<_> = members.iter().map(|email| set(email, "Level", "expert")).collect();
    let results = apply(&stage, &operations).await.results;
    assert!(results.iter().all(Outcome::is_done), "{results:?}");
    let journal = stage.simulator.journal();
    let look_ups = journal.iter().filter(|entry| entry.method == Method::GET).count();
    assert_eq!((look_ups, journal.len()), (1, 1 + 1 + 4), "one look-up, one refusal");

    let stage = Stage::new().await;
    stage.simulator.inject(Injection::new(DELETE, Fault::RefuseBody(StatusCode::METHOD_NOT_ALLOWED)).method(Method::DELETE));
    let operations = [delete("anna@example.com"), grant("x@example.com"), delete("ben@example.com")];
    assert!(apply(&stage, &operations).await.results.iter().all(Outcome::is_done));
    let journal = stage.simulator.journal();
    assert_eq!(journal.iter().filter(|entry| entry.method == Method::DELETE).count(), 1);
}

#[tokio::test]
async fn what_may_pass_holds_up_the_same_member_only() {
    let stage = Stage::new().await.configured("MEMBERSPOT_CONCURRENCY", "1");
    stage.simulator.inject(Injection::new(GRANT, Fault::status(StatusCode::SERVICE_UNAVAILABLE)).once());
    let operations = [
        grant("mia@example.com"),
        on_offer("revokeAccess", "mia@example.com", "offer-breath"),
        grant("tim@example.com"),
        delete("mia@example.com"),
        delete("ben@example.com"),
        operation("deleteOrderAccess", json!({"orderId": "order-1001"})),
        grant("zoe@example.com"),
    ];
    let results = apply(&stage, &operations).await.results;
    assert!(results[0].failure().transient);
    assert_eq!(results[1], Outcome::NotStarted, "it must come after the grant");
    assert!(results[2].is_done());
    assert_eq!(results[3], Outcome::NotStarted, "so must this");
    assert_eq!(results[4], done(Value::Null));
    assert_eq!(results[5], Outcome::NotStarted, "the order may be Mia's");
    assert_eq!(results[6], Outcome::NotStarted, "and Zoe's");
    // What has not succeeded is passed again, and all is as it would have been.
    let rest: Vec<_> =
        operations.iter().zip(&results).filter(|(_, result)| !result.is_done()).map(|(it, _)| it.clone()).collect();
    stage.simulator.clear_journal();
    let results = apply(&stage, &rest).await.results;
    // The order was granted to nobody that is left, or it was: either way it was asked for after the deletion.
    assert!(results[0].is_done() && results[2].is_done() && results[4].is_done(), "{results:?}");
    assert!(stage.school().member("mia@example.com").is_none());
}

#[tokio::test]
async fn the_first_failure_stops_when_asked() {
    let stage = Stage::new().await.configured("MEMBERSPOT_CONCURRENCY", "1");
    let operations = [
        grant("a@example.com"),
        on_offer("grantAccess", "b@example.com", "no-such-offer"),
        grant("c@example.com"),
        delete("a@example.com"),
    ];
    let results = apply_with(&stage, &operations, json!({"stopOnError": true})).await.results;
    assert!(results[0].is_done());
    assert_eq!(results[1].failure().code, "notFound");
    assert_eq!(results[2..], [Outcome::NotStarted, Outcome::NotStarted]);
    assert_eq!(stage.simulator.journal().len(), 2);
}

#[tokio::test]
async fn a_call_that_has_stopped_refuses_nothing_more() {
    let stage = Stage::new().await;
    let operations = [on_offer("grantAccess", "a@example.com", "no-such-offer"), grant("nobody"), delete("nobody")];
    let stage = stage.configured("MEMBERSPOT_CONCURRENCY", "1");
    let results = apply_with(&stage, &operations, json!({"stopOnError": true})).await.results;
    assert_eq!(results[0].failure().code, "notFound");
    assert_eq!(results[1..], [Outcome::NotStarted, Outcome::NotStarted]);
}

#[tokio::test]
async fn a_deletion_waits_for_an_earlier_one_of_the_same_member_in_the_other_half() {
    let stage = Stage::new().await;
    stage.simulator.edit_school(KEY, |school| school.undeletable.insert("anna@example.com".into())).unwrap();
    stage.simulator.inject(Injection::new(DELETE, Fault::status(StatusCode::SERVICE_UNAVAILABLE)).after(1).once());
    let operations = [delete("ben@example.com"), delete("anna@example.com"), delete("Ben@example.com")];
    let results = apply(&stage, &operations).await.results;
    assert!(results[0].failure().transient);
    assert_eq!(results[1].failure().code, "rejected");
    assert_eq!(results[2], Outcome::NotStarted);
    let sent: Vec<_> = bodies(&stage, DELETE).iter().map(|body| body["emails"].as_array().unwrap().len()).collect();
    assert_eq!(sent, [3, 1, 1]);
}

#[tokio::test]
async fn a_key_that_is_not_accepted_is_not_tried_again_and_again() {
    let stage = Stage::new().await.configured("MEMBERSPOT_API_KEY", "wrong").configured("MEMBERSPOT_CONCURRENCY", "2");
    let operations: Vec<_> = (0..50).map(|nth| grant(&format!("m{nth}@example.com"))).collect();
    let results = apply(&stage, &operations).await.results;
    assert_eq!(results[0].failure().code, "unauthorized");
    assert_eq!(results[49], Outcome::NotStarted);
    assert!(stage.simulator.journal().len() <= 2);
}

#[tokio::test]
async fn a_wait_that_is_too_long_ends_the_call() {
    let stage = Stage::new().await.configured("MEMBERSPOT_CONCURRENCY", "1").configured("MEMBERSPOT_MAX_ATTEMPTS", "3");
    let busy = Fault::retry_after(StatusCode::TOO_MANY_REQUESTS, HeaderValue::from_static("600"));
    stage.simulator.inject(Injection::new(GRANT, busy).after(1));
    let report = apply(&stage, &[grant("a@example.com"), grant("b@example.com"), grant("c@example.com")]).await;
    assert!(report.results[0].is_done());
    let failure = report.results[1].failure();
    assert_eq!((failure.code.as_str(), failure.attempts, failure.retry_after_ms), ("rateLimited", 1, Some(600_000)));
    assert_eq!(report.results[2], Outcome::NotStarted);
    assert_eq!(report.retry_after_ms, Some(600_000));
    assert_eq!(stage.simulator.journal().len(), 2);
}

#[tokio::test]
async fn a_dry_run_finds_what_would_be_refused_and_sends_nothing() {
    let stage = Stage::new().await.configured("MEMBERSPOT_SCOPES", "write");
    let operations = [
        grant("a@example.com"),
        grant("nobody"),
        delete("a@example.com"),
        set("a@example.com", "Level", "x"),
        set("nobody", "Level", "x"),
        on_offer("revokeAccess", "a@example.com", ""),
    ];
    let results = apply_with(&stage, &operations, json!({"stopOnError": false, "dryRun": true})).await.results;
    assert_eq!((&results[0], &results[3]), (&Outcome::NotStarted, &Outcome::NotStarted));
    for (place, code) in [(1, "invalidInput"), (2, "notPermitted"), (4, "invalidInput"), (5, "invalidInput")] {
        results[place].failure().assert_unsent(code);
    }
    assert_eq!(stage.simulator.journal().len(), 0);
}

#[tokio::test]
async fn ten_thousand_and_no_more() {
    let stage = Stage::new().await.configured("MEMBERSPOT_SCOPES", "read");
    let operations = vec![grant("a@example.com"); 10_000];
    let results = apply(&stage, &operations).await.results;
    results.iter().for_each(|result| result.failure().assert_unsent("notPermitted"));
    let request = json!({"operations": vec![grant("a@example.com"); 10_001], "stopOnError": false});
    stage.call("apply-operations", request).await.unwrap_err().assert_unsent("tooLarge");
    let empty = apply(&stage, &[]).await;
    assert!(empty.results.is_empty() && empty.retry_after_ms.is_none());
}

#[tokio::test]
async fn ten_thousand_members_each_exactly_once() {
    let stage = Stage::new().await.configured("MEMBERSPOT_CONCURRENCY", "64");
    let operations: Vec<_> = (0..10_000).map(|nth| grant(&format!("m{nth}@example.com"))).collect();
    let report = apply(&stage, &operations).await;
    assert!(report.results.iter().all(Outcome::is_done));
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for body in bodies(&stage, GRANT) {
        *counts.entry(body["email"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert!(counts.len() == 10_000 && counts.values().all(|count| *count == 1));
}

#[tokio::test]
async fn results_and_answers_are_bounded_together() {
    let stage =
        Stage::new().await.configured("MEMBERSPOT_MAX_RESPONSE_BYTES", "1600").configured("MEMBERSPOT_CONCURRENCY", "2");
    let operations: Vec<_> = (0..10).map(|nth| grant(&format!("m{nth}@example.com"))).collect();
    let request = json!({"operations": operations, "stopOnError": false});
    let report = stage.call("apply-operations", request).await.unwrap();
    let texts: Vec<_> = report["results"].as_array().unwrap().iter().map(|result| result["val"].as_str().unwrap()).collect();
    assert!(texts.iter().any(|text| text.is_empty()) && texts.iter().any(|text| !text.is_empty()));
    assert!(texts.iter().map(|text| text.len()).sum::<usize>() <= 1600);
    // Each of two may have half.
    stage.simulator.inject(Injection::everywhere(Fault::json(format!("{{\"x\":\"{}\"}}", "y".repeat(900)))));
    let results = apply(&stage, &operations).await.results;
    assert_eq!(results[0].failure().code, "tooLarge");
    assert!(results[0].failure().outcome_unknown);
}

#[tokio::test]
async fn a_look_up_that_fails_fails_those_who_need_it() {
    let stage = Stage::new().await;
    stage.simulator.inject(Injection::new("/v1/custom-user-properties/list", Fault::status(StatusCode::FORBIDDEN)));
    let by_id = json!({"email": "ben@example.com", "values": [{"property": {"tag": "id", "val": "prop-level"}, "value": "x"}]});
    let operations = [
        set("anna@example.com", "Level", "x"),
        operation("setProperties", by_id),
        set("nobody", "Level", "x"),
        grant("a@example.com"),
    ];
    let results = apply(&stage, &operations).await.results;
    assert_eq!((results[0].failure().code.as_str(), results[0].failure().attempts), ("forbidden", 1));
    results[2].failure().assert_unsent("invalidInput");
    assert!(results[1].is_done() && results[3].is_done());
}

/// A report is bounded whatever the server says.
#[tokio::test]
async fn long_complaints_are_left_out_when_there_are_too_many() {
    let stage = Stage::new().await;
    let complaints: Vec<_> = (0..20).map(|nth| format!("{nth} {}", "x".repeat(480))).collect();
    stage.simulator.inject(Injection::new(GRANT, Fault::refusal(StatusCode::BAD_REQUEST, json!(complaints))));
    let operations: Vec<_> = (0..3000).map(|nth| grant(&format!("m{nth}@example.com"))).collect();
    let results = apply(&stage, &operations).await.results;
    let details: usize = results.iter().flat_map(|result| &result.failure().details).map(String::len).sum();
    assert!(details > 0 && details <= 8 << 20, "{details} bytes");
}

#[tokio::test]
async fn a_form_that_is_not_at_fault_is_not_doubted_twice() {
    let stage = Stage::new().await.configured("MEMBERSPOT_CONCURRENCY", "1");
    stage.simulator.inject(Injection::new(DELETE, Fault::canned(400, &[], "")));
    let operations: Vec<_> = (0..8).map(|nth| delete(&format!("m{nth}@example.com"))).collect();
    let results = apply(&stage, &operations).await.results;
    assert!(results.iter().all(|result| result.failure().code == "rejected"));
    assert_eq!(stage.simulator.journal().len(), 15 + 1, "each half, and the other form once");
}

/// A refusal of the other form for its content says nothing against the form.
#[tokio::test]
async fn a_form_is_not_given_up_for_what_was_in_it() {
    let stage = Stage::new().await.configured("MEMBERSPOT_CONCURRENCY", "1");
    stage.simulator.edit_school(KEY, |school| school.dialect.property_key = PropertyKey::PropertyId).unwrap();
    let set_by_id = |id: &str| {
        let value = json!({"property": {"tag": "id", "val": id}, "value": "x"});
        operation("setProperties", json!({"email": "anna@example.com", "values": [value]}))
    };
    let results = apply(&stage, &[set_by_id("prop-that-is-none"), set_by_id("prop-level")]).await.results;
    assert_eq!(results[0].failure().code, "notFound");
    assert!(results[1].is_done(), "{results:?}");
}
