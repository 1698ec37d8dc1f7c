//! What a call may use, and what ends one that uses more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wasmtime::{Engine, ResourceLimiter};

use crate::Isolation;

/// What a single call may use. A call that reaches one of these limits ends in a [`HostError`](crate::HostError).
///
/// They are the host's own: the component keeps its deadlines and sizes itself, well inside of them, and answers with an
/// error of its own when it has to give up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Linear memory, in bytes.
    pub memory: usize,
    /// From the start of the instance to its answer, waiting included.
    pub time: Duration,
    /// Time that the component computes, or has the host compute for it. In steps of ten milliseconds.
    pub computing: Duration,
    /// Requests, responses, streams and timers that the component holds at the same time.
    pub handles: usize,
    /// Requests that a call makes.
    pub requests: u64,
    /// Requests of a call that are under way at the same time, until their answers are read. Others wait.
    pub open: usize,
    /// Bytes that a call sends in bodies of requests.
    pub sent: u64,
    /// Bytes that a call receives in bodies of answers.
    pub received: u64,
    /// Calls of a tenant that run at the same time. Others wait for their turn.
    pub calls: usize,
    /// Calls of a tenant that wait for their turn. Others are refused.
    pub waiting: usize,
    /// Whether a call may use what an earlier one of the same tenant left behind.
    pub isolation: Isolation,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A response of the largest size that the component accepts by default exists there several times: as bytes,
            // as JSON and as the typed answer.
            memory: 128 << 20,
            time: Duration::from_mins(5),
            // Ten thousand operations and their reports take the component some seconds.
            computing: Duration::from_mins(1),
            // The component makes up to 64 requests at a time, of about ten handles each.
            handles: 1000,
            // Ten thousand operations, each of some requests, each made ten times at the most.
            requests: 500_000,
            // The component makes up to 64 at a time.
            open: 100,
            sent: 1 << 30,
            received: 4 << 30,
            calls: 32,
            waiting: 10_000,
            isolation: Isolation::Fresh,
        }
    }
}

/// Counts what the instances of one store allocate, and remembers whether it refused something: a guest whose allocation
/// fails traps, and that trap does not say why.
#[derive(Debug)]
pub(crate) struct Meter {
    memory_limit: usize,
    memory: usize,
    refused: bool,
}

/// Elements over all tables of a component: its functions that are called indirectly, some hundreds.
pub(crate) const TABLE_ELEMENTS: usize = 20_000;
/// Instances, memories and tables: a component made by `wasm-component-ld` is one module and a few shims.
pub(crate) const ITEMS: u32 = 16;

impl Meter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { memory_limit: limits.memory, memory: 0, refused: false }
    }

    /// Begins to count for another call in the same memory.
    pub(crate) fn renew(&mut self) {
        self.refused = false;
    }

    /// How much memory there is, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }

    /// Whether memory was asked for and refused.
    pub(crate) fn refused_memory(&self) -> bool {
        self.refused
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        // The limit holds for all memories of the store together.
        let total = self.memory.saturating_add(desired.saturating_sub(current));
        if total > self.memory_limit {
            self.refused = true;
            return Ok(false);
        }
        self.memory = total;
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS)
    }

    fn instances(&self) -> usize {
        ITEMS as usize
    }

    fn tables(&self) -> usize {
        ITEMS as usize
    }

    fn memories(&self) -> usize {
        ITEMS as usize
    }
}

/// How long a guest computes before it lets others run, and so how late its time limit can strike.
const TICK: Duration = Duration::from_millis(10);

/// Moves the engine's epoch while calls run, so that a guest that never stops computing yields at every tick; the timeout
/// around the call then ends it.
///
/// A thread, not a task: on a runtime with a single thread, the guest holds the only one. It sleeps while no call runs.
#[derive(Debug)]
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    running: AtomicUsize,
    stop: AtomicBool,
}

impl Ticker {
    pub(crate) fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = thread::Builder::new().name("epoch".into()).spawn({
            let (shared, engine) = (shared.clone(), engine.clone());
            move || {
                while !shared.stop.load(Ordering::Acquire) {
                    if shared.running.load(Ordering::Acquire) == 0 {
                        // `unpark` before `park` is not lost: it makes the next `park` return at once.
                        thread::park();
                    } else {
                        thread::sleep(TICK);
                        engine.increment_epoch();
                    }
                }
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The epoch moves as long as the result lives.
    pub(crate) fn tick(&self) -> Ticking<'_> {
        if self.shared.running.fetch_add(1, Ordering::AcqRel) == 0 {
            self.unpark();
        }
        Ticking(&self.shared)
    }

    fn unpark(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.unpark();
        if let Some(thread) = self.thread.take() {
            // It holds nothing that a panic could have broken.
            let _ = thread.join();
        }
    }
}

/// See [`Ticker::tick`].
#[derive(Debug)]
pub(crate) struct Ticking<'a>(&'a Shared);

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_counted_over_all_memories() {
        let mut meter = Meter::new(&Limits { memory: 3 * 65_536, ..Limits::default() });
        assert!(meter.memory_growing(0, 65_536, None).unwrap());
        assert!(meter.memory_growing(65_536, 2 * 65_536, None).unwrap());
        assert!(meter.memory_growing(0, 65_536, None).unwrap());
        assert!(!meter.refused_memory());
        assert!(!meter.memory_growing(2 * 65_536, 3 * 65_536, None).unwrap());
        assert!(meter.refused_memory());
    }

    #[test]
    fn the_epoch_moves_while_a_call_runs_and_the_thread_ends() {
        let engine = Engine::default();
        let ticker = Ticker::start(&engine).unwrap();
        let ticking = ticker.tick();
        assert_eq!(ticker.shared.running.load(Ordering::Acquire), 1);
        drop(ticking);
        assert_eq!(ticker.shared.running.load(Ordering::Acquire), 0);
        let shared = Arc::downgrade(&ticker.shared);
        drop(ticker);
        assert!(shared.upgrade().is_none(), "the thread still runs");
    }
}
