//! What calls share: nothing, or an instance that one of them left behind for the next one of the same tenant.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::turns::{Place, Places, Room};

/// How calls by name are kept apart. [`Host::with`](crate::Host::with) and [`Host::batch`](crate::Host::batch) have an
/// instance of their own in any case, for all calls in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Isolation {
    /// Each call has an instance of its own, which ends with it: no call can leave anything behind for another one.
    #[default]
    Fresh,
    /// An instance is kept for later calls of the same tenant, with the same key; another tenant never gets it. One whose
    /// call did not come to an answer is thrown away, as is one that still holds a handle or much memory, and one that
    /// nobody wanted for some seconds.
    ///
    /// It is faster, and it trusts the component with what its tenant's calls have in common: what one of them leaves in
    /// memory, the next one can read.
    Reuse {
        /// After so many calls an instance is thrown away. 0 and 1 are the same as [`Fresh`](Self::Fresh).
        calls: u32,
    },
}

impl Isolation {
    /// Whether an instance that has made so many calls may make another one.
    pub(crate) fn permits_another(self, made: u32) -> bool {
        match self {
            Self::Fresh => false,
            Self::Reuse { calls } => made < calls,
        }
    }
}

/// An instance with more memory than this is not kept. A page of 100 members is read within it.
pub(crate) const MOST_KEPT_MEMORY: usize = 2 << 20;
/// How long an instance is kept that nobody wants.
const IDLE: Duration = Duration::from_secs(10);
/// How many are kept, of all tenants together, where no pool says how many there can be.
const MOST_KEPT: usize = 256;

/// The places of a pool, and what is kept in them: instances that wait for their tenant's next call.
///
/// What is kept takes a place. It makes room as soon as somebody waits for one.
pub(crate) struct Kept<T> {
    /// `None` where there is no pool, and so no end of places.
    places: Option<Arc<Places>>,
    most: usize,
    items: Mutex<Items<T>>,
}

struct Items<T> {
    /// By the order in which they came.
    all: BTreeMap<u64, Item<T>>,
    /// Of each tenant, in the same order.
    of: HashMap<u64, VecDeque<u64>>,
    next: u64,
    swept: bool,
}

struct Item<T> {
    tenant: u64,
    /// What its place was given to.
    id: Arc<str>,
    since: Instant,
    value: T,
}

impl<T> Items<T> {
    fn take(&mut self, tenant: u64) -> Option<T> {
        let of = self.of.get_mut(&tenant)?;
        // The youngest: its memory is the likeliest to be in the processor's caches, and the others grow old.
        let number = of.pop_back()?;
        if of.is_empty() {
            self.of.remove(&tenant);
        }
        self.all.remove(&number).map(|item| item.value)
    }

    fn put(&mut self, tenant: u64, id: &Arc<str>, value: T) {
        let number = self.next;
        self.next += 1;
        self.all.insert(number, Item { tenant, id: id.clone(), since: Instant::now(), value });
        self.of.entry(tenant).or_default().push_back(number);
    }

    fn pop_oldest(&mut self) -> Option<T> {
        let (&number, _) = self.all.first_key_value()?;
        self.remove(number)
    }

    /// The oldest of those whose tenants have this id: there may be several, one after the other.
    fn pop_oldest_of(&mut self, id: &str) -> Option<T> {
        let (&number, _) = self.all.iter().find(|(_, item)| &*item.id == id)?;
        self.remove(number)
    }

    fn remove(&mut self, number: u64) -> Option<T> {
        let Item { tenant, value, .. } = self.all.remove(&number)?;
        if let Some(of) = self.of.get_mut(&tenant) {
            of.retain(|other| *other != number);
            if of.is_empty() {
                self.of.remove(&tenant);
            }
        }
        Some(value)
    }

    fn oldest(&self) -> Option<Instant> {
        self.all.first_key_value().map(|(_, item)| item.since)
    }
}

impl<T> Kept<T> {
    /// Room for this many, in use or kept.
    pub(crate) fn new(places: Option<u32>) -> Self {
        Self {
            places: places.map(|places| Arc::new(Places::new(places as usize))),
            most: places.map_or(MOST_KEPT, |places| places as usize),
            items: Mutex::new(Items { all: BTreeMap::new(), of: HashMap::new(), next: 0, swept: false }),
        }
    }

    fn items(&self) -> MutexGuard<'_, Items<T>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place. Where there is none, what is kept makes room.
    pub(crate) async fn place(&self, id: &str) -> Option<Place> {
        let make_room = |room| {
            let mut items = self.items();
            let superfluous = match room {
                Room::Anybodys => items.pop_oldest(),
                Room::Own => items.pop_oldest_of(id),
            };
            // Not while others wait for the lock: it gives memory back.
            drop(items);
            drop(superfluous);
        };
        Some(self.places.as_ref()?.place(id, make_room).await)
    }

    /// What was kept for a tenant.
    pub(crate) fn take(&self, tenant: u64) -> Option<T> {
        self.items().take(tenant)
    }

    /// Keeps something for a tenant. It is dropped later, if nobody takes it.
    pub(crate) fn put(self: &Arc<Self>, tenant: u64, id: &Arc<str>, value: T)
    where
        T: Send + 'static,
    {
        let (too_much, sweep) = {
            let mut items = self.items();
            // Who waits has looked for something to take before, or does when the lock is free.
            if self.places.as_ref().is_some_and(|places| places.is_wanted(id)) {
                drop(items);
                return;
            }
            items.put(tenant, id, value);
            let too_much = if items.all.len() > self.most { items.pop_oldest() } else { None };
            (too_much, !std::mem::replace(&mut items.swept, true))
        };
        // Not while others wait for the lock: it gives memory back.
        drop(too_much);
        if sweep {
            tokio::spawn(Sweeper { kept: Arc::downgrade(self), done: false }.work());
        }
    }

    /// Takes out what has been kept for too long. Says when to come again; `None` when nothing is left.
    fn expired(&self) -> (Vec<T>, Option<Instant>) {
        let mut items = self.items();
        let mut expired = vec![];
        let now = Instant::now();
        while let Some(since) = items.oldest() {
            if since + IDLE > now {
                return (expired, Some(since + IDLE));
            }
            expired.extend(items.pop_oldest());
        }
        items.swept = false;
        (expired, None)
    }
}

/// Who throws away what nobody wants. Where its runtime ends before it does, another one takes over.
struct Sweeper<T> {
    kept: Weak<Kept<T>>,
    done: bool,
}

impl<T> Drop for Sweeper<T> {
    fn drop(&mut self) {
        if let Some(kept) = self.kept.upgrade().filter(|_| !self.done) {
            kept.items().swept = false;
        }
    }
}

impl<T> Sweeper<T> {
    async fn work(mut self) {
        while let Some(kept) = self.kept.upgrade() {
            let (expired, next) = kept.expired();
            drop((expired, kept));
            let Some(next) = next else {
                // Another one may be at work by now.
                self.done = true;
                return;
            };
            tokio::time::sleep_until(next).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn put<T: Send + 'static>(kept: &Arc<Kept<T>>, tenant: u64, value: T) {
        kept.put(tenant, &tenant.to_string().into(), value);
    }

    fn kept(places: Option<u32>) -> Arc<Kept<u32>> {
        Arc::new(Kept::new(places))
    }

    #[tokio::test]
    async fn what_is_kept_is_its_tenants() {
        let kept = kept(None);
        put(&kept, 1, 10);
        put(&kept, 2, 20);
        put(&kept, 1, 11);
        assert_eq!(kept.take(3), None);
        assert_eq!([kept.take(1), kept.take(1), kept.take(1)], [Some(11), Some(10), None]);
        assert_eq!([kept.take(2), kept.take(2)], [Some(20), None]);
        assert!(kept.items().of.is_empty(), "nothing is left of tenants");
    }

    #[tokio::test]
    async fn not_more_are_kept_than_may_be() {
        let kept = kept(None);
        let most = u32::try_from(MOST_KEPT).unwrap();
        (0..most + 3).for_each(|number| put(&kept, u64::from(number % 2), number));
        assert_eq!(kept.items().all.len(), MOST_KEPT);
        let left = std::iter::from_fn(|| kept.take(0).or_else(|| kept.take(1)));
        assert_eq!(left.min(), Some(3), "the oldest went");
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_wants_goes() {
        let kept = kept(None);
        put(&kept, 1, 10);
        tokio::time::sleep(IDLE / 2).await;
        put(&kept, 1, 11);
        tokio::time::sleep(IDLE * 3 / 4).await;
        assert_eq!(kept.items().all.len(), 1);
        tokio::time::sleep(IDLE).await;
        assert_eq!(kept.items().all.len(), 0);
        assert!(!kept.items().swept, "the sweeper has gone home");
        put(&kept, 1, 12);
        tokio::time::sleep(IDLE * 2).await;
        assert_eq!(kept.items().all.len(), 0, "and comes again");
    }

    async fn place(kept: &Kept<(u32, Place)>, tenant: u64) -> Place {
        kept.place(&tenant.to_string()).await.expect("there are places")
    }

    #[tokio::test]
    async fn who_waits_for_a_place_gets_that_of_the_oldest() {
        let kept = Arc::new(Kept::new(Some(2)));
        for number in 0..2 {
            put(&kept, 1, (number, place(&kept, 1).await));
        }
        place(&kept, 2).await;
        assert_eq!(kept.take(1).map(|(number, _)| number), Some(1));
        assert!(kept.take(1).is_none());
    }

    #[tokio::test]
    async fn who_has_all_that_one_tenant_gets_makes_room_itself() {
        let kept = Arc::new(Kept::new(Some(4)));
        put(&kept, 2, (0, place(&kept, 2).await));
        for number in 1..=3 {
            put(&kept, 1, (number, place(&kept, 1).await));
        }
        place(&kept, 1).now_or_never().expect("one of its own");
        assert!(kept.take(2).is_some(), "another tenant's would not help");
    }

    #[tokio::test]
    async fn who_has_all_that_one_tenant_gets_makes_room_also_of_what_its_forerunner_left() {
        let kept = Arc::new(Kept::new(Some(4)));
        put(&kept, 2, (0, place(&kept, 2).await));
        for number in 1..=3 {
            // Of an earlier tenant of this id.
            kept.put(7, &"1".into(), (number, place(&kept, 1).await));
        }
        place(&kept, 1).now_or_never().expect("one that was left");
        assert!(kept.take(2).is_some());
    }

    #[tokio::test]
    async fn whom_a_place_would_not_help_costs_others_nothing() {
        let kept = Arc::new(Kept::new(Some(4)));
        put(&kept, 2, (0, place(&kept, 2).await));
        let mut all = vec![];
        for _ in 0..3 {
            all.push(place(&kept, 1).await);
        }
        let mut waits = Box::pin(place(&kept, 1));
        assert!((&mut waits).now_or_never().is_none());
        let (number, place) = kept.take(2).expect("it is still there");
        put(&kept, 2, (number + 1, place));
        assert!(kept.take(2).is_some_and(|(number, _)| number == 1), "and is kept again");
        put(&kept, 1, (9, all.pop().expect("one of three")));
        assert!(kept.take(1).is_none());
        waits.now_or_never().expect("its own");
    }

    #[tokio::test]
    async fn while_somebody_waits_nothing_is_kept() {
        let kept = Arc::new(Kept::new(Some(1)));
        let taken = place(&kept, 1).await;
        let mut waits = Box::pin(place(&kept, 2));
        assert!((&mut waits).now_or_never().is_none());
        put(&kept, 1, (0, taken));
        assert!(kept.take(1).is_none());
        waits.now_or_never().expect("the place");
    }
}
