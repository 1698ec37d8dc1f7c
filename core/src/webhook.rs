//! `triggers.parse-webhook`: what a webhook brought. Pure, and all that a receiver of webhooks needs of this crate.

use crate::{
    error::invalid_input,
    json::{Json, Object},
    wit::{
        triggers::{EventDetails, WebhookEvent},
        types::Error,
    },
};

/// The longest body. Memberspot's events are about one member each.
pub const MOST_BODY_BYTES: usize = 256 << 10;
/// Whoever gets the body next reads it with a parser that recurses; the usual ones go twice as deep.
const MOST_DEPTH: usize = 64;
/// The event by which Memberspot checks an address.
const HANDSHAKE: &str = "auth_test";

/// Reads the body of a webhook.
///
/// # Errors
/// `invalid-input` for what is no event of Memberspot's.
pub fn parse(body: &str) -> Result<WebhookEvent, Error> {
    let refused = |problem| Err(invalid_input("body", problem));
    if body.len() > MOST_BODY_BYTES {
        return refused("is longer than 256 KiB; no event is");
    }
    let Some(event) = Json::parse(body).and_then(Json::object) else {
        return refused("is not a JSON object; pass the body of the request as it came");
    };
    if depth(body) > MOST_DEPTH {
        return refused("is nested more than 64 deep; no event is");
    }
    let name = event.get(&["event"]).and_then(Json::string).filter(|name| !name.is_empty());
    let Some(name) = name else {
        return refused("has no event, or one that is not a text; Memberspot's webhooks name theirs");
    };
    if name == HANDSHAKE {
        return Ok(WebhookEvent::Validation);
    }
    let places = Places::of(event);
    Ok(WebhookEvent::Event(EventDetails {
        name,
        email: places.member(&["email", "userEmail", "mail"]),
        uid: places.member(&["uid", "userId", "userUid"]),
        offer_id: places.event(&["offerId", "grantOffer"]),
        occurred_at: places.event(&["occurredAt", "timestamp", "time"]),
        raw: body.trim().to_owned(),
    }))
}

/// The objects in which fields of an event are looked for, in this order.
struct Places<'a> {
    /// The body, and what it wraps.
    event: Vec<Object<'a>>,
    /// The members within these.
    users: Vec<Object<'a>>,
}

impl<'a> Places<'a> {
    fn of(body: Object<'a>) -> Self {
        let inside = |object: &Object<'a>, name| object.get(&[name]).and_then(Json::object);
        let wrapped: Vec<_> = ["data", "payload"].into_iter().filter_map(|name| inside(&body, name)).collect();
        let mut event = vec![body];
        event.extend(wrapped);
        let users = event.iter().filter_map(|object| inside(object, "user")).collect();
        Self { event, users }
    }

    /// A field of the event. What a member has of that name, such as a time, is something else.
    fn event(&self, names: &[&str]) -> Option<String> {
        self.event.iter().find_map(|object| object.text(names))
    }

    /// A field that tells the member.
    fn member(&self, names: &[&str]) -> Option<String> {
        self.event(names).or_else(|| self.users.iter().find_map(|object| object.text(names)))
    }
}

/// How deep the objects and lists of a JSON text go.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_text, mut escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wit::types::FailureCode;

    fn event(body: &str) -> EventDetails {
        match parse(body) {
            Ok(WebhookEvent::Event(details)) => details,
            other => panic!("{body}: {other:?}"),
        }
    }

    #[track_caller]
    fn assert_refused(body: &str) {
        let Err(Error::Permanent(failure)) = parse(body) else { panic!("{body:.100} was taken") };
        assert_eq!((failure.code, failure.attempts), (FailureCode::InvalidInput, 0));
        assert!(failure.message.starts_with("body: "), "{}", failure.message);
    }

    #[test]
    fn the_handshake_is_told_from_events() {
        for body in [r#"{"event":"auth_test"}"#, " {\"event\" : \"auth\\u005ftest\", \"data\": {}}\r\n"] {
            assert_eq!(parse(body), Ok(WebhookEvent::Validation), "{body}");
        }
        for body in [r#"{"event":"AUTH_TEST"}"#, r#"{"event":"auth_test2"}"#, r#"{"event":"x","data":{"event":"auth_test"}}"#] {
            event(body);
        }
    }

    #[test]
    fn fields_are_found_where_they_are_known_to_be() {
        let fields = r#""email":"a@b.de","uid":"u1","offerId":"o1","occurredAt":"2027-01-31T18:00:00Z""#;
        for body in [
            format!(r#"{{"event":"user_added",{fields}}}"#),
            format!(r#"{{"event":"user_added","data":{{{fields}}}}}"#),
            format!(r#"{{"event":"user_added","payload":{{{fields}}}}}"#),
            r#"{"event":"user_added","user":{"email":"a@b.de","uid":"u1"},"offerId":"o1","timestamp":"2027-01-31T18:00:00Z"}"#.into(),
            r#"{"event":"user_added","data":{"user":{"email":"a@b.de","uid":"u1"},"grantOffer":"o1","time":"2027-01-31T18:00:00Z"}}"#
                .into(),
            r#"{"event":"user_added","email":null,"userEmail":"a@b.de","data":[],"payload":{"userId":"u1","offerId":"o1",
               "occurredAt":"2027-01-31T18:00:00Z","email":"second@b.de"}}"#
                .into(),
        ] {
            let details = event(&body);
            assert_eq!(details.name, "user_added");
            assert_eq!((details.email.as_deref(), details.uid.as_deref()), (Some("a@b.de"), Some("u1")), "{body}");
            let about = (details.offer_id.as_deref(), details.occurred_at.as_deref());
            assert_eq!(about, (Some("o1"), Some("2027-01-31T18:00:00Z")), "{body}");
            assert_eq!(details.raw, body);
        }
    }

    #[test]
    fn an_unknown_event_is_passed_on_whole() {
        let body = "\n{\"event\":\"Kurs \\u00fc\",\"x\":[1.50,{\"y\":null}],\"timestamp\":1769900000}\t";
        let details = event(body);
        assert_eq!((details.name.as_str(), details.occurred_at.as_deref()), ("Kurs ü", Some("1769900000")));
        assert_eq!((details.email, details.uid, details.offer_id), (None, None, None));
        assert_eq!(details.raw, body.trim());
    }

    #[test]
    fn a_member_s_own_times_are_not_the_event_s() {
        let details = event(r#"{"event":"e","user":{"uid":"u","timestamp":"2020-01-01","offerId":"o"}}"#);
        assert_eq!((details.occurred_at, details.offer_id), (None, None));
    }

    #[test]
    fn what_is_no_event_is_refused() {
        for body in
            ["", " ", "null", "1", "[]", "\"auth_test\"", "{", "{}", "<html>", "event=auth_test", "\u{feff}{\"event\":\"e\"}"]
        {
            assert_refused(body);
        }
        for body in [r#"{"event":null}"#, r#"{"event":""}"#, r#"{"event":1}"#, r#"{"event":{"name":"e"}}"#, r#"{"Event":"e"}"#]
        {
            assert_refused(body);
        }
        assert_refused("{\"event\":\"e\"} {}");
    }

    #[test]
    fn sizes_are_bounded() {
        let filled = |length: usize| {
            let (begin, end) = ("{\"event\":\"e\",\"x\":\"", "\"}");
            format!("{begin}{}{end}", "x".repeat(length - begin.len() - end.len()))
        };
        event(&filled(MOST_BODY_BYTES));
        assert_refused(&filled(MOST_BODY_BYTES + 1));
        // Within the length, and still more than an object may have.
        let members = ",\"x\":1".repeat(20_000);
        assert_refused(&format!("{{\"event\":\"e\"{members}}}"));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{{\"event\":\"e\",\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        event(&nested(MOST_DEPTH - 1));
        assert_refused(&nested(MOST_DEPTH));
        assert_refused(&nested(100_000));
        // Beside each other, or in a text, is not within each other.
        event(&format!("{{\"event\":\"e\",\"x\":[{}1]}}", "[],".repeat(1000)));
        event(&format!("{{\"event\":\"e\",\"x\":\"\\\"{}\"}}", "[".repeat(1000)));
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in ".*|[\\[\\]{}\":,a-z0-9. \\\\]{0,80}") {
            let _ = parse(&body);
        }

        #[test]
        fn depth_is_that_of_the_tree(tree in tree()) {
            fn depth_of(tree: &serde_json::Value) -> usize {
                match tree {
                    serde_json::Value::Array(items) => 1 + items.iter().map(depth_of).max().unwrap_or(0),
                    serde_json::Value::Object(members) => 1 + members.values().map(depth_of).max().unwrap_or(0),
                    _ => 0,
                }
            }
            prop_assert_eq!(depth(&tree.to_string()), depth_of(&tree));
        }
    }

    fn tree() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![Just(serde_json::Value::Null), "[\\[\\]{}\"\\\\a]{0,6}".prop_map(Into::into)];
        leaf.prop_recursive(8, 64, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                proptest::collection::btree_map("[\\[{\"\\\\a]{0,3}", inner, 0..4)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }
}
