//! Memberspot's answers: from status, headers and body to what they mean. Pure; shapes that drift are accepted as far as
//! they still say what was asked.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    error::{Effect, Trouble},
    json::{Json, NoObjects, Object},
    transport::is_success,
    wit::types::FailureCode,
};

/// At most this many of Memberspot's messages are passed on,
const MOST_DETAILS: usize = 20;
/// each of at most this many bytes.
const LONGEST_DETAIL: usize = 500;
/// Memberspot's acknowledgements are a word such as `ok`; a longer text is somebody else's page.
const LONGEST_ACKNOWLEDGEMENT: usize = 64;
/// A login token is a JSON Web Token at the most.
const LONGEST_TOKEN: usize = 8192;

/// A longer list is refused: each item becomes many values on the engine's side of the boundary, and engines end a call that
/// hands over too many. Memberspot's pages have at most some hundred.
const MOST_ITEMS: usize = 10_000;

/// An answer that has arrived completely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers; names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, which is text.
    pub body: String,
}

/// The body is not what was promised; says what was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// There is more of it than can be handed over.
pub const TOO_MANY: Malformed = Malformed("an answer of at most 10,000 items, 250,000 objects and 1,000,000 values");

/// The text of an answer takes little memory; what is read from it takes some hundred bytes for each object and each value,
/// be they ever so small. The largest answers of real members have about this many of them.
const MOST_OBJECTS: usize = 250_000;
const MOST_VALUES: usize = 1_000_000;

/// What an answer holds that has not too much in it: an object or a list, if it is JSON. Commas and braces are counted where
/// texts have them, too; that errs on the safe side.
fn parse<'a>(body: &'a str, what: &'static str) -> Result<Json<'a>, Malformed> {
    let count = |wanted| body.bytes().filter(|byte| *byte == wanted).count();
    if body.len() > MOST_OBJECTS && (count(b'{') > MOST_OBJECTS || count(b',') > MOST_VALUES) {
        return Err(TOO_MANY);
    }
    let json = Json::presumed(body);
    json.raw().starts_with(['{', '[']).then_some(json).ok_or(Malformed(what))
}

impl Answer {
    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        is_success(self.status)
    }

    /// Whether an answer of status 2xx has the body of an error, as some proxies make it.
    pub fn is_error_in_disguise(&self) -> bool {
        // Most answers do not even have the word, and need no second look.
        let status = || Json::parse(&self.body)?.object()?.get(&["statusCode"])?.whole::<u16>();
        self.body.contains("statusCode") && status().is_some_and(|status| status >= 400)
    }

    /// The value of a header; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// When the answer was made, in seconds since 1970: its `Date`.
    pub fn date(&self) -> Option<i64> {
        http_date(self.header("date")?)
    }

    /// A bare entity, or one wrapped in an object under `wrapper` or `data`.
    pub fn entity<T>(
        &self,
        what: &'static str,
        wrapper: &str,
        read: impl Fn(&Object<'_>) -> Option<T>,
    ) -> Result<T, Malformed> {
        let object = parse(&self.body, what)?.object().ok_or(Malformed(what))?;
        let inner = || object.get(&[wrapper, "data"])?.object();
        read(&object).or_else(|| read(&inner()?)).ok_or(Malformed(what))
    }

    /// A list, bare or wrapped, and the token of the next page.
    pub fn list<T>(&self, what: &'static str, read: impl Fn(&Object<'_>) -> Option<T>) -> Result<Page<T>, Malformed> {
        let json = parse(&self.body, what)?;
        let (list, next) = unwrap_list(json).ok_or(Malformed(what))?;
        let mut left = MOST_ITEMS;
        let items = list.objects(|object| {
            left = left.checked_sub(1).ok_or(TOO_MANY)?;
            read(&object).ok_or(Malformed(what))
        });
        Ok(Page { items: items.map_err(|NoObjects| Malformed(what))??, next })
    }

    /// The acknowledgement of a write: an empty body, JSON of any shape, or a word such as `ok`. A page of somebody else's (a
    /// proxy's, a captive portal's) is none.
    pub fn acknowledgement(&self) -> Result<Acknowledgement<'_>, Malformed> {
        let json = Json::presumed(&self.body);
        if let Some(object) = json.object() {
            return Ok(Acknowledgement { object: Some(object), raw: json.raw() });
        }
        let body = self.body.trim();
        let is_word = body.len() <= LONGEST_ACKNOWLEDGEMENT && !body.contains(['<', '{', '[']);
        let none = Acknowledgement { object: None, raw: "" };
        if is_word || Json::parse(body).is_some() { Ok(none) } else { Err(Malformed("an acknowledgement")) }
    }

    /// A login token, and the address that logs in with it: an object, a JSON text, or the bare token.
    pub fn login_token(&self) -> Result<(String, Option<String>), Malformed> {
        let promised = Malformed("a login token");
        let body = self.body.trim();
        let (token, url) = match Json::parse(body) {
            Some(json) => match json.object() {
                Some(object) => {
                    let inner = object.get(&["data"]).and_then(Json::object);
                    let object = inner.unwrap_or(object);
                    (object.text(&["token", "loginToken"]).ok_or(promised)?, object.text(&["loginUrl", "login_url", "url"]))
                }
                None => (json.text().ok_or(promised)?, None),
            },
            None => (body.to_owned(), None),
        };
        let fits = |c: char| c.is_ascii_graphic() && !"<>{}\"".contains(c);
        if token.is_empty() || token.len() > LONGEST_TOKEN || !token.chars().all(fits) {
            return Err(promised);
        }
        Ok((token, url))
    }

    /// What is wrong with an answer whose status is not 2xx.
    pub fn trouble(&self) -> Trouble {
        let details = self.messages();
        let unknown_route = details.first().is_some_and(|message| is_unknown_route(message));
        let retry_after_ms = self.header("retry-after").and_then(|value| retry_after_ms(value, self.header("date")));
        let (code, passing, effect, sentence) = match self.status {
            300..=399 => (
                FailureCode::InvalidResponse,
                false,
                Effect::Possible,
                "a redirect, which is never followed; check the base URL",
            ),
            401 => {
                (FailureCode::Unauthorized, false, Effect::None, "the API key is not accepted; check it, or create a new one")
            }
            403 => (FailureCode::Forbidden, false, Effect::None, "the call is refused; the plan may not include it"),
            404 if unknown_route => {
                (FailureCode::NotFound, false, Effect::None, "there is no such route; check the base URL and the path")
            }
            404 => (FailureCode::NotFound, false, Effect::None, "what the call is about does not exist"),
            408 | 504 => (FailureCode::TimedOut, true, Effect::Possible, "the request took too long"),
            409 => (FailureCode::Conflict, false, Effect::None, "the call contradicts the present state"),
            413 => (FailureCode::TooLarge, false, Effect::None, "the request is too large"),
            429 => (FailureCode::RateLimited, true, Effect::None, "too many requests; wait before the next one"),
            400..=499 if details.is_empty() => (FailureCode::Rejected, false, Effect::None, "the request is refused"),
            400..=499 => (FailureCode::Rejected, false, Effect::None, "the request is refused; the details say why"),
            503 if retry_after_ms.is_some() => {
                (FailureCode::Unavailable, true, Effect::None, "the service is busy; wait before the next request")
            }
            500..=599 => (FailureCode::Unavailable, true, Effect::Possible, "the service has a fault at present"),
            _ => (FailureCode::InvalidResponse, false, Effect::Possible, "this status is not one that was promised"),
        };
        Trouble {
            code,
            message: format!("Memberspot answered {}: {sentence}", self.status),
            passing,
            effect,
            status: Some(self.status),
            retry_after_ms,
            details,
        }
    }

    /// Whether a 404 comes from the route itself and says that what was asked for does not exist: it has the shape of the
    /// server's framework, and is not the answer to an unknown route. A stranger's 404 (a proxy's, another server's) has
    /// another shape.
    pub fn is_missing(&self) -> bool {
        let says_404 = || Json::parse(&self.body)?.object()?.get(&["statusCode"])?.whole();
        self.status == 404
            && says_404() == Some(404_u16)
            && !self.messages().first().is_some_and(|message| is_unknown_route(message))
    }

    /// Memberspot's own messages, from `message`, which is a text or a list of texts, else from `error`; or a body of plain
    /// text.
    fn messages(&self) -> Vec<String> {
        let Some(json) = Json::parse(&self.body) else {
            let is_text = self.header("content-type").is_some_and(|kind| kind.starts_with("text/plain"));
            let text = self.body.trim();
            return if is_text && !text.is_empty() { vec![text.to_owned()] } else { vec![] };
        };
        let Some(message) = json.object().and_then(|object| object.get(&["message", "error"])) else { return vec![] };
        let texts = message.list().unwrap_or_else(|| vec![message]);
        texts.into_iter().filter_map(Json::text).take(MOST_DETAILS).collect()
    }
}

/// What a write was acknowledged with.
#[derive(Debug)]
pub struct Acknowledgement<'a> {
    /// The object, where it is one.
    pub object: Option<Object<'a>>,
    /// The object's JSON text; empty where there is none.
    pub raw: &'a str,
}

/// One page of a list.
#[derive(Debug, PartialEq)]
pub struct Page<T> {
    /// Its items.
    pub items: Vec<T>,
    /// The token of the next page.
    pub next: Option<String>,
}

/// The list in an answer and the token of the next page. The list is bare, or in an object: under one of the names that are
/// known, or under whatever name, where the object holds one list only; or one level deeper, under `data`.
fn unwrap_list(json: Json<'_>) -> Option<(Json<'_>, Option<String>)> {
    if json.is_list() {
        return Some((json, None));
    }
    let object = json.object()?;
    let next = object.get(&["nextPage", "next_page"]).filter(|next| next.flag().is_none()).and_then(Json::text);
    let next = next.filter(|next| !next.is_empty());
    let is_list = |found: &Json<'_>| found.is_list();
    if let Some(list) = object.get(&["users", "data", "offers", "properties", "results", "progress"]).filter(is_list) {
        return Some((list, next));
    }
    if let Some(within) = object.get(&["data"]).and_then(Json::object) {
        // One level only: `data` within `data` is nothing that was ever seen.
        let list = within.get(&["users", "offers", "properties", "results", "progress", "items"]).filter(is_list)?;
        return Some((list, next.or_else(|| within.text(&["nextPage", "next_page"]))));
    }
    let mut lists = object.members().map(|(_, value)| value).filter(|value| value.is_list());
    let only = lists.next()?;
    lists.next().is_none().then_some((only, next))
}

fn is_unknown_route(message: &str) -> bool {
    ["GET", "POST", "PUT", "PATCH", "DELETE"].iter().any(|method| {
        message.strip_prefix("Cannot ").and_then(|rest| rest.strip_prefix(method)).is_some_and(|rest| rest.starts_with(" /"))
    })
}

/// A message of Memberspot's, short enough to be passed on.
pub fn shortened(mut text: String) -> String {
    if text.len() > LONGEST_DETAIL {
        text.truncate(text.floor_char_boundary(LONGEST_DETAIL - '…'.len_utf8()));
        text.push('…');
    }
    text
}

/// Milliseconds to wait, from `Retry-After`: a number of seconds, or a date, which is read against the answer's own `Date`
/// since there is no clock here to compare it with. What cannot be read, or is in the past, asks for nothing.
fn retry_after_ms(value: &str, date: Option<&str>) -> Option<u32> {
    let value = value.trim();
    let milliseconds = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit mean a very long time, not none.
        value.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(1000)
    } else {
        let wait = http_date(value)?.checked_sub(http_date(date?)?)?;
        u64::try_from(wait).ok()?.saturating_mul(1000)
    };
    Some(u32::try_from(milliseconds).unwrap_or(u32::MAX))
}

/// Seconds since 1970 of an HTTP date, in the one form that servers may send (RFC 9110, section 5.6.7), such as
/// `Sat, 21 Nov 2026 10:00:00 GMT`. The two forms that are obsolete since 1999 are not read.
fn http_date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

    let mut parts = text.split(' ');
    let (_weekday, day, month, year, time, zone) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let month = MONTHS.iter().position(|name| *name == month)?.checked_add(1)?;
    if zone != "GMT" || parts.next().is_some() {
        return None;
    }
    // The same moment, spelled for the one parser of dates that is here.
    let moment = OffsetDateTime::parse(&format!("{year}-{month:02}-{day}T{time}Z"), &Rfc3339).ok()?;
    Some(moment.unix_timestamp())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::entity;

    fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Answer { status, headers, body: body.to_owned() }
    }

    fn ok(body: &str) -> Answer {
        answer(200, &[], body)
    }

    #[test]
    fn lists_arrive_bare_or_wrapped() {
        let ids = |body: &str| ok(body).list("offers", entity::offer).map(|page| (page.items.len(), page.next));
        let next = |token: &str| Some(token.to_owned());
        for (body, expected) in [
            ("[]", (0, None)),
            (r#"[{"id":"o1"},{"id":"o2"}]"#, (2, None)),
            (r#"{"offers":[{"id":"o1"}]}"#, (1, None)),
            (r#"{"data":[{"id":"o1"}],"nextPage":"t"}"#, (1, next("t"))),
            (r#"{"results":[],"next_page":"t"}"#, (0, next("t"))),
            (r#"{"users":[],"nextPage":null}"#, (0, None)),
            (r#"{"users":[],"nextPage":""}"#, (0, None)),
            (r#"{"users":[],"nextPage":false}"#, (0, None)),
            (r#"{"users":[],"nextPage":17}"#, (0, next("17"))),
            (r#"{"users":[],"nextPage":null,"next_page":"u"}"#, (0, next("u"))),
            (r#"{"data":{"offers":[{"id":"o1"}],"nextPage":"t"}}"#, (1, next("t"))),
            (r#"{"whatever":[{"id":"o1"}],"total":1}"#, (1, None)),
        ] {
            assert_eq!(ids(body), Ok(expected), "{body}");
        }
        for body in
            ["", "ok", "{}", "null", "1", "[1]", r#"[{"id":null}]"#, r#"{"a":[],"b":[]}"#, "<html></html>", r#"[{"id":"o1"}"#]
        {
            assert_eq!(ids(body), Err(Malformed("offers")), "{body}");
        }
    }

    #[test]
    fn a_list_has_an_end() {
        let body = |items: usize| format!("[{}]", vec![r#"{"id":1}"#; items].join(","));
        assert_eq!(ok(&body(MOST_ITEMS)).list("offers", entity::offer).map(|page| page.items.len()), Ok(MOST_ITEMS));
        assert_eq!(ok(&body(MOST_ITEMS + 1)).list("offers", entity::offer).map(|_| ()), Err(TOO_MANY));
    }

    #[test]
    fn an_error_with_a_status_of_success_is_found_out() {
        assert!(ok(r#"{"statusCode":400,"message":"no","error":"Bad Request"}"#).is_error_in_disguise());
        for body in [r#"{"statusCode":200}"#, r#"[{"statusCode":400}]"#, r#"{"raw":{"statusCode":400}}"#, "statusCode", ""] {
            assert!(!ok(body).is_error_in_disguise(), "{body}");
        }
    }

    #[test]
    fn entities_arrive_bare_or_wrapped() {
        for body in [
            r#"{"uid":"u","email":"a@b.de"}"#,
            r#"{"user":{"uid":"u","email":"a@b.de"}}"#,
            r#"{"data":{"uid":"u","email":"a@b.de"}}"#,
        ] {
            assert_eq!(ok(body).entity("a member", "user", entity::user).map(|user| user.uid), Ok("u".to_owned()));
        }
        assert!(ok("{}").entity("a member", "user", entity::user).is_err());
    }

    #[test]
    fn acknowledgements() {
        for body in ["", " \n", "ok", "OK", "\"ok\"", "true", "{}", "[]", "null", r#"{"email":"a@b.de"}"#] {
            assert!(ok(body).acknowledgement().is_ok(), "{body}");
        }
        for body in ["<html></html>", "<!doctype html>", r#"{"email":"#, &"word ".repeat(20)] {
            assert!(ok(body).acknowledgement().is_err(), "{body}");
        }
    }

    #[test]
    fn login_tokens_arrive_in_any_shape() {
        let url = Some("https://x.de/?t=abc".to_owned());
        for (body, expected) in [
            ("abc", ("abc", None)),
            ("\"abc\"", ("abc", None)),
            (r#"{"token":"abc"}"#, ("abc", None)),
            (r#"{"token":"abc","loginUrl":"https://x.de/?t=abc"}"#, ("abc", url.clone())),
            (r#"{"data":{"token":"abc","loginUrl":"https://x.de/?t=abc"}}"#, ("abc", url)),
        ] {
            assert_eq!(ok(body).login_token(), Ok((expected.0.to_owned(), expected.1)), "{body}");
        }
        for body in
            ["", "{}", "[]", "null", "<html>", "not a token", "\"\"", r#"{"token":""}"#, r#"{"token":{}}"#, "{\"token\":"]
        {
            assert!(ok(body).login_token().is_err(), "{body}");
        }
    }

    #[test]
    fn a_status_has_one_meaning() {
        use {Effect::*, FailureCode::*};
        for (status, code, passing, effect) in [
            (302, InvalidResponse, false, Possible),
            (304, InvalidResponse, false, Possible),
            (400, Rejected, false, None),
            (401, Unauthorized, false, None),
            (402, Rejected, false, None),
            (403, Forbidden, false, None),
            (404, NotFound, false, None),
            (405, Rejected, false, None),
            (408, TimedOut, true, Possible),
            (409, Conflict, false, None),
            (413, TooLarge, false, None),
            (422, Rejected, false, None),
            (429, RateLimited, true, None),
            (500, Unavailable, true, Possible),
            (502, Unavailable, true, Possible),
            (503, Unavailable, true, Possible),
            (504, TimedOut, true, Possible),
            (599, Unavailable, true, Possible),
            (100, InvalidResponse, false, Possible),
            (700, InvalidResponse, false, Possible),
        ] {
            let trouble = answer(status, &[], "<html>").trouble();
            assert_eq!((trouble.code, trouble.passing, trouble.effect), (code, passing, effect), "{status}");
            assert_eq!((trouble.status, trouble.retry_after_ms, trouble.details.len()), (Some(status), Option::None, 0));
        }
        let busy = answer(503, &[("retry-after", "2")], "").trouble();
        assert_eq!((busy.effect, busy.retry_after_ms), (None, Some(2000)));
    }

    #[test]
    fn messages_are_passed_on_and_bounded() {
        let details = |body: &str| answer(400, &[], body).trouble().details;
        assert_eq!(details(r#"{"statusCode":400,"message":["a","b"],"error":"Bad Request"}"#), ["a", "b"]);
        assert_eq!(details(r#"{"statusCode":400,"message":"a","error":"Bad Request"}"#), ["a"]);
        assert_eq!(details(r#"{"error":"Bad Request"}"#), ["Bad Request"]);
        assert_eq!(details(r#"{"message":{"deep":1}}"#), [""; 0]);
        assert_eq!(details("<html>"), [""; 0]);
        let many = serde_json::json!({"message": vec!["ä".repeat(1000); 50]}).to_string();
        assert_eq!(details(&many).len(), MOST_DETAILS);
        assert!(details(&many).into_iter().map(shortened).all(|text| text.len() <= LONGEST_DETAIL && text.ends_with('…')));
        let plain = answer(403, &[("content-type", "text/plain; charset=utf-8")], " the plan \n");
        assert_eq!(plain.trouble().details, ["the plan"]);
    }

    #[test]
    fn a_missing_member_is_told_from_a_missing_route() {
        let missing = |body: &str| answer(404, &[], body).is_missing();
        assert!(missing(r#"{"statusCode":404,"message":"User not found","error":"Not Found"}"#));
        assert!(missing(r#"{"statusCode":404,"message":["User not found"]}"#));
        assert!(missing(r#"{"statusCode":404}"#));
        assert!(!missing(r#"{"statusCode":404,"message":"Cannot GET /v1/users/find-by-mail/a@b.de","error":"Not Found"}"#));
        assert!(!missing(r#"{"message":"no Route matched with those values"}"#));
        assert!(!missing("<html>404</html>"));
        assert!(!missing(""));
        assert!(!answer(400, &[], r#"{"statusCode":404}"#).is_missing());
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let date = Some("Sat, 21 Nov 2026 10:00:00 GMT");
        assert_eq!(retry_after_ms("3", None), Some(3000));
        assert_eq!(retry_after_ms("0", None), Some(0));
        assert_eq!(retry_after_ms(" 3 ", None), Some(3000));
        assert_eq!(retry_after_ms("99999999999999999999999", None), Some(u32::MAX));
        assert_eq!(retry_after_ms("Sat, 21 Nov 2026 10:00:30 GMT", date), Some(30_000));
        assert_eq!(retry_after_ms("Sat, 21 Nov 2026 09:59:00 GMT", date), None);
        assert_eq!(retry_after_ms("Sat, 21 Nov 2026 10:00:30 GMT", None), None);
        for value in ["", "-1", "1.5", "soon", "3s"] {
            assert_eq!(retry_after_ms(value, date), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn retry_after_in_seconds_is_never_shortened(seconds in any::<u64>()) {
            let expected = u32::try_from(u128::from(seconds) * 1000).unwrap_or(u32::MAX);
            prop_assert_eq!(retry_after_ms(&seconds.to_string(), None), Some(expected));
        }

        #[test]
        fn retry_after_as_a_date_counts_from_the_answer(now in 0_u32..86_000, wait in 0_u32..400) {
            let date = |seconds: u32| {
                format!("Sat, 21 Nov 2026 {:02}:{:02}:{:02} GMT", seconds / 3600, seconds / 60 % 60, seconds % 60)
            };
            prop_assert_eq!(retry_after_ms(&date(now + wait), Some(&date(now))), Some(wait * 1000));
        }

        #[test]
        fn no_body_makes_decoding_panic(status in any::<u16>(), body in ".*|[\\[\\]{}\":,a-z0-9. ]{0,60}", retry in ".*") {
            let answer = answer(status, &[("retry-after", &retry), ("date", &retry)], &body);
            let _ = answer.trouble();
            let _ = answer.is_missing();
            let _ = answer.list("x", entity::user);
            let _ = answer.list("x", entity::offer);
            let _ = answer.entity("x", "user", entity::user);
            let _ = answer.login_token();
            let raw = answer.acknowledgement().map(|written| written.raw).unwrap_or_default();
            let looks_like_one = raw.is_empty() || raw.starts_with('{');
            prop_assert!(looks_like_one, "{}", raw);
        }
    }
}
