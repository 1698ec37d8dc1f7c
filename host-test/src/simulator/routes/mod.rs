//! The routes of the API and what stands before them: the parsers, the key, and the rate limit.

mod access;
mod catalog;
mod learning;
mod pages;
mod users;

use bytes::Bytes;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::RetryAfter;
use super::clock::{http_date, later};
use super::limiter::Limiter;
use super::nest::{self, Answer, Refusal};
use super::paths;
use super::school::{Member, School};
use super::tokens::{Login, LoginTokens};
use super::webhooks::Event;

/// One operation of the API.
struct Route {
    method: Method,
    /// Captured segments are `{}`.
    path: &'static str,
    /// Whether the limit of so many requests a second holds here.
    limited: bool,
    run: fn(&mut Visit<'_>) -> Result<Answer, Refusal>,
}

const fn route(method: Method, path: &'static str, run: fn(&mut Visit<'_>) -> Result<Answer, Refusal>) -> Route {
    Route { method, path, limited: false, run }
}

const fn limited(method: Method, path: &'static str, run: fn(&mut Visit<'_>) -> Result<Answer, Refusal>) -> Route {
    Route { method, path, limited: true, run }
}

/// The whole API. The first match wins, so a fixed segment stands before a captured one.
static ROUTES: [Route; 17] = [
    route(Method::POST, "/v1/users/grant-user-offer-by-mail", access::grant),
    route(Method::POST, "/v1/users/set-offer-state", access::set_offer_state),
    route(Method::POST, "/v1/users/set-order-state", access::set_order_state),
    route(Method::PATCH, "/v1/users/set-offer-expires", access::set_offer_expires),
    route(Method::DELETE, "/v1/users/delete-users", users::delete),
    route(Method::POST, "/v1/users/delete-users", users::delete),
    limited(Method::GET, "/v1/users/list", users::list),
    limited(Method::GET, "/v1/users/find-by-mail/{}", users::find),
    route(Method::GET, "/v1/users/login-token/{}", users::login_token),
    route(Method::POST, "/v1/users/set-custom-user-properties", users::set_properties),
    limited(Method::GET, "/v1/users/course-progress/list/{}", learning::list_progress),
    limited(Method::GET, "/v1/users/course-progress/{}/{}", learning::progress),
    route(Method::GET, "/v1/custom-user-properties/list", catalog::properties),
    route(Method::GET, "/v1/offers", catalog::offers),
    route(Method::POST, "/v1/chapters/chapter-access/enable", learning::enable_chapter),
    route(Method::GET, "/v1/exams/{}/results", learning::exam_results),
    route(Method::GET, "/api-auth", catalog::check_key),
];

/// Everything that requests read and change.
pub(super) struct World {
    schools: Vec<School>,
    tokens: LoginTokens,
    limiter: Limiter,
    rate_limit: Option<u32>,
    retry_after: RetryAfter,
    origin: String,
}

/// What a handler works with: a request that has passed the parsers, the key and the limit.
struct Visit<'w> {
    school: &'w mut School,
    tokens: &'w mut LoginTokens,
    origin: &'w str,
    now: OffsetDateTime,
    /// What happens that somebody may have to be told of.
    events: &'w mut Vec<Event>,
    /// The decoded values at the `{}` segments of the route; there are as many as segments.
    params: Vec<String>,
    /// The raw query.
    query: &'w str,
    /// The parsed body, `null` when there is none.
    body: Value,
}

impl Visit<'_> {
    /// The decoded value at the nth `{}` of the route.
    fn param(&self, nth: usize) -> &str {
        self.params.get(nth).map_or("", String::as_str)
    }
}

impl World {
    pub(super) fn new(schools: Vec<School>, rate_limit: Option<u32>, retry_after: RetryAfter, origin: String) -> Self {
        Self { schools, tokens: LoginTokens::default(), limiter: Limiter::default(), rate_limit, retry_after, origin }
    }

    /// The school that a key opens; of several, the first.
    pub(super) fn school(&mut self, key: &str) -> Option<&mut School> {
        self.schools.iter_mut().find(|school| school.opens_with(key))
    }

    /// Does what a request asks for, and answers as the server would. With what has happened.
    pub(super) fn handle(&mut self, head: &Parts, body: &Bytes, now: OffsetDateTime) -> (Answer, Vec<Event>) {
        let mut events = Vec::new();
        let answer = self.try_handle(head, body, now, &mut events).unwrap_or_else(Refusal::into_answer);
        (answer, events)
    }

    // The order of the steps is that of a NestJS server: the body parser runs before the router, the router before the
    // guards, and the parameters are decoded on the way to the handler.
    fn try_handle(
        &mut self,
        head: &Parts,
        body: &Bytes,
        now: OffsetDateTime,
        events: &mut Vec<Event>,
    ) -> Result<Answer, Refusal> {
        let body = parse_body(&head.headers, body)?;
        let path = head.uri.path();
        let method = match &head.method {
            &Method::HEAD => &Method::GET,
            method => method,
        };
        if method == Method::GET
            && let Some([secret]) = paths::capture("/login/{}", path).as_deref()
        {
            return self.open_login_page(secret, now);
        }
        let found = ROUTES
            .iter()
            .filter(|route| route.method == method)
            .find_map(|route| Some((route, paths::capture(route.path, path)?)));
        let Some((route, raw_params)) = found else {
            let target = head.uri.path_and_query().map_or(path, |target| target.as_str());
            let message = format!("Cannot {} {target}", head.method);
            return Err(Refusal::not_found(&message));
        };
        let key = api_key(&head.headers).ok_or_else(Refusal::unauthorized)?;
        // Not `self.school`, which would borrow the limiter and the tokens as well.
        let mut schools = self.schools.iter_mut();
        let school = schools.find(|school| school.opens_with(key)).ok_or_else(Refusal::unauthorized)?;
        if route.limited
            && let Some(limit) = self.rate_limit
            && let Err(wait) = self.limiter.admit(key, limit, now)
        {
            return Err(Refusal::too_many_requests(self.retry_after.write(now, wait)));
        }
        let params = raw_params.into_iter().map(|raw| {
            let broken = || Refusal::bad_request(&format!("Failed to decode param '{raw}'"));
            paths::decode(raw).ok_or_else(broken)
        });
        let mut answer = (route.run)(&mut Visit {
            params: params.collect::<Result<_, _>>()?,
            school,
            tokens: &mut self.tokens,
            origin: &self.origin,
            now,
            events,
            query: head.uri.query().unwrap_or_default(),
            body,
        })?;
        // NestJS' own rule for a handler that sets no status. Known is only that a grant answers 201.
        if route.method == Method::POST {
            *answer.status_mut() = StatusCode::CREATED;
        }
        Ok(answer)
    }

    /// The page behind a `loginUrl`. It is the simulator's own; the real one is a page of the school's site.
    fn open_login_page(&self, secret: &str, now: OffsetDateTime) -> Result<Answer, Refusal> {
        let gone = || Refusal::new(StatusCode::GONE, "Login token expired");
        match self.tokens.look_up(secret, now) {
            Login::Unknown => Err(Refusal::not_found("Login token not found")),
            Login::Expired => Err(gone()),
            Login::Valid { school, uid } => {
                let mut schools = self.schools.iter().filter(|other| other.id == school);
                let member = schools.find_map(|school| school.member_by_uid(&uid));
                let member = member.ok_or_else(gone)?;
                Ok(nest::json(&json!({"uid": member.uid()})))
            }
        }
    }
}

impl RetryAfter {
    fn write(self, now: OffsetDateTime, wait: std::time::Duration) -> HeaderValue {
        match self {
            Self::Seconds => HeaderValue::from(whole_seconds(wait)),
            Self::Date => {
                // Dates in headers have whole seconds: one too early would be refused again.
                let date = later(now, wait + std::time::Duration::from_nanos(999_999_999));
                HeaderValue::try_from(http_date(date)).unwrap_or(HeaderValue::from_static("1"))
            }
        }
    }
}

/// Rounded up, as a client that waits a part of a second less is refused again.
fn whole_seconds(wait: std::time::Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// The key of a request. Node joins repeated headers into one value, which is then nobody's key.
pub(super) fn api_key(headers: &HeaderMap) -> Option<&str> {
    let mut keys = headers.get_all("x-api-key").iter();
    let key = keys.next()?.to_str().ok()?;
    keys.next().is_none().then_some(key)
}

/// What Express' JSON parser makes of a body: nothing unless it is labelled as JSON.
fn parse_body(headers: &HeaderMap, body: &Bytes) -> Result<Value, Refusal> {
    let label = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let content_type = label(CONTENT_TYPE).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if body.is_empty() || !essence.eq_ignore_ascii_case("application/json") {
        return Ok(Value::Null);
    }
    match label(CONTENT_ENCODING) {
        None | Some("identity") => {}
        Some(encoding) => {
            let message = format!("unsupported content encoding \"{encoding}\"");
            return Err(Refusal::bare(StatusCode::UNSUPPORTED_MEDIA_TYPE, &message));
        }
    }
    match serde_json::from_slice(body) {
        Ok(value @ (Value::Object(_) | Value::Array(_))) => Ok(value),
        Ok(_) => Err(Refusal::bad_request("Unexpected token in JSON at position 0")),
        Err(error) => Err(Refusal::bad_request(&format!("Unexpected token in JSON: {error}"))),
    }
}

fn user_not_found() -> Refusal {
    Refusal::not_found("User not found")
}

/// A member as the API shows one; a name that is not known is left out.
fn user(member: &Member) -> Value {
    let progress = member.progress.iter();
    let progress: Vec<Value> = progress.map(|(course_id, progress)| learning::entry(course_id, progress)).collect();
    let mut user = json!({
        "uid": member.uid(),
        "email": member.email(),
        "active": member.active,
        "created": super::clock::iso(member.created),
        "customUserProperties": member.properties,
        "progress": progress,
    });
    for (name, value) in [("firstname", &member.firstname), ("name", &member.name)] {
        if let Some(value) = value {
            user[name] = value.as_str().into();
        }
    }
    user
}
