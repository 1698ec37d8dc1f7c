//! Signatures and ids as Standard Webhooks have them: <https://www.standardwebhooks.com>.

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode::Indifferent, GeneralPurpose, GeneralPurposeConfig, general_purpose::URL_SAFE_NO_PAD},
};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

/// Padding is written, and not asked for.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(Indifferent));

/// The secret that the receiver shares with whoever it forwards to.
pub struct SigningKey(Hmac<Sha256>);

impl SigningKey {
    /// Reads a secret such as `whsec_` and 24 to 64 bytes in base64.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64.decode(text.trim().strip_prefix("whsec_")?).ok()?;
        let key = (24..=64).contains(&bytes.len()).then(|| Hmac::new_from_slice(&bytes))?;
        key.ok().map(Self)
    }

    /// The value of `webhook-signature`.
    pub fn sign(&self, id: &str, timestamp: u64, body: &str) -> String {
        let signed = self.0.clone().chain_update(format!("{id}.{timestamp}.")).chain_update(body);
        format!("v1,{}", BASE64.encode(signed.finalize().into_bytes()))
    }
}

/// The value of `webhook-id`: the same for the same content, whenever and however often it comes.
pub fn id(content: &str) -> String {
    format!("msg_{}", URL_SAFE_NO_PAD.encode(Sha256::digest(content)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example in the libraries of Standard Webhooks.
    #[test]
    fn signatures_are_those_of_the_standard() {
        let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn secrets_are_long_enough_and_written_as_the_standard_says() {
        let secret = |length| format!("whsec_{}", BASE64.encode(vec![251; length]));
        for text in [secret(24), secret(64), secret(25), secret(25).trim_end_matches('=').to_owned(), secret(24) + "\n"] {
            assert!(SigningKey::parse(&text).is_some(), "{text}");
        }
        for text in
            [String::new(), "whsec_".into(), secret(23), secret(65), secret(32)[6..].into(), secret(32).replace('+', "-")]
        {
            assert!(SigningKey::parse(&text).is_none(), "{text}");
        }
    }

    #[test]
    fn ids_follow_the_content() {
        assert_eq!(id("x"), id("x"));
        assert_ne!(id("x"), id("x "));
        // The signature puts full stops between its parts.
        assert!(id("x").len() == 47 && !id("x").contains('.'));
    }
}
