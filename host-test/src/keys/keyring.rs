//! Keys from the keyring of the operating system.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use keyring_core::{CredentialStore, Entry, Error};
use tokio::sync::{Mutex, oneshot};
use zeroize::Zeroize as _;

use super::{ApiKey, KeyError, KeyFuture, KeyStore, check_id, without_line_break};

/// The service under which keyrings have the keys; the user is the tenant's id. Other programs find and put them there too,
/// such as `secret-tool store --label Memberspot service memberspot username school-1`.
pub const SERVICE: &str = "memberspot";

/// Somebody may have to type a password.
const PATIENCE: Duration = Duration::from_mins(1);

type Open = dyn Fn() -> keyring_core::Result<Arc<CredentialStore>> + Send + Sync;

/// Keys from a keyring: that of the tenant `school-1` is what it has for the service [`SERVICE`] and the user `school-1`, a
/// line break at its end left out.
///
/// The keyring is asked at each call, and about one tenant at a time, which takes a keyring of a desktop some milliseconds.
/// It serves a person's machine; for thousands of tenants it is too slow. What the system's own libraries copy of a key is
/// not wiped. Clones share the keyring.
#[derive(Clone)]
pub struct KeyringKeys {
    open: Arc<Open>,
    /// The keyring, when it is open. Locked as long as it is used.
    opened: Arc<Mutex<Option<Arc<CredentialStore>>>>,
    patience: Duration,
}

/// What went wrong with a keyring. Never has what was in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// It did not answer, or was still busy with another question.
    #[error("the keyring did not answer within {limit:?}: it may wait for somebody to unlock it")]
    Unanswered {
        /// How long it was waited for.
        limit: Duration,
    },
    /// It has more than one key for the tenant.
    #[error("the keyring has more than one key for {tenant}")]
    Ambiguous {
        /// The tenant.
        tenant: String,
    },
    /// It is locked, not there, or failed otherwise.
    // Its text has its cause's, so the cause is no source.
    #[error("{0}")]
    Failed(Error),
    /// What it has cannot be read. Nothing more is said, since it is the key.
    #[error("what the keyring has for {tenant} is damaged")]
    Damaged {
        /// The tenant.
        tenant: String,
    },
    /// Its client panicked.
    #[error("the client of the keyring panicked")]
    Panicked,
}

impl KeyringKeys {
    /// The keyring of the user that the process runs as: the Secret Service (of GNOME or KDE) on Linux and the like, the
    /// login keychain on macOS, the Credential Manager on Windows. It is opened when it is asked for the first time, and again
    /// when that failed.
    #[cfg(feature = "keyring")]
    #[must_use]
    pub fn system() -> Self {
        #[cfg(target_os = "macos")]
        use apple_native_keyring_store::keychain::Store;
        #[cfg(windows)]
        use windows_native_keyring_store::Store;
        #[cfg(all(unix, not(target_os = "macos")))]
        use zbus_secret_service_keyring_store::Store;

        Self::opening(|| Ok(Store::new()?))
    }

    /// Another keyring: there are more of them for [`keyring_core`].
    #[must_use]
    pub fn of(store: Arc<CredentialStore>) -> Self {
        Self::opening(move || Ok(store.clone()))
    }

    fn opening(open: impl Fn() -> keyring_core::Result<Arc<CredentialStore>> + Send + Sync + 'static) -> Self {
        Self { open: Arc::new(open), opened: Arc::default(), patience: PATIENCE }
    }

    /// How long an answer is waited for: a minute, if not set. The time of a call limits it as well.
    #[must_use]
    pub fn within(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Keeps this key for a tenant, in the place of one that was there.
    ///
    /// # Errors
    ///
    /// When the id cannot name a key, or the keyring does not take it.
    pub async fn set(&self, tenant: &str, key: &ApiKey) -> Result<(), KeyError> {
        let key = key.clone();
        self.ask(tenant, move |entry| entry.set_password(key.expose())).await
    }

    /// Forgets the key of a tenant.
    ///
    /// # Errors
    ///
    /// When there is none, the id cannot name a key, or the keyring fails.
    pub async fn delete(&self, tenant: &str) -> Result<(), KeyError> {
        self.ask(tenant, Entry::delete_credential).await
    }

    /// Asks the keyring about a tenant, on a thread of its own. A runtime waits for its blocking tasks when it is shut down,
    /// and a keyring that waits for a password would keep a process from ending.
    async fn ask<T: Send + 'static>(
        &self,
        tenant: &str,
        question: impl Fn(&Entry) -> keyring_core::Result<T> + Send + 'static,
    ) -> Result<T, KeyError> {
        check_id(tenant)?;
        let answer = async {
            // It goes with the thread, so that there is no more than one, however many gave up waiting.
            let mut opened = self.opened.clone().lock_owned().await;
            let (open, user) = (self.open.clone(), tenant.to_owned());
            let (done, answer) = oneshot::channel();
            let thread = std::thread::Builder::new().name("keyring".into()).spawn(move || {
                // Who asked may be gone.
                let _ = done.send(consult(&*open, &mut opened, &user, &question));
            });
            thread.map_err(|error| KeyError::Store(error.into()))?;
            let answer = answer.await.map_err(|_| KeyError::Store(KeyringError::Panicked.into()))?;
            answer.map_err(|error| key_error(error, tenant))
        };
        let unanswered = |_| KeyError::Store(KeyringError::Unanswered { limit: self.patience }.into());
        tokio::time::timeout(self.patience, answer).await.map_err(unanswered)?
    }
}

/// Asks a keyring that is open, or opens it. What it fails in is opened again: a keyring that was restarted does not know
/// the sessions that it had.
fn consult<T>(
    open: &Open,
    opened: &mut Option<Arc<CredentialStore>>,
    user: &str,
    question: &impl Fn(&Entry) -> keyring_core::Result<T>,
) -> keyring_core::Result<T> {
    // Taken out, so that one whose client panics is not met again.
    if let Some(store) = opened.take() {
        let answer = store.build(SERVICE, user, None).and_then(|entry| question(&entry));
        if !matches!(answer, Err(Error::PlatformFailure(_))) {
            *opened = Some(store);
            return answer;
        }
    }
    let store = open()?;
    let answer = store.build(SERVICE, user, None).and_then(|entry| question(&entry));
    *opened = Some(store);
    answer
}

/// Without what was found: some of the errors carry it.
fn key_error(error: Error, tenant: &str) -> KeyError {
    let place = || place(tenant);
    let tenant = || tenant.to_owned();
    KeyError::Store(Box::new(match error {
        Error::NoEntry => return KeyError::Missing { place: place() },
        Error::BadEncoding(mut bytes) => {
            bytes.zeroize();
            return KeyError::NotText { place: place() };
        }
        Error::BadDataFormat(mut bytes, _) => {
            bytes.zeroize();
            KeyringError::Damaged { tenant: tenant() }
        }
        Error::Ambiguous(_) => KeyringError::Ambiguous { tenant: tenant() },
        Error::PlatformFailure(_)
        | Error::NoStorageAccess(_)
        | Error::BadStoreFormat(_)
        | Error::TooLong(..)
        | Error::Invalid(..)
        | Error::NoDefaultStore
        | Error::NotSupportedByStore(_) => KeyringError::Failed(error),
        _ => KeyringError::Damaged { tenant: tenant() },
    }))
}

fn place(tenant: &str) -> String {
    format!("the keyring (service {SERVICE}, user {tenant})")
}

impl KeyStore for KeyringKeys {
    fn key<'a>(&'a self, tenant: &'a str) -> KeyFuture<'a> {
        Box::pin(async move {
            // As a key from the thread on, so that it is wiped also where nobody waits for it any more.
            let key = self.ask(tenant, |entry| entry.get_password().map(ApiKey::new)).await?;
            match without_line_break(key.expose()) {
                "" => Err(KeyError::Missing { place: place(tenant) }),
                text if text.len() == key.expose().len() => Ok(key),
                text => Ok(ApiKey::new(text)),
            }
        })
    }
}

impl fmt::Debug for KeyringKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What a store prints of itself is its own affair, and may be too much.
        f.debug_struct("KeyringKeys").field("patience", &self.patience).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::any::Any;
    use std::collections::HashMap;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::sync::mpsc;

    use keyring_core::api::CredentialStoreApi;
    use keyring_core::mock;
    use serde_json::json;

    use super::*;
    use crate::simulator::{Clock, Options, Simulator};
    use crate::{Connection, Host, HostError, Limits};

    const KEY: &str = "canary-4711";

    fn keyring() -> (KeyringKeys, Arc<CredentialStore>) {
        let store: Arc<CredentialStore> = mock::Store::new().unwrap();
        (KeyringKeys::of(store.clone()), store)
    }

    fn entry(store: &Arc<CredentialStore>, tenant: &str) -> Entry {
        store.build("memberspot", tenant, None).unwrap()
    }

    fn fail(store: &Arc<CredentialStore>, error: Error) {
        entry(store, "school-1").as_any().downcast_ref::<mock::Cred>().unwrap().set_error(error);
    }

    fn cause(error: KeyError) -> KeyringError {
        match error {
            KeyError::Store(source) => *source.downcast().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_key_is_found_by_service_and_user() {
        let (keys, store) = keyring();
        assert!(matches!(keys.key("school-1").await, Err(KeyError::Missing { place }) if place.contains("school-1")));
        for (text, key) in [("k e y", "k e y"), ("key\n", "key"), ("key\r\n", "key"), ("key\n\n", "key\n")] {
            entry(&store, "school-1").set_password(text).unwrap();
            assert_eq!(keys.key("school-1").await.unwrap(), ApiKey::new(key));
        }
        for nothing in ["", "\n"] {
            entry(&store, "school-1").set_password(nothing).unwrap();
            assert!(matches!(keys.key("school-1").await, Err(KeyError::Missing { .. })));
        }
        assert!(matches!(keys.key("school-2").await, Err(KeyError::Missing { .. })));
    }

    #[tokio::test]
    async fn a_key_is_kept_exchanged_and_forgotten() {
        let (keys, store) = keyring();
        for key in [KEY, "other"] {
            keys.set("school-1", &ApiKey::new(key)).await.unwrap();
            assert_eq!(keys.clone().key("school-1").await.unwrap(), ApiKey::new(key));
            assert_eq!(entry(&store, "school-1").get_password().unwrap(), key);
        }
        keys.delete("school-1").await.unwrap();
        assert!(matches!(keys.delete("school-1").await, Err(KeyError::Missing { .. })));
        assert!(matches!(keys.key("school-1").await, Err(KeyError::Missing { .. })));
    }

    #[tokio::test]
    async fn ids_are_those_of_files() {
        let (keys, _) = keyring();
        for id in ["", ".", "..", ".hidden", "a/b", "a b", "a\0", "ä"] {
            assert!(matches!(keys.key(id).await, Err(KeyError::Id { .. })), "{id:?}");
            assert!(matches!(keys.set(id, &ApiKey::new(KEY)).await, Err(KeyError::Id { .. })), "{id:?}");
            assert!(matches!(keys.delete(id).await, Err(KeyError::Id { .. })), "{id:?}");
        }
    }

    #[tokio::test]
    async fn errors_say_what_failed_and_nothing_of_the_key() {
        let (keys, store) = keyring();
        keys.set("school-1", &ApiKey::new(KEY)).await.unwrap();
        let bytes = || KEY.as_bytes().to_vec();
        let same = || vec![entry(&store, "school-1"), entry(&store, "school-1")];
        let failures = [
            (Error::NoStorageAccess("locked".into()), false),
            (Error::BadEncoding(bytes()), true),
            (Error::BadDataFormat(bytes(), KEY.into()), false),
            (Error::Ambiguous(same()), false),
        ];
        for (failure, is_no_text) in failures {
            fail(&store, failure);
            let error = keys.key("school-1").await.unwrap_err();
            let is_expected =
                if is_no_text { matches!(error, KeyError::NotText { .. }) } else { matches!(error, KeyError::Store(_)) };
            assert!(is_expected, "{error:?}");
            let mut told = format!("{keys:?} {error:?} {error}");
            if let KeyError::Store(source) = &error {
                told.push_str(&source.to_string());
            }
            // As text, and as Debug writes bytes.
            assert!(!told.contains(KEY) && !told.contains(&format!("{:?}", KEY.as_bytes())), "{told}");
        }
        assert_eq!(keys.key("school-1").await.unwrap(), ApiKey::new(KEY));
    }

    #[tokio::test]
    async fn what_failed_is_opened_again() {
        let (_, store) = keyring();
        let times = Arc::new(AtomicUsize::new(0));
        let keys = KeyringKeys::opening({
            let (store, times) = (store.clone(), times.clone());
            move || match times.fetch_add(1, Relaxed) {
                0 => Err(Error::NoStorageAccess("not there yet".into())),
                _ => Ok(store.clone()),
            }
        });
        assert!(matches!(cause(keys.key("school-1").await.unwrap_err()), KeyringError::Failed(Error::NoStorageAccess(_))));
        keys.set("school-1", &ApiKey::new(KEY)).await.unwrap();
        assert_eq!(times.load(Relaxed), 2);
        // As one that was restarted, which has forgotten its sessions.
        fail(&store, Error::PlatformFailure("no such session".into()));
        assert_eq!(keys.key("school-1").await.unwrap(), ApiKey::new(KEY));
        assert_eq!(times.load(Relaxed), 3);
        // It is there, and says no.
        fail(&store, Error::NoStorageAccess("dismissed".into()));
        assert!(keys.key("school-1").await.is_err());
        assert!(keys.key("school-1").await.is_ok());
        assert_eq!(times.load(Relaxed), 3);
    }

    /// Waits for somebody before it is of use, as one that is locked.
    #[derive(Debug)]
    struct Locked(Arc<mock::Store>, std::sync::Mutex<mpsc::Receiver<()>>);

    impl CredentialStoreApi for Locked {
        fn vendor(&self) -> String {
            self.0.vendor()
        }

        fn id(&self) -> String {
            self.0.id()
        }

        fn build(&self, service: &str, user: &str, mods: Option<&HashMap<&str, &str>>) -> keyring_core::Result<Entry> {
            // When nobody can come any more, it is open.
            let _ = self.1.lock().unwrap().recv();
            self.0.build(service, user, mods)
        }

        fn as_any(&self) -> &dyn Any {
            self
        }
    }

    fn locked() -> (KeyringKeys, mpsc::Sender<()>) {
        let store = mock::Store::new().unwrap();
        store.build(SERVICE, "school-1", None).unwrap().set_password(KEY).unwrap();
        let (somebody, locked) = mpsc::channel();
        (KeyringKeys::of(Arc::new(Locked(store, std::sync::Mutex::new(locked)))), somebody)
    }

    #[tokio::test(start_paused = true)]
    async fn a_locked_keyring_is_not_waited_for_without_end() {
        let (keys, somebody) = locked();
        let (first, second) = tokio::join!(keys.key("school-1"), keys.key("school-1"));
        for answer in [first, second, keys.key("school-2").await] {
            assert!(matches!(cause(answer.unwrap_err()), KeyringError::Unanswered { limit: PATIENCE }));
        }
        drop(somebody);
        tokio::time::resume();
        assert_eq!(keys.key("school-1").await.unwrap(), ApiKey::new(KEY));
    }

    #[tokio::test]
    async fn a_client_that_panics_is_an_error() {
        let (_, store) = keyring();
        let times = AtomicUsize::new(0);
        let keys = KeyringKeys::opening(move || {
            assert_ne!(times.fetch_add(1, Relaxed), 0, "for the first time");
            Ok(store.clone())
        });
        assert!(matches!(cause(keys.key("school-1").await.unwrap_err()), KeyringError::Panicked));
        assert!(matches!(keys.key("school-1").await, Err(KeyError::Missing { .. })));
    }

    #[tokio::test]
    async fn a_host_asks_at_each_call_and_waits_no_longer_than_the_call_may_take() {
        let options = Options { clock: Clock::manual(), rate_limit: None, ..Options::default() };
        let simulator = Simulator::start(options).await.unwrap();
        let connection = Connection::default().base_url(simulator.origin());
        let (keys, _) = keyring();
        let host = Host::builder().keys(keys.clone()).allow_internal(simulator.origin()).build().unwrap();
        let school = host.tenant("school-1", connection.clone());
        let missing = host.call(&school, "list-offers", &json!({})).await;
        assert!(matches!(missing, Err(HostError::Key(KeyError::Missing { .. }))));
        for key in [KEY, "other"] {
            keys.set("school-1", &ApiKey::new(key)).await.unwrap();
            host.call(&school, "list-offers", &json!({})).await.unwrap();
        }
        let sent: Vec<_> = simulator.journal().iter().map(|entry| entry.api_key().map(str::to_owned)).collect();
        assert_eq!(sent, [Some(KEY.to_owned()), Some("other".to_owned())]);

        let (keys, _somebody) = locked();
        let host = Host::builder().keys(keys).build().unwrap();
        let school = host.tenant_within("school-1", connection, Limits { time: Duration::from_secs(1), ..Limits::default() });
        tokio::time::pause();
        assert!(matches!(host.call(&school, "list-offers", &json!({})).await, Err(HostError::TimedOut { .. })));
    }
}
