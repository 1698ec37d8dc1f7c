//! The chain: each line holds the hash of the one before and its own, so that none can be altered, removed or moved alone.
//!
//! A line is a JSON object that ends in `,"hash":"…"}`. The hash is over the text before that, in which `prev` is the hash of
//! the line before and `seq` its number. With a key it is an HMAC, which nobody can make who does not have the key.

use std::fmt;
use std::path::Path;

use hmac::Mac;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::Pseudonyms;
use crate::keys::{self, KeyError};

pub(super) type Hmac = hmac::Hmac<Sha256>;

/// Shorter keys can be guessed.
const SHORTEST_KEY: usize = 16;
/// What stands before the hash of a line, and after it.
const BEFORE: &str = ",\"hash\":\"";
const AFTER: &str = "\"}";
/// Characters of a hash.
const HASH: usize = 64;
/// What the first line of all has as the hash of the line before.
pub(super) const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The operator's key of an audit log: for its chain and its keyed hashes. It is never printed, and wiped when it is dropped.
#[derive(Clone)]
pub struct AuditKey(Zeroizing<Vec<u8>>);

impl AuditKey {
    /// A key of at least 16 bytes, best of random ones. `None` for a shorter one.
    #[must_use]
    pub fn new(key: impl Into<Vec<u8>>) -> Option<Self> {
        let key = Zeroizing::new(key.into());
        (key.len() >= SHORTEST_KEY).then_some(Self(key))
    }

    /// The text of a file that only its owner can read, without a line break at its end.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, others can read it too, or its text is too short for a key.
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        let key = keys::read_key_file(path)?;
        Self::new(key.expose()).ok_or_else(|| KeyError::Short { place: path.display().to_string(), least: SHORTEST_KEY })
    }

    /// The keyed hashes that stand for personal texts in the log.
    #[must_use]
    pub fn pseudonyms(&self) -> Pseudonyms {
        Pseudonyms::keyed(self.derive(b"memberspot audit: pseudonyms"))
    }

    /// A key for one purpose, so that what is made for one says nothing to the other.
    fn derive(&self, purpose: &[u8]) -> Hmac {
        let mut derived = keyed(&self.0);
        derived.update(purpose);
        keyed(&Zeroizing::new(<[u8; 32]>::from(derived.finalize().into_bytes()))[..])
    }
}

impl fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditKey(..)")
    }
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
fn keyed(key: &[u8]) -> Hmac {
    <Hmac as Mac>::new_from_slice(key).expect("HMAC takes keys of any length")
}

/// A line of the log: its number and its hash. The last one, kept elsewhere, shows later whether the end was cut off.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Head {
    /// Its number, from 1.
    pub seq: u64,
    /// Its hash, in hexadecimal digits.
    pub hash: String,
}

impl Head {
    /// What the first line follows.
    pub(super) fn none() -> Self {
        Self { seq: 0, hash: NOTHING.into() }
    }
}

/// How hashes are made.
#[derive(Clone)]
pub(super) enum Chain {
    Plain,
    Keyed(Hmac),
}

impl Chain {
    pub(super) fn new(key: Option<&AuditKey>) -> Self {
        key.map_or(Self::Plain, |key| Self::Keyed(key.derive(b"memberspot audit: chain")))
    }

    /// What the first line of a file calls it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Plain => PLAIN,
            Self::Keyed(_) => KEYED,
        }
    }

    /// Makes a line of a JSON object, and gives its hash.
    pub(super) fn seal(&self, object: &str, lines: &mut String) -> String {
        let body = object.strip_suffix('}').unwrap_or(object);
        let hash = match self {
            Self::Plain => hex(&Sha256::digest(body)),
            Self::Keyed(key) => {
                let mut mac = key.clone();
                mac.update(body.as_bytes());
                hex(&mac.finalize().into_bytes())
            }
        };
        lines.extend([body, BEFORE, &hash, AFTER, "\n"]);
        hash
    }

    /// Whether a line has the hash that belongs to it.
    pub(super) fn fits(&self, line: &Sealed) -> bool {
        let Some(hash) = unhex(line.hash) else { return false };
        match self {
            Self::Plain => Sha256::digest(line.body)[..] == hash[..],
            Self::Keyed(key) => {
                let mut mac = key.clone();
                mac.update(line.body.as_bytes());
                // In constant time.
                mac.verify_slice(&hash).is_ok()
            }
        }
    }
}

pub(super) const PLAIN: &str = "sha256";
pub(super) const KEYED: &str = "hmac-sha256";

/// A line in its form: text, hash, and what the chain is about.
pub(super) struct Sealed<'a> {
    body: &'a str,
    pub(super) hash: &'a str,
    pub(super) links: Links,
}

/// What a reader of the log needs to know of a line.
#[derive(Deserialize)]
pub(super) struct Links {
    pub(super) seq: u64,
    pub(super) event: String,
    pub(super) prev: String,
    pub(super) call: Option<String>,
    pub(super) request: Option<u64>,
    pub(super) log: Option<String>,
    pub(super) file: Option<u64>,
    pub(super) oldest: Option<u64>,
    pub(super) chain: Option<String>,
    pub(super) events: Option<u64>,
}

impl<'a> Sealed<'a> {
    /// Reads a line without its line break. `None` when it does not have the form of one.
    pub(super) fn read(line: &'a [u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?;
        let rest = line.strip_suffix(AFTER)?;
        let (rest, hash) = rest.split_at_checked(rest.len().checked_sub(HASH)?)?;
        let body = rest.strip_suffix(BEFORE)?;
        // One spelling alone: another would be another line with the same hash.
        if !hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        Some(Self { body, hash, links: serde_json::from_str(line).ok()? })
    }

    pub(super) fn head(&self) -> Head {
        Head { seq: self.links.seq, hash: self.hash.to_owned() }
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_over_the_text_before_it() {
        let mut lines = String::new();
        let hash = Chain::Plain.seal(r#"{"seq":1,"event":"x","prev":"0"}"#, &mut lines);
        assert_eq!(lines, format!("{{\"seq\":1,\"event\":\"x\",\"prev\":\"0\",\"hash\":\"{hash}\"}}\n"));
        // As `printf '%s' … | sha256sum` has it.
        assert_eq!(hash, hex(&Sha256::digest(br#"{"seq":1,"event":"x","prev":"0""#)));
        let line = Sealed::read(lines.trim_end().as_bytes()).unwrap();
        assert!(Chain::Plain.fits(&line));
        let upper = lines.to_uppercase();
        assert!(Sealed::read(upper.trim_end().as_bytes()).is_none());
        let key = AuditKey::new("sixteen bytes ok").unwrap();
        assert!(!Chain::new(Some(&key)).fits(&line));
        assert!(AuditKey::new("fifteen bytes..").is_none());
        assert!(!format!("{key:?}").contains("sixteen"));
    }

    #[test]
    fn hmac_is_that_of_the_rfc() {
        // RFC 4231, test case 2.
        let mut mac = keyed(b"Jefe");
        mac.update(b"what do ya want for nothing?");
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex(&mac.finalize().into_bytes()), expected);
    }
}
