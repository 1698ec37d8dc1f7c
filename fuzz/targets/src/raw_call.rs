//! The raw call, whose input is hostile until proven otherwise.

use memberspot_core::{
    error::Nature,
    origin::Origin,
    request::{Method, Request, api::call_api},
    scopes::Scopes,
    wit::{
        api::{ApiRequest, HttpHeader, HttpMethod},
        types::{Error, FailureCode, Scope},
    },
};
use serde_json::Value;
use url::Url;

use crate::{decoding::decoded, text::field};

const ORIGIN: &str = "https://api.memberspot.de";

/// Input: a request as HTTP writes it, without a version: method and path, headers, an empty line, the body.
pub fn run(input: &[u8]) {
    let request = parse(&String::from_utf8_lossy(input));
    let origin = Origin::parse(ORIGIN).expect("an origin");
    match call_api(request.clone(), &origin) {
        Ok(call) => taken(&request, &call.request),
        Err(Error::Permanent(failure)) => {
            assert!(matches!(failure.code, FailureCode::InvalidInput | FailureCode::TooLarge), "{failure:?}");
            assert_eq!((failure.attempts, failure.outcome_unknown), (0, false));
            assert!(failure.message.len() < 500 && !failure.message.contains(char::is_control), "{failure:?}");
        }
        Err(error) => panic!("{error:?}"),
    }
}

fn parse(text: &str) -> ApiRequest {
    let (head, body) = text.split_once("\n\n").map_or((text, None), |(head, body)| (head, Some(body.to_owned())));
    let mut lines = head.split('\n').map(field);
    let first = lines.next().unwrap_or_default();
    let (method, path) = first.split_once(' ').unwrap_or(("GET", &first));
    let method = match method {
        "POST" => HttpMethod::Post,
        "PUT" => HttpMethod::Put,
        "PATCH" => HttpMethod::Patch,
        "DELETE" => HttpMethod::Delete,
        _ => HttpMethod::Get,
    };
    let header = |line: String| {
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        HttpHeader { name: name.to_owned(), value: value.trim_matches(' ').to_owned() }
    };
    ApiRequest { method, path: path.to_owned(), headers: lines.map(header).collect(), body }
}

fn taken(input: &ApiRequest, request: &Request) {
    place(&request.target);
    headers(input, &request.headers);
    assert_eq!(request.body, input.body, "the body is the caller's");
    assert!(request.body.is_none() || request.method != Method::Get);
    let nature = match request.method {
        Method::Get => Nature::Read,
        Method::Put | Method::Delete => Nature::Idempotent,
        Method::Post | Method::Patch => Nature::Once,
    };
    assert_eq!(request.nature, nature);
    scopes(request);
}

/// The request goes to the origin, and to the path that is written there, whoever reads it.
fn place(target: &str) {
    assert!(target.starts_with('/') && !target.starts_with("//"), "{target}");
    assert!(target.bytes().all(|byte| byte.is_ascii_graphic()) && !target.contains(['\\', '#']), "{target}");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    for times in 0..=2 {
        assert!(!decoded(path, times).contains(char::is_control), "{target}");
        for segment in path.split('/').flat_map(|segment| pieces(&decoded(segment, times))) {
            assert!(segment != "." && segment != "..", "{target}");
        }
        let slashes = |text: &str| text.matches(['/', '\\']).count();
        assert_eq!(slashes(&decoded(path, times)), slashes(path), "{target} hides a slash");
    }
    assert!(!decoded(query, 1).contains(char::is_control), "{target}");
    let url = Url::parse(&format!("{ORIGIN}{target}")).expect("a URL");
    assert_eq!(url.origin(), Url::parse(ORIGIN).expect("a URL").origin(), "{target} leaves the origin");
    // Browsers encode a few signs that are not wrong as they are, such as quotation marks; encoding is not the point here.
    assert_eq!(decoded(url.path(), 1), decoded(path, 1), "{target} is not where it leads");
}

/// A segment as servers take it apart that read parameters after a semicolon.
fn pieces(segment: &str) -> Vec<String> {
    segment.split(';').map(str::to_owned).collect()
}

fn headers(input: &ApiRequest, headers: &[(String, String)]) {
    let connectors = [
        "x-api-key",
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "upgrade",
        "expect",
        "te",
        "trailer",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
    ];
    let size: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(headers.len() <= input.headers.len() + 1 && headers.len() <= 65 && size <= 65 << 10);
    for (name, value) in headers {
        let meant = name.to_lowercase().replace('_', "-");
        assert!(!connectors.contains(&meant.as_str()), "{name}");
        assert!(!meant.starts_with("x-forwarded") && !meant.starts_with("proxy-"), "{name}");
        assert!(!name.is_empty() && name.is_ascii() && !name.contains(|c: char| c.is_whitespace() || c.is_control()));
        assert!(!name.contains([':', ',', ';', '"', '(', ')', '/', '@', '=']) && *name == name.to_ascii_lowercase(), "{name}");
        assert!(value.is_ascii() && !value.contains(|c: char| c.is_control() && c != '\t'), "{value:?}");
    }
    let types = headers.iter().filter(|(name, _)| name == "content-type").count();
    assert!(types <= 1 && (types == 1 || input.body.is_none()), "{types} content types");
}

/// The scopes of a request cover what it may do to a reader who means it badly.
fn scopes(request: &Request) {
    let has = |scope| request.scopes.contains(scope);
    let words = words(&request.target);
    let says = |word: &str| words.iter().any(|found| found == word);
    assert!(has(Scope::Raw));
    assert_ne!(request.scopes, Scopes::default().with(Scope::Raw), "`raw` alone does nothing");
    assert!(!says("login-token") || has(Scope::Login), "{} makes a login token", request.target);
    if request.method == Method::Get {
        return;
    }
    assert!(has(Scope::Write) || has(Scope::Delete), "{:?} {} changes something", request.method, request.target);
    let may_delete = request.method == Method::Delete
        || words.iter().any(|word| word.contains("delete"))
        || (says("set-offer-state") || says("set-order-state")) && !sets_active(request)
        || !is_known_to_be_harmless(&words);
    assert!(!may_delete || has(Scope::Delete), "{:?} {} may delete", request.method, request.target);
}

/// The words of a path, as the most lenient of servers understands them.
fn words(target: &str) -> Vec<String> {
    let path = target.split('?').next().unwrap_or_default();
    let plain = decoded(path, 3).to_lowercase();
    let segments = plain.split(['/', '\\']).map(|segment| segment.split(';').next().unwrap_or_default().trim().to_owned());
    segments.filter(|segment| !segment.is_empty()).collect()
}

/// Whether the path is one of the few behind which nothing can be deleted.
fn is_known_to_be_harmless(words: &[String]) -> bool {
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    matches!(
        words.as_slice(),
        [
            "v1",
            "users",
            "grant-user-offer-by-mail"
                | "set-offer-state"
                | "set-order-state"
                | "set-offer-expires"
                | "set-custom-user-properties"
        ] | ["v1", "chapters", "chapter-access", "enable"]
    )
}

/// Whether the body is JSON, by its content type too, that says whether access is to be active.
fn sets_active(request: &Request) -> bool {
    let kind = request.headers.iter().find(|(name, _)| name == "content-type").map_or("", |(_, kind)| kind);
    let body = || serde_json::from_str::<Value>(request.body.as_deref()?).ok();
    kind.to_lowercase().starts_with("application/json")
        && !kind.to_lowercase().contains("utf-16")
        && body().is_some_and(|body| body.get("active").is_some_and(Value::is_boolean))
}
