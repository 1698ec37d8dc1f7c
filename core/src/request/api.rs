//! `api`: any other call. The input is hostile until proven otherwise: whatever it says, the request goes to the configured
//! origin, and does nothing that the scopes do not allow.

use crate::{
    error::invalid_input,
    function,
    json::Json,
    origin::Origin,
    request::{Call, Method, Request},
    route::{Route, decoded},
    scopes::Scopes,
    wit::{
        api::{ApiRequest, ApiResponse, HttpHeader, HttpMethod},
        types::{Error, Scope},
    },
};

const LONGEST_PATH: usize = 8192;
const MOST_HEADERS: usize = 64;
const LONGEST_HEADER: usize = 8192;
/// Engines bound all headers of a request together, some at 128 KiB, and trap beyond that.
const MOST_HEADER_BYTES: usize = 64 << 10;

/// Headers that are the connector's: the key, what frames the message, what concerns the connection alone (RFC 9110,
/// section 7.6.1), and what makes some servers take the request for another one than its method and path say.
const RESERVED_HEADERS: [&str; 19] = [
    "x-api-key",
    "host",
    "user-agent",
    "accept-encoding",
    "content-length",
    "content-encoding",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
    "http2-settings",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "forwarded",
    "x-real-ip",
];
const RESERVED_PREFIXES: [&str; 4] = ["proxy-", "x-forwarded", "x-original", "x-rewrite"];

/// `api.call-api`
pub fn call_api(request: ApiRequest, origin: &Origin) -> Result<Call<ApiResponse>, Error> {
    let method = match request.method {
        HttpMethod::Get => Method::Get,
        HttpMethod::Post => Method::Post,
        HttpMethod::Put => Method::Put,
        HttpMethod::Patch => Method::Patch,
        HttpMethod::Delete => Method::Delete,
    };
    if method == Method::Get && request.body.is_some() {
        return Err(invalid_input("body", "is not allowed with get; leave it out, or use another method"));
    }
    let target = target(&request.path, origin)?;
    let mut headers = headers(request.headers)?;
    if request.body.is_some() && !headers.iter().any(|(name, _)| name == "content-type") {
        headers.push(("content-type".into(), "application/json".into()));
    }
    let json = request.body.as_deref().filter(|_| is_json(&headers));
    let built = Request {
        function: &function::CALL_API,
        scopes: scopes(method, &target, json),
        nature: method.nature(),
        method,
        headers,
        body: None,
        // The route may be one that takes its time.
        slow: true,
        limited: Route::find(method, path_of(&target)).is_some_and(|route| route.function.limit.is_some()),
        other: None,
        target,
    };
    let built = match request.body {
        Some(body) => built.with_body(body)?,
        None => built,
    };
    Ok(Call::new(built, |answer| {
        let headers = answer.headers.iter();
        Ok(ApiResponse {
            status: answer.status,
            headers: headers.map(|(name, value)| HttpHeader { name: name.clone(), value: value.clone() }).collect(),
            body: answer.body.clone(),
        })
    }))
}

/// Path and query of a path or of an absolute URL of the configured origin.
fn target(path: &str, origin: &Origin) -> Result<String, Error> {
    let refuse = |problem: &str| Err(invalid_input("path", problem));
    if path.len() > LONGEST_PATH {
        return refuse("is too long; at most 8192 bytes are allowed");
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return refuse("contains a space, a line break or another character that must be percent-encoded");
    }
    if path.contains(['\\', '#']) {
        return refuse("must not contain a backslash or a fragment");
    }
    let local = if path.starts_with('/') {
        path
    } else {
        let after_scheme = path.find("://").map(|at| at + 3);
        let Some((scheme, rest)) = after_scheme.and_then(|at| path.split_at_checked(at)) else {
            return refuse("must begin with a slash, or be a URL of the configured origin");
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, local) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if Origin::parse(&format!("{scheme}{authority}")).as_ref() != Ok(origin) {
            return refuse("is a URL of another origin than the configured one, where the key must not go");
        }
        local
    };
    let (path, query) = local.split_once('?').map_or((local, None), |(path, query)| (path, Some(query)));
    let path = if path.is_empty() { "/" } else { path };
    if path.contains("//") {
        return refuse("must not contain two slashes in a row");
    }
    for part in [path, query.unwrap_or_default()] {
        if !is_percent_encoding_sound(part) {
            return refuse("has a percent sign without two hexadecimal digits; write %25 for a percent sign");
        }
        if decoded(part).contains(|c: char| c.is_control() || c == '\u{fffd}') {
            return refuse("has an encoded line break, another encoded control character, or encoded bytes that are not UTF-8");
        }
    }
    for segment in path.split('/').map(decoded) {
        if segment == "." || segment == ".." {
            return refuse("must not contain dot segments, encoded ones included");
        }
        if segment.contains(['/', '\\']) {
            return refuse("must not contain an encoded slash or backslash");
        }
        // What follows a semicolon is cut off by some servers, and what is encoded twice decoded twice by some proxies:
        // neither could be judged by what it is for.
        if segment.contains(';') || decoded(&segment) != segment {
            return refuse("must not contain a semicolon, or anything that is percent-encoded twice");
        }
    }
    Ok(query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}")))
}

fn is_percent_encoding_sound(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| rest.get(..2).is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit())))
}

/// Checked headers, with names in lower case.
fn headers(headers: Vec<HttpHeader>) -> Result<Vec<(String, String)>, Error> {
    if headers.len() > MOST_HEADERS {
        return Err(invalid_input(
            "headers",
            format_args!("has {} entries; at most {MOST_HEADERS} are allowed", headers.len()),
        ));
    }
    let mut checked: Vec<(String, String)> = Vec::with_capacity(headers.len() + 1);
    let mut bytes: usize = 0;
    for (index, header) in headers.into_iter().enumerate() {
        let HttpHeader { name, value } = header;
        let name = name.to_ascii_lowercase();
        let refuse = |part: &str, problem: &str| Err(invalid_input(&format!("headers[{index}].{part}"), problem));
        // RFC 9110, section 5.6.2: a token.
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)) {
            return refuse("name", "is not a header name: letters, digits and hyphens");
        }
        // To programs that read headers as variables, an underscore is a hyphen.
        let meant = name.replace('_', "-");
        if RESERVED_HEADERS.contains(&meant.as_str()) || RESERVED_PREFIXES.iter().any(|prefix| meant.starts_with(prefix)) {
            return refuse("name", "is a header that the connector sets itself, or that no call may set; leave it out");
        }
        if name == "content-type" && checked.iter().any(|(earlier, _)| *earlier == name) {
            return refuse("name", "is given twice; a body has one content-type");
        }
        if name.len() + value.len() > LONGEST_HEADER {
            return refuse("value", "is too long; name and value together may have 8192 bytes");
        }
        if !value.bytes().all(|byte| byte == b'\t' || byte == b' ' || byte.is_ascii_graphic()) {
            return refuse("value", "contains a line break or another character that no header can hold; remove or encode it");
        }
        bytes += name.len() + value.len();
        checked.push((name, value));
    }
    if bytes > MOST_HEADER_BYTES {
        return Err(invalid_input(
            "headers",
            format_args!("have {bytes} bytes together; at most {MOST_HEADER_BYTES} are allowed"),
        ));
    }
    Ok(checked)
}

/// Whether a server will surely read the body as JSON in UTF-8, judged by its content type: `application/json`, with the
/// parameter `charset=utf-8` or none.
fn is_json(headers: &[(String, String)]) -> bool {
    let Some((_, value)) = headers.iter().find(|(name, _)| name == "content-type") else { return false };
    let mut parts = value.split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    is_json && parts.all(|part| ["", "charset=utf-8", "charset=\"utf-8\""].iter().any(|known| part.eq_ignore_ascii_case(known)))
}

/// The scopes that a raw call needs: `raw`, and what the route behind it needs. What is not known for sure to be harmless
/// counts as a deletion.
fn scopes(method: Method, target: &str, json: Option<&str>) -> Scopes {
    let raw = function::CALL_API.scopes;
    let path = path_of(target);
    // No route that has this word is known but the one that hands out login tokens, in whatever version.
    let raw = if path.split('/').any(is_login_token) { raw.with(Scope::Login) } else { raw };
    match Route::find(method, path) {
        Some(Route { without_active: Some(deletion), .. }) if !has_active(json) => raw.and(deletion.scopes),
        Some(route) => raw.and(route.function.scopes),
        None if method == Method::Get => raw.with(Scope::Read),
        None => raw.with(Scope::Write).with(Scope::Delete),
    }
}

fn path_of(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}

/// Whether a server may read a segment as `login-token`: in any case, by the rules of Unicode too, by which the Kelvin sign is
/// a `K`, and without the spaces around it.
fn is_login_token(segment: &str) -> bool {
    decoded(segment).trim().replace('\u{212a}', "k").eq_ignore_ascii_case("login-token")
}

/// Whether a body says surely, to whatever server, that `active` is true or false.
fn has_active(json: Option<&str>) -> bool {
    let object = json.and_then(Json::parse).and_then(Json::object);
    object.and_then(|object| object.get(&["active"])).is_some_and(|active| matches!(active.raw(), "true" | "false"))
}

#[cfg(test)]
mod tests {
    use HttpMethod::*;
    use proptest::prelude::*;

    use super::*;
    use crate::{scopes, wit::types::FailureCode};

    fn origin() -> Origin {
        Origin::parse("https://api.memberspot.de").unwrap()
    }

    fn request(method: HttpMethod, path: &str) -> ApiRequest {
        ApiRequest { method, path: path.into(), headers: vec![], body: None }
    }

    fn refused(request: ApiRequest) -> Option<String> {
        match call_api(request, &origin()) {
            Err(Error::Permanent(failure)) if failure.code == FailureCode::InvalidInput => Some(failure.message),
            _ => None,
        }
    }

    #[test]
    fn paths_stay_on_the_origin() {
        for (path, expected) in [
            ("/v1/offers", "/v1/offers"),
            ("/", "/"),
            ("/v1/offers?a=b//c&d=..&e=%2F", "/v1/offers?a=b//c&d=..&e=%2F"),
            ("https://api.memberspot.de/v1/offers?x=1", "/v1/offers?x=1"),
            ("HTTPS://API.memberspot.de:443/v1/offers", "/v1/offers"),
            ("https://api.memberspot.de", "/"),
            ("https://api.memberspot.de?x=1", "/?x=1"),
            ("/v1/users/find-by-mail/a%2Bb%40c.de", "/v1/users/find-by-mail/a%2Bb%40c.de"),
            ("/v1/x...y/.z", "/v1/x...y/.z"),
        ] {
            assert_eq!(target(path, &origin()), Ok(expected.to_owned()), "{path}");
        }
        for path in [
            "",
            "v1/offers",
            "//evil.example/v1",
            "///",
            "/v1//offers",
            "https://evil.example/",
            "http://api.memberspot.de/v1/offers",
            "https://api.memberspot.de:444/v1",
            "https://api.memberspot.de.evil.example/",
            "https://api.memberspot.de@evil.example/",
            "https://user:pw@api.memberspot.de/",
            "https:///v1/offers",
            "https:/api.memberspot.de/",
            "https://api.memberspot.de//v1",
            "\\\\evil.example\\v1",
            "/\\evil.example",
            "/v1/%5cevil",
            "/v1/../admin",
            "/v1/./offers",
            "/v1/..",
            "/..",
            "/v1/%2e%2e/admin",
            "/v1/%2E./admin",
            "/v1/..;x/admin",
            "/v1/%252e%252e/admin",
            "/v1/a%2fb",
            "/v1/a%2Fb",
            "/v1/a%252Fb",
            "/v1/%252e%252e;x/a",
            "/v1/a;b",
            "/v1/a%3bb",
            "/v1/login%252dtoken/u",
            "/v1/offers#x",
            "/v1/a b",
            "/v1/a\tb",
            "/v1/a\r\nX-Evil: 1",
            "/v1/a%0d%0aX-Evil:%201",
            "/v1/offers?a=%0d%0a",
            "/v1/a%00",
            "/v1/ä",
            "/v1/%",
            "/v1/%2",
            "/v1/%zz",
            "/v1/%ff",
            "/v1/offers?x=%",
            "javascript:alert(1)",
            "file:///etc/passwd",
            "?x=1",
            &format!("/{}", "a".repeat(9000)),
        ] {
            assert!(refused(request(HttpMethod::Get, path)).is_some_and(|message| message.starts_with("path: ")), "{path:?}");
        }
    }

    #[test]
    fn headers_are_checked() {
        let with = |name: &str, value: &str| {
            let header = HttpHeader { name: name.into(), value: value.into() };
            ApiRequest { headers: vec![header], ..request(HttpMethod::Get, "/v1/offers") }
        };
        for name in [
            "X-API-KEY",
            "x-api-key",
            "Host",
            "Connection",
            "Transfer-Encoding",
            "Content-Length",
            "X-HTTP-Method-Override",
            "X-Forwarded-Host",
            "X-Original-URL",
            "x_api_key",
            "X_HTTP_Method_Override",
            "X-Forwarded",
            "X-Real-IP",
            "Proxy-Authorization",
            "Accept-Encoding",
            "TE",
            "",
            "a b",
            "a:",
            "a\r\nb",
            "ä",
        ] {
            assert!(refused(with(name, "x")).is_some_and(|message| message.starts_with("headers[0].name: ")), "{name:?}");
        }
        for value in ["a\r\nX-Evil: 1", "a\nb", "a\rb", "\0", "ä", "\u{7f}", &"x".repeat(9000)] {
            assert!(
                refused(with("x-test", value)).is_some_and(|message| message.starts_with("headers[0].value: ")),
                "{value:?}"
            );
        }
        assert!(refused(with("x-test", "%0d%0a is text here")).is_none());
        let header = HttpHeader { name: "x".into(), value: "y".into() };
        let many = ApiRequest { headers: vec![header; 65], ..request(HttpMethod::Get, "/v1/offers") };
        assert!(refused(many).is_some_and(|message| message.starts_with("headers: ")));
        let large = HttpHeader { name: "x".into(), value: "y".repeat(8000) };
        let heavy = ApiRequest { headers: vec![large; 9], ..request(HttpMethod::Get, "/v1/offers") };
        assert!(refused(heavy).is_some_and(|message| message.starts_with("headers: ")));
        let get = ApiRequest { body: Some(String::new()), ..request(HttpMethod::Get, "/v1/offers") };
        assert!(refused(get).is_some_and(|message| message.starts_with("body: ")));
    }

    #[test]
    fn a_raw_call_needs_the_scopes_of_what_it_does() {
        let needs = |method, path: &str, content_type: Option<&str>, body: Option<&str>| {
            let headers = content_type.map(|value| HttpHeader { name: "Content-Type".into(), value: value.into() });
            let request =
                ApiRequest { headers: headers.into_iter().collect(), body: body.map(str::to_owned), ..request(method, path) };
            let call = call_api(request, &origin()).unwrap_or_else(|_| panic!("{path} was refused"));
            call.request.scopes.iter().map(scopes::name).collect::<Vec<_>>().join(" ")
        };
        let state = "/v1/users/set-offer-state";
        for (method, path, content_type, body, expected) in [
            (Get, "/v1/offers", None, None, "read raw"),
            (Get, "/api-auth", None, None, "read raw"),
            (Get, "/v1/unknown", None, None, "read raw"),
            (Get, "/v1/users/login-token/u1", None, None, "login raw"),
            (Get, "/V1/users/Login-TOKEN/u1/", None, None, "login raw"),
            (Get, "/v1/users/login%2dtoken/u1", None, None, "login raw"),
            (Get, "https://api.memberspot.de/v1/users/login-token/u1?x", None, None, "login raw"),
            (Get, "/v2/users/login-token/u1", None, None, "read login raw"),
            (Get, "/v1/users/login-to%E2%84%AAen/u1", None, None, "read login raw"),
            (Get, "/v1/users/login-token%20/u1", None, None, "read login raw"),
            (Post, "/v1/users/login-token/u1", None, None, "write delete login raw"),
            (Post, "/v1/users/grant-user-offer-by-mail", None, Some("{}"), "write raw"),
            (Patch, "/v1/users/set-offer-expires", None, Some("{}"), "write raw"),
            (Post, state, None, Some(r#"{"active":false}"#), "write raw"),
            (Post, state, None, Some(r#"{"active":true}"#), "write raw"),
            (Post, state, Some("application/json; charset=UTF-8"), Some(r#"{"active":true}"#), "write raw"),
            (Post, state, Some("application/json;charset=\"utf-8\";"), Some(r#"{"active":true}"#), "write raw"),
            (Post, state, Some("app lication/json"), Some(r#"{"active":true}"#), "delete raw"),
            (Post, state, None, Some(r#"{"email":"a@b.de"}"#), "delete raw"),
            (Post, state, None, Some(r#"{"active":null}"#), "delete raw"),
            (Post, state, None, Some(r#"{"active":"true"}"#), "delete raw"),
            (Post, state, None, Some(r#"{"active":true,"active":null}"#), "delete raw"),
            (Post, state, None, Some(r#"[{"active":true}]"#), "delete raw"),
            (Post, state, None, Some("active=true"), "delete raw"),
            (Post, state, None, None, "delete raw"),
            (Post, state, Some("application/x-www-form-urlencoded"), Some(r#"{"active":true}"#), "delete raw"),
            (Post, state, Some("application/json; charset=utf-16"), Some(r#"{"active":true}"#), "delete raw"),
            (Post, "/v1/users/set-order-state/", None, Some("{}"), "delete raw"),
            (Delete, "/v1/users/delete-users", None, Some("{}"), "delete raw"),
            (Post, "/v1/users/delete-users", None, Some("{}"), "delete raw"),
            (Post, "/v1/unknown", None, None, "write delete raw"),
            (Put, "/v1/offers", None, None, "write delete raw"),
            (Delete, "/v1/offers", None, None, "write delete raw"),
        ] {
            assert_eq!(needs(method, path, content_type, body), expected, "{method:?} {path} {body:?}");
        }
    }

    #[test]
    fn a_body_has_a_limit() {
        let body = |length| Some("x".repeat(length));
        let large = ApiRequest { body: body(crate::request::MOST_BODY_BYTES + 1), ..request(HttpMethod::Post, "/v1/x") };
        let Err(Error::Permanent(failure)) = call_api(large, &origin()).map(|_| ()) else { panic!("taken") };
        assert_eq!(failure.code, FailureCode::TooLarge);
        let largest = ApiRequest { body: body(crate::request::MOST_BODY_BYTES), ..request(HttpMethod::Post, "/v1/x") };
        assert!(call_api(largest, &origin()).is_ok());
    }

    proptest! {
        #[test]
        fn whatever_the_path_the_request_stays_on_the_origin(path in "[/.%\\\\:@?#a-z0-9]{0,24}|/v1/[!-~]{0,24}|.*") {
            if let Ok(target) = target(&path, &origin()) {
                prop_assert!(target.starts_with('/') && !target.starts_with("//"));
                prop_assert!(target.bytes().all(|byte| byte.is_ascii_graphic()));
                let local = target.split('?').next().unwrap();
                for segment in local.split('/').map(|segment| decoded(&decoded(segment))) {
                    prop_assert!(segment != "." && segment != ".." && !segment.contains(['/', '\\', '\r', '\n', '\0']));
                }
            }
        }
    }
}
