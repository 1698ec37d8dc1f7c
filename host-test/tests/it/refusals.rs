//! Bad input and missing scopes: refused with the name of what is wrong, before any request leaves.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::stage::{Stage, host};

/// A valid input for every function, and the scopes that it needs.
pub fn valid_inputs() -> Vec<(&'static str, Value, &'static [&'static str])> {
    let access = json!({"email": "anna@example.com", "offerId": "offer-breath"});
    let order = json!({"email": "anna@example.com", "orderId": "order-1001"});
    let value = json!({"property": {"tag": "id", "val": "prop-level"}, "value": "x"});
    vec![
        ("check-connection", json!({}), &["read"]),
        ("grant-access", access.clone(), &["write"]),
        ("revoke-access", access.clone(), &["write"]),
        ("restore-access", access.clone(), &["write"]),
        ("delete-access", access.clone(), &["delete"]),
        ("set-access-expiration", access, &["write"]),
        ("revoke-order-access", order.clone(), &["write"]),
        ("restore-order-access", order.clone(), &["write"]),
        ("delete-order-access", order, &["delete"]),
        ("list-users", json!({}), &["read"]),
        ("find-user", json!({"email": "anna@example.com"}), &["read"]),
        ("delete-users", json!({"emails": ["anna@example.com"]}), &["delete"]),
        ("delete-users-via-post", json!({"emails": ["anna@example.com"]}), &["delete"]),
        ("create-login-token", json!({"uid": "uid-anna"}), &["login"]),
        ("list-properties", json!({}), &["read"]),
        ("set-properties", json!({"email": "anna@example.com", "values": [value]}), &["write"]),
        ("list-offers", json!({}), &["read"]),
        ("list-course-progress", json!({"email": "anna@example.com"}), &["read"]),
        ("get-course-progress", json!({"email": "anna@example.com", "courseId": "course-breathing"}), &["read"]),
        (
            "enable-chapter-access",
            json!({"email": "anna@example.com", "courseId": "course-breathing", "chapterId": "chapter-breathing-1"}),
            &["write"],
        ),
        ("list-exam-results", json!({"examId": "exam-basics"}), &["read"]),
        ("call-api", json!({"method": "get", "path": "/v1/offers", "headers": []}), &["raw", "read"]),
        ("collect-users", json!({"maxUsers": 1}), &["read"]),
        ("collect-course-progress", json!({"email": "anna@example.com"}), &["read"]),
        ("list-options", json!({"moduleId": "access.grant-access", "field": "offerId"}), &["read"]),
        ("poll-new-users", json!({"maxUsers": 1}), &["read"]),
        ("poll-exam-results", json!({"examId": "exam-basics", "maxResults": 1}), &["read"]),
        ("poll-course-completions", json!({"courseId": "course-breathing", "emails": ["anna@example.com"]}), &["read"]),
    ]
}

#[tokio::test]
async fn every_function_needs_its_scopes_and_no_others() {
    let inputs = valid_inputs();
    // Each operation and each module has its own scope; see the tests of bulk work and of modules. Two need none.
    let others = ["apply-operations", "list-modules", "run-module", "parse-webhook"];
    let tested: BTreeSet<_> = inputs.iter().map(|(function, ..)| *function).chain(others).collect();
    let exported: BTreeSet<_> = host().functions().iter().map(memberspot_host::Function::name).collect();
    assert_eq!(tested, exported, "a function without a test of its scope");

    let stage = Stage::new().await;
    for (function, input, needed) in inputs {
        for missing in needed {
            let others = ["read", "write", "delete", "login", "raw"].iter().filter(|scope| *scope != missing);
            let scopes = others.copied().collect::<Vec<_>>().join(",");
            let connection = stage.connection.clone().scopes(scopes);
            let failure = crate::stage::call(&connection, function, input.clone()).await.unwrap_err();
            failure.assert_unsent("notPermitted");
            assert!(failure.message.contains(missing), "{}", failure.message);
        }
        assert_eq!(stage.simulator.journal().len(), 0, "{function} sent a request without its scope");
        let connection = stage.connection.clone().scopes(needed.join(","));
        let outcome = crate::stage::call(&connection, function, input).await;
        assert!(
            outcome.is_ok() || outcome.as_ref().is_err_and(|failure| failure.code == "notFound"),
            "{function}: {outcome:?}"
        );
        assert_eq!(stage.simulator.journal().len(), 1);
        stage.simulator.clear_journal();
    }
}

#[tokio::test]
async fn a_raw_call_cannot_do_what_the_scopes_forbid() {
    let stage = Stage::new().await.configured("MEMBERSPOT_SCOPES", "raw,read,write");
    let form = json!([{"name": "content-type", "value": "application/x-www-form-urlencoded"}]);
    let state = r#"{"email":"anna@example.com","offerId":"offer-yoga-basic"}"#;
    let raw = |method: &str, path: &str, headers: Value, body: Option<&str>| json!({"method": method, "path": path, "headers": headers, "body": body});
    for input in [
        raw("get", "/v1/users/login-token/uid-anna", json!([]), None),
        raw("get", "/V1/USERS/LOGIN-TOKEN/uid-anna/", json!([]), None),
        raw("get", "/v1/users/login%2Dtoken/uid-anna", json!([]), None),
        raw("post", "/v1/users/set-offer-state", json!([]), Some(state)),
        raw("post", "/v1/users/set-offer-state", json!([]), Some(r#"{"active":null}"#)),
        raw("post", "/v1/users/set-offer-state", form, Some("email=anna%40example.com&offerId=offer-yoga-basic&active=")),
        raw("post", "/v1/users/set-order-state", json!([]), Some(r#"{"orderId":"order-1001"}"#)),
        raw("delete", "/v1/users/delete-users", json!([]), Some(r#"{"emails":["anna@example.com"]}"#)),
        raw("post", "/v1/users/delete-users/", json!([]), Some(r#"{"emails":["anna@example.com"]}"#)),
        raw("delete", "/v1/unknown", json!([]), None),
    ] {
        stage.call("call-api", input).await.unwrap_err().assert_unsent("notPermitted");
    }
    assert_eq!(stage.simulator.journal().len(), 0);
    let allowed = r#"{"email":"anna@example.com","offerId":"offer-yoga-basic","active":false}"#;
    stage.call("call-api", raw("post", "/v1/users/set-offer-state", json!([]), Some(allowed))).await.unwrap();
}

#[tokio::test]
async fn bad_input_names_the_field() {
    let stage = Stage::new().await;
    let email = "anna@example.com";
    let long = "x".repeat(600);
    let raw = |path: &str| json!({"method": "get", "path": path, "headers": []});
    let header =
        |name: &str, value: &str| json!({"method": "get", "path": "/v1/offers", "headers": [{"name": name, "value": value}]});
    let heavy: Vec<_> = (0..17).map(|index| json!({"name": format!("x-{index}"), "value": "y".repeat(8000)})).collect();
    let values = |list: Value| json!({"email": email, "values": list});
    let assignment = |id: &str| json!({"property": {"tag": "id", "val": id}, "value": ""});
    let chapter = |course: &str, chapter: &str| json!({"email": email, "courseId": course, "chapterId": chapter});
    let cases = [
        ("grant-access", json!({"email": "", "offerId": "o"}), "email"),
        ("grant-access", json!({"email": "anna", "offerId": "o"}), "email"),
        ("grant-access", json!({"email": " anna@example.com", "offerId": "o"}), "email"),
        ("grant-access", json!({"email": email, "offerId": ""}), "offer-id"),
        ("grant-access", json!({"email": email, "offerId": long}), "offer-id"),
        ("grant-access", json!({"email": email, "offerId": "o", "orderId": ""}), "order-id"),
        ("revoke-access", json!({"email": "a@b", "offerId": "o"}), "email"),
        ("revoke-access", json!({"email": email, "offerId": " "}), "offer-id"),
        ("restore-access", json!({"email": "", "offerId": "o"}), "email"),
        ("restore-access", json!({"email": email, "offerId": "a\nb"}), "offer-id"),
        ("delete-access", json!({"email": "", "offerId": "o"}), "email"),
        ("delete-access", json!({"email": email, "offerId": ""}), "offer-id"),
        ("set-access-expiration", json!({"email": "", "offerId": "o"}), "email"),
        ("set-access-expiration", json!({"email": email, "offerId": ""}), "offer-id"),
        ("set-access-expiration", json!({"email": email, "offerId": "o", "expiresAt": ""}), "expires-at"),
        ("set-access-expiration", json!({"email": email, "offerId": "o", "expiresAt": "tomorrow"}), "expires-at"),
        ("set-access-expiration", json!({"email": email, "offerId": "o", "expiresAt": "2027-02-30"}), "expires-at"),
        ("set-access-expiration", json!({"email": email, "offerId": "o", "expiresAt": "2027-01-31T18:00:00"}), "expires-at"),
        ("revoke-order-access", json!({"email": "", "orderId": "1"}), "email"),
        ("revoke-order-access", json!({"email": email, "orderId": ""}), "order-id"),
        ("restore-order-access", json!({"email": "x", "orderId": "1"}), "email"),
        ("restore-order-access", json!({"email": email, "orderId": ""}), "order-id"),
        ("delete-order-access", json!({"orderId": ""}), "order-id"),
        ("delete-order-access", json!({"orderId": "1", "email": ""}), "email"),
        ("list-users", json!({"offerId": ""}), "offer-id"),
        ("list-users", json!({"courseId": ""}), "course-id"),
        ("list-users", json!({"pageToken": ""}), "page-token"),
        ("list-users", json!({"pageLength": 0}), "page-length"),
        ("find-user", json!({"email": ""}), "email"),
        ("find-user", json!({"email": "a/b@example.com"}), "email"),
        ("find-user", json!({"email": "\"a\r\nb\"@example.com"}), "email"),
        ("delete-users", json!({"emails": []}), "emails"),
        ("delete-users", json!({"emails": vec![email; 101]}), "emails"),
        ("delete-users", json!({"emails": [email, "nobody"]}), "emails[1]"),
        ("delete-users-via-post", json!({"emails": []}), "emails"),
        ("delete-users-via-post", json!({"emails": [""]}), "emails[0]"),
        ("create-login-token", json!({"uid": ""}), "uid"),
        ("create-login-token", json!({"uid": "a/b"}), "uid"),
        ("create-login-token", json!({"uid": ".."}), "uid"),
        ("create-login-token", json!({"uid": "a\\b"}), "uid"),
        ("create-login-token", json!({"uid": "a\r\nb"}), "uid"),
        ("set-properties", json!({"email": "", "values": [assignment("p")]}), "email"),
        ("set-properties", values(json!([])), "values"),
        ("set-properties", values(json!(vec![assignment("p"); 101])), "values"),
        ("set-properties", values(json!([assignment("")])), "values[0].property"),
        ("set-properties", values(json!([assignment("p"), assignment("p")])), "values[1].property"),
        ("list-course-progress", json!({"email": "x"}), "email"),
        ("list-course-progress", json!({"email": email, "pageToken": ""}), "page-token"),
        ("list-course-progress", json!({"email": email, "pageLength": 0}), "page-length"),
        ("get-course-progress", json!({"email": "", "courseId": "c"}), "email"),
        ("get-course-progress", json!({"email": email, "courseId": "a/b"}), "course-id"),
        ("get-course-progress", json!({"email": email, "courseId": "list"}), "course-id"),
        ("enable-chapter-access", json!({"email": "", "courseId": "c", "chapterId": "k"}), "email"),
        ("enable-chapter-access", chapter("", "k"), "course-id"),
        ("enable-chapter-access", chapter("c", ""), "chapter-id"),
        ("list-exam-results", json!({"examId": "../offers"}), "exam-id"),
        ("call-api", raw(""), "path"),
        ("call-api", raw("v1/offers"), "path"),
        ("call-api", raw("//evil.example/v1"), "path"),
        ("call-api", raw("https://evil.example/"), "path"),
        ("call-api", raw("/v1/../x"), "path"),
        ("call-api", raw("/v1/%2e%2e/x"), "path"),
        ("call-api", raw("/v1/a%2fb"), "path"),
        ("call-api", raw("/v1/a%0d%0ab"), "path"),
        ("call-api", raw("/v1/a\r\nX-Evil: 1"), "path"),
        ("call-api", header("X-API-KEY", "mine"), "headers[0].name"),
        ("call-api", header("Host", "evil.example"), "headers[0].name"),
        ("call-api", header("Transfer-Encoding", "chunked"), "headers[0].name"),
        ("call-api", header("X-HTTP-Method-Override", "DELETE"), "headers[0].name"),
        ("call-api", header("x", "a\r\nX-Evil: 1"), "headers[0].value"),
        ("call-api", json!({"method": "get", "path": "/v1/offers", "headers": [], "body": "x"}), "body"),
        ("call-api", raw("/v1/users/login-token;x/u"), "path"),
        ("call-api", raw("/v1/users/login%252dtoken/u"), "path"),
        ("collect-users", json!({"maxUsers": 0}), "max-users"),
        ("collect-users", json!({"maxUsers": 100_001}), "max-users"),
        ("collect-users", json!({"maxUsers": 1, "createdAfter": "yesterday"}), "created-after"),
        ("collect-users", json!({"maxUsers": 1, "offerId": ""}), "offer-id"),
        ("collect-users", json!({"maxUsers": 1, "pageToken": ""}), "page-token"),
        ("collect-course-progress", json!({"email": "x"}), "email"),
        ("collect-course-progress", json!({"email": email, "pageToken": ""}), "page-token"),
        ("run-module", json!({"id": "grant-access", "inputJson": "{}"}), "id"),
        ("run-module", json!({"id": "access.grant-access", "inputJson": ""}), "input"),
        ("run-module", json!({"id": "access.grant-access", "inputJson": "{\"offerId\": \"o\"}"}), "/email"),
        ("list-options", json!({"moduleId": "access.grant", "field": "offerId"}), "id"),
        ("parse-webhook", json!({"body": ""}), "body"),
        ("parse-webhook", json!({"body": "{\"email\": \"anna@example.com\"}"}), "body"),
        ("parse-webhook", json!({"body": format!("{{\"event\": \"{}\"}}", "x".repeat(256 << 10))}), "body"),
        ("parse-webhook", json!({"body": format!("{{\"event\": {}{}}}", "[".repeat(99), "]".repeat(99))}), "body"),
        ("poll-new-users", json!({"maxUsers": 0}), "max-users"),
        ("poll-new-users", json!({"maxUsers": 100_001}), "max-users"),
        ("poll-new-users", json!({"maxUsers": 1, "cursor": ""}), "cursor"),
        ("poll-new-users", json!({"maxUsers": 1, "cursor": "anna@example.com"}), "cursor"),
        ("poll-exam-results", json!({"examId": "../offers", "maxResults": 1}), "exam-id"),
        ("poll-exam-results", json!({"examId": "e", "maxResults": 0}), "max-results"),
        ("poll-exam-results", json!({"examId": "e", "maxResults": 10_001}), "max-results"),
        ("poll-exam-results", json!({"examId": "e", "maxResults": 1, "cursor": "exam1::x"}), "cursor"),
        ("poll-course-completions", json!({"courseId": "c", "emails": []}), "emails"),
        ("poll-course-completions", json!({"courseId": "c", "emails": vec![email; 101]}), "emails"),
        ("poll-course-completions", json!({"courseId": "c", "emails": [email, "nobody"]}), "emails[1]"),
        ("poll-course-completions", json!({"courseId": "c", "emails": [email, "a/b@example.com"]}), "emails[1]"),
        ("poll-course-completions", json!({"courseId": "list", "emails": [email]}), "course-id"),
        ("poll-course-completions", json!({"courseId": "c", "emails": [email], "cursor": "x"}), "cursor"),
        ("list-options", json!({"moduleId": "access.grant-access", "field": "email"}), "field"),
        ("list-options", json!({"moduleId": "users.find-user", "field": "offerId"}), "field"),
        // More than an engine takes, each of them allowed by itself: it would trap.
        ("call-api", json!({"method": "get", "path": "/v1/offers", "headers": heavy}), "headers"),
    ];
    let unchecked = ["check-connection", "list-properties", "list-offers", "apply-operations", "list-modules"];
    let tested: BTreeSet<_> = cases.iter().map(|(function, ..)| *function).chain(unchecked).collect();
    let exported: BTreeSet<_> = host().functions().iter().map(memberspot_host::Function::name).collect();
    assert_eq!(tested, exported, "a function whose input is not tested");
    for (function, input, field) in cases {
        let failure = stage.call(function, input.clone()).await.expect_err(function);
        failure.assert_unsent("invalidInput");
        assert!(failure.message.starts_with(&format!("{field}: ")), "{function} {input}: {}", failure.message);
        let quoted = failure.message.contains("anna") || failure.message.contains("nobody");
        assert!(!quoted, "an address is quoted: {}", failure.message);
    }
    assert_eq!(stage.simulator.journal().len(), 0, "a request left");
}

#[tokio::test]
async fn whatever_the_text_nothing_traps() {
    let stage = Stage::new().await;
    let texts =
        ["\0", "\u{7f}", "\u{202e}", "🦀", "a\u{0}b@c.de", "%", "%%", "%00", "\\", "'\"`", "{{x}}", "-", "𝒳@example.com"];
    let long = ["a".repeat(100_000), "@".repeat(100_000), "é".repeat(100_000), "/".repeat(100_000), "%2e".repeat(50_000)];
    for text in texts.into_iter().chain(long.iter().map(String::as_str)) {
        for (function, input) in [
            ("find-user", json!({"email": text})),
            ("revoke-access", json!({"email": text, "offerId": text})),
            ("create-login-token", json!({"uid": text})),
            ("set-access-expiration", json!({"email": "a@b.de", "offerId": "o", "expiresAt": text})),
            ("call-api", json!({"method": "post", "path": text, "headers": [], "body": text})),
            ("call-api", json!({"method": "post", "path": "/v1/x", "headers": [{"name": text, "value": text}], "body": text})),
            ("list-users", json!({"pageToken": text, "offerId": text})),
        ] {
            // A trap would end the call without an outcome, which `call` turns into a panic.
            let _ = stage.call(function, input).await;
        }
    }
}
