//! What callers pass to the functions, and the requests that are made of it.

use memberspot_core::{
    request::{Call, Method, Request, access, chapters, exams, orders, progress, properties, users},
    route::Route,
    wit::{
        access::{ExpirationRequest, GrantRequest},
        chapters::ChapterAccessRequest,
        orders::OrderDeletionRequest,
        progress::ListCourseProgressRequest,
        properties::{PropertyAssignment, PropertyReference, SetPropertiesRequest},
        types::{Error, FailureCode},
        users::ListUsersRequest,
    },
};
use serde_json::Value;
use url::Url;

use crate::{decoding::decoded, text::fields};

const ORIGIN: &str = "https://api.memberspot.de";

/// What the sign `$` of an input stands for: something that no message may quote.
const PERSONAL: &str = "personal-4711";

/// The fields of an input, in the order of its lines.
struct Input {
    email: String,
    id: String,
    other_id: String,
    name: String,
    page_token: String,
    page_length: String,
    instant: String,
    value: String,
}

/// Input: eight lines, an address, two ids, a name, a page token, a page length, an instant, and the value of a property.
pub fn run(input: &[u8]) {
    let mut fields = fields(input).into_iter().map(|field| field.replace('$', PERSONAL));
    let mut field = || fields.next().unwrap_or_default();
    let input = Input {
        email: field(),
        id: field(),
        other_id: field(),
        name: field(),
        page_token: field(),
        page_length: field(),
        instant: field(),
        value: field(),
    };
    reads(&input);
    writes(&input);
    deletions(&input);
}

fn reads(input: &Input) {
    let Input { email, id, other_id, page_token, .. } = input;
    let page_length = input.page_length.parse().ok();
    let length = input.page_length.parse::<u32>().unwrap_or_default().to_string();
    let request = ListUsersRequest {
        offer_id: Some(id.clone()),
        course_id: Some(other_id.clone()),
        active: Some(true),
        page_token: Some(page_token.clone()),
        page_length,
    };
    let mut query = vec![("lastLoadedId", page_token.as_str()), ("offerId", id), ("courseId", other_id), ("active", "true")];
    if page_length.is_some() {
        query.insert(1, ("pageLength", &length));
    }
    at(users::list_users(&request), &[], &query);
    let request =
        ListCourseProgressRequest { email: email.clone(), page_token: Some(page_token.clone()), page_length: Some(7) };
    at(progress::list_course_progress(&request), &[email], &[("lastLoadedId", page_token), ("pageLength", "7")]);
    at(progress::get_course_progress(email, id), &[id, email], &[]);
    at(users::find_user(email), &[email], &[]);
    at(users::create_login_token(id), &[id], &[]);
    at(exams::list_exam_results(id), &[id], &[]);
}

fn writes(input: &Input) {
    let Input { email, id, other_id, name, instant, value, .. } = input;
    let grant = GrantRequest {
        email: email.clone(),
        offer_id: id.clone(),
        first_name: Some(name.clone()),
        last_name: Some(value.clone()),
        order_id: Some(other_id.clone()),
    };
    sends(access::grant_access(&grant), &[email, id, name, value, other_id]);
    let expiry = ExpirationRequest { email: email.clone(), offer_id: id.clone(), expires_at: Some(instant.clone()) };
    let canonical = memberspot_core::check::instant("expires-at", instant).unwrap_or_default();
    sends(access::set_access_expiration(&expiry), &[email, id, &canonical]);
    let chapter = ChapterAccessRequest { email: email.clone(), course_id: id.clone(), chapter_id: other_id.clone() };
    sends(chapters::enable_chapter_access(&chapter), &[email, id, other_id]);
    let assignment = |id: &String| PropertyAssignment { property: PropertyReference::Id(id.clone()), value: value.clone() };
    let values = SetPropertiesRequest { email: email.clone(), values: vec![assignment(id), assignment(other_id)] };
    sends(properties::set_properties(&values, &[]), &[email, id, other_id, value]);
    for (active, call) in [(false, access::revoke_access(email, id)), (true, access::restore_access(email, id))] {
        let body = sends(call, &[email, id]);
        assert!(body.is_none_or(|body| body.get("active") == Some(&Value::Bool(active))));
    }
    for (active, call) in [(false, orders::revoke_order_access(email, id)), (true, orders::restore_order_access(email, id))] {
        let body = sends(call, &[email, id]);
        assert!(body.is_none_or(|body| body.get("active") == Some(&Value::Bool(active))));
    }
}

fn deletions(input: &Input) {
    let Input { email, id, other_id, .. } = input;
    let body = sends(access::delete_access(email, id), &[email, id]);
    assert!(body.is_none_or(|body| body.get("active").is_none()));
    let deletion = OrderDeletionRequest { order_id: id.clone(), email: Some(email.clone()) };
    let body = sends(orders::delete_order_access(&deletion), &[email, id]);
    assert!(body.is_none_or(|body| body.get("active").is_none() && body.get("email").is_some()));
    // Whatever is there of a list counts: nothing of it may be left out or be more than it says.
    let emails = [email.clone(), other_id.clone()];
    for call in [users::delete_users(&emails), users::delete_users_via_post(&emails)] {
        let body = sends(call, &[email, other_id]);
        assert!(body.is_none_or(|body| body == serde_json::json!({ "emails": emails })));
    }
}

/// A call whose input is in its path and its query.
fn at<T>(call: Result<Call<T>, Error>, segments: &[&str], query: &[(&str, &str)]) {
    let Some(request) = taken(call) else { return };
    assert_eq!(request.body, None);
    let url = Url::parse(&format!("{ORIGIN}{}", request.target)).expect("a URL");
    let found: Vec<_> = url.query_pairs().collect();
    assert!(found.iter().map(|(name, value)| (&**name, &**value)).eq(query.iter().copied()), "{}", request.target);
    let last: Vec<_> = url.path_segments().expect("a path").rev().map(|segment| decoded(segment, 1)).collect();
    // The results of an exam have their id in the middle.
    let last = if last.first().is_some_and(|word| word == "results") { &last[1..] } else { &last };
    assert!(segments.iter().rev().zip(last).all(|(segment, found)| segment == found), "{}", request.target);
}

/// A call whose input is in its body. Whatever text the body has is one of these, in the other form of the request, too.
fn sends<T>(call: Result<Call<T>, Error>, texts: &[&str]) -> Option<Value> {
    let request = taken(call)?;
    if let Some(other) = &request.other {
        place(&other.request);
        says(&other.request, texts);
    }
    Some(says(&request, texts))
}

fn says(request: &Request, texts: &[&str]) -> Value {
    let body: Value = serde_json::from_str(request.body.as_deref().expect("a body")).expect("a body of JSON");
    let mut rest = vec![&body];
    while let Some(value) = rest.pop() {
        match value {
            Value::String(text) => assert!(texts.contains(&text.as_str()), "{text:?} was not passed in"),
            Value::Array(items) => rest.extend(items),
            Value::Object(members) => rest.extend(members.values()),
            Value::Bool(_) => {}
            Value::Null | Value::Number(_) => panic!("{value} was not passed in"),
        }
    }
    body
}

/// The request of a call, if its input was taken.
fn taken<T>(call: Result<Call<T>, Error>) -> Option<Request> {
    let request = match call {
        Ok(call) => call.request,
        Err(Error::Permanent(failure)) => {
            assert_eq!((failure.code, failure.attempts), (FailureCode::InvalidInput, 0), "{failure:?}");
            assert!(!failure.message.contains(PERSONAL) && failure.details.is_empty(), "{failure:?} quotes its input");
            assert!(!failure.message.contains(char::is_control), "{failure:?}");
            return None;
        }
        Err(error) => panic!("{error:?}"),
    };
    place(&request);
    Some(request)
}

/// A request goes to the route of its function, whoever reads the path, and needs that function's scope.
fn place(request: &Request) {
    let path = request.target.split('?').next().unwrap_or_default();
    assert!(request.target.starts_with("/v1/") && request.target.bytes().all(|byte| byte.is_ascii_graphic()));
    let url = Url::parse(&format!("{ORIGIN}{}", request.target)).expect("a URL");
    assert_eq!((url.path(), url.fragment()), (path, None), "{} is where it leads", request.target);
    assert!(!path.contains("//") && !path.ends_with('/'), "{} has an empty segment", request.target);
    assert!(!decoded(path, 1).contains(char::is_control), "{}", request.target);
    let route = Route::find(request.method, path).expect("a known route");
    let name = request.function.name;
    let known = match (name, request.method) {
        ("restore-access", _) => "revoke-access",
        ("restore-order-access", _) => "revoke-order-access",
        ("delete-users", Method::Post) => "delete-users-via-post",
        _ => name,
    };
    let served = route.function.name == known || route.without_active.is_some_and(|function| function.name == known);
    assert!(served, "{} is the route of {}, not of {name}", request.target, route.function.name);
    assert_eq!(request.scopes, request.function.scopes);
    assert!(request.method != Method::Get || request.body.is_none());
}
