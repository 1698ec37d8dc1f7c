//! Calls by name and calls through the bindings, and the ends that a host puts to them.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use memberspot_host::bindings::exports::memberspot::connector::types::{Error, FailureCode};
use memberspot_host::catalog::Catalog;
use memberspot_host::sender::{Exchange, HttpSender};
use memberspot_host::{Connection, Host, HostBuilder, HostError, Limits, Outcome};
use serde_json::{Value, json};
use wasmtime_wasi_http::{RequestOptions, WasiBody};

const KEY: &str = "canary-4711";

/// A network of one server that gives every request the same answer.
#[derive(Clone, Default)]
struct Network {
    answer: &'static str,
    requests: Arc<Mutex<Vec<http::Request<()>>>>,
}

impl HttpSender for Network {
    fn send(
        &self,
        request: http::Request<WasiBody>,
        _: Option<RequestOptions>,
    ) -> Pin<Box<dyn Future<Output = Exchange> + Send>> {
        self.requests.lock().unwrap().push(request.map(|_| ()));
        let body = Full::new(Bytes::from_static(self.answer.as_bytes())).map_err(|never| match never {}).boxed_unsync();
        let response = http::Response::builder().header("content-type", "application/json").body(body).unwrap();
        Box::pin(async { Ok((response, Box::pin(async { Ok(()) }) as Pin<Box<_>>)) })
    }
}

fn host(answer: &'static str) -> (Host, Network) {
    let network = Network { answer, ..Network::default() };
    (Host::builder().sender(network.clone()).build().unwrap(), network)
}

async fn call(host: &Host, function: &str, input: Value) -> Result<Outcome, HostError> {
    host.call(&host.tenant("t", Connection::new(KEY)), function, &input).await
}

#[tokio::test]
async fn a_call_reaches_the_api_with_the_key() {
    let (host, network) = host(r#"[{"id":"o1","name":"Course","hasCourseIds":["c1"]}]"#);
    let offers = call(&host, "list-offers", json!(null)).await.unwrap().into_json().unwrap();
    assert_eq!(offers[0]["id"], "o1");
    assert_eq!(offers[0]["courseIds"], json!(["c1"]));
    let requests = network.requests.lock().unwrap();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].uri(), "https://api.memberspot.de/v1/offers");
    assert_eq!(requests[0].headers()["x-api-key"], KEY);
    assert_eq!(requests[0].headers()["host"], "api.memberspot.de");
}

#[tokio::test]
async fn the_bindings_give_the_same() {
    let (host, _) = host(r#"[{"id":"o1"}]"#);
    let offers = host
        .with(&host.tenant("t", Connection::new(KEY)), async |connector, store| {
            connector.memberspot_connector_offers().call_list_offers(store).await
        })
        .await
        .unwrap()
        .unwrap();
    assert_eq!(offers.len(), 1);
    assert_eq!(offers[0].id, "o1");
}

#[tokio::test]
async fn an_error_of_the_component_is_an_answer() {
    let (host, network) = host("");
    let outcome = host.call(&host.tenant("t", Connection::default()), "list-offers", &json!({})).await.unwrap();
    let error = outcome.into_json().unwrap_err();
    assert_eq!(error["tag"], "permanent");
    assert_eq!(error["val"]["code"], "notConfigured");
    assert_eq!(error["val"]["attempts"], 0);
    // Options that are none are left out.
    assert_eq!(error["val"].get("status"), None);

    let error = host
        .with(&host.tenant("t", Connection::default()), async |connector, store| {
            connector.memberspot_connector_offers().call_list_offers(store).await
        })
        .await
        .unwrap()
        .unwrap_err();
    assert!(matches!(error, Error::Permanent(failure) if failure.code == FailureCode::NotConfigured));
    assert_eq!(network.requests.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn an_address_that_is_none_allows_nothing() {
    let (host, network) = host("[]");
    let connection = Connection::new(KEY).base_url("nonsense");
    let error = host.call(&host.tenant("t", connection), "list-offers", &json!({})).await.unwrap().into_json().unwrap_err();
    assert_eq!(error["val"]["code"], "notConfigured");
    assert_eq!(network.requests.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn input_has_a_long_and_a_short_form() {
    let (host, _) = host("");
    // Without a key, a call gets as far as the component.
    let reaches = async |function: &str, input: Value| {
        host.call(&host.tenant("t", Connection::default()), function, &input).await.map(|outcome| {
            assert_eq!(outcome.into_json().unwrap_err()["val"]["code"], "notConfigured");
        })
    };
    let request = json!({"email": "ada@example.com", "offerId": "o1"});
    for name in ["grant-access", "access.grant-access", "access#grant-access", "memberspot:connector/access@0.1.0#grant-access"]
    {
        reaches(name, request.clone()).await.unwrap();
    }
    reaches("grant-access", json!({"request": request})).await.unwrap();
    reaches("grant-access", json!([request])).await.unwrap();
    reaches("revoke-access", request).await.unwrap();
    reaches("revoke-access", json!(["ada@example.com", "o1"])).await.unwrap();
    reaches("delete-users", json!([["ada@example.com"]])).await.unwrap();
    reaches("list-users", json!(null)).await.unwrap();
    reaches("list-offers", json!([])).await.unwrap();

    let pointer = async |function: &str, input: Value| match reaches(function, input).await {
        Err(HostError::Input { source, .. }) => source.pointer(),
        other => panic!("{other:?}"),
    };
    assert_eq!(pointer("grant-access", json!({"email": 1, "offerId": "o1"})).await, "/email");
    assert_eq!(pointer("grant-access", json!({"request": {"email": 1, "offerId": "o1"}})).await, "/request/email");
    assert_eq!(pointer("grant-access", json!([{"email": 1, "offerId": "o1"}])).await, "/0/email");
    assert_eq!(pointer("revoke-access", json!(["ada@example.com", 1])).await, "/1");
    assert_eq!(pointer("revoke-access", json!(["ada@example.com"])).await, "");
    assert_eq!(pointer("delete-users", json!({"emails": ["a", 1]})).await, "/emails/1");
    assert_eq!(pointer("list-offers", json!({"x": 1})).await, "");
    assert_eq!(pointer("list-offers", json!("text")).await, "");
}

#[tokio::test]
async fn every_example_of_the_catalog_fits() {
    let (host, _) = host("");
    for function in Catalog::new().unwrap().functions() {
        let outcome = host.call(&host.tenant("t", Connection::default()), &function.name, &function.example).await;
        assert!(outcome.is_ok(), "{}: {outcome:?}", function.name);
    }
}

#[tokio::test]
async fn a_function_that_is_not_there_is_named() {
    let (host, _) = host("");
    match call(&host, "grant-acces", json!({})).await {
        Err(HostError::UnknownFunction { name, nearest }) => {
            assert_eq!((name.as_str(), nearest.as_deref()), ("grant-acces", Some("grant-access")));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(call(&host, "users.grant-access", json!({})).await, Err(HostError::UnknownFunction { .. })));
}

#[tokio::test]
async fn calls_run_side_by_side_in_a_pool() {
    let network = Network { answer: "[]", ..Network::default() };
    let host = Host::builder().sender(network.clone()).pool(2).build().unwrap();
    let calls: Vec<_> = (0..6)
        .map(|_| {
            let host = host.clone();
            tokio::spawn(async move { call(&host, "list-offers", json!({})).await.unwrap().into_json() })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), Ok(json!([])));
    }
    assert_eq!(network.requests.lock().unwrap().len(), 6);
}

/// A component that does what one should not.
fn misbehaving() -> HostBuilder {
    Host::builder().component(
        wat::parse_str(
            r#"(component
                (core module $m
                    (memory 1)
                    (global $calls (mut i32) (i32.const 0))
                    (func (export "spin") (loop $again (br $again)))
                    (func (export "trap") unreachable)
                    (func (export "grow")
                        (loop $again (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
                        unreachable)
                    (func (export "count") (result i32)
                        (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
                        (global.get $calls)))
                (core instance $i (instantiate $m))
                (func $spin (export "spin") (canon lift (core func $i "spin")))
                (func (export "trap") (canon lift (core func $i "trap")))
                (func (export "grow") (canon lift (core func $i "grow")))
                (func (export "count") (result u32) (canon lift (core func $i "count")))
                (instance $one (export "same" (func $spin)))
                (export "test:one/one" (instance $one))
                (export "test:one/two" (instance $one)))"#,
        )
        .unwrap(),
    )
}

#[tokio::test]
async fn an_endless_loop_ends_and_lets_others_run() {
    let mut limits = Limits::default();
    limits.time = Duration::from_millis(200);
    let host = misbehaving().limits(limits.clone()).build().unwrap();
    let started = Instant::now();
    let others = async {
        for _ in 0..3 {
            call(&host, "count", json!({})).await.unwrap();
        }
        started.elapsed()
    };
    let (spin, others) = tokio::join!(call(&host, "spin", json!({})), others);
    assert!(matches!(spin, Err(HostError::TimedOut { limit }) if limit == limits.time));
    // This runtime has a single thread: the loop gave it back before its own time was over.
    assert!(others < started.elapsed(), "{others:?}");
    // The host is none the worse for it.
    assert!(call(&host, "count", json!({})).await.is_ok());
}

#[tokio::test]
async fn memory_is_limited() {
    let mut limits = Limits::default();
    limits.memory = 10 << 20;
    for builder in [misbehaving(), misbehaving().pool(1)] {
        let host = builder.limits(limits.clone()).build().unwrap();
        let error = call(&host, "grow", json!({})).await.unwrap_err();
        assert!(matches!(error, HostError::OutOfMemory { limit, .. } if limit == limits.memory), "{error:?}");
    }
}

#[tokio::test]
async fn a_trap_is_no_answer() {
    let error = call(&misbehaving().build().unwrap(), "trap", json!({})).await.unwrap_err();
    assert!(matches!(&error, HostError::Trap(trap) if trap.downcast_ref() == Some(&wasmtime::Trap::UnreachableCodeReached)));
}

#[tokio::test]
async fn every_call_has_an_instance_of_its_own() {
    for builder in [misbehaving(), misbehaving().pool(1)] {
        let host = builder.build().unwrap();
        for _ in 0..3 {
            assert_eq!(call(&host, "count", json!({})).await.unwrap().into_json(), Ok(json!(1)));
        }
    }
}

#[tokio::test]
async fn a_name_of_two_interfaces_needs_one() {
    let mut limits = Limits::default();
    limits.time = Duration::from_millis(1);
    let host = misbehaving().limits(limits).build().unwrap();
    match call(&host, "same", json!({})).await {
        Err(HostError::AmbiguousFunction { interfaces, .. }) => assert_eq!(interfaces, ["test:one/one", "test:one/two"]),
        other => panic!("{other:?}"),
    }
    assert!(matches!(call(&host, "two.same", json!({})).await, Err(HostError::TimedOut { .. })));
}

#[tokio::test]
async fn the_bindings_need_the_connector() {
    let host = misbehaving().build().unwrap();
    let result = host.with(&host.tenant("t", Connection::default()), async |_, _| Ok(())).await;
    assert!(matches!(result, Err(HostError::Load(_))));
}

#[test]
fn what_cannot_be_loaded_is_refused() {
    let file_system = wat::parse_str(r#"(component (import "wasi:filesystem/preopens@0.2.0" (instance)))"#).unwrap();
    assert!(Host::builder().component(file_system).build().is_ok(), "an empty interface asks for nothing");
    for bytes in [
        b"not a component".to_vec(),
        wat::parse_str("(module)").unwrap(),
        wat::parse_str(r#"(component (import "wasi:cli/stdout@0.2.0" (instance (export "x" (func)))))"#).unwrap(),
        wat::parse_str(r#"(component (import "exit" (func)))"#).unwrap(),
    ] {
        assert!(matches!(Host::builder().component(bytes).build(), Err(HostError::Load(_))));
    }
}
