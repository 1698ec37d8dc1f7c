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
        if text.contains(&self.0) { text.replace(&self.0, "[redacted]") } else { text }
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
}
