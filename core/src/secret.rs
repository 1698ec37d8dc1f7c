//! A text that cannot be printed.

/// The API key. There is no `Debug`, no `Display`, no `Clone` and no serialisation: the one way to the text is
/// [`Secret::expose`], and a search for that word finds every use.
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, to put it into the header that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Replaces every occurrence of the secret in a text that came from outside, such as a server's error message that
    /// quotes the request's headers.
    pub fn redact(&self, text: String) -> String {
        // A header's value loses the spaces around it on the way, so a server never sees them.
        let secret = self.0.trim();
        if !secret.is_empty() && text.contains(secret) { text.replace(secret, "[redacted]") } else { text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_taken_out_of_texts() {
        let secret = Secret::new("k3y".into());
        assert_eq!(secret.redact("X-API-KEY: k3y, again k3y".into()), "X-API-KEY: [redacted], again [redacted]");
        assert_eq!(secret.redact("nothing here".into()), "nothing here");
    }

    #[test]
    fn spaces_around_the_secret_are_not_part_of_it() {
        assert_eq!(Secret::new(" k3y\t".into()).redact("key k3y".into()), "key [redacted]");
        assert_eq!(Secret::new(" ".into()).redact("all is well".into()), "all is well");
    }
}
