//! The simulator, seen through plain TCP connections: every route, every rule, every fault.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use memberspot_host::simulator::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

const KEY: &str = "demo-key";

// What the tests talk with.

struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Reply {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head");
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        });
        Self { status: status.parse().unwrap(), headers: headers.collect(), body: bytes[end + 4..].to_vec() }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json; charset=utf-8"));
        serde_json::from_slice(&self.body).unwrap()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Asserts a refusal in NestJS' shape, and returns its message.
    #[track_caller]
    fn refusal(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        let mut body = self.json();
        assert_eq!(body["statusCode"], status);
        body["message"].take()
    }

    /// Asserts a success, and returns its JSON.
    #[track_caller]
    fn success(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }
}

/// What came over a connection, and how it ended.
struct Raw {
    bytes: Vec<u8>,
    end: Result<(), io::ErrorKind>,
}

async fn read_to_end(stream: &mut TcpStream) -> Raw {
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes).await;
    Raw { bytes, end: end.map(drop).map_err(|error| error.kind()) }
}

fn request(method: &str, target: &str, key: Option<&str>, body: Option<&Value>) -> Vec<u8> {
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n");
    if let Some(key) = key {
        request += &format!("X-API-KEY: {key}\r\n");
    }
    if let Some(body) = body {
        let body = body.to_string();
        let length = body.len();
        request += "Content-Type: application/json\r\n";
        request += &format!("Content-Length: {length}\r\n\r\n{body}");
    } else {
        request += "\r\n";
    }
    request.into_bytes()
}

async fn send(sim: &Simulator, request: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(sim.address()).await.unwrap();
    stream.write_all(request).await.unwrap();
    stream
}

async fn exchange(sim: &Simulator, request: &[u8]) -> Raw {
    read_to_end(&mut send(sim, request).await).await
}

async fn call(sim: &Simulator, method: &str, target: &str, body: Option<Value>) -> Reply {
    let request = request(method, target, Some(KEY), body.as_ref());
    Reply::parse(&exchange(sim, &request).await.bytes)
}

async fn get(sim: &Simulator, target: &str) -> Reply {
    call(sim, "GET", target, None).await
}

async fn post(sim: &Simulator, target: &str, body: Value) -> Reply {
    call(sim, "POST", target, Some(body)).await
}

/// A demo school on a clock that stands still, without a rate limit.
async fn demo() -> Simulator {
    start(School::demo()).await
}

async fn start(school: School) -> Simulator {
    let options = Options { clock: Clock::manual(), rate_limit: None, schools: vec![school], ..Options::default() };
    Simulator::start(options).await.unwrap()
}

fn member(sim: &Simulator, email: &str) -> Member {
    let school = sim.school(KEY).unwrap();
    school.member(email).unwrap().clone()
}

// Access.

const GRANT: &str = "/v1/users/grant-user-offer-by-mail";
const OFFER_STATE: &str = "/v1/users/set-offer-state";
const ORDER_STATE: &str = "/v1/users/set-order-state";
const EXPIRES: &str = "/v1/users/set-offer-expires";

#[tokio::test]
async fn a_grant_creates_the_member_and_may_be_repeated() {
    let sim = demo().await;
    let body = json!({
        "email": "New@Example.com", "firstname": "Nele", "name": "Neu",
        "grantOffer": "offer-yoga-basic", "orderId": "order-2000",
    });
    let user = post(&sim, GRANT, body.clone()).await.success(201);
    assert_eq!(user["email"], "New@Example.com");
    assert_eq!(user["firstname"], "Nele");
    assert_eq!(user["name"], "Neu");
    assert_eq!(user["active"], true);
    assert_eq!(user["created"], "2026-01-15T12:00:00.000Z");
    assert_eq!(user["progress"].as_array().unwrap().len(), 2);
    let first = sim.school(KEY).unwrap();

    let again = post(&sim, GRANT, body).await.success(201);
    assert_eq!(again, user);
    let second = sim.school(KEY).unwrap();
    assert_eq!(second.member_count(), 13);
    assert_eq!(first.member("new@example.com"), second.member("NEW@example.com"));
    let uid = user["uid"].as_str().unwrap();
    assert_eq!(second.order("order-2000"), vec![(uid, "offer-yoga-basic")]);
}

#[tokio::test]
async fn a_grant_revives_revoked_access_and_keeps_names() {
    let sim = demo().await;
    let body = json!({
        "email": "david@example.com", "firstname": "Other", "grantOffer": "offer-yoga-basic",
    });
    let before = member(&sim, "david@example.com");
    post(&sim, GRANT, body).await.success(201);
    let after = member(&sim, "david@example.com");
    let now = sim.clock().now();
    assert!(!before.has_access("offer-yoga-basic", now));
    assert!(after.has_access("offer-yoga-basic", now));
    assert_eq!(after.progress, before.progress);
    assert_eq!(after.firstname, before.firstname);
    let order = after.grants["offer-yoga-basic"].order_id.as_deref();
    assert_eq!(order, Some("order-1004"));
}

#[tokio::test]
async fn a_grant_of_an_unknown_offer_changes_nothing() {
    let sim = demo().await;
    let body = json!({"email": "new@example.com", "grantOffer": "offer-none"});
    post(&sim, GRANT, body).await.refusal(404);
    assert_eq!(sim.school(KEY).unwrap().member_count(), 12);
}

#[tokio::test]
async fn an_offer_state_has_three_values() {
    let sim = demo().await;
    let (email, offer) = ("anna@example.com", "offer-yoga-basic");
    let now = sim.clock().now();
    let before = member(&sim, email);
    let state = |active: Option<bool>| {
        let mut body = json!({"email": email, "offerId": offer});
        if let Some(active) = active {
            body["active"] = active.into();
        }
        body
    };

    let echo = post(&sim, OFFER_STATE, state(Some(false))).await;
    assert_eq!(echo.success(201), state(Some(false)));
    let revoked = member(&sim, email);
    assert!(!revoked.has_access(offer, now));
    assert_eq!(revoked.progress, before.progress);

    post(&sim, OFFER_STATE, state(Some(true))).await.success(201);
    assert_eq!(member(&sim, email), before);

    let echo = post(&sim, OFFER_STATE, state(None)).await;
    assert_eq!(echo.success(201), state(None));
    let removed = member(&sim, email);
    assert!(!removed.grants.contains_key(offer));
    assert_eq!(removed.progress.keys().collect::<Vec<_>>(), vec!["course-breathing"]);

    // Removing and revoking may be repeated; there is nothing left to restore.
    post(&sim, OFFER_STATE, state(None)).await.success(201);
    post(&sim, OFFER_STATE, state(Some(false))).await.success(201);
    post(&sim, OFFER_STATE, state(Some(true))).await.refusal(404);
    assert_eq!(member(&sim, email), removed);
}

#[tokio::test]
async fn an_offer_state_needs_a_member_and_an_offer() {
    let sim = demo().await;
    for (email, offer) in [("nobody@example.com", "offer-breath"), ("anna@example.com", "offer-none")] {
        for active in [true, false] {
            let body = json!({"email": email, "offerId": offer, "active": active});
            post(&sim, OFFER_STATE, body).await.refusal(404);
        }
    }
    let never = json!({"email": "luis@example.com", "offerId": "offer-breath", "active": true});
    post(&sim, OFFER_STATE, never).await.refusal(404);
    let null = json!({"email": "anna@example.com", "offerId": "offer-breath", "active": null});
    post(&sim, OFFER_STATE, null).await.refusal(400);
    assert!(member(&sim, "anna@example.com").grants.contains_key("offer-breath"));
}

#[tokio::test]
async fn an_order_state_concerns_all_that_the_order_granted() {
    let sim = demo().await;
    let email = "greta@example.org";
    let now = sim.clock().now();
    let before = member(&sim, email);
    let state = |active| json!({"orderId": "order-1006", "active": active});

    let echo = post(&sim, ORDER_STATE, state(false)).await;
    assert_eq!(echo.success(201), state(false));
    let revoked = member(&sim, email);
    assert!(revoked.grants.values().all(|grant| !grant.in_effect(now)));
    assert_eq!(revoked.progress, before.progress);
    post(&sim, ORDER_STATE, state(true)).await.success(201);
    assert_eq!(member(&sim, email), before);

    let remove = json!({"orderId": "order-1006"});
    assert_eq!(post(&sim, ORDER_STATE, remove.clone()).await.success(201), remove);
    let removed = member(&sim, email);
    assert!(removed.grants.is_empty() && removed.progress.is_empty());
    post(&sim, ORDER_STATE, remove).await.success(201);
    post(&sim, ORDER_STATE, state(true)).await.refusal(404);
    post(&sim, ORDER_STATE, json!({"orderId": "order-none"})).await.refusal(404);
}

#[tokio::test]
async fn an_order_state_can_be_narrowed_to_a_member() {
    let sim = demo().await;
    let grant = json!({
        "email": "luis@example.com", "grantOffer": "offer-breath", "orderId": "order-1001",
    });
    post(&sim, GRANT, grant).await.success(201);
    let revoke = json!({"email": "ANNA@example.com", "orderId": "order-1001", "active": false});
    assert_eq!(post(&sim, ORDER_STATE, revoke.clone()).await.success(201), revoke);
    let now = sim.clock().now();
    assert!(!member(&sim, "anna@example.com").has_access("offer-breath", now));
    assert!(member(&sim, "luis@example.com").has_access("offer-breath", now));
    let foreign = json!({"email": "nobody@example.com", "orderId": "order-1001", "active": false});
    post(&sim, ORDER_STATE, foreign).await.refusal(404);
}

#[tokio::test]
async fn access_expires_by_the_clock() {
    let sim = demo().await;
    let (email, offer) = ("ben@example.com", "offer-yoga-basic");
    let body = json!({"email": email, "offerId": offer, "expiresAt": "2026-01-15T13:00:00+00:00"});
    let set = call(&sim, "PATCH", EXPIRES, Some(body)).await;
    assert_eq!((set.status, set.body.len()), (200, 0));
    assert!(member(&sim, email).has_access(offer, sim.clock().now()));
    sim.clock().advance(Duration::from_secs(3600));
    assert!(!member(&sim, email).has_access(offer, sim.clock().now()));
    let list = get(&sim, "/v1/users/list?offerId=offer-yoga-basic").await.success(200);
    let listed = list["users"].as_array().unwrap();
    assert!(listed.iter().all(|user| user["email"] != email));

    let clear = json!({"email": email, "offerId": offer});
    let cleared = call(&sim, "PATCH", EXPIRES, Some(clear)).await;
    assert_eq!(cleared.status, 200);
    assert!(member(&sim, email).has_access(offer, sim.clock().now()));
}

#[tokio::test]
async fn an_expiry_must_be_a_date_of_access_that_exists() {
    let sim = demo().await;
    for (email, offer, date, status) in [
        ("ben@example.com", "offer-yoga-basic", "tomorrow", 400),
        ("ben@example.com", "offer-yoga-basic", "2026-02-30", 400),
        ("ben@example.com", "offer-breath", "2026-02-01", 404),
        ("ben@example.com", "offer-none", "2026-02-01", 404),
        ("nobody@example.com", "offer-breath", "2026-02-01", 404),
    ] {
        let body = json!({"email": email, "offerId": offer, "expiresAt": date});
        call(&sim, "PATCH", EXPIRES, Some(body)).await.refusal(status);
    }
}

// Users.

#[tokio::test]
async fn paging_visits_everybody_once_in_each_dialect() {
    for page_token in [PageToken::Id, PageToken::Number] {
        for (page_field, field) in [(PageField::NextPage, "nextPage"), (PageField::SnakeCase, "next_page")] {
            let mut school = School::with_members(57);
            school.dialect.page_token = page_token;
            school.dialect.page_field = page_field;
            let expected: Vec<String> =
                school.members().filter(|member| member.active).map(|member| member.uid().to_owned()).collect();
            let sim = start(school).await;
            let mut seen = Vec::new();
            let mut next = String::new();
            loop {
                let target = format!("/v1/users/list?active=true&pageLength=7&lastLoadedId={next}");
                let page = get(&sim, &target).await.success(200);
                let users = page["users"].as_array().unwrap().iter();
                seen.extend(users.map(|user| user["uid"].as_str().unwrap().to_owned()));
                next = match (&page[field], page_token) {
                    (Value::Null, _) => break,
                    (Value::String(token), PageToken::Id) => token.clone(),
                    (Value::Number(token), PageToken::Number) => token.to_string(),
                    other => panic!("{other:?}"),
                };
            }
            assert_eq!(seen, expected);
        }
    }
}

#[tokio::test]
async fn a_numeric_page_token_must_be_a_number() {
    let mut school = School::with_members(3);
    school.dialect.page_token = PageToken::Number;
    let sim = start(school).await;
    get(&sim, "/v1/users/list?lastLoadedId=uid-00000001").await.refusal(400);
    let page = get(&sim, "/v1/users/list?lastLoadedId=2").await.success(200);
    assert_eq!(page["users"][0]["uid"], "uid-00000003");
}

#[tokio::test]
async fn paging_goes_on_after_the_last_loaded_member_is_deleted() {
    let sim = start(School::with_members(20)).await;
    let page = get(&sim, "/v1/users/list").await.success(200);
    assert_eq!(page["users"].as_array().unwrap().len(), 10);
    let token = page["nextPage"].as_str().unwrap();
    let email = page["users"][9]["email"].as_str().unwrap();
    sim.edit_school(KEY, |school| school.remove_member(email)).unwrap();
    let page = get(&sim, &format!("/v1/users/list?lastLoadedId={token}")).await.success(200);
    assert_eq!(page["users"].as_array().unwrap().len(), 10);
    assert_eq!(page.get("nextPage"), None);
}

#[tokio::test]
async fn the_list_is_filtered() {
    let sim = demo().await;
    for (query, expected) in [
        ("offerId=offer-teacher", vec!["uid-greta", "uid-jonas"]),
        ("courseId=course-inversions", vec!["uid-clara", "uid-greta"]),
        // Finn's access has expired, David's is revoked.
        ("offerId=offer-yoga-basic", vec!["uid-anna", "uid-ben", "uid-ines"]),
        ("active=false", vec!["uid-hugo"]),
        ("offerId=offer-breath&active=true", vec!["uid-anna", "uid-elif"]),
        ("offerId=offer-none", vec![]),
        ("lastLoadedId=uid-jonas", vec!["uid-kira", "uid-luis"]),
    ] {
        let page = get(&sim, &format!("/v1/users/list?{query}")).await.success(200);
        let users = page["users"].as_array().unwrap().iter();
        let uids: Vec<&str> = users.map(|user| user["uid"].as_str().unwrap()).collect();
        assert_eq!(uids, expected, "{query}");
    }
    for query in [
        "pageLength=0",
        "pageLength=101",
        "pageLength=-1",
        "pageLength=ten",
        "pageLength=1&pageLength=2",
        "active=yes",
        "page=2",
    ] {
        get(&sim, &format!("/v1/users/list?{query}")).await.refusal(400);
    }
    let most = get(&sim, "/v1/users/list?pageLength=100").await.success(200);
    assert_eq!(most["users"].as_array().unwrap().len(), 12);
}

#[tokio::test]
async fn a_large_school_is_quick() {
    let begun = Instant::now();
    let sim = start(School::with_members(50_000)).await;
    let last = get(&sim, "/v1/users/list?lastLoadedId=uid-00049990&pageLength=100").await;
    assert_eq!(last.success(200)["users"].as_array().unwrap().len(), 10);
    let found = get(&sim, "/v1/users/find-by-mail/Member-50000@example.org").await;
    assert_eq!(found.success(200)["uid"], "uid-00050000");
    // Far above what it takes, so that a busy machine passes and a quadratic slip does not.
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_member_is_found_by_address_if_the_plan_allows() {
    let sim = demo().await;
    let anna = get(&sim, "/v1/users/find-by-mail/Anna%40example.com").await.success(200);
    assert_eq!(anna["uid"], "uid-anna");
    assert_eq!(anna["customUserProperties"]["prop-newsletter"], true);
    assert_eq!(anna["progress"].as_array().unwrap().len(), 3);
    get(&sim, "/v1/users/find-by-mail/nobody@example.com").await.refusal(404);
    get(&sim, "/v1/users/find-by-mail/%zz").await.refusal(400);
    sim.edit_school(KEY, |school| school.enterprise = false).unwrap();
    get(&sim, "/v1/users/find-by-mail/anna@example.com").await.refusal(403);
}

#[tokio::test]
async fn a_plus_in_a_path_is_a_plus() {
    let sim = demo().await;
    let grant = json!({"email": "a+b@example.com", "grantOffer": "offer-breath"});
    post(&sim, GRANT, grant).await.success(201);
    for target in ["a+b@example.com", "a%2Bb%40example.com"] {
        get(&sim, &format!("/v1/users/find-by-mail/{target}")).await.success(200);
    }
}

#[tokio::test]
async fn deleting_passes_over_unknown_addresses() {
    for (method, status) in [("DELETE", 200), ("POST", 201)] {
        let sim = demo().await;
        let body = json!({"emails": ["Ben@example.com", "nobody@example.com", "greta@example.org"]});
        let deleted = call(&sim, method, "/v1/users/delete-users", Some(body)).await;
        assert_eq!((deleted.status, deleted.text()), (status, "ok"));
        assert_eq!(deleted.header("content-type"), Some("text/html; charset=utf-8"));
        let school = sim.school(KEY).unwrap();
        assert_eq!(school.member_count(), 10);
        assert!(school.member("ben@example.com").is_none());
        let mut results = school.exams.iter().flat_map(|exam| &exam.results);
        assert!(results.all(|result| result.uid != "uid-ben"));
        for bad in [json!({}), json!({"emails": "ben@example.com"}), json!({"emails": [1]})] {
            call(&sim, method, "/v1/users/delete-users", Some(bad)).await.refusal(400);
        }
    }
}

#[tokio::test]
async fn a_login_token_lives_an_hour() {
    let sim = demo().await;
    let login = get(&sim, "/v1/users/login-token/uid-anna").await.success(200);
    let url = login["loginUrl"].as_str().unwrap();
    let token = login["token"].as_str().unwrap();
    let page = url.strip_prefix(&sim.origin()).unwrap();
    assert_eq!(page, format!("/login/{token}"));
    sim.clock().advance(Duration::from_secs(3599));
    assert_eq!(get(&sim, page).await.success(200)["uid"], "uid-anna");
    sim.clock().advance(Duration::from_secs(1));
    get(&sim, page).await.refusal(410);
    get(&sim, "/login/never-issued").await.refusal(404);
    get(&sim, "/v1/users/login-token/uid-nobody").await.refusal(404);

    for entry in sim.journal() {
        let printed = format!("{entry} {entry:?} {}", entry.with_addresses());
        assert!(!printed.contains(token));
    }
}

#[tokio::test]
async fn a_login_token_ends_with_its_member() {
    let sim = demo().await;
    let login = get(&sim, "/v1/users/login-token/uid-anna").await.success(200);
    let page = format!("/login/{}", login["token"].as_str().unwrap());
    sim.edit_school(KEY, |school| school.remove_member("anna@example.com")).unwrap();
    get(&sim, &page).await.refusal(410);
}

#[tokio::test]
async fn a_login_token_comes_in_each_form() {
    let sim = demo().await;
    sim.edit_school(KEY, |school| school.dialect.login_token = LoginTokenForm::Text);
    let text = get(&sim, "/v1/users/login-token/uid-anna").await;
    assert_eq!(text.header("content-type"), Some("text/html; charset=utf-8"));
    let first = format!("/login/{}", text.text());
    get(&sim, &first).await.success(200);
    sim.edit_school(KEY, |school| school.dialect.login_token = LoginTokenForm::JsonString);
    let token = get(&sim, "/v1/users/login-token/uid-anna").await.success(200);
    let second = format!("/login/{}", token.as_str().unwrap());
    assert_ne!(first, second);
    get(&sim, &second).await.success(200);
}

#[tokio::test]
async fn properties_are_set_all_or_none() {
    let sim = demo().await;
    let set = |properties: Value| json!({"email": "ben@example.com", "properties": properties});
    let path = "/v1/users/set-custom-user-properties";
    let some = set(json!([{"id": "prop-age", "value": 33}, {"id": "prop-level", "value": null}]));
    let done = post(&sim, path, some).await;
    assert_eq!((done.status, done.body.len()), (201, 0));
    let ben = member(&sim, "ben@example.com");
    assert_eq!(ben.properties["prop-age"], 33);
    assert_eq!(ben.properties["prop-level"], Value::Null);

    for (properties, status) in [
        (json!([{"id": "prop-age", "value": 1}, {"id": "prop-none", "value": 1}]), 404),
        (json!([{"id": "prop-age", "value": {}}]), 400),
        (json!([{"id": "prop-age"}]), 400),
        (json!([{"id": "prop-age", "value": 1, "more": 1}]), 400),
        (json!({"prop-age": 1}), 400),
    ] {
        post(&sim, path, set(properties)).await.refusal(status);
    }
    assert_eq!(member(&sim, "ben@example.com"), ben);
    let nobody = json!({"email": "nobody@example.com", "properties": []});
    post(&sim, path, nobody).await.refusal(404);
}

#[tokio::test]
async fn the_wrong_property_key_is_answered_with_the_right_one() {
    let sim = demo().await;
    let path = "/v1/users/set-custom-user-properties";
    let set = |key: &str| json!({"email": "ben@example.com", "properties": [{key: "prop-age", "value": 33}]});
    let names = |message: &Value, key: &str| {
        let mut lines = message.as_array().unwrap().iter();
        lines.any(|line| line.as_str().unwrap().starts_with(&format!("properties.0.{key} ")))
    };
    let message = post(&sim, path, set("propertyId")).await.refusal(400);
    assert!(names(&message, "id"));
    sim.edit_school(KEY, |school| school.dialect.property_key = PropertyKey::PropertyId);
    let message = post(&sim, path, set("id")).await.refusal(400);
    assert!(names(&message, "propertyId"));
    assert_eq!(post(&sim, path, set("propertyId")).await.status, 201);
}

// What a school has.

#[tokio::test]
async fn offers_and_properties_are_bare_lists() {
    let sim = demo().await;
    let offers = get(&sim, "/v1/offers").await.success(200);
    assert_eq!(offers.as_array().unwrap().len(), 4);
    assert_eq!(offers[0]["id"], "offer-yoga-basic");
    assert_eq!(offers[0]["hasCourseIds"], json!(["course-sun-salutation", "course-standing-poses"]));
    assert_eq!(offers[0]["priority"], 1);
    assert_eq!(offers[2].get("priority"), None);
    let properties = get(&sim, "/v1/custom-user-properties/list").await.success(200);
    let level = json!({
        "id": "prop-level", "name": "Level", "schoolId": "school-demo", "type": "text",
    });
    assert_eq!(properties[0], level);
    assert_eq!(properties.as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn progress_is_listed_and_shown() {
    let sim = demo().await;
    let path = "/v1/users/course-progress/list/anna@example.com";
    let first = get(&sim, &format!("{path}?pageLength=2")).await.success(200);
    let token = first["nextPage"].as_str().unwrap();
    let second = get(&sim, &format!("{path}?pageLength=2&lastLoadedId={token}")).await.success(200);
    let entries = [&first, &second].map(|page| page["data"].as_array().unwrap().clone());
    let ids: Vec<&str> = entries.iter().flatten().map(|entry| entry["courseId"].as_str().unwrap()).collect();
    let expected = ["course-breathing", "course-standing-poses", "course-sun-salutation"];
    assert_eq!(ids, expected);
    assert_eq!(second.get("nextPage"), None);

    let path = "/v1/users/course-progress";
    let one = get(&sim, &format!("{path}/course-breathing/anna%40example.com")).await.success(200);
    assert_eq!(one["activePosts"], 6);
    assert_eq!(one["completedPosts"], 2);
    assert_eq!(one["user"]["uid"], "uid-anna");
    for rest in [
        "list/nobody@example.com",
        "course-none/anna@example.com",
        "course-breathing/nobody@example.com",
        "course-teaching/anna@example.com",
    ] {
        get(&sim, &format!("{path}/{rest}")).await.refusal(404);
    }
}

#[tokio::test]
async fn a_chapter_is_opened() {
    let sim = demo().await;
    let path = "/v1/chapters/chapter-access/enable";
    let open = |email: &str, course: &str, chapter: &str| json!({"email": email, "courseId": course, "chapterId": chapter});
    let (course, chapter) = ("course-teaching", "chapter-teaching-4");
    let done = post(&sim, path, open("luis@example.com", course, chapter)).await;
    assert_eq!((done.status, done.body.len()), (201, 0));
    let opened = (course.to_owned(), chapter.to_owned());
    assert!(member(&sim, "luis@example.com").chapters.contains(&opened));
    for body in [
        open("nobody@example.com", course, chapter),
        open("luis@example.com", "course-none", chapter),
        open("luis@example.com", course, "chapter-breathing-1"),
    ] {
        post(&sim, path, body).await.refusal(404);
    }
}

#[tokio::test]
async fn exam_results_are_listed() {
    let sim = demo().await;
    let results = get(&sim, "/v1/exams/exam-basics/results").await.success(200);
    assert_eq!(results.as_array().unwrap().len(), 3);
    assert_eq!(results[0]["email"], "anna@example.com");
    assert_eq!(results[0]["score"], 18.0);
    get(&sim, "/v1/exams/exam-none/results").await.refusal(404);
}

// The rules for every route.

#[tokio::test]
async fn each_key_opens_its_own_school() {
    let mut other = School::new("school-other", "other-key");
    other.keys.push("second-key".into());
    let options = Options { schools: vec![School::demo(), other], ..Options::default() };
    let sim = Simulator::start(options).await.unwrap();
    for (key, school) in [(KEY, "school-demo"), ("other-key", "school-other"), ("second-key", "school-other")] {
        let raw = exchange(&sim, &request("GET", "/api-auth", Some(key), None)).await;
        assert_eq!(Reply::parse(&raw.bytes).success(200)["schoolId"], school);
    }
    for key in [None, Some(""), Some("DEMO-KEY"), Some("x\r\nX-Api-Key: demo-key")] {
        for target in ["/api-auth", "/v1/offers", "/v1/users/find-by-mail/%zz"] {
            let raw = exchange(&sim, &request("GET", target, key, None)).await;
            Reply::parse(&raw.bytes).refusal(401);
        }
    }
}

#[tokio::test]
async fn routes_match_like_express() {
    let sim = demo().await;
    for target in ["/V1/Offers", "/v1/offers/", "/v1/offers?x=1"] {
        get(&sim, target).await.success(200);
    }
    let head = call(&sim, "HEAD", "/v1/offers", None).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    for (method, target) in
        [("GET", "/v1/nope"), ("GET", "/"), ("PUT", "/v1/offers"), ("GET", "/v1/users/delete-users"), ("GET", "/v1/offers//")]
    {
        let reply = call(&sim, method, target, None).await;
        assert_eq!(reply.refusal(404), format!("Cannot {method} {target}"));
        assert_eq!(reply.json()["error"], "Not Found");
    }
    let keyless = exchange(&sim, &request("GET", "/v1/nope", None, None)).await;
    Reply::parse(&keyless.bytes).refusal(404);
}

#[tokio::test]
async fn bodies_are_validated_like_nest() {
    let sim = demo().await;
    for (body, expected) in [
        (json!({}), vec!["email", "grantOffer"]),
        (json!([]), vec!["email", "grantOffer"]),
        (json!({"email": "no", "grantOffer": "offer-breath"}), vec!["email"]),
        (json!({"email": null, "grantOffer": 1}), vec!["email", "grantOffer"]),
        (json!({"email": "a@example.com", "grantOffer": ""}), vec!["grantOffer"]),
        (
            json!({"email": "a@example.com", "grantOffer": "offer-breath", "orderId": 1, "foo": 1}),
            vec!["property foo", "orderId"],
        ),
    ] {
        let reply = post(&sim, GRANT, body).await;
        let message = reply.refusal(400);
        let lines = message.as_array().unwrap();
        assert_eq!(lines.len(), expected.len(), "{message}");
        for (line, start) in lines.iter().zip(expected) {
            assert!(line.as_str().unwrap().starts_with(start), "{message}");
        }
        assert_eq!(reply.json()["error"], "Bad Request");
    }
    assert_eq!(sim.school(KEY).unwrap().member_count(), 12);
}

#[tokio::test]
async fn bodies_are_parsed_before_anything_else() {
    let sim = demo().await;
    for (content_type, more, body, status) in [
        ("application/json", "", "{\"email\":", 400),
        ("application/json", "", "\"text\"", 400),
        ("application/json; charset=utf-8", "", "\u{feff}{}", 400),
        ("application/json", "Content-Encoding: br\r\n", "{}", 415),
        // Not labelled as JSON, so never parsed; then the key is missing.
        ("text/plain", "", "{\"email\":", 401),
    ] {
        let length = body.len();
        let request = format!(
            "POST {GRANT} HTTP/1.1\r\nHost: sim\r\nConnection: close\r\nContent-Type: {content_type}\r\n\
             {more}Content-Length: {length}\r\n\r\n{body}"
        );
        let raw = exchange(&sim, request.as_bytes()).await;
        Reply::parse(&raw.bytes).refusal(status);
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_but_counted() {
    let options = Options { body_limit: 1000, ..Options::default() };
    let sim = Simulator::start(options).await.unwrap();
    let long = "x".repeat(500_000);
    post(&sim, GRANT, json!({"email": long})).await.refusal(413);
    let short = "x".repeat(900);
    post(&sim, GRANT, json!({"email": short})).await.refusal(400);
    let journal = sim.journal();
    assert_eq!(journal[0].body_length, 500_000 + 12);
    assert!(journal[0].body.len() <= MOST_BODY_BYTES);
    assert_eq!(journal[1].json(), Some(json!({"email": short})));
}

#[tokio::test]
async fn limited_routes_take_four_requests_a_second() {
    let options = Options { clock: Clock::manual(), ..Options::default() };
    let sim = Simulator::start(options).await.unwrap();
    let limited = [
        "/v1/users/list",
        "/v1/users/find-by-mail/anna@example.com",
        "/v1/users/course-progress/list/anna@example.com",
        "/v1/users/course-progress/course-breathing/anna@example.com",
    ];
    for target in limited {
        assert_eq!(get(&sim, target).await.status, 200);
    }
    sim.clock().advance(Duration::from_millis(400));
    for target in limited {
        let refused = get(&sim, target).await;
        refused.refusal(429);
        assert_eq!(refused.header("retry-after"), Some("1"));
    }
    for target in ["/v1/offers", "/api-auth", "/v1/users/login-token/uid-anna"] {
        for _ in 0..6 {
            assert_eq!(get(&sim, target).await.status, 200);
        }
    }
    sim.clock().advance(Duration::from_millis(600));
    assert_eq!(get(&sim, limited[0]).await.status, 200);
}

#[tokio::test]
async fn retry_after_can_be_a_date() {
    let options = Options { clock: Clock::manual(), rate_limit: Some(1), retry_after: RetryAfter::Date, ..Options::default() };
    let sim = Simulator::start(options).await.unwrap();
    get(&sim, "/v1/users/list").await.success(200);
    let refused = get(&sim, "/v1/users/list").await;
    assert_eq!(refused.header("date"), Some("Thu, 15 Jan 2026 12:00:00 GMT"));
    assert_eq!(refused.header("retry-after"), Some("Thu, 15 Jan 2026 12:00:01 GMT"));
}

#[tokio::test]
async fn every_answer_is_dated_by_the_clock() {
    let sim = demo().await;
    sim.clock().advance(Duration::from_secs(24 * 60 * 60));
    let date = Some("Fri, 16 Jan 2026 12:00:00 GMT");
    assert_eq!(get(&sim, "/v1/offers").await.header("date"), date);
    assert_eq!(get(&sim, "/nope").await.header("date"), date);
    for fault in [
        Fault::status(StatusCode::BAD_GATEWAY),
        Fault::html_page(),
        Fault::Echo,
        Fault::TruncateBody { after: 1 },
        Fault::OversizedBody { bytes: 10, declared: true },
    ] {
        sim.inject(Injection::everywhere(fault).once());
        assert_eq!(get(&sim, "/v1/offers").await.header("date"), date);
    }
}

#[tokio::test]
async fn connections_are_kept_and_closed_with_the_simulator() {
    let sim = demo().await;
    let mut stream = TcpStream::connect(sim.address()).await.unwrap();
    for _ in 0..3 {
        let request = b"GET /nope HTTP/1.1\r\nHost: sim\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = [0; 1024];
        let read = stream.read(&mut answer).await.unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 404 "));
    }
    let address = sim.address();
    let taken = Options { port: address.port(), ..Options::default() };
    assert!(Simulator::start(taken).await.is_err());
    drop(sim);
    assert_eq!(read_to_end(&mut stream).await.bytes, b"");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_client_that_speaks_no_http_harms_nobody() {
    let sim = demo().await;
    exchange(&sim, b"\0\x01\x02 what?\r\n\r\n").await;
    drop(send(&sim, b"POST /v1/users/list HTTP/1.1\r\nContent-Length: 100\r\n\r\nx").await);
    drop(send(&sim, b"GET /v1").await);
    get(&sim, "/v1/offers").await.success(200);
}

#[tokio::test]
async fn latency_holds_answers_back() {
    let sim = demo().await;
    let latency = Duration::from_millis(30);
    sim.set_latency(latency);
    let begun = Instant::now();
    get(&sim, "/v1/offers").await.success(200);
    assert!(begun.elapsed() >= latency);
}

// The journal.

#[tokio::test]
async fn the_journal_tells_what_was_sent() {
    let sim = demo().await;
    let body = json!({"emails": []});
    let target = "/v1/users/Delete-Users?a=1%2B1&b=x+y";
    call(&sim, "DELETE", target, Some(body.clone())).await;
    get(&sim, "/v1/nope").await;
    let journal = sim.journal();
    let first = &journal[0];
    assert_eq!((first.sequence, journal[1].sequence), (1, 2));
    assert_eq!(first.method, Method::DELETE);
    assert_eq!(first.path, "/v1/users/Delete-Users");
    assert_eq!(first.query, "a=1%2B1&b=x+y");
    let pairs = [("a", "1+1"), ("b", "x y")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(first.query_pairs(), pairs);
    assert_eq!(first.header("content-type"), Some("application/json"));
    assert_eq!(first.api_key(), Some(KEY));
    assert_eq!(first.json(), Some(body));
    assert_eq!(first.school.as_deref(), Some("Demo"));
    assert_eq!(first.received, sim.clock().now());
    assert_eq!((first.status(), journal[1].status()), (Some(200), Some(404)));
    assert_eq!(journal[1].outcome, Outcome::Answered(404));
    assert!(!format!("{journal:?} {first}").contains(KEY));
    sim.clear_journal();
    assert!(sim.journal().is_empty());
    get(&sim, "/v1/nope").await;
    assert_eq!(sim.journal()[0].sequence, 3);
}

#[tokio::test]
async fn the_observer_hears_of_each_request_before_the_client() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&lines);
    let options = Options {
        on_request: Some(Arc::new(move |entry| {
            heard.lock().unwrap().push(entry.to_string());
        })),
        ..Options::default()
    };
    let sim = Simulator::start(options).await.unwrap();
    get(&sim, "/v1/users/find-by-mail/anna@example.com").await;
    sim.inject(Injection::everywhere(Fault::status(StatusCode::BAD_GATEWAY)).with_effect());
    get(&sim, "/v1/offers").await;
    let expected = ["#1 GET /v1/users/find-by-mail/… 200 (Demo)", "#2 GET /v1/offers 502 fault status after 200 (Demo)"];
    assert_eq!(*lines.lock().unwrap(), expected);
}

// Faults.

/// Sends a grant into a fault, and returns what came back.
async fn grant_into(sim: &Simulator, fault: Fault) -> Raw {
    sim.inject(Injection::new(GRANT, fault).once());
    exchange(sim, &grant_request()).await
}

fn grant_request() -> Vec<u8> {
    let body = json!({"email": "new@example.com", "grantOffer": "offer-breath"});
    request("POST", GRANT, Some(KEY), Some(&body))
}

fn granted(sim: &Simulator) -> bool {
    let school = sim.school(KEY).unwrap();
    school.member("new@example.com").is_some()
}

fn last_outcome(sim: &Simulator) -> Outcome {
    sim.journal().last().unwrap().outcome
}

#[tokio::test]
async fn an_injection_chooses_its_requests() {
    let sim = demo().await;
    let fault = || Fault::status(StatusCode::SERVICE_UNAVAILABLE);
    let injection = Injection::new("/v1/users/Find-By-Mail/{}", fault());
    sim.inject(injection.method(Method::GET).after(1).times(2));
    let find = "/v1/users/find-by-mail/anna@example.com";
    let mut seen = Vec::new();
    for target in [find, "/v1/offers", find, find, find] {
        seen.push(get(&sim, target).await.status);
    }
    assert_eq!(seen, [200, 200, 503, 503, 200]);

    // The first with turns left is used, and each counts what it sees.
    sim.inject(Injection::new("/v1/*", Fault::status(StatusCode::BAD_GATEWAY)).once());
    sim.inject(Injection::everywhere(fault()).after(2));
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(get(&sim, "/v1/offers").await.status);
    }
    assert_eq!(seen, [502, 200, 503, 503]);
    sim.clear_faults();
    assert_eq!(get(&sim, "/v1/offers").await.status, 200);
}

#[tokio::test]
async fn chance_is_the_same_for_the_same_seed() {
    let sim = demo().await;
    let seen = async |first: Option<Injection>, share, seed| {
        sim.clear_faults();
        first.into_iter().for_each(|first| sim.inject(first));
        let fault = Fault::status(StatusCode::SERVICE_UNAVAILABLE);
        sim.inject(Injection::everywhere(fault).by_chance(share, seed));
        let mut seen = Vec::new();
        for _ in 0..100 {
            seen.push(get(&sim, "/v1/offers").await.status);
        }
        seen
    };
    let half = seen(None, 0.5, 7).await;
    let hits = half.iter().filter(|status| **status == 503).count();
    assert!((1..100).contains(&hits), "{hits}");
    assert_eq!(seen(None, 0.5, 7).await, half);
    assert_ne!(seen(None, 0.5, 8).await, half);
    assert_eq!(seen(None, 0.0, 7).await, [200; 100]);
    assert_eq!(seen(None, 1.0, 7).await, [503; 100]);

    // Another injection takes its turn and changes nothing about the choice.
    let other = Injection::everywhere(Fault::status(StatusCode::BAD_GATEWAY)).once();
    assert_eq!(seen(Some(other), 0.5, 7).await[1..], half[1..]);
}

#[tokio::test]
async fn chance_counts_against_the_turns_only_when_it_strikes() {
    let sim = demo().await;
    let fault = Fault::status(StatusCode::SERVICE_UNAVAILABLE);
    sim.inject(Injection::everywhere(fault).by_chance(0.5, 7).times(3));
    let mut hits = 0;
    for _ in 0..100 {
        hits += u32::from(get(&sim, "/v1/offers").await.status == 503);
    }
    assert_eq!(hits, 3);
}

#[tokio::test]
async fn a_refusal_can_hide_an_effect() {
    let sim = demo().await;
    let fault = Fault::status(StatusCode::INTERNAL_SERVER_ERROR);
    let raw = grant_into(&sim, fault.clone()).await;
    Reply::parse(&raw.bytes).refusal(500);
    assert!(!granted(&sim));
    sim.inject(Injection::new(GRANT, fault).once().with_effect());
    let raw = exchange(&sim, &grant_request()).await;
    Reply::parse(&raw.bytes).refusal(500);
    assert!(granted(&sim));
    let expected = Outcome::Faulted { fault: "status", sent: Some(500), effect: Some(201) };
    assert_eq!(last_outcome(&sim), expected);
}

#[tokio::test]
async fn refusals_carry_headers_and_messages() {
    let sim = demo().await;
    let soon = HeaderValue::from_static("7");
    sim.inject(Injection::everywhere(Fault::retry_after(StatusCode::TOO_MANY_REQUESTS, soon)).once());
    let reply = get(&sim, "/v1/offers").await;
    reply.refusal(429);
    assert_eq!(reply.header("retry-after"), Some("7"));
    let fault = Fault::refusal(StatusCode::FORBIDDEN, json!(["one", "two"]));
    sim.inject(Injection::everywhere(fault).once());
    assert_eq!(get(&sim, "/v1/offers").await.refusal(403), json!(["one", "two"]));
    // A frame that contradicts the body would be the HTTP server's ruin; it is left out.
    let mut headers = HeaderMap::new();
    headers.insert("content-length", HeaderValue::from(7));
    let fault = Fault::Status { status: StatusCode::CONFLICT, message: "no".into(), headers };
    sim.inject(Injection::everywhere(fault).once());
    get(&sim, "/v1/offers").await.refusal(409);
}

#[tokio::test]
async fn canned_answers_go_out_as_they_are() {
    let sim = demo().await;
    for (fault, status, content_type) in [
        (Fault::html_page(), 502, "text/html"),
        (Fault::html_instead_of_json(), 200, "text/html"),
        (Fault::wrong_content_type(), 200, "text/plain"),
        (Fault::empty_body(), 200, "application/json; charset=utf-8"),
        (Fault::invalid_utf8(), 200, "application/json; charset=utf-8"),
        (Fault::gzip(), 200, "application/json; charset=utf-8"),
        (Fault::canned(799, &[("Content-Type", "a/b")], "x"), 799, "a/b"),
    ] {
        let raw = grant_into(&sim, fault).await;
        let reply = Reply::parse(&raw.bytes);
        assert_eq!(raw.end, Ok(()));
        assert_eq!(reply.status, status);
        assert_eq!(reply.header("content-type"), Some(content_type));
        assert_eq!(reply.header("content-length"), Some(reply.body.len().to_string().as_str()));
    }
    let reply = Reply::parse(&grant_into(&sim, Fault::malformed_json()).await.bytes);
    assert!(serde_json::from_slice::<Value>(&reply.body).is_err());
    let away = Fault::redirect(StatusCode::FOUND, "https://example.org/");
    let reply = Reply::parse(&grant_into(&sim, away).await.bytes);
    assert_eq!((reply.status, reply.header("location")), (302, Some("https://example.org/")));
    let lie = Fault::canned(200, &[("Content-Length", "99")], "short");
    let reply = Reply::parse(&grant_into(&sim, lie).await.bytes);
    assert_eq!((reply.header("content-length"), reply.text()), (Some("99"), "short"));
    let raw = grant_into(&sim, Fault::Raw("SSH-2.0-sim\r\n".into())).await;
    assert_eq!(raw.bytes, b"SSH-2.0-sim\r\n");
    assert!(!granted(&sim));
}

#[tokio::test]
async fn answers_are_reshaped() {
    let sim = demo().await;
    let list = "/v1/users/list?pageLength=1";
    let reshaped = async |target: &str, reshape| {
        sim.inject(Injection::everywhere(Fault::reshape(reshape)).once());
        get(&sim, target).await.success(200)
    };
    let plain = get(&sim, list).await.success(200);
    assert_eq!(reshaped(list, Reshape::Bare).await, plain["users"]);
    let wrapped = reshaped(list, Reshape::Wrap("data".into())).await;
    assert_eq!((&wrapped["data"], &wrapped["nextPage"]), (&plain["users"], &plain["nextPage"]));
    assert_eq!(wrapped.get("users"), None);
    let offers = reshaped("/v1/offers", Reshape::Wrap("offers".into())).await;
    assert_eq!(offers["offers"].as_array().unwrap().len(), 4);
    let renamed = reshaped(list, Reshape::Rename("nextPage".into(), "next_page".into())).await;
    assert_eq!(renamed["next_page"], plain["nextPage"]);
    let omitted = reshaped(list, Reshape::Omit("firstname".into())).await;
    assert_eq!(omitted["users"][0].get("firstname"), None);
    let null = reshaped(list, Reshape::Null("progress".into())).await;
    assert_eq!(null["users"][0].get("progress"), Some(&Value::Null));
    let added = reshaped(list, Reshape::Add("extra".into(), json!(1))).await;
    assert_eq!(added["users"][0]["extra"], 1);
    let other = Reshape::With(Arc::new(|value| json!({"result": value})));
    assert_eq!(reshaped(list, other).await["result"], plain);
    // A refusal and a text keep their shape.
    sim.inject(Injection::everywhere(Fault::reshape(Reshape::Wrap("data".into()))));
    get(&sim, "/v1/nope").await.refusal(404);
    let deleted = call(&sim, "DELETE", "/v1/users/delete-users", Some(json!({"emails": []}))).await;
    assert_eq!(deleted.text(), "ok");
}

#[tokio::test]
async fn an_echo_repeats_the_key() {
    let sim = demo().await;
    sim.inject(Injection::everywhere(Fault::Echo));
    let message = get(&sim, "/v1/offers").await.refusal(400);
    let mut lines = message.as_array().unwrap().iter();
    assert!(lines.any(|line| line.as_str().unwrap().contains(KEY)));
    assert!(!format!("{:?}", sim.journal()).contains(KEY));
}

#[tokio::test]
async fn a_delay_takes_effect_first() {
    let sim = demo().await;
    let delay = Duration::from_millis(30);
    let begun = Instant::now();
    let raw = grant_into(&sim, Fault::Delay(delay)).await;
    Reply::parse(&raw.bytes).success(201);
    assert!(begun.elapsed() >= delay);

    let (sim, mut decided) = observed().await;
    sim.inject(Injection::everywhere(Fault::Delay(Duration::MAX)));
    let stream = send(&sim, &grant_request()).await;
    assert_eq!(decided.recv().await.unwrap().status(), Some(201));
    assert!(granted(&sim));
    drop(stream);
}

/// A demo school, and each entry as its outcome is decided.
async fn observed() -> (Simulator, mpsc::UnboundedReceiver<Entry>) {
    let (decided, receiver) = mpsc::unbounded_channel();
    let options = Options {
        on_request: Some(Arc::new(move |entry: &Entry| {
            let _ = decided.send(entry.clone());
        })),
        ..Options::default()
    };
    (Simulator::start(options).await.unwrap(), receiver)
}

#[tokio::test]
async fn a_hang_lasts_until_the_client_closes() {
    for with_effect in [false, true] {
        let (sim, mut decided) = observed().await;
        let mut injection = Injection::everywhere(Fault::HangBeforeHeaders);
        injection.applies_effect = with_effect;
        sim.inject(injection);
        let mut stream = send(&sim, &grant_request()).await;
        let outcome = Outcome::Faulted { fault: "hang-before-headers", sent: None, effect: with_effect.then_some(201) };
        assert_eq!(decided.recv().await.unwrap().outcome, outcome);
        assert_eq!(granted(&sim), with_effect);
        stream.shutdown().await.unwrap();
        let raw = read_to_end(&mut stream).await;
        assert_eq!((raw.bytes.as_slice(), raw.end), (&b""[..], Ok(())));
    }
}

#[tokio::test]
async fn a_body_stalls_for_a_while_or_for_good() {
    let sim = demo().await;
    let pause = Some(Duration::from_millis(30));
    let begun = Instant::now();
    let raw = grant_into(&sim, Fault::StallBody { after: 5, pause }).await;
    assert!(begun.elapsed() >= Duration::from_millis(30));
    Reply::parse(&raw.bytes).success(201);

    for after in [0, 5, usize::MAX] {
        sim.inject(Injection::everywhere(Fault::StallBody { after, pause: None }).once());
        let mut stream = send(&sim, &grant_request()).await;
        // The server closes only after the client did, so what was read by then is all that comes.
        stream.shutdown().await.unwrap();
        let reply = Reply::parse(&read_to_end(&mut stream).await.bytes);
        let promised: usize = reply.header("content-length").unwrap().parse().unwrap();
        assert_eq!((reply.status, reply.body.len()), (201, after.min(promised - 1)));
    }
}

#[tokio::test]
async fn a_trickle_arrives_whole() {
    let sim = demo().await;
    let every = Duration::from_millis(1);
    let begun = Instant::now();
    let raw = grant_into(&sim, Fault::Trickle { bytes: 50, every }).await;
    let reply = Reply::parse(&raw.bytes);
    reply.success(201);
    assert!(begun.elapsed() >= every * u32::try_from(reply.body.len() / 50).unwrap());
    let raw = grant_into(&sim, Fault::Trickle { bytes: 0, every: Duration::ZERO }).await;
    Reply::parse(&raw.bytes).success(201);
}

#[tokio::test]
async fn resets_are_resets() {
    let reset = Err(io::ErrorKind::ConnectionReset);
    let sim = demo().await;
    let raw = grant_into(&sim, Fault::ResetBeforeHeaders).await;
    assert_eq!((raw.bytes.len(), raw.end), (0, reset));
    for (after, expected) in [(0, 0), (7, 7), (20, 20)] {
        let raw = grant_into(&sim, Fault::ResetInHeaders { after }).await;
        assert_eq!((raw.bytes.len(), raw.end), (expected, reset));
    }
    let raw = grant_into(&sim, Fault::ResetInHeaders { after: usize::MAX }).await;
    assert!(raw.bytes.ends_with(b"\r\n\r") && raw.end == reset);
    assert!(!granted(&sim));

    let injection = Injection::new(GRANT, Fault::ResetBeforeHeaders);
    sim.inject(injection.once().with_effect());
    let raw = exchange(&sim, &grant_request()).await;
    assert_eq!((raw.bytes.len(), raw.end), (0, reset));
    assert!(granted(&sim));
    let outcome = Outcome::Faulted { fault: "reset-before-headers", sent: None, effect: Some(201) };
    assert_eq!(last_outcome(&sim), outcome);

    for after in [0, 10] {
        let raw = grant_into(&sim, Fault::ResetInBody { after }).await;
        assert_eq!((Reply::parse(&raw.bytes).body.len(), raw.end), (after, reset));
    }
    let raw = grant_into(&sim, Fault::ResetInBody { after: usize::MAX }).await;
    let reply = Reply::parse(&raw.bytes);
    let promised: usize = reply.header("content-length").unwrap().parse().unwrap();
    assert_eq!((reply.body.len() + 1, raw.end), (promised, reset));

    sim.reset_connections(1);
    let mut stream = TcpStream::connect(sim.address()).await.unwrap();
    let raw = read_to_end(&mut stream).await;
    assert_eq!((raw.bytes.len(), raw.end), (0, reset));
    get(&sim, "/v1/offers").await.success(200);
}

#[tokio::test]
async fn truncated_bodies_end_cleanly_and_early() {
    let sim = demo().await;
    for after in [0, 10, usize::MAX] {
        let raw = grant_into(&sim, Fault::TruncateBody { after }).await;
        let reply = Reply::parse(&raw.bytes);
        let promised: usize = reply.header("content-length").unwrap().parse().unwrap();
        assert!(reply.body.len() < promised);
        assert_eq!((reply.status, raw.end), (201, Ok(())));

        let raw = grant_into(&sim, Fault::TruncateChunks { after }).await;
        let reply = Reply::parse(&raw.bytes);
        assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
        assert!(!reply.body.ends_with(b"0\r\n\r\n"));
        assert_eq!(raw.end, Ok(()));
    }
}

#[tokio::test]
async fn oversized_bodies_have_the_size_asked_for() {
    let sim = demo().await;
    for bytes in [2, 100, 100_000] {
        let declared = Fault::OversizedBody { bytes, declared: true };
        let reply = Reply::parse(&grant_into(&sim, declared).await.bytes);
        assert_eq!(reply.header("content-length"), Some(bytes.to_string().as_str()));
        assert_eq!(reply.body.len() as u64, bytes);
        assert_eq!(reply.json(), json!([]));

        let chunked = Fault::OversizedBody { bytes, declared: false };
        let reply = Reply::parse(&grant_into(&sim, chunked).await.bytes);
        assert_eq!(unchunk(&reply.body).len() as u64, bytes);
    }
}

/// Joins chunks; panics unless the last one is there.
fn unchunk(mut body: &[u8]) -> Vec<u8> {
    let mut joined = Vec::new();
    loop {
        let end = body.windows(2).position(|window| window == b"\r\n").unwrap();
        let length = std::str::from_utf8(&body[..end]).unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            return joined;
        }
        joined.extend_from_slice(&body[end + 2..][..length]);
        body = &body[end + 2 + length + 2..];
    }
}

#[tokio::test]
async fn an_endless_body_ends_with_the_client() {
    let sim = demo().await;
    sim.inject(Injection::everywhere(Fault::EndlessBody).once());
    let mut stream = send(&sim, &grant_request()).await;
    let mut much = vec![0; 3_000_000];
    stream.read_exact(&mut much).await.unwrap();
    drop(stream);
    get(&sim, "/v1/offers").await.success(200);
}

#[tokio::test]
async fn an_answer_can_come_before_the_body_is_read() {
    let sim = demo().await;
    let head = format!("POST {GRANT} HTTP/1.1\r\nHost: sim\r\nContent-Length: 1000\r\n\r\n");
    let early = Fault::EarlyAnswer(StatusCode::SERVICE_UNAVAILABLE);
    sim.inject(Injection::everywhere(early).once().with_effect());
    let mut stream = send(&sim, head.as_bytes()).await;
    stream.write_all(&[b'x'; 500]).await.unwrap();
    stream.shutdown().await.unwrap();
    let raw = read_to_end(&mut stream).await;
    Reply::parse(&raw.bytes).refusal(503);
    assert_eq!(raw.end, Ok(()));
    sim.inject(Injection::everywhere(Fault::DropUnread).once());
    let raw = exchange(&sim, head.as_bytes()).await;
    assert_eq!((raw.bytes.len(), raw.end), (0, Ok(())));
    assert_eq!(sim.journal().len(), 2);
    assert!(sim.journal().iter().all(|entry| entry.body_length == 0));
}

#[tokio::test]
async fn a_body_can_be_refused_on_delete() {
    let sim = demo().await;
    let path = "/v1/users/delete-users";
    for status in [StatusCode::METHOD_NOT_ALLOWED, StatusCode::LENGTH_REQUIRED, StatusCode::BAD_REQUEST] {
        let injection = Injection::new(path, Fault::RefuseBody(status));
        sim.inject(injection.method(Method::DELETE).once());
        let bodiless = call(&sim, "DELETE", path, None).await;
        bodiless.refusal(400);
        let body = json!({"emails": ["anna@example.com"]});
        let refused = call(&sim, "DELETE", path, Some(body.clone())).await;
        assert_eq!((refused.status, refused.body.len()), (status.as_u16(), 0));
        member(&sim, "anna@example.com");
    }
    let body = json!({"emails": ["anna@example.com"]});
    assert_eq!(post(&sim, path, body).await.status, 201);
    assert_eq!(sim.school(KEY).unwrap().member_count(), 11);
}

#[tokio::test]
async fn no_fault_breaks_on_any_answer() {
    let sim = demo().await;
    for fault in [
        Fault::StallBody { after: 0, pause: Some(Duration::ZERO) },
        Fault::ResetInBody { after: 0 },
        Fault::TruncateBody { after: 0 },
        Fault::TruncateChunks { after: 0 },
        Fault::reshape(Reshape::Bare),
        Fault::OversizedBody { bytes: 0, declared: true },
        Fault::OversizedBody { bytes: 0, declared: false },
        Fault::canned(0, &[], ""),
        Fault::status(StatusCode::NO_CONTENT),
        Fault::status(StatusCode::CONTINUE),
        Fault::status(StatusCode::SWITCHING_PROTOCOLS),
    ] {
        for method in ["HEAD", "GET", "PATCH"] {
            sim.inject(Injection::everywhere(fault.clone()).once());
            exchange(&sim, &request(method, EXPIRES, Some(KEY), Some(&json!({})))).await;
            assert!(matches!(last_outcome(&sim), Outcome::Faulted { .. }), "{fault:?}");
        }
    }
    get(&sim, "/v1/offers").await.success(200);
}
