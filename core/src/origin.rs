//! An origin: scheme, host and port, and nothing else.

use std::fmt;

/// Where requests go. Two spellings of the same origin are equal: host names in lower case, default ports left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    secure: bool,
    authority: String,
}

impl Origin {
    /// Reads an origin such as `https://api.memberspot.de` or `http://127.0.0.1:8080`.
    ///
    /// # Errors
    /// What is wrong, as the end of a sentence that begins with the name of the setting.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (scheme, authority) = text.split_once("://").ok_or("must be an origin such as https://api.memberspot.de")?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err("must begin with https:// (or http:// for this machine)"),
        };
        if authority.contains('@') {
            return Err("must not contain user information");
        }
        if authority.contains(['/', '?', '#', '\\']) {
            return Err("must be an origin alone, without a path");
        }
        let (host, port) = split(authority).ok_or("must name a host, and a port only as a number from 1 to 65535")?;
        if !secure && !is_loopback(&host) {
            return Err("must begin with https://, since http:// is for this machine only");
        }
        let default = if secure { 443 } else { 80 };
        let authority = match port {
            Some(port) if port != default => format!("{host}:{port}"),
            _ => host,
        };
        Ok(Self { secure, authority })
    }

    /// Whether requests go over TLS.
    pub fn secure(&self) -> bool {
        self.secure
    }

    /// Host, and port where it is not the scheme's own.
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.secure { "https" } else { "http" }, self.authority)
    }
}

/// Splits an authority into a host in its usual spelling and a port.
fn split(authority: &str) -> Option<(String, Option<u16>)> {
    let end_of_host = if authority.starts_with('[') { authority.find(']')? + 1 } else { authority.len() };
    let (host, port) = match authority.get(end_of_host..)? {
        "" => match authority.split_once(':').filter(|_| !authority.starts_with('[')) {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
        rest => (authority.get(..end_of_host)?, Some(rest.strip_prefix(':')?)),
    };
    let port = match port {
        // `parse` alone would accept a sign.
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(port.parse().ok().filter(|port| *port > 0)?),
        Some(_) => return None,
        None => None,
    };
    Some((host_name(host)?, port))
}

/// A host name or an IP address, in lower case. IPv6 addresses stand in brackets; whether what stands there is one is left to
/// the engine, which has to connect to it.
fn host_name(host: &str) -> Option<String> {
    let is_label = |label: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(fits)
    };
    let is_address =
        |address: &str| address.contains(':') && address.bytes().all(|b| b.is_ascii_hexdigit() || b":.".contains(&b));
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let fits = bracketed.map_or_else(|| host.split('.').all(is_label), is_address);
    (fits && host.len() <= 253).then(|| host.to_ascii_lowercase())
}

fn is_loopback(host: &str) -> bool {
    let is_number = |part: &str| part.len() <= 3 && part.bytes().all(|b| b.is_ascii_digit()) && part.parse::<u8>().is_ok();
    let v4 = host.starts_with("127.") && host.split('.').count() == 4 && host.split('.').all(is_number);
    v4 || host == "localhost" || host == "[::1]"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_in_any_spelling() {
        let cases = [
            ("https://api.memberspot.de", "https://api.memberspot.de"),
            ("HTTPS://API.Memberspot.de:443", "https://api.memberspot.de"),
            ("https://api.memberspot.de:8443", "https://api.memberspot.de:8443"),
            ("http://localhost:80", "http://localhost"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://127.9.9.9", "http://127.9.9.9"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("https://[FE80::1]:444", "https://[fe80::1]:444"),
        ];
        for (text, expected) in cases {
            assert_eq!(Origin::parse(text).map(|origin| origin.to_string()), Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let cases = [
            "",
            "api.memberspot.de",
            "//api.memberspot.de",
            "ftp://api.memberspot.de",
            "https://",
            "https://:443",
            "https://api.memberspot.de/v1",
            "https://api.memberspot.de/",
            "https://a@b.de",
            "https://a:b@c.de",
            "https://a.de?x",
            "https://a.de#x",
            "https://a.de\\b",
            "https://a b.de",
            "https://a..de",
            "https://ä.de",
            "https://a.de:",
            "https://a.de:0",
            "https://a.de:+1",
            "https://a.de:65536",
            "https://a.de:1:2",
            "https://[::1",
            "https://[::1]x",
            "https://[g::1]",
            "https://[]",
            "https://[1]",
            "http://127.0.0.256",
            "http://127.1",
            "http://127.0.0.1.2",
            "http://127.0.0.+1",
            "https://::1",
            "http://api.memberspot.de",
            "http://127.0.0.1.nip.io",
            "http://localhost.evil.de",
            "http://0.0.0.0",
            "https://a.de\r\nx: y",
            "https://a.de\0",
        ];
        for text in cases {
            assert!(Origin::parse(text).is_err(), "{text:?}");
        }
    }
}
