//! Login tokens: whoever holds one is that member for an hour.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use time::OffsetDateTime;

use super::clock::later;

/// How long a login token is good (documented by Memberspot).
const LIFE: Duration = Duration::from_secs(60 * 60);

/// The most tokens remembered; beyond it the oldest are forgotten, and their pages answer 404 instead of 410.
const MOST_TOKENS: usize = 10_000;

#[derive(Default)]
pub(super) struct LoginTokens(VecDeque<LoginToken>);

struct LoginToken {
    secret: String,
    school: String,
    uid: String,
    expires: OffsetDateTime,
}

/// What a token opens.
pub(super) enum Login {
    /// The member with this uid, of the school with this id.
    Valid {
        school: String,
        uid: String,
    },
    Expired,
    Unknown,
}

impl LoginTokens {
    /// Makes a token for a member. No two are alike.
    pub(super) fn issue(&mut self, school: &str, uid: &str, now: OffsetDateTime) -> String {
        if self.0.len() >= MOST_TOKENS {
            self.0.pop_front();
        }
        let secret = format!("simlogin-{:016x}{:016x}", random(), random());
        self.0.push_back(LoginToken {
            secret: secret.clone(),
            school: school.to_owned(),
            uid: uid.to_owned(),
            expires: later(now, LIFE),
        });
        secret
    }

    pub(super) fn look_up(&self, secret: &str, now: OffsetDateTime) -> Login {
        match self.0.iter().find(|token| token.secret == secret) {
            None => Login::Unknown,
            Some(token) if token.expires <= now => Login::Expired,
            Some(token) => Login::Valid { school: token.school.clone(), uid: token.uid.clone() },
        }
    }
}

impl fmt::Debug for LoginTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoginTokens({} issued)", self.0.len())
    }
}

/// The keys of std's hash maps are random: enough for a simulator, and no dependency.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
