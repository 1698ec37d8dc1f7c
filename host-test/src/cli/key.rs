//! `memberspot key`: API keys in the keyring of the operating system. And where `--keyring` reads them.

use std::io::{self, IsTerminal as _, Read as _};

use clap::{Args, Subcommand};
use memberspot_host::ApiKey;
use memberspot_host::keys::{KeyError, KeyStore as _, KeyringKeys};
use zeroize::Zeroizing;

use super::SUCCESS;
use super::output::Failure;

/// Longer than any key; what is longer is something else.
const LONGEST_KEY: u64 = 64 << 10;

/// Keep an API key in the keyring of the operating system, for --keyring.
#[derive(Debug, Args)]
pub struct Key {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Set(Set),
    Delete(Delete),
}

/// Put a key into the keyring, or exchange it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  memberspot key set school-1
  memberspot key set school-1 < key.txt
  memberspot run --keyring school-1 list-offers

The key is asked for and not shown, or read from standard input where that is no terminal. In the keyring, it belongs to the \
service memberspot and the user NAME.")]
struct Set {
    /// What the key is to be called.
    name: String,
}

/// Remove a key from the keyring.
#[derive(Debug, Args)]
struct Delete {
    /// What the key is called.
    name: String,
}

impl Key {
    pub fn execute(&self) -> Result<u8, Failure> {
        let keyring = KeyringKeys::system();
        match &self.action {
            Action::Set(Set { name }) => {
                let key = typed_or_piped()?;
                wait(keyring.set(name, &key))?.map_err(failure)?;
            }
            Action::Delete(Delete { name }) => wait(keyring.delete(name))?.map_err(failure)?,
        }
        Ok(SUCCESS)
    }
}

/// The key that the keyring has under a name.
pub fn find(name: &str) -> Result<ApiKey, Failure> {
    wait(KeyringKeys::system().key(name))?.map_err(|error| match error {
        KeyError::Missing { .. } => Failure::usage(format!("{error}: `memberspot key set {name}` puts one there")),
        error => failure(error),
    })
}

fn failure(error: KeyError) -> Failure {
    match error {
        KeyError::Missing { .. } | KeyError::Id { .. } => Failure::usage(error),
        error => Failure::host(&error),
    }
}

/// Options are read before there is a runtime.
fn wait<F: Future>(future: F) -> Result<F::Output, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    Ok(runtime.map_err(|error| Failure::host(&error))?.block_on(future))
}

/// A key from the terminal, unseen, or from a pipe. Arguments could be seen by everybody on the machine.
fn typed_or_piped() -> Result<ApiKey, Failure> {
    let unreadable = |error: io::Error| Failure::usage(format!("cannot read the key: {error}"));
    let text = if io::stdin().is_terminal() {
        Zeroizing::new(rpassword::prompt_password("API key: ").map_err(unreadable)?)
    } else {
        let mut text = Zeroizing::new(String::new());
        let length = io::stdin().take(LONGEST_KEY + 1).read_to_string(&mut text).map_err(unreadable)?;
        if length as u64 > LONGEST_KEY {
            return Err(Failure::usage(format!("the key is longer than {LONGEST_KEY} bytes")));
        }
        text
    };
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(Failure::usage("the key is empty")),
        key => Ok(ApiKey::new(key)),
    }
}
