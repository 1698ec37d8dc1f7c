//! The sink that writes files.

use std::collections::HashSet;
use std::fmt;
use std::future::ready;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::log::{Entry, Log};
use super::{AuditError, AuditKey, AuditSink, Event, Head, OpenError, Receipt};

/// Events that are written at once, at the most.
const BATCH: usize = 512;

/// How a [`FileAudit`] writes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FileOptions {
    /// Makes the chain one that nobody can forge who does not have the key, and the hashes of addresses the same in each run.
    /// Without it, the chain shows mistakes and not forgeries, and the hashes are those of one run.
    pub key: Option<AuditKey>,
    /// Addresses and ids as they are, instead of as keyed hashes.
    pub plain: bool,
    /// A file of this many bytes is followed by another.
    pub max_bytes: u64,
    /// Files that are kept, the one being written included; at least two. The oldest ones are removed.
    pub max_files: u32,
    /// How long what was written may be in the system's hands alone, where a failure of the machine would lose it. With zero,
    /// calls wait until the disk has it: some milliseconds each.
    pub sync: Duration,
    /// Events that may be under way: those not written yet, and those that are to end what was begun. A call that cannot have
    /// its two is not recorded.
    pub capacity: usize,
}

impl Default for FileOptions {
    fn default() -> Self {
        Self { key: None, plain: false, max_bytes: 64 << 20, max_files: 16, sync: Duration::from_secs(1), capacity: 16_384 }
    }
}

/// Writes JSON lines to a file, each chained to the one before; in a thread of its own.
///
/// An event is kept when the system has its line: from then on, it outlives the process. Clones write the same file. With the
/// last one, the log is closed.
#[derive(Clone)]
pub struct FileAudit(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    /// `None` when it is being dropped.
    events: Option<Sender<Submitted>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    path: PathBuf,
    capacity: usize,
    places: Mutex<Places>,
    /// Events that there was no place for, until the log says so.
    lost: AtomicU64,
    head: Mutex<Head>,
}

/// What is taken of the capacity.
#[derive(Default)]
struct Places {
    /// Events not written yet, and places kept for what ends others.
    taken: usize,
    /// What began and is to end: calls, and the requests of calls.
    begun: HashSet<(Arc<str>, u64)>,
}

struct Submitted {
    event: Event,
    done: Option<oneshot::Sender<Result<(), AuditError>>>,
}

impl FileAudit {
    /// Goes on with the log in this file, or begins one. Nobody else may write it at the same time.
    ///
    /// A new file can be read by its owner alone. Full files are put aside as `FILE.000001` and so on.
    ///
    /// # Errors
    ///
    /// When the file cannot be used, or what is there does not continue with this key.
    pub fn open(path: impl Into<PathBuf>, options: &FileOptions) -> Result<Self, OpenError> {
        let path = path.into();
        let log = Log::open(&path, options)?;
        let shared = Arc::new(Shared {
            path: path.clone(),
            capacity: options.capacity,
            places: Mutex::default(),
            lost: AtomicU64::new(0),
            head: Mutex::new(log.head().clone()),
        });
        let (events, received) = mpsc::channel();
        let writer = Writer { log, shared: shared.clone(), sync: options.sync, unsynced: None };
        let thread = thread::Builder::new().name("audit".into()).spawn(move || writer.run(&received));
        let thread = thread.map_err(|source| OpenError::File { path, source })?;
        Ok(Self(Arc::new(Inner { shared, events: Some(events), thread: Some(thread) })))
    }

    /// The last line that was written. Kept where nobody who can reach the log can reach it, it shows later that no line up to
    /// it was cut off.
    #[must_use]
    pub fn head(&self) -> Head {
        self.0.shared.head.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.shared.path
    }
}

impl AuditSink for FileAudit {
    fn record(&self, event: Event) -> Receipt {
        let shared = &self.0.shared;
        let begins = event.what.begins();
        if !shared.take(&event) {
            shared.lost.fetch_add(1, Ordering::Relaxed);
            return Box::pin(ready(Err(AuditError::Full)));
        }
        let (done, kept) = oneshot::channel();
        let submitted = Submitted { event, done: begins.then_some(done) };
        let taken = self.0.events.as_ref().is_some_and(|events| events.send(submitted).is_ok());
        match taken {
            true if begins => Box::pin(async { kept.await.unwrap_or(Err(AuditError::Closed)) }),
            true => Box::pin(ready(Ok(()))),
            false => Box::pin(ready(Err(AuditError::Closed))),
        }
    }
}

impl Shared {
    fn take(&self, event: &Event) -> bool {
        let mut places = self.places();
        let key = (event.call.clone(), event.what.request());
        // What ends something has its place already, where what began it got one.
        if event.what.ends() && places.begun.remove(&key) {
            return true;
        }
        let wanted = if event.what.begins() { 2 } else { 1 };
        if wanted > self.capacity.saturating_sub(places.taken) {
            return false;
        }
        places.taken += wanted;
        if event.what.begins() {
            places.begun.insert(key);
        }
        true
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.events = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for FileAudit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileAudit").field("path", &self.0.shared.path).finish_non_exhaustive()
    }
}

/// The thread.
struct Writer {
    log: Log,
    shared: Arc<Shared>,
    sync: Duration,
    /// Since when there is something that the disk may not have.
    unsynced: Option<Instant>,
}

impl Writer {
    fn run(mut self, events: &Receiver<Submitted>) {
        loop {
            let first = match self.unsynced {
                Some(since) => events.recv_timeout(self.sync.saturating_sub(since.elapsed())),
                None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match first {
                Ok(first) => {
                    let more = events.try_iter().take(BATCH - 1);
                    let batch: Vec<_> = std::iter::once(first).chain(more).collect();
                    self.write(batch);
                }
                Err(RecvTimeoutError::Timeout) => self.keep(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.unsynced.is_some_and(|since| since.elapsed() >= self.sync) {
                self.keep();
            }
        }
        self.log.lose(self.shared.lost.swap(0, Ordering::Relaxed));
        // There is nobody left to tell; that the log was not closed shows.
        let _ = self.log.append(&[Entry::Closed]);
        let _ = self.log.sync();
    }

    fn write(&mut self, batch: Vec<Submitted>) {
        self.log.lose(self.shared.lost.swap(0, Ordering::Relaxed));
        let entries: Vec<_> = batch.iter().map(|submitted| Entry::Event(&submitted.event)).collect();
        let mut written = self.log.append(&entries);
        if written.is_ok() && self.sync.is_zero() {
            written = self.log.sync();
        } else if written.is_ok() {
            self.unsynced.get_or_insert_with(Instant::now);
        }
        self.shared.head.lock().unwrap_or_else(PoisonError::into_inner).clone_from(self.log.head());
        let result = written.map_err(|error| self.failed(error));
        self.shared.places().taken -= batch.len();
        for done in batch.into_iter().filter_map(|submitted| submitted.done) {
            // Who does not wait for it any more does not need it.
            let _ = done.send(result.clone());
        }
    }

    /// Has the disk keep what was written. When it does not, the next event learns of it.
    fn keep(&mut self) {
        let _ = self.log.sync();
        self.unsynced = None;
    }

    fn failed(&self, error: io::Error) -> AuditError {
        AuditError::Write { path: self.shared.path.clone(), source: Arc::new(error) }
    }
}
