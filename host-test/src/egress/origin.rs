//! What addresses of the same server have in common.

use std::fmt;

use http::Uri;
use http::uri::{Authority, Scheme};

/// Scheme, host and port: what an address has in common with all others of the same server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    https: bool,
    /// In lower case; an IPv6 address is in brackets.
    host: String,
    port: u16,
}

impl Origin {
    /// The origin of an absolute `http` or `https` URL. `None` for anything else, for an address with a user name, and for
    /// one whose port is not a number from 1 to 65535.
    #[must_use]
    pub fn parse(url: &str) -> Option<Self> {
        Self::of(&url.parse().ok()?)
    }

    /// The origin that a request goes to.
    #[must_use]
    pub fn of(uri: &Uri) -> Option<Self> {
        let scheme = uri.scheme()?;
        let https = *scheme == Scheme::HTTPS;
        if !https && *scheme != Scheme::HTTP {
            return None;
        }
        let authority = uri.authority()?;
        let port = match port_text(authority)? {
            "" => default_port(https),
            digits => digits.parse().ok().filter(|port| *port != 0)?,
        };
        Some(Self { https, host: authority.host().to_ascii_lowercase(), port })
    }
}

/// What follows `host:`, or an empty text where nothing does. `None` when there is more than host and port.
///
/// [`Authority::port`] takes a port that is out of range for none at all, which would turn it into the default one.
fn port_text(authority: &Authority) -> Option<&str> {
    // With a user name, the authority does not start with the host.
    let rest = authority.as_str().strip_prefix(authority.host())?;
    if rest.is_empty() {
        return Some(rest);
    }
    let digits = rest.strip_prefix(':')?;
    // `u16::from_str` would take a leading `+`.
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(digits)
}

fn default_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}

/// As in a URL, without the port where it is the default one.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port != default_port(self.https) {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        for (url, origin) in [
            ("https://api.memberspot.de", "https://api.memberspot.de"),
            ("https://api.memberspot.de/", "https://api.memberspot.de"),
            ("https://api.memberspot.de/v1/offers?x=1#y", "https://api.memberspot.de"),
            ("https://api.memberspot.de:443", "https://api.memberspot.de"),
            ("http://api.memberspot.de:80", "http://api.memberspot.de"),
            ("https://api.memberspot.de:80", "https://api.memberspot.de:80"),
            ("HTTPS://API.Memberspot.DE", "https://api.memberspot.de"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]:8080/v1", "http://[::1]:8080"),
            ("http://[::1]", "http://[::1]"),
        ] {
            assert_eq!(Origin::parse(url).map(|origin| origin.to_string()).as_deref(), Some(origin), "{url}");
        }
    }

    #[test]
    fn what_is_no_origin_allows_nothing() {
        for url in [
            "",
            " ",
            "/",
            "/v1/offers",
            "api.memberspot.de",
            "api.memberspot.de:443",
            "https://",
            "https:///v1",
            "ftp://api.memberspot.de",
            "file:///etc/passwd",
            "https://user@api.memberspot.de",
            "https://user:word@api.memberspot.de",
            "https://api.memberspot.de@evil.example",
            "https://api.memberspot.de:0",
            "https://api.memberspot.de:",
            "https://api.memberspot.de:65536",
            "https://api.memberspot.de:+443",
            "https://api.memberspot.de:443:443",
            " https://api.memberspot.de",
            "https://api.memberspot.de\\@evil.example",
            "https://[::1",
        ] {
            assert_eq!(Origin::parse(url), None, "{url}");
        }
    }
}
