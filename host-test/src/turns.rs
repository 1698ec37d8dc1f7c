//! Who is next: for the places that all tenants share, and for the processor.
//!
//! Both go by tenants, not by calls: however many calls one has, another one's single call is next.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout};

/// Places for calls that all tenants share.
///
/// A free one goes to the tenant that has the fewest, and of several to the one whose last turn is the longest ago. One
/// tenant alone gets three quarters of them, of four or more, so that the first call of another one does not have to wait for
/// a long one to end.
#[derive(Debug)]
pub(crate) struct Places {
    /// How many one tenant may have.
    most: usize,
    lines: Mutex<Lines>,
    /// How many wait.
    waiting: AtomicUsize,
}

#[derive(Debug)]
struct Lines {
    free: usize,
    /// Of tenants that have places, or wait for one.
    tenants: HashMap<String, Line>,
    /// Counts the places given.
    given: u64,
    /// Counts those who came to wait.
    came: u64,
}

#[derive(Debug, Default)]
struct Line {
    has: usize,
    /// When it was given its last one.
    last: u64,
    waiting: VecDeque<(u64, oneshot::Sender<()>)>,
}

impl Places {
    pub(crate) fn new(places: usize) -> Self {
        let lines = Lines { free: places, tenants: HashMap::new(), given: 0, came: 0 };
        Self { most: places - places / 4, lines: Mutex::new(lines), waiting: AtomicUsize::new(0) }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody waits who would get the place of this tenant, if it were free.
    pub(crate) fn is_wanted(&self, tenant: &str) -> bool {
        // Mostly nobody waits at all.
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return false;
        }
        let lines = self.lines();
        let helps = |(other, line): (&String, &Line)| !line.waiting.is_empty() && (line.has < self.most || other == tenant);
        lines.tenants.iter().any(helps)
    }

    /// Waits for a place. It is given back when the result is dropped. Where there is none at once, room may be made, after
    /// [`is_wanted`](Self::is_wanted) says so: with the place of anybody, or, where the tenant has as many as it may have,
    /// with one of its own.
    pub(crate) async fn place(self: &Arc<Self>, tenant: &str, make_room: impl FnOnce(Room)) -> Place {
        let (sender, mut receiver) = oneshot::channel();
        let (number, room) = {
            let mut lines = self.lines();
            lines.came += 1;
            let number = lines.came;
            lines.tenants.entry(tenant.to_owned()).or_default().waiting.push_back((number, sender));
            lines.give(self.most);
            let has = lines.tenants.get(tenant).map_or(0, |line| line.has);
            (number, if has < self.most { Room::Anybodys } else { Room::Own })
        };
        if receiver.try_recv().is_err() {
            let mut waiting = Waiting::new(self, tenant, number);
            make_room(room);
            // The sender is dropped by none but `waiting`.
            let _ = receiver.await;
            waiting.over = true;
        }
        Place { places: self.clone(), tenant: tenant.to_owned() }
    }
}

/// Whose place would help one who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    Anybodys,
    Own,
}

impl Lines {
    /// Gives free places to those who are next.
    fn give(&mut self, most: usize) {
        while self.free > 0 {
            let may = self.tenants.values_mut().filter(|line| !line.waiting.is_empty() && line.has < most);
            let Some(line) = may.min_by_key(|line| (line.has, line.last)) else { return };
            let Some((_, sender)) = line.waiting.pop_front() else { return };
            self.given += 1;
            line.has += 1;
            line.last = self.given;
            self.free -= 1;
            // One who has given up finds that he was given it, and gives it back.
            let _ = sender.send(());
        }
    }

    fn take_back(&mut self, tenant: &str, most: usize) {
        self.free += 1;
        if let Some(line) = self.tenants.get_mut(tenant) {
            line.has -= 1;
        }
        self.give(most);
        self.forget(tenant);
    }

    fn forget(&mut self, tenant: &str) {
        if self.tenants.get(tenant).is_some_and(|line| line.has == 0 && line.waiting.is_empty()) {
            self.tenants.remove(tenant);
        }
    }
}

/// Somebody waits for a place.
struct Waiting<'a> {
    places: &'a Places,
    tenant: &'a str,
    number: u64,
    over: bool,
}

impl<'a> Waiting<'a> {
    fn new(places: &'a Places, tenant: &'a str, number: u64) -> Self {
        places.waiting.fetch_add(1, Ordering::SeqCst);
        Self { places, tenant, number, over: false }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.places.waiting.fetch_sub(1, Ordering::SeqCst);
        if self.over {
            return;
        }
        let mut lines = self.places.lines();
        let Some(line) = lines.tenants.get_mut(self.tenant) else { return };
        match line.waiting.iter().position(|(number, _)| *number == self.number) {
            Some(index) => {
                line.waiting.remove(index);
                lines.forget(self.tenant);
            }
            // It was given a place in this very moment.
            None => lines.take_back(self.tenant, self.places.most),
        }
    }
}

/// A place that is taken.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    tenant: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lines().take_back(&self.tenant, self.places.most);
    }
}

/// Whether a guest has stopped because its time slice was over, and not to wait for something.
#[derive(Debug, Clone, Default)]
pub(crate) struct Yielded(Arc<AtomicBool>);

impl Yielded {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// The processor, for the calls of one tenant: so many of them compute, or are about to, as the runtime has threads, and one
/// less while other tenants have calls too, or had some just now. The others wait in line, so that the runtime, which has everything that is
/// ready run in turn, sees not more than these of one tenant. Without it, a call would wait at each of its steps for a time
/// slice of every call that computes.
#[derive(Debug, Clone)]
pub(crate) struct Processor(Arc<Shares>);

#[derive(Debug)]
struct Shares {
    turns: Arc<Semaphore>,
    /// How many turns there are, those that are taken included.
    count: AtomicUsize,
    threads: usize,
    calls: AtomicUsize,
    tenants: Tenants,
}

/// How many tenants have calls that run.
#[derive(Debug, Clone)]
pub(crate) struct Tenants(Arc<Crowd>);

#[derive(Debug)]
struct Crowd {
    count: AtomicUsize,
    start: Instant,
    /// Milliseconds after the start: until then it counts as crowded.
    until: AtomicU64,
}

/// So long it is remembered, in milliseconds: between the calls of one who makes them one by one, too.
const CROWDED: u64 = 1000;

impl Default for Tenants {
    fn default() -> Self {
        Self(Arc::new(Crowd { count: AtomicUsize::new(0), start: Instant::now(), until: AtomicU64::new(0) }))
    }
}

impl Tenants {
    fn come(&self) {
        if self.0.count.fetch_add(1, Ordering::AcqRel) > 0 {
            self.remember();
        }
    }

    fn go(&self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) > 1 {
            self.remember();
        }
    }

    fn remember(&self) {
        self.0.until.store(self.now() + CROWDED, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether there is one at the most.
    fn is_lonely(&self) -> bool {
        self.0.count.load(Ordering::Relaxed) <= 1 && self.0.until.load(Ordering::Relaxed) <= self.now()
    }
}

/// A call of a tenant runs.
#[derive(Debug)]
pub(crate) struct Running(Arc<Shares>);

impl Processor {
    /// For the runtime that this is called on.
    pub(crate) fn new(tenants: Tenants) -> Self {
        Self::with(tenants, tokio::runtime::Handle::current().metrics().num_workers())
    }

    fn with(tenants: Tenants, threads: usize) -> Self {
        let turns = Arc::new(Semaphore::new(threads));
        let (count, calls) = (AtomicUsize::new(threads), AtomicUsize::new(0));
        Self(Arc::new(Shares { turns, count, threads, calls, tenants }))
    }

    /// Counts a call, until the result is dropped.
    pub(crate) fn running(&self) -> Running {
        if self.0.calls.fetch_add(1, Ordering::AcqRel) == 0 {
            self.0.tenants.come();
        }
        Running(self.0.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.calls.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.tenants.go();
        }
    }
}

impl Shares {
    /// Gives a turn back. Where there should be more or fewer of them by now, there are.
    fn give_back(&self, turn: OwnedSemaphorePermit) {
        let wanted = if self.tenants.is_lonely() { self.threads } else { (self.threads - 1).max(1) };
        let count = self.count.load(Ordering::Relaxed);
        let change = |to| self.count.compare_exchange(count, to, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if count > wanted && change(count - 1) {
            turn.forget();
        } else if count < wanted && change(count + 1) {
            self.turns.add_permits(1);
        }
    }
}

/// So long nobody's turn takes, unless its future is kept without being polled. It must not hold up the others for ever.
const STUCK: Duration = Duration::from_secs(5);

type Acquiring = Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>;

/// A future that runs when it is the turn of its call.
pub(crate) struct InTurn<F> {
    work: Pin<Box<F>>,
    processor: Processor,
    yielded: Yielded,
    turn: Option<OwnedSemaphorePermit>,
    acquiring: Option<Acquiring>,
}

impl<F> InTurn<F> {
    pub(crate) fn new(processor: Processor, yielded: Yielded, work: F) -> Self {
        Self { work: Box::pin(work), processor, yielded, turn: None, acquiring: None }
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.turn.is_some() {
            return Poll::Ready(());
        }
        if self.acquiring.is_none()
            && let Ok(turn) = self.processor.0.turns.clone().try_acquire_owned()
        {
            self.turn = Some(turn);
            return Poll::Ready(());
        }
        let acquiring = self.acquiring.get_or_insert_with(|| {
            let turn = self.processor.0.turns.clone().acquire_owned();
            // Nobody closes the semaphore.
            Box::pin(async { timeout(STUCK, turn).await.ok()?.ok() })
        });
        self.turn = ready!(acquiring.as_mut().poll(cx));
        self.acquiring = None;
        Poll::Ready(())
    }
}

impl<F: Future> Future for InTurn<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        ready!(self.poll_turn(cx));
        let result = self.work.as_mut().poll(cx);
        if let Some(turn) = self.turn.take() {
            self.processor.0.give_back(turn);
        }
        if result.is_pending() && self.yielded.take() {
            // It is ready to go on. That is the runtime's business only when it is at the head of the line.
            let _ = self.poll_turn(cx);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::poll_fn;
    use std::rc::Rc;

    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_single_call_is_next_however_many_wait() {
        let places = Arc::new(Places::new(4));
        let mut flood: Vec<_> = (0..3).map(|_| places.place("flood", |_| {}).now_or_never().expect("a place")).collect();
        let mut more: Vec<_> = (0..1000).map(|_| Box::pin(places.place("flood", |_| {}))).collect();
        assert!(more.iter_mut().all(|place| place.now_or_never().is_none()), "one tenant does not get all");
        let first = places.place("a", |_| {}).now_or_never().expect("the place that one tenant alone does not get");
        let mut second = Box::pin(places.place("b", |_| {}));
        assert!((&mut second).now_or_never().is_none(), "all are taken");
        flood.pop();
        let second = second.now_or_never().expect("the next place that is free");
        drop((first, second));
        drop(flood);
        for place in more {
            drop(place.await);
        }
        let lines = places.lines();
        assert_eq!((lines.free, lines.tenants.len()), (4, 0));
    }

    #[tokio::test]
    async fn places_of_those_who_give_up_are_not_lost() {
        let places = Arc::new(Places::new(1));
        let taken = places.place("a", |_| {}).await;
        let mut given = Box::pin(places.place("b", |_| {}));
        let mut waiting = Box::pin(places.place("c", |_| {}));
        assert!((&mut given).now_or_never().is_none() && (&mut waiting).now_or_never().is_none());
        drop(taken);
        // It has it by now, but does not know.
        drop(given);
        drop(waiting.now_or_never().expect("the place"));
        let lines = places.lines();
        assert_eq!((lines.free, lines.tenants.len()), (1, 0));
    }

    type Log = Rc<RefCell<Vec<&'static str>>>;

    /// Computes for so many time slices.
    fn computing(name: &'static str, slices: u32, log: &Log, processor: &Processor) -> impl Future<Output = ()> + use<> {
        let (log, yielded) = (log.clone(), Yielded::default());
        let mut left = slices;
        let work = {
            let yielded = yielded.clone();
            poll_fn(move |cx| {
                log.borrow_mut().push(name);
                left -= 1;
                if left == 0 {
                    return Poll::Ready(());
                }
                yielded.set();
                cx.waker().wake_by_ref();
                Poll::Pending
            })
        };
        InTurn::new(processor.clone(), yielded, work)
    }

    #[tokio::test]
    async fn a_call_waits_for_one_time_slice_of_another_tenant_at_each_step() {
        let log = Log::default();
        let tasks = tokio::task::LocalSet::new();
        let flooding = Processor::new(Tenants::default());
        for _ in 0..1000 {
            tasks.spawn_local(computing("flood", 50, &log, &flooding));
        }
        tasks.spawn_local(computing("single", 20, &log, &Processor::new(Tenants::default())));
        tasks.await;
        let log = log.borrow();
        assert_eq!(log.len(), 1000 * 50 + 20, "nobody is left waiting");
        let steps: Vec<_> = log.iter().enumerate().filter(|(_, name)| **name == "single").map(|(index, _)| index).collect();
        assert!(steps.windows(2).all(|pair| pair[1] - pair[0] <= 2), "{steps:?}");
        assert!(steps[0] <= 1000, "all of them had begun");
    }

    #[tokio::test]
    async fn the_calls_of_one_tenant_take_turns() {
        let log = Log::default();
        let tasks = tokio::task::LocalSet::new();
        let processor = Processor::new(Tenants::default());
        for name in ["a", "b", "c"] {
            tasks.spawn_local(computing(name, 10, &log, &processor));
        }
        tasks.await;
        let log = log.borrow();
        let steps = |wanted| log.iter().enumerate().filter(move |(_, name)| **name == wanted).map(|(index, _)| index);
        for name in ["a", "b", "c"] {
            let steps: Vec<_> = steps(name).collect();
            assert!(steps.windows(2).all(|pair| pair[1] - pair[0] <= 3), "{name}: {log:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_has_all_threads_while_it_is_alone() {
        let tenants = Tenants::default();
        let [one, other] = [(); 2].map(|()| Processor::with(tenants.clone(), 3));
        let step = async || {
            let turns = InTurn::new(one.clone(), Yielded::default(), std::future::ready(()));
            turns.await;
            (one.0.turns.available_permits(), one.0.count.load(Ordering::Relaxed))
        };
        let _running = one.running();
        assert_eq!(step().await, (3, 3));
        let others = [other.running(), other.running()];
        assert_eq!(step().await, (2, 2));
        assert_eq!(step().await, (2, 2));
        drop(others);
        assert_eq!(step().await, (2, 2));
        tokio::time::sleep(Duration::from_millis(CROWDED)).await;
        assert_eq!(step().await, (3, 3));
        assert_eq!(step().await, (3, 3));
    }
}
