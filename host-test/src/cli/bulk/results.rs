//! The results file: where the rows were sent, and what became of each, as JSON lines. It is only ever added to, and what it says survives a kill.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use memberspot_bulk_file::mistakes::{Mistake, Mistakes};
use memberspot_bulk_file::reading::Row;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::cli::output::{Failure, one_line};

/// The longest line, in bytes: a row and the largest answer that the component gives, escaped.
const LONGEST_LINE: u64 = 64 << 20;
/// How every line after the first begins.
const BEGINNING: &[u8] = b"{\"row\":";
/// The form of the file.
const VERSION: u32 = 1;

/// The first line. What is done at one server, or at a simulator, is not done at another; and no other file is taken for one
/// of results.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    memberspot_bulk: u32,
    /// Where the operations went.
    origin: String,
}

/// What became of a row in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It succeeded.
    Done,
    /// It failed.
    Failed,
    /// It was not sent.
    NotStarted,
}

/// One line.
#[derive(Serialize)]
pub struct Line {
    /// The row of the input.
    pub row: u32,
    /// What was to be done.
    pub operation: Box<RawValue>,
    /// What became of it.
    pub outcome: Outcome,
    /// What the function gave. Absent where the component could not keep it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Box<RawValue>>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
}

/// What a later run needs of a line.
#[derive(Deserialize)]
struct Read {
    row: u32,
    operation: Value,
    outcome: Outcome,
}

/// The file, locked for this process.
pub struct Results {
    file: File,
    path: PathBuf,
}

impl Results {
    /// Makes a new file. One that is there and says no more than where the operations went, as from a run that ended before
    /// its first call, will do.
    pub fn create(path: &Path, origin: &str) -> Result<Self, Failure> {
        let mut results = Self::open(path)?;
        let header = header(origin)?;
        let length = results.length()?;
        if length == 0 {
            results.begin(&header)?;
        } else if length != header.len() as u64 || results.first_line()? != header {
            return Err(Failure::usage(format!(
                "{} is there already; if it has results, --resume goes on with them; --results names another file",
                path.display()
            )));
        }
        Ok(results)
    }

    /// Opens a file to go on, or makes a new one where there is none. With it come the rows that are done, by their places
    /// in `rows`.
    pub fn resume(path: &Path, origin: &str, rows: &[Row]) -> Result<(Self, HashSet<usize>), Failure> {
        let mut results = Self::open(path)?;
        if results.length()? == 0 {
            results.begin(&header(origin)?)?;
            return Ok((results, HashSet::new()));
        }
        let (done, end) = results.read(origin, rows)?;
        // What a kill left of the last line would spoil the next one.
        let cut = results.file.set_len(end).and_then(|()| results.file.seek(SeekFrom::End(0)));
        cut.map_err(|error| Failure::output(path, &error))?;
        Ok((results, done))
    }

    fn open(path: &Path) -> Result<Self, Failure> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        // A file of addresses is nobody else's business.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path).map_err(|error| Failure::output(path, &error))?;
        // Only of a file it is known what it keeps.
        if !file.metadata().map_err(|error| Failure::output(path, &error))?.is_file() {
            return Err(Failure::usage(format!("{} is no regular file, and cannot keep the results", path.display())));
        }
        match file.try_lock() {
            Ok(()) => Ok(Self { file, path: path.to_owned() }),
            Err(TryLockError::WouldBlock) => {
                Err(Failure::usage(format!("another run is writing to {}; wait for its end", path.display())))
            }
            Err(TryLockError::Error(error)) => Err(Failure::output(path, &error)),
        }
    }

    fn length(&self) -> Result<u64, Failure> {
        Ok(self.file.metadata().map_err(|error| Failure::output(&self.path, &error))?.len())
    }

    /// The first line, and from there on the place in the file.
    fn first_line(&mut self) -> Result<Vec<u8>, Failure> {
        let mut line = Vec::new();
        let read = BufReader::new(&self.file).take(LONGEST_LINE).read_until(b'\n', &mut line);
        let read = read.and_then(|_| self.file.seek(SeekFrom::Start(line.len() as u64)));
        read.map_err(|error| Failure::input(&self.path, &error))?;
        Ok(line)
    }

    /// Writes the first line into a file that is empty.
    fn begin(&mut self, header: &[u8]) -> Result<(), Failure> {
        // The file may have been there, made by another program.
        #[cfg(unix)]
        self.file
            .set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .map_err(|error| Failure::output(&self.path, &error))?;
        let written = self.file.write_all(header).and_then(|()| self.file.sync_all());
        written.map_err(|error| Failure::output(&self.path, &error))
    }

    fn check_header(&mut self, origin: &str) -> Result<u64, Failure> {
        let line = self.first_line()?;
        let path = self.path.display();
        let said = if line.ends_with(b"\n") { serde_json::from_slice::<Header>(&line).ok() } else { None };
        match said {
            None => Err(Failure::usage(format!("{path} is no results file of this command"))),
            Some(said) if said.memberspot_bulk != VERSION => {
                Err(Failure::usage(format!("{path} is a results file of another version of this command")))
            }
            Some(said) if said.origin != origin => Err(Failure::usage(format!(
                "the results in {path} are of {}, and this run would go to {origin}; --results names another file",
                one_line(&said.origin)
            ))),
            Some(_) => Ok(line.len() as u64),
        }
    }

    /// The rows that are done, and where the last whole line ends.
    fn read(&mut self, origin: &str, rows: &[Row]) -> Result<(HashSet<usize>, u64), Failure> {
        let mut end = self.check_header(origin)?;
        let mut reader = BufReader::new(&self.file);
        let (mut done, mut mistakes) = (HashSet::new(), Mistakes::default());
        let mut line = Vec::new();
        for number in 2_u64.. {
            line.clear();
            let read = reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line);
            if read.map_err(|error| Failure::input(&self.path, &error))? == 0 {
                break;
            }
            let Some(said) = parse(&line) else {
                // No line but the last can lack its end, unless it is too long.
                let is_torn = !line.ends_with(b"\n") && (line.len() as u64) < LONGEST_LINE;
                if is_torn && (line.starts_with(BEGINNING) || BEGINNING.starts_with(&line)) {
                    break;
                }
                let problem = format!("line {number} of {} is no result of this command", self.path.display());
                return Err(Failure::usage(problem));
            };
            end += line.len() as u64;
            if said.outcome == Outcome::Done {
                match find(rows, &said) {
                    Ok(index) => {
                        done.insert(index);
                    }
                    Err(problem) => mistakes.add(said.row, Mistake { place: None, problem: problem.into() }),
                }
            }
        }
        if mistakes.count > 0 {
            let path = self.path.display();
            return Err(Failure::usage(format!(
                "the input is not the one that the results in {path} are of, or it was changed:{mistakes}"
            )));
        }
        Ok((done, end))
    }

    /// Adds lines, and returns when they are on the disk.
    pub fn append(&mut self, lines: &[Line]) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut bytes, line).map_err(|error| Failure::host(&error))?;
            bytes.push(b'\n');
        }
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        written.map_err(|error| Failure::output(&self.path, &error))
    }
}

fn header(origin: &str) -> Result<Vec<u8>, Failure> {
    let header = Header { memberspot_bulk: VERSION, origin: origin.to_owned() };
    let mut line = serde_json::to_vec(&header).map_err(|error| Failure::host(&error))?;
    line.push(b'\n');
    Ok(line)
}

/// A whole line.
fn parse(line: &[u8]) -> Option<Read> {
    if line.ends_with(b"\n") && line.starts_with(BEGINNING) { serde_json::from_slice(line).ok() } else { None }
}

/// The row that a line of a success speaks of.
fn find(rows: &[Row], said: &Read) -> Result<usize, &'static str> {
    let index = rows.binary_search_by_key(&said.row, |row| row.number);
    let index = index.map_err(|_| "it is done, and it is not there any more")?;
    if *rows[index].json == *said.operation.to_string() {
        Ok(index)
    } else {
        Err("it is done, and it is another operation now")
    }
}
