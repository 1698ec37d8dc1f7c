//! The configuration, from the environment.

use std::time::Duration;

use crate::{signature::SigningKey, target::Target, token::Token};

/// The token in the path, by which Memberspot is recognised.
pub const TOKEN: &str = "MEMBERSPOT_WEBHOOK_TOKEN";
/// Where events go.
pub const FORWARD_URL: &str = "MEMBERSPOT_FORWARD_URL";
/// What they are signed with.
pub const FORWARD_SECRET: &str = "MEMBERSPOT_FORWARD_SECRET";
/// How long forwarding may take, in milliseconds.
pub const FORWARD_TIMEOUT_MS: &str = "MEMBERSPOT_FORWARD_TIMEOUT_MS";

const DEFAULT_TIMEOUT_MS: u64 = 10_000;
/// Memberspot waits meanwhile.
const LONGEST_TIMEOUT_MS: u64 = 60_000;

/// The variables of the environment.
pub struct Environment(Vec<(String, String)>);

impl Environment {
    /// Takes the variables; those of other names are ignored.
    pub fn new(variables: Vec<(String, String)>) -> Self {
        Self(variables)
    }

    /// The token; without one that is worth the name there is none, and nobody is admitted.
    pub fn token(&self) -> Option<Token> {
        Token::parse(self.get(TOKEN)?)
    }

    /// Where events go, and how.
    ///
    /// # Errors
    /// What is wrong, with the name of the variable and without its value.
    pub fn forward(&self) -> Result<Forward, String> {
        let wrong = |name, problem| format!("{name} {problem}");
        let url = self.get(FORWARD_URL).ok_or_else(|| wrong(FORWARD_URL, "is not set"))?;
        let secret = self.get(FORWARD_SECRET).ok_or_else(|| wrong(FORWARD_SECRET, "is not set"))?;
        let target = Target::parse(url).map_err(|problem| wrong(FORWARD_URL, problem))?;
        let key =
            SigningKey::parse(secret).ok_or_else(|| wrong(FORWARD_SECRET, "must be whsec_ and 24 to 64 bytes in base64"))?;
        let timeout = self.timeout().ok_or_else(|| wrong(FORWARD_TIMEOUT_MS, "must be a number from 1 to 60000"))?;
        Ok(Forward { target, key, timeout })
    }

    fn timeout(&self) -> Option<Duration> {
        let Some(text) = self.get(FORWARD_TIMEOUT_MS) else { return Some(Duration::from_millis(DEFAULT_TIMEOUT_MS)) };
        let ms = text.trim().parse().ok()?;
        (1..=LONGEST_TIMEOUT_MS).contains(&ms).then(|| Duration::from_millis(ms))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|(key, value)| (key == name).then_some(value.as_str()))
    }
}

/// Where events go, and how.
pub struct Forward {
    /// The address.
    pub target: Target,
    /// What they are signed with.
    pub key: SigningKey,
    /// How long it may take.
    pub timeout: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let good = [(FORWARD_URL, "https://a.de/in"), (FORWARD_SECRET, SECRET), ("OTHER", "x")];
        let set = variables.iter().chain(&good).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Environment::new(set.collect())
    }

    #[test]
    fn defaults_and_bounds_hold() {
        let timeout = |text| environment(&[(FORWARD_TIMEOUT_MS, text)]).forward().map(|forward| forward.timeout.as_millis());
        assert_eq!(environment(&[]).forward().unwrap().timeout, Duration::from_secs(10));
        assert_eq!((timeout("1"), timeout("60000")), (Ok(1), Ok(60_000)));
        for text in ["", "0", "60001", "-1", "1s", "99999999999999999999"] {
            assert!(timeout(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_error_names_the_variable_and_not_its_value() {
        for name in [FORWARD_URL, FORWARD_SECRET, FORWARD_TIMEOUT_MS] {
            let Err(problem) = environment(&[(name, "hush")]).forward() else { panic!("{name}") };
            assert!(problem.starts_with(name) && !problem.contains("hush"), "{problem}");
        }
        assert!(Environment::new(vec![]).forward().is_err());
        assert!(Environment::new(vec![]).token().is_none());
    }
}
