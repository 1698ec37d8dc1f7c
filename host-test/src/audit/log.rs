//! The files of a log: lines are added to the last one, which makes room for another when it is full.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::chain::{Chain, Head, Sealed, hex};
use super::event::{self, Fields};
use super::{Event, FileOptions, Pseudonyms};

/// The form of the lines. Another number stands for another form.
const VERSION: u64 = 1;
/// No line is longer: what is recorded of a request or a call is bounded.
pub(super) const LONGEST_LINE: u64 = 64 << 10;
/// How long another one may hold the log: one that verifies it, or one that is about to end.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_TRIES: u32 = 20;

/// Why a log cannot be opened. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another sink of this one, writes it.
    #[error("{} is in use", path.display())]
    InUse {
        /// The log.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The log was begun with a key, or with another one; or its last line was altered.
    #[error("{} does not continue with this key, or was altered at its end: `memberspot audit verify` says which", path.display())]
    Continuation {
        /// The file.
        path: PathBuf,
    },
    /// There is no randomness for the hashes of addresses.
    #[error("the machine has no randomness")]
    Randomness,
}

/// What to add to a log.
pub(super) enum Entry<'a> {
    Event(&'a Event),
    /// Somebody begins to write.
    Opened,
    /// Nobody writes any more.
    Closed,
}

/// A log that is being written.
pub(super) struct Log {
    path: PathBuf,
    chain: Chain,
    pseudonyms: Pseudonyms,
    addresses: &'static str,
    max_bytes: u64,
    max_files: u64,
    /// Random: what tells this log from all others.
    id: String,
    /// The number of the file that is written, and of the oldest that was not removed. Counted, not looked up: what
    /// somebody else removed is to be missed.
    number: u64,
    oldest: u64,
    head: Head,
    /// `None` when there is to be a new one.
    out: Option<Appending>,
    /// Events that could not be written since the last one that could.
    lost: u64,
    /// Bytes of an incomplete line that were found at the end and cut off.
    torn: u64,
    /// What was written may be gone, whatever comes after it.
    broken: Option<Arc<io::Error>>,
    /// Held as long as the log is written.
    _lock: File,
}

struct Appending {
    file: File,
    len: u64,
}

impl Log {
    /// Goes on with a log, or begins one.
    pub(super) fn open(path: &Path, options: &FileOptions) -> Result<Self, OpenError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::File { path, source }
        };
        let lock = lock(path)?;
        let rotated = rotated(path).map_err(failed(path))?;
        let newest = rotated.last().map_or(0, |(number, _)| *number);
        let mut log = Self {
            path: path.to_owned(),
            chain: Chain::new(options.key.as_ref()),
            pseudonyms: pseudonyms(options)?,
            addresses: match (&options.key, options.plain) {
                (_, true) => "plain",
                (Some(_), false) => "keyed",
                (None, false) => "of-this-run",
            },
            max_bytes: options.max_bytes,
            max_files: u64::from(options.max_files.max(2)),
            id: random()?,
            number: newest + 1,
            oldest: newest + 1,
            head: Head::none(),
            out: None,
            lost: 0,
            torn: 0,
            broken: None,
            _lock: lock,
        };
        match open_existing(path).map_err(failed(path))? {
            Some(mut file) => {
                let end = Found::read(&mut file).map_err(failed(path))?;
                if !end.is_empty() {
                    log.go_on(path, &end)?;
                } else if let Some((_, newest)) = rotated.last() {
                    log.go_on_after(newest)?;
                }
                if end.whole < end.len {
                    log.torn = end.len - end.whole;
                    file.set_len(end.whole).map_err(failed(path))?;
                }
                log.out = Some(Appending { file, len: end.whole });
            }
            None => {
                if let Some((_, newest)) = rotated.last() {
                    log.go_on_after(newest)?;
                }
            }
        }
        log.append(&[Entry::Opened]).map_err(failed(path))?;
        Ok(log)
    }

    /// Takes over where a file ends.
    fn go_on(&mut self, path: &Path, found: &Found) -> Result<(), OpenError> {
        let unfit = || OpenError::Continuation { path: path.to_owned() };
        let fitting = |line: &[u8]| {
            let line = Sealed::read(line).filter(|line| self.chain.fits(line)).ok_or_else(unfit)?;
            Ok::<_, OpenError>((line.head(), line.links))
        };
        let (_, header) = fitting(&found.first)?;
        let (head, _) = fitting(&found.last)?;
        let (Some(id), Some(number), Some(oldest)) = (header.log, header.file, header.oldest) else { return Err(unfit()) };
        (self.id, self.number, self.oldest, self.head) = (id, number, oldest, head);
        Ok(())
    }

    /// The same where the file after it was not begun.
    fn go_on_after(&mut self, path: &Path) -> Result<(), OpenError> {
        let failed = |source| OpenError::File { path: path.to_owned(), source };
        let found = Found::read(&mut File::open(path).map_err(failed)?).map_err(failed)?;
        self.go_on(path, &found)?;
        self.number += 1;
        Ok(())
    }

    /// Writes lines: all of them, or none.
    pub(super) fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        let written = self.try_append(entries);
        match written {
            Ok(()) => self.lost = 0,
            Err(_) => self.lost += entries.iter().filter(|entry| matches!(entry, Entry::Event(_))).count() as u64,
        }
        written
    }

    fn try_append(&mut self, entries: &[Entry]) -> io::Result<()> {
        if let Some(error) = &self.broken {
            return Err(io::Error::new(error.kind(), error.clone()));
        }
        if self.out.as_ref().is_some_and(|out| out.len >= self.max_bytes) {
            self.make_room()?;
        }
        let len = self.out.as_ref().map_or(0, |out| out.len);
        let (head, text) = self.lines(entries, len == 0)?;
        let out = match &mut self.out {
            Some(out) => out,
            None => self.out.insert(Appending { file: create(&self.path)?, len: 0 }),
        };
        if let Err(error) = append(&mut out.file, out.len, text.as_bytes()) {
            if let Some(uncut) = error.uncut {
                self.broken = Some(Arc::new(uncut));
            }
            return Err(error.write);
        }
        out.len += text.len() as u64;
        (self.head, self.torn) = (head, 0);
        Ok(())
    }

    /// The text of lines, and the last of them.
    fn lines(&self, entries: &[Entry], new_file: bool) -> io::Result<(Head, String)> {
        let mut writing = Writing { chain: &self.chain, head: self.head.clone(), text: String::new() };
        let now = SystemTime::now();
        if new_file {
            writing.add(
                now,
                "log.file",
                Fields {
                    version: Some(VERSION),
                    log: Some(self.id.clone()),
                    file: Some(self.number),
                    oldest: Some(self.oldest),
                    chain: Some(self.chain.name()),
                    ..Fields::default()
                },
            )?;
        }
        if self.torn > 0 {
            writing.add(now, "log.torn", Fields { bytes: Some(self.torn), ..Fields::default() })?;
        }
        if self.lost > 0 {
            writing.add(now, "log.lost", Fields { events: Some(self.lost), ..Fields::default() })?;
        }
        for entry in entries {
            match entry {
                Entry::Event(event) => {
                    let (name, fields) = event::fields(event, &self.pseudonyms);
                    writing.add(event.time, name, fields)?;
                }
                Entry::Opened => {
                    let host = Some(concat!("memberspot-host ", env!("CARGO_PKG_VERSION")));
                    writing.add(now, "log.opened", Fields { host, addresses: Some(self.addresses), ..Fields::default() })?;
                }
                Entry::Closed => writing.add(now, "log.closed", Fields::default())?,
            }
        }
        Ok((writing.head, writing.text))
    }

    /// Puts the full file aside, and removes those that are too many.
    fn make_room(&mut self) -> io::Result<()> {
        self.sync()?;
        fs::rename(&self.path, aside(&self.path, self.number))?;
        self.out = None;
        self.number += 1;
        self.oldest = self.oldest.max((self.number + 1).saturating_sub(self.max_files));
        for (number, path) in rotated(&self.path)? {
            if number < self.oldest {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Has the disk keep what was written.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        let Some(out) = &self.out else { return Ok(()) };
        if let Err(error) = out.file.sync_data() {
            // The system may have dropped what it could not write, and would not say so again.
            let error = Arc::new(error);
            self.broken = Some(error.clone());
            return Err(io::Error::new(error.kind(), error));
        }
        Ok(())
    }

    /// The last line.
    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    /// Another event that never came this far.
    pub(super) fn lose(&mut self, events: u64) {
        self.lost += events;
    }
}

/// Lines in the making.
struct Writing<'a> {
    chain: &'a Chain,
    head: Head,
    text: String,
}

impl Writing<'_> {
    fn add(&mut self, time: SystemTime, event: &'static str, fields: Fields) -> io::Result<()> {
        #[derive(Serialize)]
        struct Line<'a> {
            seq: u64,
            time: String,
            event: &'static str,
            #[serde(flatten)]
            fields: Fields,
            prev: &'a str,
        }

        let seq = self.head.seq + 1;
        let line = Line { seq, time: event::rfc3339(time), event, fields, prev: &self.head.hash };
        let hash = self.chain.seal(&serde_json::to_string(&line)?, &mut self.text);
        self.head = Head { seq, hash };
        Ok(())
    }
}

/// What a file has at its two ends.
struct Found {
    len: u64,
    /// Up to the last line break.
    whole: u64,
    first: Vec<u8>,
    last: Vec<u8>,
}

impl Found {
    fn read(file: &mut File) -> io::Result<Self> {
        let len = file.seek(SeekFrom::End(0))?;
        let mut part = |from: u64, most: u64| {
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(from))?;
            Read::by_ref(file).take(most).read_to_end(&mut bytes).map(|_| bytes)
        };
        let first = part(0, LONGEST_LINE)?;
        let first = first.split(|byte| *byte == b'\n').next().unwrap_or_default().to_vec();
        // The last line, and an incomplete one behind it.
        let from = len.saturating_sub(2 * LONGEST_LINE);
        let end = part(from, 2 * LONGEST_LINE)?;
        let Some(complete) = memchr::memrchr(b'\n', &end) else {
            return Ok(Self { len, whole: 0, first, last: Vec::new() });
        };
        let lines = end.get(..complete).unwrap_or_default();
        let begin = memchr::memrchr(b'\n', lines).map_or(0, |before| before + 1);
        let last = lines.get(begin..).unwrap_or_default().to_vec();
        Ok(Self { len, whole: from + complete as u64 + 1, first, last })
    }

    fn is_empty(&self) -> bool {
        self.whole == 0
    }
}

/// Nobody else writes as long as the file is held. A file of its own: the log itself changes its name.
fn lock(path: &Path) -> Result<File, OpenError> {
    let place = lock_path(path);
    let failed = |source| OpenError::File { path: place.clone(), source };
    let file = private(OpenOptions::new().create(true).truncate(false).write(true)).open(&place).map_err(failed)?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PATIENCE / LOCK_TRIES),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
    Err(OpenError::InUse { path: path.to_owned() })
}

pub(super) fn lock_path(path: &Path) -> PathBuf {
    with_suffix(path, ".lock")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Where a full file goes.
fn aside(path: &Path, number: u64) -> PathBuf {
    with_suffix(path, &format!(".{number:06}"))
}

/// The files that were put aside, in their order.
pub(super) fn rotated(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let number = entry.file_name().to_str().and_then(|other| {
            let digits = other.strip_prefix(name)?.strip_prefix('.')?;
            (digits.len() >= 6 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
        });
        if let Some(number) = number {
            found.push((number, path.with_file_name(entry.file_name())));
        }
    }
    found.sort();
    Ok(found)
}

fn open_existing(path: &Path) -> io::Result<Option<File>> {
    match OpenOptions::new().read(true).append(true).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn create(path: &Path) -> io::Result<File> {
    let file = private(OpenOptions::new().read(true).append(true).create_new(true)).open(path)?;
    // The name is to be kept as well as what it names. Where folders cannot be synced, nothing is lost but a name.
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
    Ok(file)
}

/// For the owner alone, where the system knows owners.
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options
}

/// Something that is written at its end.
trait Appendable: Write {
    fn cut(&mut self, len: u64) -> io::Result<()>;
}

impl Appendable for File {
    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
}

struct AppendError {
    write: io::Error,
    /// What was written in part is still there.
    uncut: Option<io::Error>,
}

/// Writes all, or nothing: a part of a line would be in the way of the next.
fn append(file: &mut impl Appendable, len: u64, bytes: &[u8]) -> Result<(), AppendError> {
    file.write_all(bytes).map_err(|write| AppendError { write, uncut: file.cut(len).err() })
}

fn pseudonyms(options: &FileOptions) -> Result<Pseudonyms, OpenError> {
    match &options.key {
        _ if options.plain => Ok(Pseudonyms::plain()),
        Some(key) => Ok(key.pseudonyms()),
        // Without a key, anybody could hash all addresses and compare: one that nobody keeps is better than none.
        None => Ok(super::AuditKey::new(random()?).ok_or(OpenError::Randomness)?.pseudonyms()),
    }
}

fn random() -> Result<String, OpenError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|_| OpenError::Randomness)?;
    Ok(hex(&random))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has room for so many bytes.
    struct Small {
        bytes: Vec<u8>,
        room: usize,
        cuts: bool,
    }

    impl Write for Small {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match bytes.len().min(self.room - self.bytes.len()) {
                0 => Err(io::ErrorKind::StorageFull.into()),
                some => self.bytes.write(&bytes[..some]),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Appendable for Small {
        fn cut(&mut self, len: u64) -> io::Result<()> {
            if !self.cuts {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            self.bytes.truncate(usize::try_from(len).unwrap());
            Ok(())
        }
    }

    #[test]
    fn what_does_not_fit_leaves_nothing_behind() {
        let mut small = Small { bytes: Vec::new(), room: 10, cuts: true };
        assert!(append(&mut small, 0, b"line 1\n").is_ok());
        let error = append(&mut small, 7, b"line 2\n").unwrap_err();
        assert_eq!((error.write.kind(), error.uncut.is_none()), (io::ErrorKind::StorageFull, true));
        assert_eq!(small.bytes, b"line 1\n");
        assert!(append(&mut small, 7, b"ok\n").is_ok());
        small.cuts = false;
        small.room += 2;
        assert!(append(&mut small, 10, b"line 3\n").unwrap_err().uncut.is_some());
    }
}
