//! What a platform relies on that runs many accounts in one process: keys stay outside, nobody reaches what is internal, and
//! a call that takes too much of something ends.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use memberspot_host::{
    ApiKey, Connection, Host, HostError, Limits, Tenant,
    keys::{KeyError, KeyFuture, KeyStore},
    simulator::{Clock, Fault, Injection, Options, Simulator},
};
use serde_json::{Value, json};

use crate::stage::{KEY, Stage, host, host_in_memory, network};

async fn simulator() -> Simulator {
    Simulator::start(Options { clock: Clock::manual(), rate_limit: None, ..Options::default() }).await.expect("a free port")
}

fn connection(simulator: &Simulator) -> Connection {
    Connection::new(KEY).base_url(simulator.origin()).variable("MEMBERSPOT_MAX_ATTEMPTS", "1")
}

async fn list_offers(host: &Host, tenant: &Tenant) -> Result<Result<Value, Value>, HostError> {
    Ok(host.call(tenant, "list-offers", &json!({})).await?.into_json())
}

#[tokio::test]
async fn what_is_internal_is_reached_only_where_it_is_allowed_by_name() {
    let simulator = simulator().await;
    let strict = Host::new().unwrap();
    let error = list_offers(&strict, &strict.tenant("t", connection(&simulator))).await.unwrap_err();
    assert!(matches!(error, HostError::Refused(_)), "{error:?}");
    // What is to be written is in the message, ready to be copied.
    assert!(error.to_string().contains(&format!("allow_internal({:?})", simulator.origin())), "{error}");

    let localhost = simulator.origin().replace("127.0.0.1", "localhost");
    let by_name = connection(&simulator).base_url(&localhost);
    assert!(matches!(list_offers(&strict, &strict.tenant("t", by_name.clone())).await, Err(HostError::Refused(_))));
    assert_eq!(simulator.journal().len(), 0, "nothing was dialled");

    let lenient = Host::builder().allow_internal(simulator.origin()).build().unwrap();
    assert!(list_offers(&lenient, &lenient.tenant("t", connection(&simulator))).await.unwrap().is_ok());
    let other_name = list_offers(&lenient, &lenient.tenant("t", by_name)).await;
    assert!(matches!(other_name, Err(HostError::Refused(_))), "the name that was allowed is another");
    assert!(matches!(Host::builder().allow_internal("nonsense").build(), Err(HostError::NoOrigin { .. })));
}

/// Has one key, which can be exchanged.
#[derive(Clone, Default)]
struct Keys(Arc<Mutex<Option<&'static str>>>);

impl KeyStore for Keys {
    fn key<'a>(&'a self, tenant: &'a str) -> KeyFuture<'a> {
        assert_eq!(tenant, "school-1");
        let key = *self.0.lock().unwrap();
        Box::pin(async move { key.map(ApiKey::new).ok_or_else(|| KeyError::Missing { place: "this test".into() }) })
    }
}

#[tokio::test]
async fn the_store_is_asked_at_each_call() {
    let simulator = simulator().await;
    let keys = Keys::default();
    let host = Host::builder().keys(keys.clone()).allow_all_internal().build().unwrap();
    let school = host.tenant("school-1", Connection::default().base_url(simulator.origin()));
    assert!(matches!(list_offers(&host, &school).await, Err(HostError::Key(KeyError::Missing { .. }))));
    assert_eq!(simulator.journal().len(), 0);
    *keys.0.lock().unwrap() = Some("wrong");
    assert_eq!(list_offers(&host, &school).await.unwrap().unwrap_err()["val"]["code"], "unauthorized");
    *keys.0.lock().unwrap() = Some(KEY);
    assert!(list_offers(&host, &school).await.unwrap().is_ok());
    let sent: Vec<_> = simulator.journal().iter().map(|entry| entry.api_key().map(str::to_owned)).collect();
    assert_eq!(sent, [Some("wrong".to_owned()), Some(KEY.to_owned())]);
    // A key of its own comes first.
    let own = host.tenant("somebody else", connection(&simulator));
    assert!(list_offers(&host, &own).await.unwrap().is_ok());
}

#[tokio::test]
async fn connections_are_kept_and_not_shared() {
    let simulator = simulator().await;
    let tenants = ["a", "b"].map(|id| host().tenant(id, connection(&simulator)));
    for _ in 0..3 {
        for tenant in &tenants {
            assert!(list_offers(host(), tenant).await.unwrap().is_ok());
        }
    }
    let used: Vec<_> = simulator.journal().iter().map(|entry| entry.connection).collect();
    assert_eq!(used, [1, 2, 1, 2, 1, 2]);
}

#[tokio::test]
async fn too_much_traffic_ends_the_call() {
    let simulator = simulator().await;
    for (set, expected) in [
        (&(|limits: &mut Limits| limits.requests = 1) as &dyn Fn(&mut Limits), "requests"),
        (&|limits| limits.received = 100, "bytes received"),
        (&|limits| limits.sent = 10, "bytes sent"),
    ] {
        let mut limits = Limits::default();
        set(&mut limits);
        let tenant = host().tenant_within("t", connection(&simulator), limits);
        let operation = |email: &str| json!({"tag": "grantAccess", "val": {"email": email, "offerId": "offer-breath"}});
        let operations = ["ada@example.com", "anna@example.com", "bea@example.com"].map(operation);
        let request = json!({"operations": operations, "stopOnError": false});
        match host().call(&tenant, "apply-operations", &request).await {
            Err(HostError::OutOfTraffic { of, .. }) => assert_eq!(of.to_string(), expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_tenant_has_so_many_calls_at_once_and_so_many_that_wait() {
    let simulator =
        Simulator::in_memory(Options { rate_limit: None, clock: Clock::tokio(), ..Options::default() }, network()).unwrap();
    simulator.inject(Injection::everywhere(Fault::Delay(Duration::from_secs(10))));
    let mut limits = Limits::default();
    (limits.calls, limits.waiting) = (2, 1);
    let tenant = host_in_memory().tenant_within("t", connection(&simulator), limits.clone());
    let other = host_in_memory().tenant_within("u", connection(&simulator), limits);
    let call = |tenant: &Tenant| {
        let tenant = tenant.clone();
        tokio::spawn(async move { list_offers(host_in_memory(), &tenant).await })
    };
    let calls: Vec<_> = (0..4).map(|_| call(&tenant)).collect();
    let elsewhere = call(&other);
    let mut results = Vec::new();
    for call in calls {
        results.push(call.await.unwrap());
    }
    let busy = results.iter().filter(|result| matches!(result, Err(HostError::Busy { calls: 2, waiting: 1 }))).count();
    let good = results.iter().filter(|result| matches!(result, Ok(Ok(_)))).count();
    assert_eq!((busy, good), (1, 3), "{results:?}");
    assert!(elsewhere.await.unwrap().unwrap().is_ok());
    // Places come back, also those of calls that are dropped.
    drop(tokio::time::timeout(Duration::from_secs(1), list_offers(host_in_memory(), &tenant)).await);
    assert!(list_offers(host_in_memory(), &tenant).await.unwrap().is_ok());
}

#[tokio::test]
async fn an_answer_that_quotes_the_key_does_not_bring_it_in() {
    let stage = Stage::new().await;
    stage.simulator.inject(Injection::everywhere(Fault::Echo));
    let input = json!({"method": "get", "path": "/v1/offers", "headers": []});
    let failure = stage.call("call-api", input).await.unwrap_err();
    assert!(failure.details.contains(&"x-api-key: [redacted]".to_owned()), "{failure:?}");
    assert_eq!(stage.request().api_key(), Some(KEY));
}
