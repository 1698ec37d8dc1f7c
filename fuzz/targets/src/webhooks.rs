//! Bodies of webhooks, compared with the tree of another reader of JSON.

use memberspot_core::{
    webhook::{self, MOST_BODY_BYTES},
    wit::{
        triggers::WebhookEvent,
        types::{Error, FailureCode},
    },
};
use serde_json::Value;

/// Input: the body.
pub fn run(input: &[u8]) {
    let Ok(body) = std::str::from_utf8(input) else { return };
    let parsed = webhook::parse(body);
    if let Err(error) = &parsed {
        let Error::Permanent(failure) = error else { panic!("{error:?}") };
        assert_eq!((failure.code, failure.attempts), (FailureCode::InvalidInput, 0));
        assert!(failure.message.starts_with("body: ") && failure.details.is_empty(), "{failure:?}");
    }
    // A tree has bounds of its own, such as those of numbers; without one there is nothing to compare with.
    let Ok(tree) = serde_json::from_str::<Value>(body) else { return };
    let name = tree.get("event").and_then(Value::as_str).filter(|name| !name.is_empty());
    let fits = body.len() <= MOST_BODY_BYTES && depth(&tree) <= 64;
    match (parsed, name) {
        (Ok(WebhookEvent::Validation), name) => assert_eq!(name, Some("auth_test")),
        (Ok(WebhookEvent::Event(event)), Some(name)) => {
            assert!(fits && name != "auth_test");
            assert_eq!((event.name.as_str(), event.raw.as_str()), (name, body.trim()));
            let wrapped = [Some(&tree), tree.get("data"), tree.get("payload")];
            let places: Vec<_> = wrapped.into_iter().flatten().filter(|place| place.is_object()).collect();
            let users = places.iter().filter_map(|place| place.get("user"));
            let all: Vec<_> = places.iter().copied().chain(users).collect();
            let found = [
                (event.email, find(&all, &["email", "userEmail", "mail"])),
                (event.uid, find(&all, &["uid", "userId", "userUid"])),
                (event.offer_id, find(&places, &["offerId", "grantOffer"])),
                (event.occurred_at, find(&places, &["occurredAt", "timestamp", "time"])),
            ];
            for (found, expected) in found {
                // A number keeps its spelling, which a tree does not have any more.
                let same = match &expected {
                    Some(Value::String(text)) => found.as_deref() == Some(text),
                    other => found.is_some() == other.is_some(),
                };
                assert!(same, "{found:?} instead of {expected:?} in {body}");
            }
        }
        (Ok(_), None) => panic!("an event without a name"),
        (Err(_), name) => {
            // What comes twice counts twice.
            let may_have_too_many = body.matches(':').count() > 10_000;
            assert!(name.is_none() || !fits || may_have_too_many, "{body} was refused");
        }
    }
}

/// What the first place has that has a text, a number or a truth value under one of these names, the first of which counts.
fn find(places: &[&Value], names: &[&str]) -> Option<Value> {
    let at = |place: &&Value| {
        let value = names.iter().filter_map(|name| place.get(name)).find(|value| !value.is_null())?;
        let is_text = value.is_number() || value.is_boolean() || value.as_str().is_some_and(|text| !text.is_empty());
        is_text.then(|| value.clone())
    };
    places.iter().find_map(at)
}

fn depth(tree: &Value) -> usize {
    let inside = |items: &mut dyn Iterator<Item = &Value>| 1 + items.map(depth).max().unwrap_or(0);
    match tree {
        Value::Array(items) => inside(&mut items.iter()),
        Value::Object(members) => inside(&mut members.values()),
        _ => 0,
    }
}
