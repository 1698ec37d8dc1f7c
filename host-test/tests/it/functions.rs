//! Every function of the WIT: what goes over the wire, to the letter, and what comes back.

use std::time::Duration;

use memberspot_host::simulator::{Entry, Fault, Method, Outcome, Reshape, StatusCode};
use serde_json::{Value, json};

use crate::stage::{KEY, Stage};

/// Asserts a request as the journal saw it: method, path, query, body, and every header.
#[track_caller]
fn assert_wire(stage: &Stage, request: &Entry, method: Method, path: &str, query: &str, body: Option<Value>) {
    assert_eq!((&request.method, request.path.as_str(), request.query.as_str()), (&method, path, query));
    assert_eq!(request.json(), body);
    assert_eq!(request.api_key(), Some(KEY));
    let host = stage.simulator.address().to_string();
    let version = format!("memberspot-connector/{}", env!("CARGO_PKG_VERSION"));
    let length = request.body_length.to_string();
    let mut expected = vec![
        ("accept", "application/json"),
        ("accept-encoding", "identity"),
        ("host", host.as_str()),
        ("user-agent", version.as_str()),
        ("x-api-key", KEY),
    ];
    if body.is_some() {
        expected.extend([("content-length", length.as_str()), ("content-type", "application/json")]);
    }
    expected.sort_unstable();
    let mut headers: Vec<_> = request.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    headers.sort_unstable();
    assert_eq!(headers, expected);
}

/// Calls a function on a school of its own, and asserts the one request that it makes.
async fn call(function: &str, input: Value, method: Method, target: &str, body: Option<Value>) -> (Stage, Value) {
    let stage = Stage::new().await;
    let result = stage.call(function, input).await.unwrap_or_else(|failure| panic!("{function}: {failure:?}"));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    assert_wire(&stage, &stage.request(), method, path, query, body);
    (stage, result)
}

#[tokio::test]
async fn check_connection() {
    let (stage, result) = call("check-connection", json!({}), Method::GET, "/api-auth", None).await;
    let expected = json!({
        "baseUrl": stage.simulator.origin(),
        "scopes": ["read", "write", "delete", "login", "raw"],
        "version": env!("CARGO_PKG_VERSION"),
    });
    assert_eq!(result, expected);
}

#[tokio::test]
async fn grant_access_creates_the_member() {
    let input = json!({
        "email": "new@example.com", "offerId": "offer-breath", "firstName": "Nora", "lastName": "Neu", "orderId": "order-1",
    });
    let body = json!({
        "email": "new@example.com", "grantOffer": "offer-breath", "firstname": "Nora", "name": "Neu", "orderId": "order-1",
    });
    let path = "/v1/users/grant-user-offer-by-mail";
    let (stage, user) = call("grant-access", input, Method::POST, path, Some(body)).await;
    let school = stage.school();
    let member = school.member("new@example.com").expect("created");
    assert_eq!((user["uid"].as_str(), user["email"].as_str()), (Some(member.uid()), Some("new@example.com")));
    assert_eq!((user["firstName"].as_str(), user["lastName"].as_str()), (Some("Nora"), Some("Neu")));
    assert_eq!(member.grants["offer-breath"].order_id.as_deref(), Some("order-1"));
    let raw: Value = serde_json::from_str(user["raw"].as_str().unwrap()).unwrap();
    assert_eq!(raw["uid"], user["uid"]);
}

#[tokio::test]
async fn grant_access_needs_no_more_than_address_and_offer() {
    let input = json!({"email": "luis@example.com", "offerId": "offer-breath", "firstName": "", "lastName": null});
    let body = json!({"email": "luis@example.com", "grantOffer": "offer-breath"});
    let path = "/v1/users/grant-user-offer-by-mail";
    let (stage, user) = call("grant-access", input.clone(), Method::POST, path, Some(body)).await;
    assert_eq!(user["uid"], "uid-luis");
    let before = stage.school().member("luis@example.com").unwrap().grants.clone();
    let again = stage.call("grant-access", input).await.unwrap();
    assert_eq!(again["uid"], user["uid"]);
    assert_eq!(stage.school().member("luis@example.com").unwrap().grants, before, "granting twice changes nothing");
}

#[tokio::test]
async fn revoke_restore_and_delete_access() {
    let input = json!({"email": "anna@example.com", "offerId": "offer-yoga-basic"});
    let path = "/v1/users/set-offer-state";
    let with_active = |active: bool| json!({"email": "anna@example.com", "offerId": "offer-yoga-basic", "active": active});

    let (stage, state) = call("revoke-access", input.clone(), Method::POST, path, Some(with_active(false))).await;
    assert_eq!((&state["email"], &state["offerId"], &state["active"]), (&input["email"], &input["offerId"], &json!(false)));
    let member = stage.school().member("anna@example.com").unwrap().clone();
    assert!(!member.grants["offer-yoga-basic"].active);
    assert!(member.progress.contains_key("course-sun-salutation"), "revoking keeps the progress");

    stage.simulator.clear_journal();
    let state = stage.call("restore-access", input.clone()).await.unwrap();
    assert_wire(&stage, &stage.request(), Method::POST, path, "", Some(with_active(true)));
    assert_eq!(state["active"], true);
    assert!(stage.school().member("anna@example.com").unwrap().grants["offer-yoga-basic"].active);

    stage.simulator.clear_journal();
    let state = stage.call("delete-access", input.clone()).await.unwrap();
    assert_wire(&stage, &stage.request(), Method::POST, path, "", Some(input));
    assert!(state.get("active").is_none());
    let member = stage.school().member("anna@example.com").unwrap().clone();
    assert!(!member.grants.contains_key("offer-yoga-basic"));
    assert!(!member.progress.contains_key("course-sun-salutation"), "deleting drops the progress");
}

#[tokio::test]
async fn set_access_expiration() {
    let path = "/v1/users/set-offer-expires";
    let input = |at: Option<&str>| json!({"email": "anna@example.com", "offerId": "offer-yoga-basic", "expiresAt": at});
    for (given, sent) in [
        ("2027-01-31", "2027-01-31T23:59:59.999Z"),
        ("2027-01-31T18:00:00+01:00", "2027-01-31T17:00:00.000Z"),
        ("2027-01-31T18:00:00.5Z", "2027-01-31T18:00:00.500Z"),
    ] {
        let (stage, result) =
            call("set-access-expiration", input(Some(given)), Method::PATCH, path, Some(input(Some(sent)))).await;
        assert_eq!(result, Value::Null);
        assert!(stage.school().member("anna@example.com").unwrap().grants["offer-yoga-basic"].expires_at.is_some());

        stage.simulator.clear_journal();
        stage.call("set-access-expiration", input(None)).await.unwrap();
        let cleared = json!({"email": "anna@example.com", "offerId": "offer-yoga-basic"});
        assert_wire(&stage, &stage.request(), Method::PATCH, path, "", Some(cleared));
        assert!(stage.school().member("anna@example.com").unwrap().grants["offer-yoga-basic"].expires_at.is_none());
    }
}

#[tokio::test]
async fn revoke_restore_and_delete_by_order() {
    let input = json!({"email": "anna@example.com", "orderId": "order-1001"});
    let path = "/v1/users/set-order-state";
    let with_active = |active: bool| json!({"email": "anna@example.com", "orderId": "order-1001", "active": active});
    let grants = |stage: &Stage| {
        let school = stage.school();
        let member = school.member("anna@example.com").unwrap();
        let of_order = member.grants.values().filter(|grant| grant.order_id.as_deref() == Some("order-1001"));
        of_order.map(|grant| grant.active).collect::<Vec<_>>()
    };

    let (stage, state) = call("revoke-order-access", input.clone(), Method::POST, path, Some(with_active(false))).await;
    assert_eq!((&state["email"], &state["orderId"], &state["active"]), (&input["email"], &input["orderId"], &json!(false)));
    assert_eq!(grants(&stage), [false, false], "one order granted two offers");

    stage.simulator.clear_journal();
    let state = stage.call("restore-order-access", input.clone()).await.unwrap();
    assert_wire(&stage, &stage.request(), Method::POST, path, "", Some(with_active(true)));
    assert_eq!(state["active"], true);
    assert_eq!(grants(&stage), [true, true]);

    stage.simulator.clear_journal();
    stage.call("delete-order-access", json!({"orderId": "order-1001"})).await.unwrap();
    assert_wire(&stage, &stage.request(), Method::POST, path, "", Some(json!({"orderId": "order-1001"})));
    assert_eq!(grants(&stage), [] as [bool; 0]);

    stage.simulator.clear_journal();
    stage.call("delete-order-access", input.clone()).await.unwrap();
    assert_wire(&stage, &stage.request(), Method::POST, path, "", Some(input));
}

#[tokio::test]
async fn list_users_pages_and_filters() {
    let (stage, page) = call("list-users", json!({}), Method::GET, "/v1/users/list", None).await;
    let total = stage.school().member_count();
    assert_eq!(page["users"].as_array().unwrap().len(), 10, "the default length of a page");

    let mut seen = vec![];
    let mut token = Value::Null;
    loop {
        let page = stage.call("list-users", json!({"pageLength": 5, "pageToken": token})).await.unwrap();
        seen.extend(page["users"].as_array().unwrap().iter().map(|user| user["uid"].as_str().unwrap().to_owned()));
        token = page.get("nextPage").cloned().unwrap_or_default();
        if token.is_null() {
            break;
        }
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), total, "every member once");

    stage.simulator.clear_journal();
    let filter = json!({"offerId": "offer-breath", "courseId": "course-breathing", "active": true, "pageLength": 3});
    let page = stage.call("list-users", filter).await.unwrap();
    let query = "pageLength=3&offerId=offer-breath&courseId=course-breathing&active=true";
    assert_wire(&stage, &stage.request(), Method::GET, "/v1/users/list", query, None);
    assert!(page["users"].as_array().unwrap().iter().all(|user| user["active"] == true));

    stage.simulator.clear_journal();
    let inactive = stage.call("list-users", json!({"active": false})).await.unwrap();
    assert_wire(&stage, &stage.request(), Method::GET, "/v1/users/list", "active=false", None);
    assert_eq!(inactive["users"][0]["uid"], "uid-hugo");

    stage.simulator.clear_journal();
    stage.simulator.inject(memberspot_host::simulator::Injection::everywhere(Fault::json("[]")));
    stage.call("list-users", json!({"pageToken": "a&b=c /ü"})).await.unwrap();
    let query = "lastLoadedId=a%26b%3Dc%20%2F%C3%BC";
    assert_wire(&stage, &stage.request(), Method::GET, "/v1/users/list", query, None);
}

#[tokio::test]
async fn find_user() {
    let path = "/v1/users/find-by-mail/anna%40example.com";
    let (stage, user) = call("find-user", json!({"email": "anna@example.com"}), Method::GET, path, None).await;
    assert_eq!(user["uid"], "uid-anna");
    assert!(user["progress"].as_array().is_some_and(|progress| !progress.is_empty()));

    let unknown = stage.call("find-user", json!({"email": "nobody@example.com"})).await;
    assert_eq!(unknown, Ok(Value::Null), "an unknown address is no error");
    let plus = stage.call("find-user", json!({"email": "a+b%c@example.com"})).await;
    assert_eq!(plus, Ok(Value::Null));
    assert_eq!(stage.simulator.journal().last().unwrap().path, "/v1/users/find-by-mail/a%2Bb%25c%40example.com");
}

#[tokio::test]
async fn a_404_that_is_not_the_routes_own_is_an_error() {
    let stage = Stage::new().await;
    for (fault, kind) in [
        (Fault::refusal(StatusCode::NOT_FOUND, "Cannot GET /v1/users/find-by-mail/a"), "an unknown route"),
        (Fault::canned(404, &[("content-type", "text/html")], "<html>nothing here</html>"), "a stranger's page"),
        (Fault::canned(404, &[("content-type", "application/json")], r#"{"message":"no Route matched"}"#), "a gateway"),
        (Fault::canned(404, &[], ""), "an empty page"),
    ] {
        let failure = stage.faulty(fault, "find-user", json!({"email": "anna@example.com"})).await.unwrap_err();
        assert_eq!((failure.code.as_str(), failure.status, failure.transient), ("notFound", Some(404), false), "{kind}");
    }
}

#[tokio::test]
async fn delete_users() {
    for (function, method) in [("delete-users", Method::DELETE), ("delete-users-via-post", Method::POST)] {
        let input = json!({"emails": ["anna@example.com", "nobody@example.com", "ben@example.com"]});
        let (stage, result) = call(function, input.clone(), method, "/v1/users/delete-users", Some(input)).await;
        assert_eq!(result, Value::Null);
        let school = stage.school();
        assert!(school.member("anna@example.com").is_none() && school.member("ben@example.com").is_none());
        assert_eq!(school.member_count(), 10);
    }
}

#[tokio::test]
async fn create_login_token() {
    let path = "/v1/users/login-token/uid-anna";
    let (stage, token) = call("create-login-token", json!({"uid": "uid-anna"}), Method::GET, path, None).await;
    assert_eq!(token["validForSeconds"], 3600);
    let login = token["loginUrl"].as_str().expect("the simulator sends an address");
    assert!(login.contains(token["token"].as_str().unwrap()));
    let unknown = stage.call("create-login-token", json!({"uid": "uid-nobody"})).await.unwrap_err();
    assert_eq!(unknown.code, "notFound");
    for body in ["tok-1", "\"tok-1\"", r#"{"token":"tok-1"}"#] {
        let token =
            stage.faulty(Fault::canned(200, &[], body), "create-login-token", json!({"uid": "uid-anna"})).await.unwrap();
        assert_eq!(token, json!({"token": "tok-1", "validForSeconds": 3600}));
    }
}

#[tokio::test]
async fn list_properties() {
    let (_, list) = call("list-properties", json!({}), Method::GET, "/v1/custom-user-properties/list", None).await;
    let ids: Vec<_> = list.as_array().unwrap().iter().map(|property| property["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["prop-level", "prop-age", "prop-newsletter", "prop-birthday"]);
    let property = &list[0];
    assert!(property["name"].is_string() && property["schoolId"].is_string());
    assert_eq!(property["kind"], "text");
}

#[tokio::test]
async fn set_properties_by_id() {
    let input = json!({
        "email": "anna@example.com",
        "values": [{"property": {"tag": "id", "val": "prop-level"}, "value": "advanced"}],
    });
    let body = json!({"email": "anna@example.com", "properties": [{"id": "prop-level", "value": "advanced"}]});
    let path = "/v1/users/set-custom-user-properties";
    let (stage, result) = call("set-properties", input, Method::POST, path, Some(body)).await;
    assert_eq!(result, Value::Null);
    assert_eq!(stage.school().member("anna@example.com").unwrap().properties["prop-level"], "advanced");
}

#[tokio::test]
async fn set_properties_by_name_costs_one_look_up() {
    let stage = Stage::new().await.configured("MEMBERSPOT_SCOPES", "write");
    let names: Vec<_> = stage.school().properties.iter().map(|property| (property.id.clone(), property.name.clone())).collect();
    let assign = |index: usize, value: &str| json!({"property": {"tag": "name", "val": names[index].1}, "value": value});
    let input = json!({"email": "anna@example.com", "values": [assign(0, "a"), assign(3, "1990-01-01")]});
    stage.call("set-properties", input).await.unwrap();
    let journal = stage.simulator.journal();
    assert_eq!(journal.len(), 2);
    assert_wire(&stage, &journal[0], Method::GET, "/v1/custom-user-properties/list", "", None);
    let properties = json!([{"id": names[0].0, "value": "a"}, {"id": names[3].0, "value": "1990-01-01"}]);
    let body = json!({"email": "anna@example.com", "properties": properties});
    assert_wire(&stage, &journal[1], Method::POST, "/v1/users/set-custom-user-properties", "", Some(body));

    let unknown = json!({"email": "anna@example.com", "values": [{"property": {"tag": "name", "val": "Shoe"}, "value": "44"}]});
    stage.simulator.clear_journal();
    let failure = stage.call("set-properties", unknown).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.transient, failure.attempts), ("invalidInput", false, 1));
    assert!(failure.message.contains(&names[0].1), "the known names are listed: {}", failure.message);
    assert_eq!(stage.simulator.journal().len(), 1, "nothing is set");
}

#[tokio::test]
async fn list_offers() {
    let (_, offers) = call("list-offers", json!({}), Method::GET, "/v1/offers", None).await;
    let offers = offers.as_array().unwrap();
    assert_eq!(offers.len(), 4);
    let basic = offers.iter().find(|offer| offer["id"] == "offer-yoga-basic").unwrap();
    assert_eq!(basic["courseIds"], json!(["course-sun-salutation", "course-standing-poses"]));
    assert!(basic["name"].is_string());
}

#[tokio::test]
async fn list_course_progress() {
    let path = "/v1/users/course-progress/list/anna%40example.com";
    let (stage, page) = call("list-course-progress", json!({"email": "anna@example.com"}), Method::GET, path, None).await;
    let entry = &page["entries"][0];
    assert!(entry["courseId"].is_string() && entry["activePosts"].is_u64() && entry["completedPosts"].is_u64());
    stage.simulator.clear_journal();
    let first = stage.call("list-course-progress", json!({"email": "anna@example.com", "pageLength": 1})).await.unwrap();
    assert_wire(&stage, &stage.request(), Method::GET, path, "pageLength=1", None);
    let next = json!({"email": "anna@example.com", "pageLength": 1, "pageToken": first["nextPage"]});
    let second = stage.call("list-course-progress", next).await.unwrap();
    assert_ne!(first["entries"][0]["courseId"], second["entries"][0]["courseId"]);
}

#[tokio::test]
async fn get_course_progress() {
    let input = json!({"email": "anna@example.com", "courseId": "course-sun-salutation"});
    let path = "/v1/users/course-progress/course-sun-salutation/anna%40example.com";
    let (_, entry) = call("get-course-progress", input, Method::GET, path, None).await;
    assert_eq!(entry["progress"]["courseId"], "course-sun-salutation");
    assert!(entry["progress"]["completedPosts"].is_u64());
    assert_eq!(entry["user"]["uid"], "uid-anna");
}

#[tokio::test]
async fn enable_chapter_access() {
    let input =
        json!({"email": "anna@example.com", "courseId": "course-sun-salutation", "chapterId": "chapter-sun-salutation-3"});
    let path = "/v1/chapters/chapter-access/enable";
    let (stage, result) = call("enable-chapter-access", input.clone(), Method::POST, path, Some(input)).await;
    assert_eq!(result, Value::Null);
    let opened = ("course-sun-salutation".to_owned(), "chapter-sun-salutation-3".to_owned());
    assert!(stage.school().member("anna@example.com").unwrap().chapters.contains(&opened));
}

#[tokio::test]
async fn list_exam_results() {
    let (_, results) =
        call("list-exam-results", json!({"examId": "exam-basics"}), Method::GET, "/v1/exams/exam-basics/results", None).await;
    let results = results.as_array().unwrap();
    assert_eq!(results.len(), 3);
    assert!(results.iter().all(|result| serde_json::from_str::<Value>(result["raw"].as_str().unwrap()).unwrap().is_object()));
}

#[tokio::test]
async fn parse_webhook() {
    let stage = Stage::new().await.configured("MEMBERSPOT_API_KEY", "").configured("MEMBERSPOT_SCOPES", "write");
    let parsed = stage.call("parse-webhook", json!({"body": r#"{"event":"auth_test"}"#})).await.unwrap();
    assert_eq!(parsed, json!({"tag": "validation"}));
    let body =
        r#"{"event":"access_granted","data":{"user":{"uid":"u1","email":"ada@example.com"},"offerId":"o1"},"timestamp":17}"#;
    let parsed = stage.call("parse-webhook", json!({"body": body})).await.unwrap();
    let details = json!({
        "name": "access_granted", "email": "ada@example.com", "uid": "u1", "offerId": "o1", "occurredAt": "17", "raw": body,
    });
    assert_eq!(parsed, json!({"tag": "event", "val": details}));
    assert_eq!(stage.simulator.journal().len(), 0);
}

#[tokio::test]
async fn poll_new_users() {
    let (stage, first) =
        call("poll-new-users", json!({"maxUsers": 50}), Method::GET, "/v1/users/list?pageLength=1", None).await;
    assert_eq!((&first["users"], &first["more"], &first["skipped"]), (&json!([]), &json!(false), &json!(0)));
    stage.call("grant-access", json!({"email": "new@example.com", "offerId": "offer-breath"})).await.unwrap();
    stage.simulator.clock().advance(Duration::from_secs(1));
    stage.simulator.clear_journal();
    let second = stage.call("poll-new-users", json!({"maxUsers": 50, "cursor": first["cursor"]})).await.unwrap();
    assert_wire(&stage, &stage.request(), Method::GET, "/v1/users/list", "pageLength=100", None);
    assert_eq!(second["users"].as_array().unwrap().len(), 1);
    assert_eq!(second["users"][0]["email"], "new@example.com");
    let third = stage.call("poll-new-users", json!({"maxUsers": 50, "cursor": second["cursor"]})).await.unwrap();
    assert_eq!(third["users"], json!([]));
    let all = stage.call("poll-new-users", json!({"maxUsers": 50, "includeExisting": true})).await.unwrap();
    assert_eq!(all["users"].as_array().unwrap().len(), stage.school().member_count());
}

#[tokio::test]
async fn poll_exam_results() {
    let path = "/v1/exams/exam-basics/results";
    let input = |cursor: Value| json!({"examId": "exam-basics", "maxResults": 2, "includeExisting": true, "cursor": cursor});
    let (stage, first) = call("poll-exam-results", input(Value::Null), Method::GET, path, None).await;
    assert_eq!((first["results"].as_array().unwrap().len(), &first["more"]), (2, &json!(true)));
    let second = stage.call("poll-exam-results", input(first["cursor"].clone())).await.unwrap();
    assert_eq!((second["results"].as_array().unwrap().len(), &second["more"]), (1, &json!(false)));
    let listed = stage.call("list-exam-results", json!({"examId": "exam-basics"})).await.unwrap();
    let polled = [first["results"].as_array().unwrap().as_slice(), second["results"].as_array().unwrap()].concat();
    assert_eq!(listed, json!(polled));
}

#[tokio::test]
async fn poll_course_completions() {
    let path = "/v1/users/course-progress/course-sun-salutation/anna%40example.com";
    let input = |cursor: Value| json!({"courseId": "course-sun-salutation", "emails": ["anna@example.com"], "cursor": cursor});
    let (stage, first) = call("poll-course-completions", input(Value::Null), Method::GET, path, None).await;
    assert_eq!((&first["completions"], &first["more"], &first["skipped"]), (&json!([]), &json!(false), &json!(0)));
    stage.simulator.edit_school(KEY, |school| {
        let progress = &mut school.member_mut("anna@example.com").unwrap().progress;
        let progress = progress.get_mut("course-sun-salutation").unwrap();
        progress.completed_posts = progress.active_posts;
    });
    let second = stage.call("poll-course-completions", input(first["cursor"].clone())).await.unwrap();
    let completion = &second["completions"][0];
    assert_eq!(
        (&completion["email"], &completion["progress"]["courseId"]),
        (&json!("anna@example.com"), &json!("course-sun-salutation"))
    );
    let third = stage.call("poll-course-completions", input(second["cursor"].clone())).await.unwrap();
    assert_eq!(third["completions"], json!([]));
}

#[tokio::test]
async fn call_api() {
    let stage = Stage::new().await;
    let response = stage.call("call-api", json!({"method": "get", "path": "/v1/offers", "headers": []})).await.unwrap();
    assert_wire(&stage, &stage.request(), Method::GET, "/v1/offers", "", None);
    assert_eq!(response["status"], 200);
    assert_eq!(serde_json::from_str::<Value>(response["body"].as_str().unwrap()).unwrap().as_array().unwrap().len(), 4);
    let names: Vec<_> = response["headers"].as_array().unwrap().iter().map(|header| header["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"content-type") && names.contains(&"date"));

    stage.simulator.clear_journal();
    let body = r#"{"email":"anna@example.com","offerId":"offer-breath","active":false}"#;
    let input = json!({
        "method": "post",
        "path": format!("{}/v1/users/set-offer-state", stage.simulator.origin()),
        "headers": [{"name": "Accept", "value": "text/plain"}, {"name": "X-Trace", "value": "a%0d%0ab"}],
        "body": body,
    });
    let response = stage.call("call-api", input).await.unwrap();
    assert_eq!(response["status"], 201);
    let request = stage.request();
    assert_eq!((request.path.as_str(), &request.body[..]), ("/v1/users/set-offer-state", body.as_bytes()));
    assert_eq!((request.header("accept"), request.header("x-trace")), (Some("text/plain"), Some("a%0d%0ab")));
    assert_eq!((request.header("content-type"), request.api_key()), (Some("application/json"), Some(KEY)));

    let failure = stage.call("call-api", json!({"method": "get", "path": "/v1/nope", "headers": []})).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.status, failure.attempts), ("notFound", Some(404), 1));
}

#[tokio::test]
async fn a_megabyte_goes_out_in_pieces() {
    let stage = Stage::new().await;
    let value = "ä".repeat(512 * 1024);
    let input = json!({
        "email": "anna@example.com", "values": [{"property": {"tag": "id", "val": "prop-level"}, "value": value}],
    });
    stage.call("set-properties", input).await.unwrap();
    assert_eq!(stage.school().member("anna@example.com").unwrap().properties["prop-level"], value.as_str());
    let request = stage.request();
    assert!(request.body_length > 1024 * 1024);
    assert_eq!(request.header("content-length"), Some(request.body_length.to_string().as_str()));
    assert_eq!(request.header("transfer-encoding"), None);
}

#[tokio::test]
async fn an_early_refusal_is_read_though_the_upload_breaks() {
    let stage = Stage::new().await;
    let value = "x".repeat(3 * 1024 * 1024);
    let input = json!({
        "email": "anna@example.com", "values": [{"property": {"tag": "id", "val": "prop-level"}, "value": value}],
    });
    let failure = stage.faulty(Fault::EarlyAnswer(StatusCode::PAYLOAD_TOO_LARGE), "set-properties", input).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.status, failure.outcome_unknown), ("tooLarge", Some(413), false));
}

#[tokio::test]
async fn shapes_may_drift() {
    let stage = Stage::new().await;
    let everything = stage.call("list-users", json!({"pageLength": 100})).await.unwrap();
    let first_page = stage.call("list-users", json!({"pageLength": 5})).await.unwrap();
    let pages = |name: &str| Fault::reshape(Reshape::Rename("nextPage".into(), name.into()));
    for (fault, input, expected) in [
        (Fault::reshape(Reshape::Bare), json!({"pageLength": 100}), &everything),
        (Fault::reshape(Reshape::Rename("users".into(), "data".into())), json!({"pageLength": 5}), &first_page),
        (Fault::reshape(Reshape::Rename("users".into(), "members".into())), json!({"pageLength": 5}), &first_page),
        (Fault::reshape(Reshape::Wrap("data".into())), json!({"pageLength": 5}), &first_page),
        (pages("next_page"), json!({"pageLength": 5}), &first_page),
        (Fault::reshape(Reshape::Null("nextPage".into())), json!({"pageLength": 100}), &everything),
        (Fault::wrong_content_type(), json!({}), &json!({"users": []})),
    ] {
        let name = format!("{fault:?}");
        assert_eq!(stage.faulty(fault, "list-users", input).await.as_ref(), Ok(expected), "{name}");
    }
    let odd = r#"{"users":[{"uid":7,"email":"a@b.de","name":null,"progress":{},"customUserProperties":[],"created":{}}],"nextPage":8}"#;
    let page = stage.faulty(Fault::json(odd), "list-users", json!({})).await.unwrap();
    assert_eq!((&page["users"][0]["uid"], &page["nextPage"]), (&json!("7"), &json!("8")));
}

#[tokio::test]
async fn a_write_may_be_acknowledged_without_a_body() {
    let stage = Stage::new().await;
    let access = json!({"email": "anna@example.com", "offerId": "o"});
    let state = stage.faulty(Fault::empty_body(), "revoke-access", access.clone()).await.unwrap();
    assert_eq!(state, json!({"email": "anna@example.com", "offerId": "o", "active": false, "raw": ""}));
    let state = stage.faulty(Fault::empty_body(), "delete-access", access.clone()).await.unwrap();
    assert_eq!(state, json!({"email": "anna@example.com", "offerId": "o", "raw": ""}));
    let user = stage.faulty(Fault::empty_body(), "grant-access", access).await.unwrap();
    assert_eq!((&user["uid"], &user["email"]), (&json!(""), &json!("anna@example.com")));
    let order = stage.faulty(Fault::empty_body(), "delete-order-access", json!({"orderId": "x"})).await.unwrap();
    assert_eq!(order, json!({"orderId": "x", "raw": ""}));
}

#[tokio::test]
async fn hostile_nesting_fits_the_small_stack() {
    let stage = Stage::new().await;
    let deep = "[".repeat(500_000) + &"]".repeat(500_000);
    let objects = "{\"a\":".repeat(100_000) + "1" + &"}".repeat(100_000);
    for nested in [&deep, &objects] {
        let body = format!(r#"{{"uid":"u","email":"a@b.de","extra":{nested},"customUserProperties":{{"p":{nested}}}}}"#);
        let user = stage.faulty(Fault::json(body.clone()), "find-user", json!({"email": "anna@example.com"})).await.unwrap();
        assert_eq!(user["raw"].as_str().unwrap().len(), body.len());
    }
    for body in [deep, objects] {
        for function in ["list-offers", "list-properties", "check-connection"] {
            let outcome = stage.faulty(Fault::json(body.clone()), function, json!({})).await;
            assert!(outcome.is_ok() || outcome.is_err_and(|failure| failure.code == "invalidResponse"));
        }
    }
}

#[tokio::test]
async fn an_effect_without_an_answer_is_unknown_not_undone() {
    let stage = Stage::new().await;
    let fault = memberspot_host::simulator::Injection::everywhere(Fault::ResetBeforeHeaders).with_effect();
    stage.simulator.inject(fault);
    let failure = stage.call("grant-access", json!({"email": "new@example.com", "offerId": "offer-breath"})).await.unwrap_err();
    assert!(failure.transient && failure.outcome_unknown);
    assert!(matches!(stage.request().outcome, Outcome::Faulted { effect: Some(201), .. }));
    assert!(stage.school().member("new@example.com").is_some());
}
