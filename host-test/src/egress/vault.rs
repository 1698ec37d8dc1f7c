//! The key of a call: outside the component, with a stand-in inside.
//!
//! The stand-in is random and as long as the key, so that answers keep their length when the one is put in the place of
//! the other. Requests get the key where the stand-in is the value of `X-API-KEY`, and nowhere else. Answers that quote the
//! key get the stand-in: so it never enters the component, whose own redaction then takes the stand-in out of what it returns.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use hyper::body::{Body, Frame, SizeHint};
use memchr::memmem;
use tokio::time::{Sleep, sleep};
use wasmtime_wasi_http::{Error, WasiBody};
use zeroize::Zeroizing;

use crate::ApiKey;

/// The header that holds the key.
const HEADER: HeaderName = HeaderName::from_static("x-api-key");

/// Shorter keys are none, but letters and words that occur by chance: to look for them in answers would garble those.
const SHORTEST_SECRET: usize = 8;

/// The key of a call, and what the component has instead.
#[derive(Clone)]
pub(crate) struct Vault(Arc<Inner>);

struct Inner {
    key: ApiKey,
    stand_in: String,
    secrets: Vec<Secret>,
}

impl Vault {
    pub(crate) fn new(key: ApiKey) -> Self {
        let stand_in = stand_in(key.expose());
        let secrets = if key.expose().len() < SHORTEST_SECRET { vec![] } else { spellings(&key, &stand_in) };
        Self(Arc::new(Inner { key, stand_in, secrets }))
    }

    /// What the component is told the key is.
    pub(crate) fn stand_in(&self) -> &str {
        &self.0.stand_in
    }

    /// The key, for what counts its use.
    pub(crate) fn key(&self) -> &ApiKey {
        &self.0.key
    }

    /// Puts the key into a request that leaves for the tenant's origin.
    pub(crate) fn unlock(&self, headers: &mut HeaderMap) {
        for (name, value) in headers.iter_mut() {
            if *name == HEADER && value.as_bytes() == self.0.stand_in.as_bytes() {
                // The stand-in of what cannot be a header value cannot be one either.
                if let Ok(mut key) = HeaderValue::from_str(self.0.key.expose()) {
                    key.set_sensitive(true);
                    *value = key;
                }
            }
        }
    }

    /// Takes the key out of an answer.
    pub(crate) fn lock(&self, head: &mut http::response::Parts, body: WasiBody) -> WasiBody {
        if self.0.secrets.is_empty() {
            return body;
        }
        for value in head.headers.values_mut().filter(|value| self.0.is_in(value.as_bytes())) {
            let mut text = BytesMut::from(value.as_bytes());
            replace(&mut text, &self.0.secrets);
            // What was a value still is one.
            *value = HeaderValue::from_maybe_shared(text.freeze()).unwrap_or(HeaderValue::from_static(""));
        }
        WasiBody::new(Locked { body, vault: self.clone(), held: BytesMut::new(), until: None, ended: None })
    }
}

impl Inner {
    fn is_in(&self, text: &[u8]) -> bool {
        self.secrets.iter().any(|secret| secret.find(text).is_some())
    }
}

/// How an answer may spell the key, each with as long a replacement: verbatim, and escaped as in JSON.
fn spellings(key: &ApiKey, stand_in: &str) -> Vec<Secret> {
    let key = key.expose();
    let mut spellings = vec![Zeroizing::new(key.to_owned())];
    // Large enough for every escape, so that they do not grow: what a text leaves behind then is not wiped.
    let mut quoted = Zeroizing::new(Vec::with_capacity(6 * key.len() + 2));
    // Texts can be written to memory.
    let _ = serde_json::to_writer(&mut *quoted, key);
    let escaped = std::str::from_utf8(&quoted).unwrap_or_default();
    let escaped = escaped.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(escaped);
    let mut slashed = Zeroizing::new(String::with_capacity(2 * escaped.len()));
    for character in escaped.chars() {
        slashed.push_str(if character == '/' { "\\" } else { "" });
        slashed.push(character);
    }
    spellings.push(slashed);
    spellings.push(Zeroizing::new(escaped.to_owned()));
    spellings.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    spellings.dedup();
    let secret = |spelling: Zeroizing<String>| {
        let padding = std::iter::repeat_n(b'*', spelling.len() - stand_in.len());
        Secret { instead: stand_in.bytes().chain(padding).collect(), spelling }
    };
    spellings.into_iter().map(secret).collect()
}

/// A random text as long as the key. What the component refuses as a key stays what it is: empty, or a line break.
fn stand_in(key: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    if !key.is_empty() && HeaderValue::from_str(key).is_err() {
        return "\n".repeat(key.len());
    }
    let mut random = vec![0; key.len()];
    // Without a source of randomness the stand-in is a poor one, which is no reason to fail: it protects nothing.
    let _ = getrandom::fill(&mut random);
    random.into_iter().map(|byte| char::from(LETTERS[usize::from(byte % 64)])).collect()
}

/// A text that does not get in, and what does.
struct Secret {
    spelling: Zeroizing<String>,
    instead: Vec<u8>,
}

impl Secret {
    /// Where it is. What could look for it faster would keep a copy that nobody wipes.
    fn find(&self, text: &[u8]) -> Option<usize> {
        if text.len() < self.spelling.len() { None } else { memmem::find(text, self.spelling.as_bytes()) }
    }
}

/// Replaces the secrets in a text.
fn replace(text: &mut [u8], secrets: &[Secret]) {
    for secret in secrets {
        let mut from = 0;
        while let Some(at) = secret.find(&text[from..]) {
            let end = from + at + secret.instead.len();
            text[from + at..end].copy_from_slice(&secret.instead);
            from = end;
        }
    }
}

/// How many bytes at the end of a text may be the beginning of a secret.
fn undecided(text: &[u8], secrets: &[Secret]) -> usize {
    let begins = |secret: &Secret| {
        let needle = secret.spelling.as_bytes();
        let longest = (needle.len() - 1).min(text.len());
        (1..=longest).rev().find(|&length| text.ends_with(&needle[..length])).unwrap_or(0)
    };
    secrets.iter().map(begins).max().unwrap_or(0)
}

/// How long the possible beginning of a key is held back: longer than a lost packet takes to come again, and not so long that
/// the component takes a body that goes on for one that stands still. A server that sends a key in pieces further apart does it on
/// purpose, and could spell it as it likes. A body that ends is not held.
const LONGEST_HOLD: Duration = Duration::from_secs(5);

/// A body without the secrets. What may be the beginning of one is held back until it is known.
struct Locked {
    body: WasiBody,
    vault: Vault,
    held: BytesMut,
    /// How long it is held.
    until: Option<Pin<Box<Sleep>>>,
    /// How the body ended, while something is held.
    ended: Option<Result<(), Error>>,
}

impl Locked {
    /// What of a piece, and of what was held before it, can be handed on.
    fn pass(&mut self, piece: Bytes) -> Bytes {
        let Inner { secrets, .. } = &*self.vault.0;
        if self.held.is_empty() && undecided(&piece, secrets) == 0 && !self.vault.0.is_in(&piece) {
            return piece;
        }
        self.held.extend_from_slice(&piece);
        replace(&mut self.held, secrets);
        let decided = self.held.len() - undecided(&self.held, secrets);
        self.held.split_to(decided).freeze()
    }
}

impl Body for Locked {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        if let Some(ended) = this.ended.take() {
            return Poll::Ready(ended.err().map(Err));
        }
        loop {
            let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
                if this.held.is_empty() {
                    return Poll::Pending;
                }
                ready!(this.until.get_or_insert_with(|| Box::pin(sleep(LONGEST_HOLD))).as_mut().poll(cx));
                this.until = None;
                return Poll::Ready(Some(Ok(Frame::data(this.held.split().freeze()))));
            };
            this.until = None;
            let end = match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) => {
                        let piece = this.pass(piece);
                        if piece.is_empty() {
                            continue;
                        }
                        return Poll::Ready(Some(Ok(Frame::data(piece))));
                    }
                    // Trailers: nobody needs them, and they may hold anything.
                    Err(_) => continue,
                },
                Some(Err(error)) => Err(error),
                None => Ok(()),
            };
            if this.held.is_empty() {
                return Poll::Ready(end.err().map(Err));
            }
            this.ended = Some(end);
            let rest = std::mem::take(&mut this.held).freeze();
            return Poll::Ready(Some(Ok(Frame::data(rest))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && self.ended.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.held.len() as u64;
        let inner = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(held));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use http_body_util::BodyExt as _;
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "canary/4711-\"quoted\"-key";

    /// A body of these pieces.
    struct Pieces(VecDeque<Bytes>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Error;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
        }
    }

    fn locked(vault: &Vault, pieces: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
        let body = WasiBody::new(Pieces(pieces.into_iter().map(Bytes::from).collect()));
        let (mut head, ()) = http::Response::new(()).into_parts();
        let body = vault.lock(&mut head, body);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(body.collect()).unwrap().to_bytes().to_vec()
    }

    #[test]
    fn the_key_is_put_in_where_the_stand_in_stands_alone() {
        let vault = Vault::new(ApiKey::new(KEY));
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", vault.stand_in().parse().unwrap());
        headers.insert("x-other", vault.stand_in().parse().unwrap());
        vault.unlock(&mut headers);
        assert_eq!(headers["x-api-key"].as_bytes(), KEY.as_bytes());
        assert!(headers["x-api-key"].is_sensitive());
        assert_eq!(headers["x-other"].as_bytes(), vault.stand_in().as_bytes());
        headers.insert("x-api-key", format!("{} ", vault.stand_in()).parse().unwrap());
        vault.unlock(&mut headers);
        assert_ne!(headers["x-api-key"].as_bytes(), KEY.as_bytes());
    }

    #[test]
    fn stand_ins_are_as_long_as_the_key_and_as_refusable() {
        for key in ["", "k", KEY, "kéy-with-é", &"x".repeat(9000)] {
            let stand_in = Vault::new(ApiKey::new(key)).stand_in().to_owned();
            assert_eq!(stand_in.len(), key.len());
            assert!(HeaderValue::from_str(&stand_in).is_ok());
        }
        assert!(Vault::new(ApiKey::new("a\r\nb")).stand_in().contains('\n'));
        assert_ne!(Vault::new(ApiKey::new(KEY)).stand_in(), Vault::new(ApiKey::new(KEY)).stand_in());
    }

    #[test]
    fn headers_that_quote_the_key_are_changed() {
        let vault = Vault::new(ApiKey::new(KEY));
        let response = http::Response::builder().header("x-echo", format!("<{KEY}>")).header("x", "y").body(()).unwrap();
        let (mut head, ()) = response.into_parts();
        vault.lock(&mut head, WasiBody::default());
        assert_eq!(head.headers["x-echo"].to_str().unwrap(), format!("<{}>", vault.stand_in()));
        assert_eq!(head.headers["x"], "y");
    }

    proptest! {
        #[test]
        fn no_body_brings_the_key_in(
            parts in prop::collection::vec((0..5_usize, "[a-z\"/\\\\c]{0,6}"), 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let vault = Vault::new(ApiKey::new(KEY));
            let json = KEY.replace('"', "\\\"");
            let spellings = [KEY.to_owned(), json.clone(), json.replace('/', "\\/")];
            let mut text = String::new();
            for (which, filler) in parts {
                text += spellings.get(which).map_or(&KEY[..10], |spelling| spelling);
                text += &filler;
            }
            let bytes = text.as_bytes();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
            cuts.sort_unstable();
            let out = locked(&vault, cuts.windows(2).map(|pair| bytes[pair[0]..pair[1]].to_vec()));
            prop_assert_eq!(out.len(), bytes.len(), "an answer keeps its length");
            let out = String::from_utf8(out).unwrap();
            for spelling in &spellings {
                prop_assert!(!out.contains(spelling.as_str()), "{}", out);
            }
            // Nothing else is touched.
            let mut expected = text;
            for spelling in &spellings {
                let instead = format!("{}{}", vault.stand_in(), "*".repeat(spelling.len() - KEY.len()));
                expected = expected.replace(spelling.as_str(), &instead);
            }
            prop_assert_eq!(out, expected);
        }
    }
}
