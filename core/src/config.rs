//! The configuration of an instance, from its environment.
//!
//! A value that cannot be used is an error that names the variable; a default is never silently taken in its place.

use std::time::Duration;

use crate::{
    error::{listed, not_configured},
    origin::Origin,
    scopes,
    scopes::Scopes,
    secret::Secret,
    wit::types::Error,
};

/// The key that Memberspot knows the caller by. Required.
pub const API_KEY: &str = "MEMBERSPOT_API_KEY";
/// The origin that requests go to.
pub const BASE_URL: &str = "MEMBERSPOT_BASE_URL";
/// What the instance may do.
pub const SCOPES: &str = "MEMBERSPOT_SCOPES";
/// How long one call may take, in milliseconds.
pub const DEADLINE_MS: &str = "MEMBERSPOT_DEADLINE_MS";
/// How often a request is made at the most.
pub const MAX_ATTEMPTS: &str = "MEMBERSPOT_MAX_ATTEMPTS";
/// How long the body of an answer may be, in bytes.
pub const MAX_RESPONSE_BYTES: &str = "MEMBERSPOT_MAX_RESPONSE_BYTES";
/// How many requests a second a call makes on routes that Memberspot limits.
pub const REQUESTS_PER_SECOND: &str = "MEMBERSPOT_REQUESTS_PER_SECOND";
/// How many requests a call for many operations makes at once.
pub const CONCURRENCY: &str = "MEMBERSPOT_CONCURRENCY";
/// All of them.
pub const VARIABLES: [&str; 8] =
    [API_KEY, BASE_URL, SCOPES, DEADLINE_MS, MAX_ATTEMPTS, MAX_RESPONSE_BYTES, REQUESTS_PER_SECOND, CONCURRENCY];

/// Where requests go when [`BASE_URL`] is not set.
pub const DEFAULT_BASE_URL: &str = "https://api.memberspot.de";
const DEFAULT_DEADLINE_MS: u64 = 60_000;
/// A workflow that waits longer than an hour for one call is mistaken.
const LONGEST_DEADLINE_MS: u64 = 3_600_000;
const DEFAULT_MAX_ATTEMPTS: u32 = 3;
/// Backoff fills a minute with fewer.
const LARGEST_MAX_ATTEMPTS: u64 = 10;
const DEFAULT_MAX_RESPONSE_BYTES: u64 = 8 << 20;
/// Answers exist several times while they are decoded and handed over, and engines bound both memory and copying: with this
/// much, the engines that were tried still deliver.
const LARGEST_MAX_RESPONSE_BYTES: u64 = 16 << 20;
/// Memberspot's own limit, for each key.
const DEFAULT_REQUESTS_PER_SECOND: usize = 4;
/// No plan of Memberspot's is known to allow more than a fraction of it.
const LARGEST_REQUESTS_PER_SECOND: u64 = 1000;
const DEFAULT_CONCURRENCY: usize = 8;
/// Engines bound the handles of an instance, some at 1,000; a request has about ten of them.
const LARGEST_CONCURRENCY: u64 = 64;
/// Engines bound the headers of a request, all together, and some trap beyond that.
const LONGEST_API_KEY: usize = 8192;

/// The configuration of an instance.
pub struct Config {
    /// The key that Memberspot knows the caller by.
    pub api_key: Secret,
    /// The origin that requests go to.
    pub origin: Origin,
    /// What the instance may do.
    pub scopes: Scopes,
    /// How long one call may take.
    pub deadline: Duration,
    /// How often a request is made at the most, repetitions included.
    pub max_attempts: u32,
    /// How long the body of an answer may be, in bytes.
    pub max_response_bytes: usize,
    /// How many requests a second a call makes on routes that Memberspot limits; 0 for as many as it can.
    pub requests_per_second: usize,
    /// How many requests a call for many operations makes at once.
    pub concurrency: usize,
}

impl Config {
    /// Reads the configuration from the variables of an environment; variables of other names are ignored.
    ///
    /// # Errors
    /// `not-configured`, naming the variable.
    pub fn from_environment(variables: Vec<(String, String)>) -> Result<Self, Error> {
        let base = variables.iter().rfind(|(name, _)| name == BASE_URL);
        let mut key = None;
        let mut config = Self {
            api_key: Secret::new(String::new()),
            origin: base_url(base.map_or(DEFAULT_BASE_URL, |(_, value)| value))?,
            scopes: Scopes::all(),
            deadline: Duration::from_millis(DEFAULT_DEADLINE_MS),
            max_attempts: DEFAULT_MAX_ATTEMPTS,
            max_response_bytes: usize::try_from(DEFAULT_MAX_RESPONSE_BYTES).unwrap_or(usize::MAX),
            requests_per_second: DEFAULT_REQUESTS_PER_SECOND,
            concurrency: DEFAULT_CONCURRENCY,
        };
        for (name, value) in variables {
            match name.as_str() {
                API_KEY => key = Some(value),
                SCOPES => config.scopes = scopes(&value)?,
                DEADLINE_MS => {
                    config.deadline = Duration::from_millis(number(DEADLINE_MS, &value, 1..=LONGEST_DEADLINE_MS)?);
                }
                MAX_ATTEMPTS => {
                    let attempts = number(MAX_ATTEMPTS, &value, 1..=LARGEST_MAX_ATTEMPTS)?;
                    config.max_attempts = u32::try_from(attempts).unwrap_or(DEFAULT_MAX_ATTEMPTS);
                }
                MAX_RESPONSE_BYTES => {
                    let bytes = number(MAX_RESPONSE_BYTES, &value, 1..=LARGEST_MAX_RESPONSE_BYTES)?;
                    config.max_response_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                }
                REQUESTS_PER_SECOND => {
                    let requests = number(REQUESTS_PER_SECOND, &value, 0..=LARGEST_REQUESTS_PER_SECOND)?;
                    config.requests_per_second = usize::try_from(requests).unwrap_or(DEFAULT_REQUESTS_PER_SECOND);
                }
                CONCURRENCY => {
                    let requests = number(CONCURRENCY, &value, 1..=LARGEST_CONCURRENCY)?;
                    config.concurrency = usize::try_from(requests).unwrap_or(DEFAULT_CONCURRENCY);
                }
                _ => {}
            }
        }
        config.api_key = api_key(key)?;
        Ok(config)
    }
}

/// The key is taken verbatim, since engines put placeholders there; only what no header can hold is refused.
fn api_key(key: Option<String>) -> Result<Secret, Error> {
    let key =
        key.ok_or_else(|| not_configured(API_KEY, "is not set: create a key in Memberspot under Settings, Integrations"))?;
    if key.is_empty() {
        return Err(not_configured(API_KEY, "is empty: create a key in Memberspot under Settings, Integrations"));
    }
    if key.len() > LONGEST_API_KEY {
        return Err(not_configured(API_KEY, format_args!("is longer than {LONGEST_API_KEY} bytes, so it is not a key")));
    }
    if key.chars().any(|c| c.is_control() && c != '\t') {
        return Err(not_configured(API_KEY, "contains a line break or another control character: remove it"));
    }
    Ok(Secret::new(key))
}

fn base_url(value: &str) -> Result<Origin, Error> {
    Origin::parse(value.strip_suffix('/').unwrap_or(value)).map_err(|problem| not_configured(BASE_URL, problem))
}

fn scopes(value: &str) -> Result<Scopes, Error> {
    Scopes::parse(value).map_err(|unknown| {
        let known = listed(scopes::NAMES.iter().map(|(_, name)| *name));
        // What stands there may be something pasted by mistake: quote it only when it looks like a name.
        if (1..=16).contains(&unknown.len()) && unknown.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            not_configured(SCOPES, format_args!("names the unknown scope {unknown}: use a list of {known}"))
        } else {
            not_configured(SCOPES, format_args!("must be a list, separated by commas, of {known}"))
        }
    })
}

fn number(variable: &str, value: &str, range: std::ops::RangeInclusive<u64>) -> Result<u64, Error> {
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    value.parse().ok().filter(|number| digits && range.contains(number)).ok_or_else(|| {
        not_configured(variable, format_args!("must be a whole number from {} to {}", range.start(), range.end()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wit::types::{FailureCode, Scope};

    fn config(variables: &[(&str, &str)]) -> Result<Config, Error> {
        let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::from_environment(owned.collect())
    }

    #[test]
    fn only_the_key_is_required() {
        let config = config(&[(API_KEY, "k"), ("PATH", "/bin")]).ok().unwrap();
        assert_eq!(config.api_key.expose(), "k");
        assert_eq!(config.origin.to_string(), DEFAULT_BASE_URL);
        assert_eq!(config.scopes, Scopes::all());
        assert_eq!(config.deadline, Duration::from_mins(1));
        assert_eq!((config.max_attempts, config.max_response_bytes), (3, 8 * 1024 * 1024));
        assert_eq!((config.requests_per_second, config.concurrency), (4, 8));
    }

    #[test]
    fn every_variable_is_read() {
        let variables = [
            (API_KEY, " {{ placeholder }} "),
            (BASE_URL, "http://localhost:1234/"),
            (SCOPES, "read, login"),
            (DEADLINE_MS, "1500"),
            (MAX_ATTEMPTS, "1"),
            (MAX_RESPONSE_BYTES, "4096"),
            (REQUESTS_PER_SECOND, "0"),
            (CONCURRENCY, "64"),
        ];
        let config = config(&variables).ok().unwrap();
        assert_eq!(config.api_key.expose(), " {{ placeholder }} ");
        assert_eq!(config.origin.to_string(), "http://localhost:1234");
        assert_eq!(config.scopes, Scopes::default().with(Scope::Read).with(Scope::Login));
        assert_eq!(config.deadline, Duration::from_millis(1500));
        assert_eq!((config.max_attempts, config.max_response_bytes), (1, 4096));
        assert_eq!((config.requests_per_second, config.concurrency), (0, 64));
    }

    #[test]
    fn a_bad_value_is_named_and_not_replaced() {
        let cases = [
            (API_KEY, ""),
            (API_KEY, "k\n"),
            (API_KEY, "k\r\nX-Evil: 1"),
            (API_KEY, "\u{7f}"),
            (API_KEY, &"k".repeat(8193)),
            (BASE_URL, ""),
            (BASE_URL, "https://api.memberspot.de/v1"),
            (BASE_URL, "https://api.memberspot.de//"),
            (BASE_URL, "http://api.memberspot.de"),
            (SCOPES, ""),
            (SCOPES, "read,everything"),
            (DEADLINE_MS, "0"),
            (DEADLINE_MS, "+5"),
            (DEADLINE_MS, "1e3"),
            (DEADLINE_MS, "99999999999999999999"),
            (MAX_ATTEMPTS, "0"),
            (MAX_ATTEMPTS, "11"),
            (MAX_RESPONSE_BYTES, "8M"),
            (MAX_RESPONSE_BYTES, "16777217"),
            (MAX_RESPONSE_BYTES, ""),
            (REQUESTS_PER_SECOND, "-1"),
            (REQUESTS_PER_SECOND, "0.5"),
            (REQUESTS_PER_SECOND, "1001"),
            (CONCURRENCY, "0"),
            (CONCURRENCY, "65"),
        ];
        for (variable, value) in cases {
            let key = (API_KEY, "k");
            let Err(Error::Permanent(failure)) = config(&[key, (variable, value)]) else {
                panic!("{variable}={value:?} was taken")
            };
            assert_eq!(failure.code, FailureCode::NotConfigured);
            assert!(failure.message.starts_with(variable), "{}", failure.message);
        }
        let Err(Error::Permanent(failure)) = config(&[]) else { panic!("a key is required") };
        assert_eq!((failure.code, failure.attempts), (FailureCode::NotConfigured, 0));
    }

    #[test]
    fn a_secret_pasted_into_the_wrong_variable_is_not_quoted() {
        for value in ["Sk-1234567890abcdef", "read,abcdefghijklmnopqrstuvwxyz"] {
            let Err(Error::Permanent(failure)) = config(&[(API_KEY, "k"), (SCOPES, value)]) else { panic!("taken") };
            assert!(!failure.message.contains("1234567890") && !failure.message.contains("ghijklmnop"));
        }
    }
}
