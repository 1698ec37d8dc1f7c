//! Whether a log is as it was written.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::chain::{Chain, KEYED, NOTHING, PLAIN, Sealed};
use super::log::{LONGEST_LINE, lock_path, rotated};
use super::{AuditKey, Head};

/// The first line of each file.
const HEADER: &str = "log.file";
/// How many calls without an end are named.
const MOST_NAMED: usize = 100;

/// What to expect of a log.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Expected {
    /// The key that it was written with.
    pub key: Option<AuditKey>,
    /// The hash of a line that has to be there, such as the last one of an earlier verification.
    pub line: Option<String>,
    /// The log may have begun before the first of the files, and may go on behind the last one.
    pub part: bool,
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Report {
    /// The first thing that is wrong. `None` when the log is as it was written, as far as can be seen.
    #[serde(rename = "break")]
    pub broken: Option<Break>,
    /// Lines that are right.
    pub lines: u64,
    /// The number of the first line.
    pub first: Option<u64>,
    /// The last line that is right.
    pub last: Option<Head>,
    /// How the lines are chained: `hmac-sha256`, or `sha256`, which anybody can forge.
    pub chain: Option<String>,
    /// Whether somebody writes it just now.
    pub in_use: bool,
    /// Calls that began.
    pub calls: u64,
    /// Calls that began and did not end: under way, or broken off with the process.
    pub unfinished: Vec<String>,
    /// Requests that may change something, began and did not end: whether they took effect is not known.
    pub unfinished_requests: u64,
    /// Events that could not be written.
    pub lost: u64,
    /// How often there was an incomplete line at the end, as a failure of the machine leaves it.
    pub torn: u64,
}

/// Where a log is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Break {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong with it.
    #[serde(flatten)]
    pub kind: BreakKind,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
#[non_exhaustive]
pub enum BreakKind {
    /// It does not have the form of a line.
    Form,
    /// Its hash does not fit its text: one of them was altered, or the key is another.
    Altered,
    /// It does not follow the line before it: lines were removed, moved or added.
    Order {
        /// The number that it should have.
        expected: u64,
        /// The number that it has.
        found: u64,
    },
    /// It has the right number, but comes after another line than the one before it.
    Previous,
    /// The first line of a file says which one it is. This one does not, or it is not the first.
    Header,
    /// The log began before: files or lines are missing.
    Beginning {
        /// The first file that should be there.
        expected: u64,
        /// The first file that is there.
        found: u64,
    },
    /// It is incomplete.
    Torn,
    /// The log was not closed, and nobody writes it: the process broke off, or the end was cut off.
    Open,
    /// There is no line with the hash that was expected: the end was cut off, or it is another log.
    Expected,
    /// The log was written with a key, and none was given.
    KeyNeeded,
    /// A key was given, and the log was written without one: it may be forged.
    KeyUnused,
    /// There is no line.
    Empty,
}

impl fmt::Display for BreakKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => f.write_str("this is no line of an audit log"),
            Self::Altered => f.write_str("the line was altered, or the key is another"),
            Self::Order { expected, found } => {
                write!(f, "number {found} stands where number {expected} should: lines were removed, moved or added")
            }
            Self::Previous => f.write_str("the line does not follow the one before it"),
            Self::Header => f.write_str("the file does not begin with the line that says which one it is"),
            Self::Beginning { expected, found } => {
                write!(f, "the log begins with file {found}, and file {expected} should be there; --part accepts that")
            }
            Self::Torn => f.write_str("the line is incomplete"),
            Self::Open => {
                f.write_str("the log was not closed: the process broke off, or the end was cut off; --part accepts that")
            }
            Self::Expected => {
                f.write_str("the line that was expected is not in the log: its end was cut off, or it is another log")
            }
            Self::KeyNeeded => f.write_str("the log was written with a key, and can be verified with it alone"),
            Self::KeyUnused => f.write_str("the log was written without a key, and a key was given: it may be forged"),
            Self::Empty => f.write_str("there is no line"),
        }
    }
}

/// A file cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", path.display())]
pub struct ReadError {
    /// The file.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

/// The files of a log in their order: those that were put aside, and the one that is written.
///
/// # Errors
///
/// When the folder cannot be read.
pub fn files(path: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let read = || -> io::Result<Vec<PathBuf>> {
        let mut files: Vec<_> = rotated(path)?.into_iter().map(|(_, path)| path).collect();
        if files.is_empty() || fs::exists(path)? {
            files.push(path.to_owned());
        }
        Ok(files)
    };
    read().map_err(|source| ReadError { path: path.to_owned(), source })
}

/// Reads the files of a log in the order in which they are given, up to the first thing that is wrong.
///
/// # Errors
///
/// When a file cannot be read.
pub fn verify(files: &[PathBuf], expected: &Expected) -> Result<Report, ReadError> {
    let in_use = files.last().is_some_and(|last| in_use(last));
    let mut reading = Reading::new(expected, in_use);
    for path in files {
        let failed = |source| ReadError { path: path.clone(), source };
        let lines = BufReader::new(File::open(path).map_err(failed)?);
        let broken = reading.file(lines).map_err(failed)?;
        reading.note(path, broken);
        if reading.report.broken.is_some() {
            break;
        }
    }
    if let (None, Some(last)) = (&reading.report.broken, files.last()) {
        let broken = reading.end();
        reading.note(last, broken);
    }
    Ok(reading.report)
}

/// Whether somebody writes a log. Where that cannot be found out, nobody does.
fn in_use(path: &Path) -> bool {
    File::open(lock_path(path)).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

struct Reading<'a> {
    expected: &'a Expected,
    chain: Chain,
    report: Report,
    /// Of the file that is read.
    line: u64,
    /// The random name of the log, and the number of the file.
    log: Option<(String, u64)>,
    /// The number of the first file.
    begun: Option<u64>,
    /// Files that should come before it, as the last file knows.
    missing: Option<BreakKind>,
    closed: bool,
    found: bool,
    open: HashSet<String>,
    leaving: HashSet<(String, Option<u64>)>,
}

impl<'a> Reading<'a> {
    fn new(expected: &'a Expected, in_use: bool) -> Self {
        let report = Report {
            broken: None,
            lines: 0,
            first: None,
            last: None,
            chain: None,
            in_use,
            calls: 0,
            unfinished: Vec::new(),
            unfinished_requests: 0,
            lost: 0,
            torn: 0,
        };
        Self {
            expected,
            chain: Chain::new(expected.key.as_ref()),
            report,
            line: 0,
            log: None,
            begun: None,
            missing: None,
            closed: false,
            found: expected.line.is_none(),
            open: HashSet::new(),
            leaving: HashSet::new(),
        }
    }

    fn note(&mut self, file: &Path, broken: Result<(), BreakKind>) {
        let mut open: Vec<_> = self.open.iter().cloned().collect();
        open.sort();
        open.truncate(MOST_NAMED);
        self.report.unfinished = open;
        self.report.unfinished_requests = self.leaving.len() as u64;
        self.report.broken = broken.err().map(|kind| Break { file: file.to_owned(), line: self.line, kind });
    }

    fn file(&mut self, mut lines: impl io::BufRead) -> io::Result<Result<(), BreakKind>> {
        self.line = 0;
        let mut line = Vec::new();
        loop {
            line.clear();
            if lines.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
                return Ok(if self.line == 0 { Err(BreakKind::Empty) } else { Ok(()) });
            }
            self.line += 1;
            let Some(line) = line.strip_suffix(b"\n") else {
                // Of a log that is written, the last line may be on its way.
                let on_its_way = self.report.in_use && self.line > 1;
                return Ok(if on_its_way { Ok(()) } else { Err(BreakKind::Torn) });
            };
            if let Err(kind) = self.read(line) {
                return Ok(Err(kind));
            }
        }
    }

    fn read(&mut self, line: &[u8]) -> Result<(), BreakKind> {
        let line = Sealed::read(line).ok_or(BreakKind::Form)?;
        let is_header = line.links.event == HEADER;
        if self.line == 1 && is_header {
            self.key_fits(line.links.chain.as_deref())?;
        }
        if !self.chain.fits(&line) {
            return Err(BreakKind::Altered);
        }
        self.follows(&line)?;
        if is_header != (self.line == 1) {
            return Err(BreakKind::Header);
        }
        if is_header {
            self.begins(&line)?;
        }
        self.count(&line);
        Ok(())
    }

    fn key_fits(&self, chain: Option<&str>) -> Result<(), BreakKind> {
        match (chain, &self.expected.key) {
            (Some(KEYED), None) => Err(BreakKind::KeyNeeded),
            (Some(PLAIN), Some(_)) => Err(BreakKind::KeyUnused),
            (Some(KEYED | PLAIN), _) => Ok(()),
            _ => Err(BreakKind::Form),
        }
    }

    fn follows(&self, line: &Sealed) -> Result<(), BreakKind> {
        let links = &line.links;
        let Some(last) = &self.report.last else { return Ok(()) };
        if links.seq != last.seq + 1 {
            return Err(BreakKind::Order { expected: last.seq + 1, found: links.seq });
        }
        if links.prev == last.hash { Ok(()) } else { Err(BreakKind::Previous) }
    }

    /// A file begins.
    fn begins(&mut self, line: &Sealed) -> Result<(), BreakKind> {
        let links = &line.links;
        let (Some(log), Some(file), Some(oldest)) = (&links.log, links.file, links.oldest) else {
            return Err(BreakKind::Form);
        };
        match &self.log {
            Some((same, before)) if same == log && before + 1 == file => {}
            None => {
                // Nothing comes before the first line of all.
                if (links.seq == 1) != (file == 1) || (links.seq == 1) != (links.prev == NOTHING) {
                    return Err(BreakKind::Form);
                }
                self.begun = Some(file);
            }
            Some(_) => return Err(BreakKind::Header),
        }
        self.log = Some((log.clone(), file));
        self.report.chain.clone_from(&links.chain);
        // What had been removed for being too old by then may be missing, and nothing else.
        match self.begun {
            Some(begun) if begun > oldest && !self.expected.part => {
                // As of this file; a later one may say that less was left.
                self.missing = Some(BreakKind::Beginning { expected: oldest, found: begun });
            }
            _ => self.missing = None,
        }
        Ok(())
    }

    fn count(&mut self, line: &Sealed) {
        let links = &line.links;
        self.report.lines += 1;
        self.report.first.get_or_insert(links.seq);
        self.report.last = Some(line.head());
        self.found |= self.expected.line.as_deref() == Some(line.hash);
        self.closed = links.event == "log.closed";
        match (links.event.as_str(), &links.call) {
            ("call.begin", Some(call)) => {
                self.report.calls += 1;
                self.open.insert(call.clone());
            }
            ("call.end", Some(call)) => drop(self.open.remove(call)),
            ("request.begin", Some(call)) => drop(self.leaving.insert((call.clone(), links.request))),
            ("request.end", Some(call)) => drop(self.leaving.remove(&(call.clone(), links.request))),
            ("log.lost", _) => self.report.lost += links.events.unwrap_or(0),
            ("log.torn", _) => self.report.torn += 1,
            _ => {}
        }
    }

    /// All files were read.
    fn end(&mut self) -> Result<(), BreakKind> {
        if let Some(missing) = self.missing.take() {
            self.line = 1;
            return Err(missing);
        }
        if !self.found {
            return Err(BreakKind::Expected);
        }
        if !self.closed && !self.report.in_use && !self.expected.part {
            return Err(BreakKind::Open);
        }
        Ok(())
    }
}
