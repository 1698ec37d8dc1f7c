//! What calls share: nothing, or an instance of their tenant's that an earlier one has left in order.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use memberspot_host::{
    Batch, Connection, Host, HostBuilder, HostError, Isolation, Limits, Tenant,
    keys::{KeyFuture, KeyStore},
};
use serde_json::{Value, json};

/// A component that remembers.
fn counting() -> HostBuilder {
    Host::builder().component(
        wat::parse_str(
            r#"(component
                (import "wasi:io/poll@0.2.0" (instance $poll (export "pollable" (type (sub resource)))))
                (alias export $poll "pollable" (type $pollable))
                (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
                    (alias outer 1 $pollable (type $pollable))
                    (export "pollable" (type $own (eq $pollable)))
                    (export "subscribe-duration" (func (param "when" u64) (result (own $own))))))
                (core func $subscribe (canon lower (func $clock "subscribe-duration")))
                (core module $m
                    (import "" "subscribe" (func $subscribe (param i64) (result i32)))
                    (memory 1)
                    (global $calls (mut i32) (i32.const 0))
                    (func $count (export "count") (result i32)
                        (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
                        (global.get $calls))
                    (func (export "leak") (result i32) (drop (call $subscribe (i64.const 1))) (call $count))
                    (func (export "grow") (result i32) (drop (memory.grow (i32.const 64))) (call $count))
                    (func (export "trap") unreachable)
                    (func (export "spin") (loop $again (br $again))))
                (core instance $i (instantiate $m (with "" (instance (export "subscribe" (func $subscribe))))))
                (func (export "count") (result u32) (canon lift (core func $i "count")))
                (func (export "leak") (result u32) (canon lift (core func $i "leak")))
                (func (export "grow") (result u32) (canon lift (core func $i "grow")))
                (func (export "trap") (canon lift (core func $i "trap")))
                (func (export "spin") (canon lift (core func $i "spin"))))"#,
        )
        .unwrap(),
    )
}

fn reusing(calls: u32) -> Limits {
    let mut limits = Limits::default();
    limits.isolation = Isolation::Reuse { calls };
    limits.time = Duration::from_millis(200);
    limits
}

/// With and without a pool, with few places and with many.
fn hosts(limits: &Limits) -> Vec<Host> {
    [None, Some(1), Some(3)]
        .map(|pool| {
            let builder = counting().limits(limits.clone());
            pool.map_or_else(|| counting().limits(limits.clone()), |calls| builder.pool(calls)).build().unwrap()
        })
        .into()
}

async fn call(host: &Host, tenant: &Tenant, function: &str) -> Result<Value, HostError> {
    Ok(host.call(tenant, function, &json!({})).await?.into_json().unwrap())
}

async fn count(host: &Host, tenant: &Tenant) -> u64 {
    call(host, tenant, "count").await.unwrap().as_u64().unwrap()
}

fn tenant(host: &Host) -> Tenant {
    host.tenant("t", Connection::new("canary-4711"))
}

#[tokio::test]
async fn an_instance_makes_so_many_calls() {
    for host in hosts(&reusing(3)) {
        let tenant = tenant(&host);
        for expected in [1, 2, 3, 1, 2, 3, 1] {
            assert_eq!(count(&host, &tenant).await, expected);
        }
    }
    for limits in [Limits::default(), reusing(0), reusing(1)] {
        for host in hosts(&limits) {
            let tenant = tenant(&host);
            for _ in 0..3 {
                assert_eq!(count(&host, &tenant).await, 1);
            }
        }
    }
}

#[tokio::test]
async fn by_name_and_typed_they_are_the_same_calls() {
    let host = counting().limits(reusing(3)).build().unwrap();
    let tenant = tenant(&host);
    assert_eq!(count(&host, &tenant).await, 1);
    assert_eq!(host.typed::<_, (u32,)>(&tenant, "count", ()).await.unwrap(), (2,));
    assert!(matches!(host.typed::<_, (u64,)>(&tenant, "count", ()).await, Err(HostError::Load(_))));
    assert_eq!(count(&host, &tenant).await, 1, "what was called in another way than it has is thrown away");
}

#[tokio::test]
async fn no_tenant_meets_an_instance_of_another() {
    for host in hosts(&reusing(100)) {
        let tenants: Vec<_> = (0..3).map(|_| tenant(&host)).collect();
        for round in 1..=4 {
            for tenant in &tenants {
                let count = count(&host, tenant).await;
                // In a small pool, the others take its place.
                assert!(count == round || count == 1, "{count} in round {round}");
            }
        }
        let clone = tenants[2].clone();
        let before = count(&host, &tenants[2]).await;
        assert_eq!(count(&host, &clone).await, before + 1, "a clone is the same tenant");
    }
}

#[tokio::test]
async fn what_did_not_end_well_is_thrown_away() {
    for host in hosts(&reusing(100)) {
        let tenant = tenant(&host);
        for function in ["trap", "spin"] {
            assert_eq!(count(&host, &tenant).await, 1);
            assert_eq!(count(&host, &tenant).await, 2);
            assert!(call(&host, &tenant, function).await.is_err());
            assert_eq!(count(&host, &tenant).await, 1, "after {function}");
            // For the next one.
            assert!(call(&host, &tenant, "trap").await.is_err());
        }
        // A call that is given up.
        assert_eq!(count(&host, &tenant).await, 1);
        assert!(tokio::time::timeout(Duration::from_millis(20), call(&host, &tenant, "spin")).await.is_err());
        assert_eq!(count(&host, &tenant).await, 1);
    }
}

#[tokio::test]
async fn what_is_left_behind_is_thrown_away() {
    for host in hosts(&reusing(100)) {
        for function in ["leak", "grow"] {
            let tenant = tenant(&host);
            assert_eq!(count(&host, &tenant).await, 1);
            assert_eq!(call(&host, &tenant, function).await.unwrap(), json!(2));
            assert_eq!(count(&host, &tenant).await, 1, "after {function}");
        }
    }
}

/// Keys that can be exchanged.
#[derive(Clone)]
struct Keys(Arc<Mutex<&'static str>>);

impl KeyStore for Keys {
    fn key<'a>(&'a self, _: &'a str) -> KeyFuture<'a> {
        let key = *self.0.lock().unwrap();
        Box::pin(async move { Ok(key.into()) })
    }
}

#[tokio::test]
async fn another_key_is_another_instance() {
    let keys = Keys(Arc::new(Mutex::new("one")));
    for pool in [1, 2] {
        let host = counting().limits(reusing(100)).keys(keys.clone()).pool(pool).build().unwrap();
        let tenant = host.tenant("t", Connection::default());
        for key in ["one", "two", "one"] {
            *keys.0.lock().unwrap() = key;
            assert_eq!(count(&host, &tenant).await, 1, "{key}");
            assert_eq!(count(&host, &tenant).await, 2, "{key}");
        }
    }
}

#[tokio::test]
async fn a_batch_has_an_instance_of_its_own() {
    for host in hosts(&reusing(100)) {
        let tenant = tenant(&host);
        assert_eq!(count(&host, &tenant).await, 1);
        let mut batch = host.batch(&tenant);
        let count_in = async |batch: &mut Batch<'_>| batch.call("count", &json!({})).await.unwrap().into_json().unwrap();
        for expected in 1..=3 {
            assert_eq!(count_in(&mut batch).await, json!(expected));
        }
        assert!(matches!(batch.call("cuont", &json!({})).await, Err(HostError::UnknownFunction { .. })));
        assert_eq!(count_in(&mut batch).await, json!(4));
        assert!(matches!(batch.call("trap", &json!({})).await, Err(HostError::Trap(_))));
        assert_eq!(count_in(&mut batch).await, json!(1), "after a trap, in another one");
        drop(batch);
        // In a pool of one, it took the place of what was kept before.
        assert!(count(&host, &tenant).await <= 2, "nothing of it is kept for others");
    }
}

#[tokio::test]
async fn what_is_kept_keeps_nobody_from_a_place() {
    let host = counting().limits(reusing(100)).pool(2).build().unwrap();
    // Each leaves an instance behind, and there are two places.
    let tenants: Vec<_> = (0..8).map(|_| tenant(&host)).collect();
    let calls: Vec<_> = (0..64)
        .map(|number| {
            let (host, tenant) = (host.clone(), tenants[number % tenants.len()].clone());
            tokio::spawn(async move { count(&host, &tenant).await })
        })
        .collect();
    for call in calls {
        assert!(call.await.unwrap() >= 1);
    }
}
