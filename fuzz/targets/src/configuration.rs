//! The configuration of an instance.

use std::time::Duration;

use memberspot_core::{
    config::{API_KEY, BASE_URL, Config, SCOPES, VARIABLES},
    origin::Origin,
    scopes::{NAMES, Scopes},
    wit::types::{Error, FailureCode, Scope},
};
use url::{Host, Url};

use crate::text::fields;

/// What the sign `$` of an input stands for: something that must not get into a message, wherever it was pasted.
const SECRET: &str = "Sk7-pasted-by-mistake-4711";

/// Input: a variable in each line, as in `MEMBERSPOT_SCOPES=read,write`.
pub fn run(input: &[u8]) {
    let lines = fields(input);
    let variable = |line: &String| line.split_once('=').map(|(name, value)| (name.to_owned(), value.replace('$', SECRET)));
    let variables: Vec<_> = lines.iter().filter_map(variable).collect();
    for (_, value) in &variables {
        origin(value);
        scopes(value);
    }
    match Config::from_environment(variables.clone()) {
        Ok(config) => taken(&config, &variables),
        Err(error) => refused(error),
    }
}

fn refused(error: Error) {
    let Error::Permanent(failure) = error else { panic!("{error:?}") };
    assert_eq!((failure.code, failure.attempts), (FailureCode::NotConfigured, 0));
    assert!(VARIABLES.iter().any(|name| failure.message.starts_with(name)), "{} names no variable", failure.message);
    assert!(!failure.message.contains(SECRET), "{} quotes what was pasted", failure.message);
    assert!(failure.message.len() < 500 && !failure.message.contains(char::is_control), "{:?}", failure.message);
}

fn taken(config: &Config, variables: &[(String, String)]) {
    let last = |wanted: &str| variables.iter().rev().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let key = config.api_key.expose();
    assert_eq!(Some(key), last(API_KEY), "the key is taken verbatim");
    assert!((1..=8192).contains(&key.len()));
    assert!(!key.contains(|c: char| c.is_control() && c != '\t'), "a header can hold it");
    assert!((Duration::from_millis(1)..=Duration::from_hours(1)).contains(&config.deadline));
    assert!((1..=10).contains(&config.max_attempts));
    assert!((1..=16 << 20).contains(&config.max_response_bytes));
    assert!(config.requests_per_second <= 1000 && (1..=64).contains(&config.concurrency));
    match last(BASE_URL) {
        Some(url) => assert_eq!(Origin::parse(url.strip_suffix('/').unwrap_or(url)).as_ref(), Ok(&config.origin)),
        None => assert_eq!(config.origin.to_string(), "https://api.memberspot.de"),
    }
    match last(SCOPES) {
        Some(scopes) => assert_eq!(Scopes::parse(scopes), Ok(config.scopes)),
        None => assert_eq!(config.scopes, Scopes::all()),
    }
}

fn origin(text: &str) {
    let Ok(origin) = Origin::parse(text) else { return };
    let spelled = origin.to_string();
    assert_eq!(Origin::parse(&spelled).as_ref(), Ok(&origin), "{spelled} is the same origin");
    assert!(spelled.is_ascii() && !spelled.contains(|c: char| c.is_whitespace() || c.is_control() || c.is_uppercase()));
    let scheme = if origin.secure() { "https" } else { "http" };
    let authority = spelled.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://"));
    assert_eq!(authority, Some(origin.authority()));
    assert!(!origin.authority().contains(['/', '\\', '?', '#', '@', '%']), "{spelled} has more than host and port");
    if let (Ok(given), Ok(spelled)) = (Url::parse(text), Url::parse(&spelled)) {
        browser(&origin, &given, &spelled);
    }
}

/// What a browser makes of an origin.
fn browser(origin: &Origin, given: &Url, spelled: &Url) {
    assert_eq!(given.origin(), spelled.origin(), "both spellings mean the same place");
    assert_eq!((spelled.path(), spelled.query(), spelled.fragment()), ("/", None, None));
    assert!(spelled.username().is_empty() && spelled.password().is_none());
    let loopback = match spelled.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    assert!(origin.secure() || loopback, "{spelled} would send the key in the clear");
}

fn scopes(list: &str) {
    let known = |entry: &str| NAMES.iter().find(|(_, name)| *name == entry).map(|(scope, _)| *scope);
    let entries: Option<Vec<Scope>> = list.split(',').map(|entry| known(entry.trim())).collect();
    match (Scopes::parse(list), entries) {
        (Ok(scopes), Some(entries)) => {
            for (scope, name) in NAMES {
                assert_eq!(scopes.contains(scope), entries.contains(&scope), "{name} of {list:?}");
            }
        }
        (Err(unknown), None) => assert!(known(unknown).is_none()),
        (scopes, entries) => panic!("{list:?}: {scopes:?}, {entries:?}"),
    }
}
