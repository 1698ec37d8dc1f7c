//! Which Memberspot account a call is for, and how the component is configured for it.

use std::collections::BTreeMap;
use std::ffi::OsString;

use crate::{ApiKey, Origin};

// The component says what its variables are called.
pub use memberspot_core::config::{
    API_KEY, BASE_URL, DEADLINE_MS, DEFAULT_BASE_URL, MAX_ATTEMPTS, MAX_RESPONSE_BYTES, SCOPES, VARIABLES,
};

/// What the names of all variables of the component begin with.
pub const PREFIX: &str = "MEMBERSPOT_";

/// What the names of variables begin with that are the host's own, although they begin with [`PREFIX`]: keys of single tenants,
/// what concerns the audit log, and what the webhook receiver has. The connector is not given them.
const HOSTS_OWN: [&str; 4] = ["MEMBERSPOT_API_KEY_", "MEMBERSPOT_AUDIT_", "MEMBERSPOT_WEBHOOK_", "MEMBERSPOT_FORWARD_"];

/// One connection to Memberspot: its key, and the environment of the component's instances.
///
/// Without a key of its own, the host asks its [`KeyStore`](crate::keys::KeyStore) at each call. Nothing is checked here. The component reads its own configuration and answers `not-configured` when it is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connection {
    key: Option<ApiKey>,
    /// Without the key.
    variables: BTreeMap<String, String>,
}

/// A variable for the component whose value is not UTF-8 text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {name} is not UTF-8 text")]
pub struct NotText {
    /// The variable.
    pub name: String,
}

impl Connection {
    /// A connection to Memberspot with this key and the defaults of the component.
    #[must_use]
    pub fn new(key: impl Into<ApiKey>) -> Self {
        Self { key: Some(key.into()), variables: BTreeMap::new() }
    }

    /// Takes over the variables whose names begin with `MEMBERSPOT_` and which are not the host's own, from [`std::env::vars_os`] or a list of the same
    /// form.
    ///
    /// # Errors
    ///
    /// When one of them is not UTF-8 text.
    pub fn from_vars(vars: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, NotText> {
        let mut connection = Self::default();
        for (name, value) in vars {
            let is_meant = |name: &&str| name.starts_with(PREFIX) && !HOSTS_OWN.iter().any(|own| name.starts_with(own));
            let Some(name) = name.to_str().filter(is_meant) else { continue };
            let value = value.into_string().map_err(|_| NotText { name: name.to_owned() })?;
            connection = connection.variable(name, value);
        }
        Ok(connection)
    }

    /// Sets the key.
    #[must_use]
    pub fn key(mut self, key: impl Into<ApiKey>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the address of the API. Its origin is the only one that requests may go to.
    #[must_use]
    pub fn base_url(self, url: impl Into<String>) -> Self {
        self.variable(BASE_URL, url)
    }

    /// Sets the permissions, such as `read,write`.
    #[must_use]
    pub fn scopes(self, scopes: impl Into<String>) -> Self {
        self.variable(SCOPES, scopes)
    }

    /// Sets the component's own time limit for a call, in milliseconds.
    #[must_use]
    pub fn deadline_ms(self, milliseconds: u32) -> Self {
        self.variable(DEADLINE_MS, milliseconds.to_string())
    }

    /// Sets any variable of the component's environment.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let name = name.into();
        if name == API_KEY {
            return self.key(value.into());
        }
        self.variables.insert(name, value.into());
        self
    }

    /// Whether there is a key.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// The value of a variable other than the key.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// Variables that the embedded component does not read: mistyped, perhaps, or meant for another version.
    pub fn unknown_variables(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().map(String::as_str).filter(|name| !VARIABLES.contains(name))
    }

    /// The origin that requests may go to. `None`, which allows nothing, when the configured address has none.
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        Origin::parse(self.get(BASE_URL).unwrap_or(DEFAULT_BASE_URL))
    }

    /// The key, where the connection has its own.
    pub(crate) fn own_key(&self) -> Option<&ApiKey> {
        self.key.as_ref()
    }

    /// The environment of an instance, but for the key.
    pub(crate) fn environment(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_not_printed() {
        let key = "canary-4711";
        let connection = Connection::new(key).variable(API_KEY, key);
        assert!(!format!("{connection:?}{:?}", ApiKey::new(key)).contains(key));
        assert_eq!(connection.own_key(), Some(&ApiKey::new(key)));
        assert_eq!(connection.environment().count(), 0);
    }

    #[test]
    fn only_the_components_variables_are_taken_over() {
        let vars = [
            ("PATH", "/bin"),
            (API_KEY, "k"),
            ("MEMBERSPOT_FUTURE", "1"),
            ("XMEMBERSPOT_A", "2"),
            // The key of another tenant, the one of the audit log, and what the webhook receiver has.
            ("MEMBERSPOT_API_KEY_school_2", "k2"),
            ("MEMBERSPOT_AUDIT_KEY", "k3"),
            ("MEMBERSPOT_WEBHOOK_TOKEN", "t"),
            ("MEMBERSPOT_FORWARD_SECRET", "s"),
        ];
        let connection = Connection::from_vars(vars.map(|(name, value)| (name.into(), value.into()))).unwrap();
        assert_eq!(connection.environment().collect::<Vec<_>>(), [("MEMBERSPOT_FUTURE", "1")]);
        assert_eq!(connection.own_key(), Some(&ApiKey::new("k")));
    }

    #[cfg(unix)]
    #[test]
    fn a_variable_that_is_not_text_is_named() {
        use std::os::unix::ffi::OsStringExt as _;
        let bad = OsString::from_vec(vec![0xff]);
        let error = Connection::from_vars([("OTHER".into(), bad.clone()), (SCOPES.into(), bad)]).unwrap_err();
        assert_eq!(error.name, SCOPES);
    }

    #[test]
    fn the_origin_follows_the_base_url() {
        let origin = |connection: Connection| connection.origin().map(|origin| origin.to_string());
        assert_eq!(origin(Connection::default()).as_deref(), Some("https://api.memberspot.de"));
        // The component refuses an empty address as well.
        assert_eq!(origin(Connection::default().base_url("")), None);
        assert_eq!(origin(Connection::default().base_url("http://localhost:1/x")).as_deref(), Some("http://localhost:1"));
        assert_eq!(origin(Connection::default().base_url("garbage")), None);
    }
}
