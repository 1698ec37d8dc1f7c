//! The customer story, from the purchase to the erasure, as a shop's automation would play it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::stage::Stage;

#[tokio::test]
async fn from_purchase_to_erasure() {
    play(&Stage::new().await).await;
}

pub async fn play(stage: &Stage) {
    let email = "mia@example.com";
    let access = json!({"email": email, "offerId": "offer-yoga-basic"});
    let has_access = || {
        let school = stage.school();
        school.member(email).is_some_and(|member| member.has_access("offer-yoga-basic", stage.simulator.clock().now()))
    };
    let call =
        async |function: &str, input: Value| stage.call(function, input).await.unwrap_or_else(|f| panic!("{function}: {f:?}"));

    // The shop looks up what it sells, and that the address is new.
    let offers = call("list-offers", json!({})).await;
    assert!(offers.as_array().unwrap().iter().any(|offer| offer["id"] == "offer-yoga-basic"));
    assert_eq!(call("find-user", json!({"email": email})).await, Value::Null);

    // Purchase.
    let grant = json!({"email": email, "offerId": "offer-yoga-basic", "firstName": "Mia", "orderId": "shop-77"});
    let user = call("grant-access", grant.clone()).await;
    assert!(has_access());
    let property = json!({"property": {"tag": "id", "val": "prop-level"}, "value": "beginner"});
    call("set-properties", json!({"email": email, "values": [property]})).await;

    // First login, first lessons.
    let token = call("create-login-token", json!({"uid": user["uid"]})).await;
    assert!(token["token"].is_string());
    let progress = call("list-course-progress", json!({"email": email})).await;
    assert_eq!(progress["entries"].as_array().unwrap().len(), 2);
    stage.simulator.edit_school(crate::stage::KEY, |school| {
        school.member_mut(email).unwrap().progress.get_mut("course-sun-salutation").unwrap().completed_posts = 1;
    });

    // A payment fails; access pauses, the progress stays.
    call("revoke-order-access", json!({"email": email, "orderId": "shop-77"})).await;
    assert!(!has_access());
    // The payment arrives.
    call("restore-order-access", json!({"email": email, "orderId": "shop-77"})).await;
    assert!(has_access());
    let entry = call("get-course-progress", json!({"email": email, "courseId": "course-sun-salutation"})).await;
    assert_eq!(entry["progress"]["completedPosts"], 1, "a pause keeps the progress");

    // The subscription is cancelled for a day that comes.
    call("set-access-expiration", json!({"email": email, "offerId": "offer-yoga-basic", "expiresAt": "2026-02-28"})).await;
    assert!(has_access());
    stage.simulator.clock().advance(Duration::from_secs(60 * 60 * 24 * 60));
    assert!(!has_access(), "the day has come");
    call("set-access-expiration", access.clone()).await;
    assert!(has_access(), "the member changes their mind");

    // Chargeback.
    call("delete-order-access", json!({"orderId": "shop-77"})).await;
    assert!(!has_access());
    let gone = stage.school().member(email).unwrap().progress.is_empty();
    assert!(gone, "deleting drops the progress");

    // Erasure; done twice, as engines do.
    call("delete-users", json!({"emails": [email]})).await;
    call("delete-users", json!({"emails": [email]})).await;
    assert!(stage.school().member(email).is_none());
    assert_eq!(call("find-user", json!({"email": email})).await, Value::Null);
}
