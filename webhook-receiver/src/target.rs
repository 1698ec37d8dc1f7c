//! Where events are forwarded to.

use memberspot_core::origin::Origin;

/// Engines bound the path of a request.
const LONGEST_PATH: usize = 4096;

/// An address: an origin, and a path on it.
#[derive(Debug, PartialEq)]
pub struct Target {
    /// Scheme, host and port.
    pub origin: Origin,
    /// Path and query.
    pub path: String,
}

impl Target {
    /// Reads a URL such as `https://engine.example.com/hooks/memberspot`. As with the connector, `http://` is for this machine.
    ///
    /// # Errors
    /// What is wrong, as the end of a sentence that begins with the name of the setting.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        let authority = text.find("://").map_or(text.len(), |at| at + 3);
        let after = text.get(authority..).unwrap_or_default();
        let end = after.find(['/', '?', '#']).map_or(text.len(), |at| authority + at);
        let (origin, path) = text.split_at_checked(end).unwrap_or((text, ""));
        let origin = Origin::parse(origin)?;
        if path.contains('#') {
            return Err("must not have a fragment");
        }
        if path.len() > LONGEST_PATH || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("must have a path of at most 4096 characters, with others than ASCII percent-encoded");
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { origin, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split() {
        for (text, origin, path) in [
            ("https://a.de", "https://a.de", "/"),
            ("https://a.de/", "https://a.de", "/"),
            ("https://a.de:8443/in/x?y=/z ", "https://a.de:8443", "/in/x?y=/z"),
            ("https://a.de?y=1", "https://a.de", "/?y=1"),
            ("http://127.0.0.1:9000/in", "http://127.0.0.1:9000", "/in"),
            ("http://[::1]:9000/in", "http://[::1]:9000", "/in"),
            ("https://a.de/@x://y", "https://a.de", "/@x://y"),
        ] {
            let target = Target::parse(text).unwrap();
            assert_eq!((target.origin.to_string().as_str(), target.path.as_str()), (origin, path));
        }
    }

    #[test]
    fn others_are_refused() {
        for text in [
            "",
            "a.de/in",
            "/in",
            "https://",
            "https:///in",
            "http://a.de/in",
            "http://a.de?http://127.0.0.1/",
            "http://127.0.0.1.a.de/",
            "http://127.0.0.1@a.de/",
            "https://u:p@a.de/in",
            "https://a.de/in#x",
            "https://a.de#/in",
            "https://a.de/ä",
            "https://a.de/a b",
            "https://a.de/a\r\nb: c",
            "https://a.de\\b/c",
            "ftp://a.de/",
            &format!("https://a.de/{}", "x".repeat(4096)),
        ] {
            assert!(Target::parse(text).is_err(), "{text:?}");
        }
    }
}
