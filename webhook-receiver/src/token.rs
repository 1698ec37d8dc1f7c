//! The token in the path: whoever knows it is Memberspot.

use memberspot_core::secret::Secret;
use subtle::ConstantTimeEq;

/// 128 bits, in hexadecimal digits.
const LEAST_HEX_DIGITS: usize = 32;
/// 128 bits, in base64url.
const LEAST_CHARACTERS: usize = 22;
/// Engines bound the path of a request.
const MOST_CHARACTERS: usize = 512;

/// The token that the path of a request must have.
pub struct Token(Secret);

impl Token {
    /// Reads a token; nothing for one that is no token, or can be guessed.
    pub fn parse(text: &str) -> Option<Self> {
        // A secret that was made from a file ends in a line break.
        let text = text.trim();
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        let hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let least = if hex { LEAST_HEX_DIGITS } else { LEAST_CHARACTERS };
        (plain && (least..=MOST_CHARACTERS).contains(&text.len())).then(|| Self(Secret::new(text.to_owned())))
    }

    /// Whether a request goes to `/hooks/{token}`. How much of the token is right cannot be told from the time this takes.
    pub fn admits(&self, path_with_query: &str) -> bool {
        let path = path_with_query.split_once('?').map_or(path_with_query, |(path, _)| path);
        let given = path.strip_prefix("/hooks/");
        given.is_some_and(|given| given.as_bytes().ct_eq(self.0.expose().as_bytes()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "Zk3-_9aBcDeFgHiJkLmNoP";

    #[test]
    fn a_token_has_128_bits() {
        let hex = "0123456789abcdefABCDEF0123456789";
        for text in [TOKEN, hex, &format!("{TOKEN}\n"), &"x".repeat(512)] {
            assert!(Token::parse(text).is_some(), "{text}");
        }
        for text in ["", &TOKEN[1..], &hex[1..], "a/bcdefghijklmnopqrstuvwxyz", "äbcdefghijklmnopqrstuvwxyz", &"x".repeat(513)]
        {
            assert!(Token::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn only_its_own_path_is_admitted() {
        let token = Token::parse(TOKEN).unwrap();
        for path in [format!("/hooks/{TOKEN}"), format!("/hooks/{TOKEN}?"), format!("/hooks/{TOKEN}?a=/b")] {
            assert!(token.admits(&path), "{path}");
        }
        for path in [
            String::new(),
            "/".into(),
            "/hooks/".into(),
            "/hooks".into(),
            TOKEN.into(),
            format!("/hooks/{}", &TOKEN[1..]),
            format!("/hooks/{TOKEN}x"),
            format!("/hooks/{TOKEN}/"),
            format!("/hooks//{TOKEN}"),
            format!("//hooks/{TOKEN}"),
            format!("/Hooks/{TOKEN}"),
            format!("/hooks/{}", TOKEN.to_lowercase()),
            format!("/hooks/?{TOKEN}"),
            format!("/x?/hooks/{TOKEN}"),
        ] {
            assert!(!token.admits(&path), "{path}");
        }
    }
}
