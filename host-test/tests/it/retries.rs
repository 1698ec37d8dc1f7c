//! Repetition, as the journal of the simulator saw it.

use memberspot_host::simulator::{Entry, Fault, HeaderValue, Injection, Method, PropertyKey, StatusCode};
use serde_json::{Value, json};

use crate::stage::{KEY, Stage};

async fn stage() -> Stage {
    Stage::new().await.configured("MEMBERSPOT_MAX_ATTEMPTS", "3")
}

/// An answer that asks to come back at once, so that no test waits.
fn at_once(status: StatusCode) -> Fault {
    Fault::retry_after(status, HeaderValue::from_static("0"))
}

fn grant() -> Value {
    json!({"email": "mia@example.com", "offerId": "offer-breath", "orderId": "shop-1"})
}

fn raw_grant() -> Value {
    let body = r#"{"email":"mia@example.com","grantOffer":"offer-breath"}"#;
    json!({"method": "post", "path": "/v1/users/grant-user-offer-by-mail", "headers": [], "body": body})
}

/// What was sent, to compare.
fn sent(entry: &Entry) -> (Method, String, String, Option<Value>) {
    (entry.method.clone(), entry.path.clone(), entry.query.clone(), entry.json())
}

#[tokio::test]
async fn a_passing_fault_does_not_lose_a_grant() {
    for fault in [at_once(StatusCode::SERVICE_UNAVAILABLE), at_once(StatusCode::TOO_MANY_REQUESTS), Fault::ResetBeforeHeaders] {
        let stage = stage().await;
        stage.simulator.inject(Injection::everywhere(fault.clone()).once());
        stage.call("grant-access", grant()).await.unwrap_or_else(|failure| panic!("{fault:?}: {failure:?}"));
        let journal = stage.simulator.journal();
        assert_eq!(journal.len(), 2);
        assert_eq!(sent(&journal[0]), sent(&journal[1]), "the same request");
    }
}

#[tokio::test]
async fn an_effect_that_was_not_heard_of_happens_once() {
    let stage = stage().await;
    stage.simulator.inject(Injection::everywhere(Fault::ResetBeforeHeaders).once().with_effect());
    stage.call("grant-access", grant()).await.unwrap();
    let school = stage.school();
    assert_eq!(school.order("shop-1").len(), 1);
    assert_eq!(school.members().filter(|member| member.email() == "mia@example.com").count(), 1);
}

#[tokio::test]
async fn what_may_have_acted_and_is_not_safe_is_not_repeated() {
    let stage = stage().await;
    for fault in
        [Fault::ResetBeforeHeaders, Fault::status(StatusCode::INTERNAL_SERVER_ERROR), Fault::status(StatusCode::BAD_GATEWAY)]
    {
        stage.simulator.clear_journal();
        let failure = stage.faulty(fault, "call-api", raw_grant()).await.unwrap_err();
        assert_eq!((failure.transient, failure.outcome_unknown, failure.attempts), (false, true, 1));
        assert_eq!(stage.simulator.journal().len(), 1);
    }
    stage.simulator.clear_faults();
    stage.simulator.clear_journal();
    stage.simulator.inject(Injection::everywhere(at_once(StatusCode::TOO_MANY_REQUESTS)).once());
    stage.call("call-api", raw_grant()).await.unwrap();
    assert_eq!(stage.simulator.journal().len(), 2, "429 means that nothing happened");
}

#[tokio::test]
async fn attempts_have_an_end_and_are_counted() {
    for (attempts, expected) in [("1", 1), ("2", 2), ("5", 5)] {
        let stage = Stage::new().await.configured("MEMBERSPOT_MAX_ATTEMPTS", attempts);
        let failure = stage.faulty(at_once(StatusCode::SERVICE_UNAVAILABLE), "list-offers", json!({})).await.unwrap_err();
        assert_eq!((failure.transient, failure.attempts, failure.retry_after_ms), (true, expected, Some(0)));
        assert_eq!(stage.simulator.journal().len() as u64, expected);
    }
}

#[tokio::test]
async fn permanent_errors_are_not_repeated() {
    let stage = stage().await;
    for status in [400, 401, 403, 404, 409, 422] {
        stage.simulator.clear_journal();
        let fault = Fault::status(StatusCode::from_u16(status).unwrap());
        let failure = stage.faulty(fault, "list-offers", json!({})).await.unwrap_err();
        assert_eq!((failure.transient, failure.attempts, stage.simulator.journal().len()), (false, 1, 1), "{status}");
    }
}

#[tokio::test]
async fn a_wait_beyond_the_deadline_is_the_callers() {
    let stage = stage().await.configured("MEMBERSPOT_DEADLINE_MS", "5000");
    let hour = Fault::retry_after(StatusCode::TOO_MANY_REQUESTS, HeaderValue::from_static("3600"));
    let failure = stage.faulty(hour, "list-users", json!({})).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.transient, failure.attempts), ("rateLimited", true, 1));
    assert_eq!(failure.retry_after_ms, Some(3_600_000));
}

#[tokio::test]
async fn the_other_name_of_a_propertys_id_is_tried() {
    let stage = Stage::new().await;
    stage.simulator.edit_school(KEY, |school| school.dialect.property_key = PropertyKey::PropertyId);
    let value = json!({"property": {"tag": "id", "val": "prop-level"}, "value": "x"});
    stage.call("set-properties", json!({"email": "anna@example.com", "values": [value]})).await.unwrap();
    let bodies: Vec<_> = stage.simulator.journal().iter().map(|entry| entry.json().unwrap()["properties"][0].clone()).collect();
    assert_eq!(bodies, [json!({"id": "prop-level", "value": "x"}), json!({"propertyId": "prop-level", "value": "x"})]);
    assert_eq!(stage.school().member("anna@example.com").unwrap().properties["prop-level"], "x");
}

#[tokio::test]
async fn a_delete_whose_body_is_not_wanted_goes_as_post() {
    for status in [StatusCode::METHOD_NOT_ALLOWED, StatusCode::LENGTH_REQUIRED, StatusCode::BAD_REQUEST] {
        let stage = Stage::new().await;
        stage.simulator.inject(Injection::new("/v1/users/delete-users", Fault::RefuseBody(status)).method(Method::DELETE));
        let input = json!({"emails": ["anna@example.com"]});
        stage.call("delete-users", input.clone()).await.unwrap_or_else(|failure| panic!("{status}: {failure:?}"));
        let journal = stage.simulator.journal();
        assert_eq!(journal.iter().map(|entry| entry.method.clone()).collect::<Vec<_>>(), [Method::DELETE, Method::POST]);
        assert_eq!(journal[1].json(), Some(input));
        assert!(stage.school().member("anna@example.com").is_none());
    }
}
