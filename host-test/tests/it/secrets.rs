//! The canary: a key that no output of any kind may contain, whatever the server does with it.

use memberspot_host::{
    Connection,
    simulator::{Clock, Fault, Injection, Options, School, Simulator, StatusCode},
};
use serde_json::{Value, json};

use crate::stage::host;

const CANARY: &str = "canary/4711-\"quoted\"-key";

/// Everything that a program could print of a call.
async fn outputs(connection: &Connection, function: &str, input: &Value) -> String {
    match host().call(&host().tenant("canary", connection.clone()), function, input).await {
        Ok(outcome) => format!("{outcome:?} {:?}", outcome.clone().into_json()),
        Err(error) => format!("{error} {error:?}"),
    }
}

#[tokio::test]
async fn no_output_contains_the_key() {
    let school = School::new("school-canary", CANARY);
    let options = Options { clock: Clock::manual(), rate_limit: None, schools: vec![school], ..Options::default() };
    let simulator = Simulator::start(options).await.unwrap();
    let connection = Connection::new(CANARY).base_url(simulator.origin()).variable("MEMBERSPOT_MAX_ATTEMPTS", "1");
    let escaped = CANARY.replace('"', "\\\"").replace('/', "\\/");
    let quoting = [
        Fault::Echo,
        Fault::status(StatusCode::INTERNAL_SERVER_ERROR),
        Fault::canned(400, &[("content-type", "application/json")], format!(r#"{{"message":["key {escaped} is bad"]}}"#)),
        Fault::canned(400, &[("content-type", CANARY)], CANARY),
        Fault::canned(200, &[("content-type", CANARY), ("x-echo", CANARY)], format!("you sent {CANARY}")),
        Fault::canned(302, &[("location", CANARY)], CANARY),
        Fault::ResetBeforeHeaders,
        Fault::malformed_json(),
    ];
    let inputs = [
        ("list-offers", json!({})),
        ("check-connection", json!({})),
        ("grant-access", json!({"email": "anna@example.com", "offerId": "o"})),
        ("create-login-token", json!({"uid": "u"})),
        ("delete-users", json!({"emails": ["anna@example.com"]})),
        ("call-api", json!({"method": "get", "path": "/v1/offers", "headers": []})),
        ("call-api", json!({"method": "post", "path": "/v1/offers", "headers": [], "body": "{}"})),
    ];
    for fault in quoting {
        simulator.clear_faults();
        simulator.inject(Injection::everywhere(fault.clone()));
        for (function, input) in &inputs {
            let output = outputs(&connection, function, input).await;
            for part in ["canary", "4711", "quoted"] {
                assert!(!output.contains(part), "{function} with {fault:?} printed {output}");
            }
        }
    }
    let asked = simulator.journal();
    assert!(asked.iter().all(|entry| entry.api_key() == Some(CANARY)), "the key was sent");
    assert!(asked.iter().all(|entry| !entry.path.contains("canary") && !entry.query.contains("canary")));
    for (variable, value) in [("MEMBERSPOT_SCOPES", "x"), ("MEMBERSPOT_BASE_URL", "x"), ("MEMBERSPOT_DEADLINE_MS", "x")] {
        let output = outputs(&connection.clone().variable(variable, value), "list-offers", &json!({})).await;
        assert!(!output.contains("canary"));
    }
    let broken = outputs(&Connection::new("canary\r\n").base_url(simulator.origin()), "list-offers", &json!({})).await;
    assert!(!broken.contains("canary"));
}

#[tokio::test]
async fn no_error_contains_a_login_token() {
    let stage = crate::stage::Stage::new().await;
    for body in ["{\"token\":\"canary-token", "canary token", "{\"tokens\":[\"canary-token\"]}", "<p>canary-token</p>"] {
        let fault = Fault::canned(200, &[("content-type", "application/json")], body);
        let failure = stage.faulty(fault, "create-login-token", json!({"uid": "uid-anna"})).await.unwrap_err();
        assert_eq!(failure.code, "invalidResponse");
        assert!(!format!("{failure:?}").contains("canary"));
    }
}

#[tokio::test]
async fn the_key_goes_nowhere_else() {
    let school = School::new("school-canary", CANARY);
    let options = Options { clock: Clock::manual(), schools: vec![school], ..Options::default() };
    let home = Simulator::start(options.clone()).await.unwrap();
    let elsewhere = Simulator::start(options).await.unwrap();
    let connection = Connection::new(CANARY).base_url(home.origin());
    home.inject(Injection::everywhere(Fault::redirect(
        StatusCode::TEMPORARY_REDIRECT,
        &format!("{}/v1/offers", elsewhere.origin()),
    )));
    let outcome = host()
        .call(&host().tenant("canary", connection.clone()), "list-offers", &json!({}))
        .await
        .unwrap()
        .into_json()
        .unwrap_err();
    assert_eq!(outcome["val"]["code"], "invalidResponse");
    for path in [
        format!("{}/v1/offers", elsewhere.origin()),
        format!("//{}/v1/offers", elsewhere.address()),
        format!("{}@{}/v1/offers", home.origin(), elsewhere.address()),
        format!("\\\\{}\\v1", elsewhere.address()),
    ] {
        let input = json!({"method": "get", "path": path, "headers": []});
        let outcome = host()
            .call(&host().tenant("canary", connection.clone()), "call-api", &input)
            .await
            .unwrap()
            .into_json()
            .unwrap_err();
        assert_eq!(outcome["val"]["code"], "invalidInput");
    }
    assert_eq!((home.journal().len(), elsewhere.journal().len()), (1, 0));
}
