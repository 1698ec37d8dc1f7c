//! The cursor file: where a watch is, and of what. It is replaced as a whole, so that a kill leaves the old one or the new one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cli::output::{Failure, one_line};

/// The form of the file.
const VERSION: u32 = 1;

/// What a watch is of. A cursor is good for nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// The server.
    pub origin: String,
    /// The function.
    pub function: String,
    /// The exam or the course.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    memberspot_watch: u32,
    #[serde(flatten)]
    subject: Subject,
    cursor: String,
}

/// The file, locked for this process.
pub struct CursorFile {
    path: PathBuf,
    subject: Subject,
    /// The lock is on a file of its own: the cursor file itself is another one after every poll.
    _lock: File,
}

impl CursorFile {
    /// Takes the file for this process. With it comes the cursor, where there is one.
    pub fn open(path: &Path, subject: Subject) -> Result<(Self, Option<String>), Failure> {
        let lock_path = beside(path, ".lock");
        let lock = options().truncate(false).open(&lock_path).map_err(|error| Failure::output(&lock_path, &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let problem = format!("another watch has {}; end it, or name another file with --cursor", path.display());
                return Err(Failure::usage(problem));
            }
            Err(TryLockError::Error(error)) => return Err(Failure::output(&lock_path, &error)),
        }
        let cursor = match fs::read(path) {
            Ok(bytes) => Some(read(path, &bytes, &subject)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Failure::input(path, &error)),
        };
        Ok((Self { path: path.to_owned(), subject, _lock: lock }, cursor))
    }

    /// Replaces the cursor, and returns when it is on the disk.
    pub fn keep(&self, cursor: &str) -> Result<(), Failure> {
        let content = Content { memberspot_watch: VERSION, subject: self.subject.clone(), cursor: cursor.to_owned() };
        let mut bytes = serde_json::to_vec(&content).map_err(|error| Failure::host(&error))?;
        bytes.push(b'\n');
        self.replace(&bytes).map_err(|error| Failure::output(&self.path, &error))
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let new = beside(&self.path, ".new");
        let mut file = options().truncate(true).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        // The new name, too, has to be on the disk.
        #[cfg(unix)]
        File::open(self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(())
    }
}

/// What a watch knows is nobody else's business.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn read(path: &Path, bytes: &[u8], subject: &Subject) -> Result<String, Failure> {
    let path = path.display();
    match serde_json::from_slice::<Content>(bytes) {
        Ok(content) if content.memberspot_watch != VERSION => {
            Err(Failure::usage(format!("{path} is a cursor file of another version of this command")))
        }
        Ok(content) if content.subject != *subject => {
            let Subject { origin, function, id } = content.subject;
            let of = format!("{function}{} at {origin}", id.map(|id| format!(" of {id}")).unwrap_or_default());
            Err(Failure::usage(format!("{path} is the cursor of {}; name another file with --cursor", one_line(&of))))
        }
        Ok(content) => Ok(content.cursor),
        Err(_) => Err(Failure::usage(format!("{path} is no cursor file of this command"))),
    }
}
