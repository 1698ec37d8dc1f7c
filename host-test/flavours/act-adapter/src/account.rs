//! An account: a credential that the operator has stored, whose fields are the variables of the connector.

use memberspot_core::{
    config::{API_KEY, VARIABLES},
    error::{Nature, Trouble, listed, not_configured},
    wit::types::{Error, FailureCode},
};

use crate::{
    bindings::act::credentials::types::{Secret, SecretError, SecretRequest},
    cbor,
};

/// The account of a session that names none.
pub const DEFAULT: &str = "default";

/// The name of the field for a variable: `memberspot:api-key` for `MEMBERSPOT_API_KEY`. ACT wants a namespace.
fn field(variable: &str) -> String {
    variable.to_ascii_lowercase().replacen('_', ":", 1).replace('_', "-")
}

/// How to ask for an account.
pub fn request(account: &str) -> SecretRequest {
    SecretRequest {
        key: account.to_owned(),
        kind: None,
        resource: None,
        scopes: Vec::new(),
        hint: Some("the API key of the school".to_owned()),
    }
}

/// The variables of an account. A field that is none of them is refused: with the scopes misspelt, all would be given.
pub fn variables(account: &str, secret: Secret) -> Result<Vec<(String, String)>, Error> {
    secret.fields.into_iter().map(|(name, value)| variable(account, &name, &value)).collect()
}

fn variable(account: &str, name: &str, value: &[u8]) -> Result<(String, String), Error> {
    let Some(variable) = VARIABLES.into_iter().find(|it| field(it) == name) else {
        let known = VARIABLES.map(field);
        // Not the name: it could be a key in the wrong place.
        let problem = format!("has a field of an unknown name; known are {}", listed(known.iter().map(String::as_str)));
        return Err(misconfigured(account, &problem));
    };
    let value = cbor::text(value).ok_or_else(|| misconfigured(account, &format!("has no text in {name}")))?;
    Ok((variable.to_owned(), value))
}

/// Why there is no credential.
pub fn refusal(account: &str, error: &SecretError) -> Error {
    match error {
        SecretError::NotFound => misconfigured(account, &format!("is missing; one needs the field {}", field(API_KEY))),
        SecretError::Denied => not_permitted("credentials are not allowed to the component"),
        SecretError::InvalidSession => not_permitted("credentials are not allowed to the session"),
        // What it says is for the operator's log.
        SecretError::Unavailable(_) => misconfigured(account, "cannot be read from the store"),
    }
}

fn misconfigured(account: &str, problem: &str) -> Error {
    not_configured(&format!("the credential {account:?}"), problem)
}

fn not_permitted(message: &str) -> Error {
    Trouble::refused(FailureCode::NotPermitted, message).into_error(Nature::Read, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure;

    fn secret(fields: &[(&str, &[u8])]) -> Secret {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect();
        Secret { kind: String::new(), fields }
    }

    fn code(error: &Error) -> FailureCode {
        memberspot_core::error::failure(error).unwrap().code
    }

    #[test]
    fn every_variable_has_a_field() {
        let names = ["api-key", "base-url", "scopes", "deadline-ms", "max-attempts", "max-response-bytes"];
        let names = names.into_iter().chain(["requests-per-second", "concurrency"]);
        assert!(VARIABLES.map(field).iter().eq(names.map(|it| format!("memberspot:{it}")).collect::<Vec<_>>().iter()));
        for variable in VARIABLES {
            let found = variables("a", secret(&[(&field(variable), b"\x61x")])).unwrap();
            assert_eq!(found, [(variable.to_owned(), "x".to_owned())]);
        }
    }

    #[test]
    fn a_field_that_is_not_understood_is_refused_and_not_shown() {
        for fields in [
            [("memberspot:api-key", &b"\x61x"[..]), ("memberspot:scope-of-canary", b"\x64read")],
            [("memberspot:api-key", &b"\x61x"[..]), ("MEMBERSPOT_CANARY", b"\x64read")],
            [("memberspot:api-key", &b"\x46canary"[..]), ("memberspot:scopes", b"\x64read")],
            [("memberspot:scopes", &b"\x81\x66canary"[..]), ("memberspot:api-key", b"\x61x")],
        ] {
            let error = variables("a", secret(&fields)).unwrap_err();
            assert_eq!(code(&error), FailureCode::NotConfigured);
            assert!(!format!("{error:?}").to_lowercase().contains("canary"), "{error:?}");
        }
    }

    #[test]
    fn every_refusal_of_the_store_has_its_code() {
        for (refused, expected) in [
            (SecretError::NotFound, "memberspot:not-configured"),
            (SecretError::Denied, failure::CAPABILITY_DENIED),
            (SecretError::InvalidSession, failure::CAPABILITY_DENIED),
            (SecretError::Unavailable("canary".into()), "memberspot:not-configured"),
        ] {
            let error = refusal("a", &refused);
            assert_eq!(failure::kind(&error), expected);
            assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        }
    }
}
