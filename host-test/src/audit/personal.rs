//! What says who somebody is: never printed by chance, and recorded as a keyed hash.

use std::fmt;

use hmac::Mac as _;
use memberspot_core::route::{self, Route};

use super::chain::{Hmac, hex};

/// What stands before a keyed hash.
const MARK: char = '~';
/// Bytes of a keyed hash that are kept: no two of billions are the same.
const KEPT: usize = 12;
/// Longer than any address or id. Of what is longer, the beginning is kept.
const LONGEST: usize = 320;
/// Segments of a path; no route has more than six.
const MOST_SEGMENTS: usize = 12;

/// A text that may say who somebody is. `Debug` does not print it.
#[derive(Clone, PartialEq, Eq)]
pub struct Personal(Box<str>);

impl Personal {
    /// Takes a text over, up to 320 bytes of it.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text[..text.floor_char_boundary(LONGEST)].into())
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// An address, going by its look.
    fn is_address(&self) -> bool {
        self.0.contains('@')
    }
}

impl fmt::Debug for Personal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Personal(..)")
    }
}

/// The path of a request, without its query. What may name somebody in it, such as the id of a member, is set apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    template: String,
    segments: Vec<Personal>,
}

impl Path {
    /// Sets apart what a known route has in places of its own. Of other paths, all but a version and one word after it.
    pub(crate) fn of(method: &http::Method, path: &str) -> Self {
        let route = crate::egress::method(method).and_then(|method| Route::find(method, path));
        let words = route.map(|route| route.template.split('/').collect::<Vec<_>>());
        let mut template = String::new();
        let mut segments = Vec::new();
        for (place, segment) in path.strip_prefix('/').unwrap_or(path).split('/').enumerate() {
            if place == MOST_SEGMENTS {
                template.push_str("/…");
                break;
            }
            template.push('/');
            let word = match &words {
                // What a template begins with is a slash, and a path may have one more at its end.
                Some(words) => words.get(place + 1).copied().filter(|word| *word != "{}"),
                None => Some(segment).filter(|segment| place < 2 && is_word(segment)),
            };
            match word {
                Some(word) => template.push_str(word),
                None if segment.is_empty() => {}
                None => {
                    template.push_str("{}");
                    segments.push(Personal::new(&route::decoded(segment)));
                }
            }
        }
        Self { template, segments }
    }

    /// The path with `{}` for each text that was set apart.
    #[must_use]
    pub fn template(&self) -> &str {
        &self.template
    }

    /// What was set apart, decoded.
    #[must_use]
    pub fn segments(&self) -> &[Personal] {
        &self.segments
    }
}

/// `v1`, `offers` or `api-auth`.
fn is_word(segment: &str) -> bool {
    segment.len() <= 32 && segment.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Turns personal texts into what is recorded: `~` and a keyed hash, or the text itself.
///
/// The same text has the same hash within a tenant, so that a person's lines can be found by who has the key. Another tenant
/// has other hashes for the same person.
#[derive(Clone)]
pub struct Pseudonyms(Option<Hmac>);

impl Pseudonyms {
    pub(super) fn keyed(key: Hmac) -> Self {
        Self(Some(key))
    }

    /// Leaves texts as they are.
    #[must_use]
    pub fn plain() -> Self {
        Self(None)
    }

    /// What stands for a text.
    #[must_use]
    pub fn of(&self, tenant: &str, text: &Personal) -> String {
        let Some(key) = &self.0 else { return text.expose().to_owned() };
        let mut mac = key.clone();
        mac.update(&(tenant.len() as u64).to_be_bytes());
        mac.update(tenant.as_bytes());
        // Addresses are the same in any case.
        mac.update(text.expose().trim().to_lowercase().as_bytes());
        let hash = mac.finalize().into_bytes();
        format!("{MARK}{}", hex(hash.get(..KEPT).unwrap_or_default()))
    }

    /// What stands for the name of an actor or a tenant: itself, unless it is an address or looks like a hash.
    #[must_use]
    pub fn of_name(&self, tenant: &str, name: &Personal) -> String {
        if name.is_address() || name.expose().starts_with(MARK) {
            return self.of(tenant, name);
        }
        name.expose().to_owned()
    }

    /// A path with what stands for the texts that were set apart.
    #[must_use]
    pub fn of_path(&self, tenant: &str, path: &Path) -> String {
        let mut texts = path.segments.iter();
        let mut parts = path.template.split("{}");
        let mut whole = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            if let Some(text) = texts.next() {
                whole.push_str(&self.of(tenant, text));
            }
            whole.push_str(part);
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::super::AuditKey;
    use super::*;

    fn path(method: &str, path: &str) -> (String, Vec<String>) {
        let path = Path::of(&method.parse().unwrap(), path);
        (path.template, path.segments.iter().map(|segment| segment.expose().to_owned()).collect())
    }

    #[test]
    fn what_names_somebody_is_set_apart() {
        for (method, given, template, segments) in [
            ("GET", "/v1/offers", "/v1/offers", &[] as &[&str]),
            ("GET", "/v1/users/find-by-mail/ada%40example.com", "/v1/users/find-by-mail/{}", &["ada@example.com"]),
            ("GET", "/V1/Users/find%2Dby-mail/x/", "/v1/users/find-by-mail/{}/", &["x"]),
            ("GET", "/v1/users/course-progress/c1/a@b.de", "/v1/users/course-progress/{}/{}", &["c1", "a@b.de"]),
            // Unknown: a version and a word.
            ("GET", "/v1/webinars/anna-schmidt/seats", "/v1/webinars/{}/{}", &["anna-schmidt", "seats"]),
            ("GET", "/ada@example.com", "/{}", &["ada@example.com"]),
            ("PUT", "/v1/users/find-by-mail/x", "/v1/users/{}/{}", &["find-by-mail", "x"]),
            ("SEARCH", "/v1/offers", "/v1/offers", &[]),
            ("GET", "/", "/", &[]),
            ("GET", "//x{}@", "//{}", &["x{}@"]),
        ] {
            let (found, apart) = path(method, given);
            assert_eq!(
                (found.as_str(), apart),
                (template, segments.iter().map(|text| (*text).to_owned()).collect()),
                "{given}"
            );
        }
        let (template, segments) = path("GET", &"/x@y".repeat(10_000));
        assert_eq!((template.len(), segments.len()), (MOST_SEGMENTS * 3 + "/…".len(), MOST_SEGMENTS));
        assert_eq!(path("GET", &format!("/{}", "€".repeat(10_000))).1[0].len(), LONGEST - 2);
    }

    #[test]
    fn hashes_are_a_tenants_own_and_addresses_the_same_in_any_case() {
        let pseudonyms = AuditKey::new("an audit key of some length").unwrap().pseudonyms();
        let of = |tenant: &str, text: &str| pseudonyms.of_name(tenant, &Personal::new(text));
        assert_eq!(of("a", "Ada@Example.com"), of("a", "ada@example.com"));
        assert_ne!(of("a", "ada@example.com"), of("b", "ada@example.com"));
        assert_ne!(of("a", "xada@example.com"), of("ax", "ada@example.com"));
        assert_eq!(of("a", "nightly-import"), "nightly-import");
        // Nobody passes for another by a name that looks like a hash.
        assert_ne!(of("a", &of("a", "ada@example.com")), of("a", "ada@example.com"));
        let path = Path::of(&http::Method::GET, "/v1/users/find-by-mail/ada%40example.com");
        assert_eq!(pseudonyms.of_path("a", &path), format!("/v1/users/find-by-mail/{}", of("a", "ada@example.com")));
        assert_eq!(Pseudonyms::plain().of_path("a", &path), "/v1/users/find-by-mail/ada@example.com");
        assert!(!format!("{path:?}").contains("ada"));
    }
}
