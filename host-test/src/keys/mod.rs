//! API keys, and where they come from.
//!
//! A key stays with the host. The component is given a stand-in, which the [egress](crate::egress) replaces by the key when
//! a request leaves for the tenant's own origin.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use zeroize::Zeroizing;

// Tests look at it in every build, with a keyring in memory.
#[cfg(any(test, feature = "keyring"))]
pub mod keyring;

#[cfg(any(test, feature = "keyring"))]
pub use keyring::KeyringKeys;

/// An API key. It is never printed, and it is wiped from memory when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(Zeroizing<String>);

impl ApiKey {
    /// Takes the key verbatim: its form is nobody's business but Memberspot's.
    #[must_use]
    pub fn new(key: impl Into<String>) -> Self {
        Self(Zeroizing::new(key.into()))
    }

    /// The text of a file that only its owner can read, without a line break at its end.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, others can read it too, or it is empty.
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        read_key_file(path)
    }

    /// The key itself, for the one who sends it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for ApiKey {
    fn from(key: String) -> Self {
        Self::new(key)
    }
}

impl From<&str> for ApiKey {
    fn from(key: &str) -> Self {
        Self::new(key)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

/// Why there is no key for a tenant. Says where it was looked for, never what was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There is none.
    #[error("no key in {place}")]
    Missing {
        /// Where it was looked for.
        place: String,
    },
    /// The tenant's id cannot be a part of the place where its key would be.
    #[error("the id {tenant:?} cannot name a key: {rule}")]
    Id {
        /// The tenant.
        tenant: String,
        /// What an id may consist of.
        rule: &'static str,
    },
    /// Others than the owner can read the file.
    #[error("{} can be read by others (mode {mode:03o}): chmod 600 it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// What is there is not UTF-8 text.
    #[error("the key in {place} is not UTF-8 text")]
    NotText {
        /// Where it was found.
        place: String,
    },
    /// What is there is too long to be a key.
    #[error("what is in {place} is longer than {most} bytes, so it is no key")]
    Long {
        /// Where it was found.
        place: String,
        /// How long it may be.
        most: u64,
    },
    /// What is there is too short to be a key of this kind.
    #[error("the key in {place} is shorter than {least} bytes")]
    Short {
        /// Where it was found.
        place: String,
        /// How long it has to be.
        least: usize,
    },
    /// The place cannot be read.
    #[error("cannot read {place}")]
    Unreadable {
        /// Where it was looked for.
        place: String,
        /// Why not.
        source: io::Error,
    },
    /// A store of another kind failed.
    #[error("the key store failed")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What [`KeyStore::key`] gives.
pub type KeyFuture<'a> = Pin<Box<dyn Future<Output = Result<ApiKey, KeyError>> + Send + 'a>>;

/// Where the keys of tenants are kept. Asked at each call, so that a key that was exchanged is used from the next call on;
/// a store that is slow keeps what it found for as long as it sees fit.
pub trait KeyStore: Send + Sync {
    /// The key of a tenant.
    fn key<'a>(&'a self, tenant: &'a str) -> KeyFuture<'a>;
}

/// Keys from the environment of the process: that of the tenant `school_1` is in `MEMBERSPOT_API_KEY_school_1`.
#[derive(Debug, Clone, Copy, Default)]
pub struct EnvironmentKeys;

impl KeyStore for EnvironmentKeys {
    fn key<'a>(&'a self, tenant: &'a str) -> KeyFuture<'a> {
        let key = || {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if tenant.is_empty() || !tenant.chars().all(fits) {
                return Err(KeyError::Id { tenant: tenant.to_owned(), rule: "ASCII letters, digits and underscores" });
            }
            let name = format!("{}_{tenant}", crate::connection::API_KEY);
            match std::env::var(&name) {
                Ok(key) => Ok(ApiKey::new(key)),
                Err(std::env::VarError::NotPresent) => Err(KeyError::Missing { place: name }),
                Err(std::env::VarError::NotUnicode(_)) => Err(KeyError::NotText { place: name }),
            }
        };
        Box::pin(std::future::ready(key()))
    }
}

/// Keys from files: that of the tenant `school-1` is in `school-1.key` in a folder. Nobody but the owner may be able to read
/// it (mode 600), where the system has such permissions.
#[derive(Debug, Clone)]
pub struct FileKeys {
    folder: PathBuf,
}

impl FileKeys {
    /// The files are in this folder.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }
}

impl KeyStore for FileKeys {
    fn key<'a>(&'a self, tenant: &'a str) -> KeyFuture<'a> {
        Box::pin(async move {
            check_id(tenant)?;
            let path = self.folder.join(format!("{tenant}.key"));
            let place = path.display().to_string();
            tokio::task::spawn_blocking(move || read_key_file(&path))
                .await
                .unwrap_or_else(|error| Err(KeyError::Unreadable { place, source: error.into() }))
        })
    }
}

/// Refuses an id that could mean another place than its own.
fn check_id(tenant: &str) -> Result<(), KeyError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if tenant.is_empty() || tenant.starts_with('.') || !tenant.chars().all(fits) {
        let rule = "ASCII letters, digits, `_`, `-` and `.`, not at the start";
        return Err(KeyError::Id { tenant: tenant.to_owned(), rule });
    }
    Ok(())
}

/// Without the one line break that editors and pipes put at the end.
fn without_line_break(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

/// Longer than any key; what is longer is another file.
const LONGEST_KEY_FILE: u64 = 64 << 10;

/// Reads a file that only its owner can read. A line break at its end does not belong to the key.
pub(crate) fn read_key_file(path: &Path) -> Result<ApiKey, KeyError> {
    use std::io::Read as _;

    let place = || path.display().to_string();
    let file = std::fs::File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => KeyError::Missing { place: place() },
        _ => KeyError::Unreadable { place: place(), source },
    })?;
    // Of the file that was opened, not of what has its name by now.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let metadata = file.metadata().map_err(|source| KeyError::Unreadable { place: place(), source })?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed { path: path.to_owned(), mode });
        }
    }
    let mut text = Zeroizing::new(Vec::new());
    let read = file.take(LONGEST_KEY_FILE + 1).read_to_end(&mut text);
    let length = read.map_err(|source| KeyError::Unreadable { place: place(), source })?;
    if length as u64 > LONGEST_KEY_FILE {
        return Err(KeyError::Long { place: place(), most: LONGEST_KEY_FILE });
    }
    let text = std::str::from_utf8(&text).map_err(|_| KeyError::NotText { place: place() })?;
    let key = without_line_break(text);
    if key.is_empty() { Err(KeyError::Missing { place: place() }) } else { Ok(ApiKey::new(key)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_printed() {
        assert!(!format!("{:?}", ApiKey::new("canary-4711")).contains("canary"));
    }

    #[tokio::test]
    async fn ids_stay_within_their_place() {
        let files = FileKeys::new("/nowhere");
        for id in ["", "..", "../other", "a/b", "a\\b", ".hidden", "a\0", "ä"] {
            assert!(matches!(files.key(id).await, Err(KeyError::Id { .. })), "{id:?}");
        }
        for id in ["", "a-b", "a=b", "a\0", "ä", "a b"] {
            assert!(matches!(EnvironmentKeys.key(id).await, Err(KeyError::Id { .. })), "{id:?}");
        }
        assert!(matches!(files.key("school-1").await, Err(KeyError::Missing { place }) if place.ends_with("school-1.key")));
        assert!(matches!(EnvironmentKeys.key("nobody").await, Err(KeyError::Missing { .. })));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_key_file_is_the_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let store = FileKeys::new(folder.path());
        let write = |text: &[u8], mode: u32| {
            let path = folder.path().join("school-1.key");
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        for text in ["k e y", "k e y\n", "k e y\r\n"] {
            write(text.as_bytes(), 0o600);
            assert_eq!(store.key("school-1").await.unwrap(), ApiKey::new("k e y"));
        }
        write(b"key", 0o400);
        assert!(store.key("school-1").await.is_ok());
        write(b"key", 0o640);
        assert!(matches!(store.key("school-1").await, Err(KeyError::Exposed { mode: 0o640, .. })));
        write(b"key", 0o604);
        assert!(matches!(store.key("school-1").await, Err(KeyError::Exposed { .. })));
        write(&vec![b'k'; 65_537], 0o600);
        assert!(matches!(store.key("school-1").await, Err(KeyError::Long { .. })));
        write(&vec![b'k'; 65_536], 0o600);
        assert!(store.key("school-1").await.is_ok());
        write(b"", 0o600);
        assert!(matches!(store.key("school-1").await, Err(KeyError::Missing { .. })));
        write(b"\xff", 0o600);
        assert!(matches!(store.key("school-1").await, Err(KeyError::NotText { .. })));
    }
}
