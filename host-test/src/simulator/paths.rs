//! Paths and queries as Express reads them: static segments in any case, one trailing slash tolerated, parameters
//! percent-decoded one by one.

/// The raw values at the `{}` segments of `pattern`, or nothing when `path` does not match.
///
/// A last segment `*` matches any rest, also an empty one.
pub(super) fn capture<'p>(pattern: &str, path: &'p str) -> Option<Vec<&'p str>> {
    let mut wanted = segments(pattern).peekable();
    let mut given = segments(path);
    let mut captured = Vec::new();
    while let Some(want) = wanted.next() {
        if want == "*" && wanted.peek().is_none() {
            return Some(captured);
        }
        let have = given.next()?;
        match want {
            "{}" if have.is_empty() => return None,
            "{}" => captured.push(have),
            _ if want.eq_ignore_ascii_case(have) => {}
            _ => return None,
        }
    }
    given.next().is_none().then_some(captured)
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.strip_suffix('/').unwrap_or(path).split('/')
}

/// Percent-decodes one path segment; nothing when an escape is broken or the result is not UTF-8.
pub(super) fn decode(segment: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        decoded.push(match byte {
            b'%' => hex(rest.next()?)? << 4 | hex(rest.next()?)?,
            _ => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

fn hex(digit: u8) -> Option<u8> {
    // A hexadecimal digit is below 16, so the cast keeps it whole.
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// The pairs of a raw query, decoded; `+` is a space, and a broken escape stays as it was sent.
pub(super) fn pairs(query: &str) -> Vec<(String, String)> {
    let readable = |text: &str| {
        let text = text.replace('+', " ");
        decode(&text).unwrap_or(text)
    };
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (readable(name), readable(value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_like_express() {
        assert_eq!(capture("/v1/offers", "/V1/Offers/"), Some(vec![]));
        assert_eq!(capture("/v1/{}/x", "/v1/A%2Fb/X"), Some(vec!["A%2Fb"]));
        assert_eq!(capture("/v1/{}", "/v1/"), None);
        assert_eq!(capture("/v1/{}", "/v1/a/b"), None);
        assert_eq!(capture("/v1/offers", "/v1/offers//"), None);
        assert_eq!(capture("/v1/*", "/v1/a/b"), Some(vec![]));
        assert_eq!(capture("*", "/"), Some(vec![]));
    }

    #[test]
    fn escapes_are_decoded_once() {
        assert_eq!(decode("a%2Bb%2540c+d").as_deref(), Some("a+b%40c+d"));
        assert_eq!(decode("%c3%a4").as_deref(), Some("ä"));
        for broken in ["%", "%2", "%zz", "%+1", "%ff"] {
            assert_eq!(decode(broken), None, "{broken}");
        }
        let expected = [("a b", "1+2"), ("c", ""), ("d", "%zz")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(pairs("a+b=1%2B2&&c&d=%zz"), expected);
    }
}
