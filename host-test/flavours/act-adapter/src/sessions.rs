//! Sessions. ACT gives a credential to an open session alone; a session here is which one that is.

use std::collections::BTreeMap;

use crate::{
    account,
    bindings::act::core::types::{Error, Metadata},
    cbor, failure,
};

/// What may be said when a session is opened, as JSON Schema.
pub const SCHEMA: &str = r#"{"type": "object", "properties": {"account": {"type": "string", "minLength": 1, "maxLength": 128,
"default": "default", "description": "Which of the stored accounts to use: the key of a credential"}},
"additionalProperties": false}"#;

const LONGEST_ACCOUNT: usize = 128;

/// So many can be open: nobody is bound to close one.
const MOST: usize = 1000;

/// Sessions that are open.
#[derive(Default)]
pub struct Sessions {
    opened: u64,
    /// The account of each, by the id.
    accounts: BTreeMap<String, String>,
}

impl Sessions {
    /// Opens a session; the result is its id. The account is part of it: when the component has been started anew, an id of
    /// before leads nowhere, or to the same account.
    pub fn open(&mut self, args: &[(String, Vec<u8>)]) -> Result<String, Error> {
        let account = account_of(args)?;
        if self.accounts.len() >= MOST {
            return Err(failure::new("memberspot:too-many-sessions", "too many sessions are open; close one"));
        }
        self.opened += 1;
        let id = format!("{}:{account}", self.opened);
        self.accounts.insert(id.clone(), account);
        Ok(id)
    }

    /// Closes a session, if it is open.
    pub fn close(&mut self, id: &str) {
        self.accounts.remove(id);
    }

    /// The id and the account of the session that a call belongs to.
    pub fn find(&self, metadata: &Metadata) -> Result<(String, String), Error> {
        let id = metadata.iter().find(|(name, _)| name == "std:session-id").and_then(|(_, value)| cbor::text(value));
        let found = id.as_ref().and_then(|id| self.accounts.get_key_value(id));
        let missing = || failure::new(failure::SESSION_NOT_FOUND, "the call names no open session; open one first");
        found.map(|(id, account)| (id.clone(), account.clone())).ok_or_else(missing)
    }
}

fn account_of(args: &[(String, Vec<u8>)]) -> Result<String, Error> {
    let refused = |problem| Err(failure::new(failure::INVALID_ARGS, problem));
    match args {
        [] => Ok(account::DEFAULT.to_owned()),
        [(name, value)] if name == "account" => match cbor::text(value) {
            Some(account) if (1..=LONGEST_ACCOUNT).contains(&account.chars().count()) => Ok(account),
            _ => refused("account: not a text of 1 to 128 characters"),
        },
        // Not its name: whoever tries to hand over a key here should not find it in an error.
        _ => refused("a session takes nothing but an account"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(account: &str) -> Metadata {
        vec![("account".into(), encoded(account))]
    }

    fn encoded(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        ciborium::into_writer(text, &mut bytes).unwrap();
        bytes
    }

    fn account(sessions: &Sessions, id: &str) -> Result<String, String> {
        let metadata = vec![("std:request-id".into(), encoded("r")), ("std:session-id".into(), encoded(id))];
        sessions.find(&metadata).map(|(_, account)| account).map_err(|error| error.kind)
    }

    #[test]
    fn a_session_leads_to_its_account_until_it_is_closed() {
        let mut sessions = Sessions::default();
        let [first, second, third] = ["a", "b", "a"].map(|account| sessions.open(&args(account)).unwrap());
        let default = sessions.open(&[]).unwrap();
        assert_eq!(account(&sessions, &first).unwrap(), "a");
        assert_eq!(account(&sessions, &second).unwrap(), "b");
        assert_eq!(account(&sessions, &default).unwrap(), "default");
        sessions.close(&first);
        sessions.close(&first);
        assert_eq!(account(&sessions, &first).unwrap_err(), failure::SESSION_NOT_FOUND);
        assert_eq!(account(&sessions, &third).unwrap(), "a");
        assert_eq!(sessions.find(&Vec::new()).unwrap_err().kind, failure::SESSION_NOT_FOUND);
    }

    #[test]
    fn an_id_of_before_leads_to_no_other_account() {
        let (mut before, mut after) = (Sessions::default(), Sessions::default());
        let id = before.open(&args("a")).unwrap();
        after.open(&args("b")).unwrap();
        assert_eq!(account(&after, &id).unwrap_err(), failure::SESSION_NOT_FOUND);
    }

    #[test]
    fn nothing_but_an_account_is_taken() {
        let mut sessions = Sessions::default();
        let long = "ü".repeat(LONGEST_ACCOUNT);
        assert!(sessions.open(&args(&long)).is_ok());
        let mut two = args("a");
        two.push(("scopes".into(), encoded("read")));
        let key = vec![("std:api-key".into(), encoded("canary"))];
        let number = vec![("account".into(), vec![0x01])];
        for refused in [args(""), args(&(long + "x")), two, key, number] {
            let error = sessions.open(&refused).unwrap_err();
            assert_eq!(error.kind, failure::INVALID_ARGS);
            assert!(!format!("{error:?}").contains("canary"));
        }
    }

    #[test]
    fn sessions_are_bounded() {
        let mut sessions = Sessions::default();
        let ids: Vec<_> = (0..MOST).map(|_| sessions.open(&[]).unwrap()).collect();
        assert_eq!(sessions.open(&[]).unwrap_err().kind, "memberspot:too-many-sessions");
        sessions.close(&ids[0]);
        assert!(sessions.open(&[]).is_ok());
    }

    #[test]
    fn the_schema_says_the_same() {
        let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
        assert_eq!(schema["properties"]["account"]["maxLength"], LONGEST_ACCOUNT);
        assert_eq!(schema["properties"]["account"]["default"], account::DEFAULT);
    }
}
