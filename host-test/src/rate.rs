//! How often a key uses the routes that Memberspot limits, over all calls of a host.
//!
//! The component paces the requests of one call. It cannot know of other instances with the same key, so the host has them
//! wait for their turn when they leave. Both count in the same way, and to the same number,
//! `MEMBERSPOT_REQUESTS_PER_SECOND` of the [`Connection`]: a call that is alone never waits here, and calls that are
//! not share what there is, in the order of their requests.
//!
//! A request waits here for no longer than half of the time that the component gives it, and not beyond the deadline of its
//! call. One that would have to is answered at once with 429 and how long to wait: the component then waits itself, or
//! reports `rate-limited` where its deadline leaves no room. Either way nothing was sent.
//!
//! # Several nodes
//!
//! [`Buckets`] know of one process. Where calls with the same key are made on n nodes, there are three ways, for Memberspot's
//! 4 requests a second:
//!
//! - Make all calls of a key on the same node, such as the one that a hash of the tenant chooses. Nothing else is needed.
//! - [`Buckets::shared_by`] gives each node its part: 2 a second on 2 nodes, 1 on 3 or 4. What a node does not use is lost,
//!   and from 5 nodes on the parts are more than there is.
//! - A [`RateLimiter`] over a store that all nodes share. For each key it holds at most 4 moments; a request is one
//!   exchange with the store when it leaves and one when it was answered, so at the most 8 a second for each key, however
//!   many nodes there are. The exchange comes on top of each request's own time, so the store should answer in
//!   milliseconds; when it does not answer at all, [`RateLimiter::turn`] decides whether requests leave. Its clock, not
//!   those of the nodes, should say what a second is. A turn whose node died comes back by itself, after [`LOST`].
//!
//! A store never sees a key, but its [`KeyId`].

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::ready;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use memberspot_core::config::Config;
use memberspot_core::route::Route;
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};
use wasmtime_wasi_http::{RequestOptions, WasiBody};

use crate::connection::API_KEY;
use crate::sender::Exchange;
use crate::{ApiKey, Connection, Origin};

/// A turn comes back this long after its request was answered.
pub const WINDOW: Duration = Duration::from_secs(1);
/// The turn of a request that has no answer for so long comes back as if it had been answered then: whenever it arrived, that
/// was long ago.
pub const LOST: Duration = Duration::from_secs(5);
/// However long Memberspot asks to wait, after this long a request goes and asks again.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// Where Memberspot does not say how long to wait.
const DEFAULT_PAUSE: Duration = WINDOW;
/// How long a request without options may take until its answer begins.
const FIRST_BYTE: Duration = Duration::from_mins(10);
/// Keys that were in use within the last second, or wait for the end of a pause.
const MOST_BUCKETS: usize = 100_000;

/// Which key a limit is about: a hash of the key and of the origin that it is for.
///
/// It is the same in every process, so that nodes can share a store. Keys are long and random, so that nobody can try them
/// all; but whoever has one can tell whether it was used.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; 32]);

impl KeyId {
    pub(crate) fn of(origin: Option<&Origin>, key: Option<&ApiKey>) -> Self {
        let mut hash = Sha256::new();
        hash.update("memberspot-rate-limit");
        for part in [origin.map(ToString::to_string).unwrap_or_default().as_str(), key.map_or("", ApiKey::expose)] {
            hash.update([0]);
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// The hash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// In hexadecimal digits.
impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// A request on a route that Memberspot limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limited {
    /// The key that it is made with.
    pub key: KeyId,
    /// The route, such as `/v1/users/find-by-mail/{}`.
    pub route: &'static str,
    /// How many requests a second there may be; at least 1.
    pub per_second: u32,
}

/// What [`RateLimiter::turn`] gives.
pub type TurnFuture<'a> = Pin<Box<dyn Future<Output = Result<Box<dyn Turn>, Duration>> + Send + 'a>>;

/// Has requests wait for their turn, so that a key is not used more often than Memberspot allows.
pub trait RateLimiter: Send + Sync {
    /// Waits until a request may leave, but for no longer than `longest`. Where that is not enough, it does not wait at all,
    /// and the error says how long it would be.
    ///
    /// The future may be dropped while it waits: the request is given up.
    fn turn(&self, request: Limited, longest: Duration) -> TurnFuture<'_>;
}

/// The turn of one request. It is dropped when the request was answered, failed, or was given up.
pub trait Turn: Send {
    /// Memberspot answered with 429: nothing should be sent for this long.
    fn refused(self: Box<Self>, pause: Duration);
}

/// The limits of all keys, in the memory of this process.
///
/// A bucket has a turn for each request that is allowed in a second, and a turn comes back a second after its request **was
/// answered**: it arrived before that, however long it travelled. So no second at Memberspot's end sees more requests
/// than allowed. To count when requests leave would allow more: one that travels fast arrives within a second of one
/// that left a second earlier and travelled slowly.
///
/// Whether Memberspot counts its limited routes together is not known, so they are, unless they are to be
/// [apart](Self::apart).
#[derive(Debug)]
pub struct Buckets {
    nodes: NonZeroU32,
    apart: bool,
    most: usize,
    keys: Mutex<HashMap<(KeyId, &'static str), Arc<Bucket>>>,
}

impl Default for Buckets {
    fn default() -> Self {
        Self { nodes: NonZeroU32::MIN, apart: false, most: MOST_BUCKETS, keys: Mutex::default() }
    }
}

impl Buckets {
    /// Gives this process one of so many equal parts of what each key may do, and never less than one request a second.
    #[must_use]
    pub fn shared_by(mut self, nodes: NonZeroU32) -> Self {
        self.nodes = nodes;
        self
    }

    /// Counts each route for itself.
    #[must_use]
    pub fn apart(mut self) -> Self {
        self.apart = true;
        self
    }

    fn per_second(&self, request: Limited) -> usize {
        (request.per_second / self.nodes).max(1) as usize
    }

    /// The bucket of a request. `None` when there are as many as there may be, all of them in use.
    fn bucket(&self, request: Limited) -> Option<Arc<Bucket>> {
        let key = (request.key, if self.apart { request.route } else { "" });
        let mut buckets = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get(&key) {
            return Some(bucket.clone());
        }
        if buckets.len() >= self.most {
            let now = Instant::now();
            // Nobody gets hold of one meanwhile: that takes the lock.
            buckets.retain(|_, bucket| Arc::strong_count(bucket) > 1 || !bucket.state().is_unused(now));
        }
        let room = buckets.len() < self.most;
        room.then(|| buckets.entry(key).or_default().clone())
    }
}

impl RateLimiter for Buckets {
    fn turn(&self, request: Limited, longest: Duration) -> TurnFuture<'_> {
        match self.bucket(request) {
            Some(bucket) => Box::pin(bucket.turn(self.per_second(request), longest)),
            None => Box::pin(ready(Err(WINDOW))),
        }
    }
}

/// The turns of one key.
#[derive(Debug, Default)]
struct Bucket {
    state: Mutex<State>,
    /// Those who wait, in their order; whoever has it is next.
    line: tokio::sync::Mutex<()>,
    /// Tells the next one that a turn may come sooner than it seemed.
    sooner: Notify,
    /// Tells all who wait that it takes longer than it seemed.
    later: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// When requests left that are not answered; the number tells them apart.
    under_way: VecDeque<(u64, Instant)>,
    /// When requests were answered, within the last second.
    answered: VecDeque<Instant>,
    /// Memberspot asked to send nothing before.
    paused_until: Option<Instant>,
    waiting: usize,
    /// How many requests left so far.
    left: u64,
}

impl State {
    /// Forgets what does not count any more.
    fn settle(&mut self, now: Instant) {
        while self.answered.front().is_some_and(|&answered| answered + WINDOW <= now) {
            self.answered.pop_front();
        }
        while self.under_way.front().is_some_and(|&(_, left)| left + LOST + WINDOW <= now) {
            self.under_way.pop_front();
        }
        self.paused_until = self.paused_until.filter(|&end| end > now);
    }

    fn is_unused(&mut self, now: Instant) -> bool {
        self.settle(now);
        self.under_way.is_empty() && self.answered.is_empty() && self.paused_until.is_none()
    }

    /// When turns that are taken come back, at the latest, if requests under way are answered `within` this time.
    fn returns(&self, now: Instant, within: Duration) -> Vec<Instant> {
        let lost = self.under_way.iter().map(|&(_, left)| (left + LOST).min(now + within));
        let mut moments: Vec<_> = self.answered.iter().copied().chain(lost).map(|answered| answered + WINDOW).collect();
        moments.sort_unstable();
        moments
    }

    /// When the next request may leave, if no answer comes before: a moment that may have passed.
    fn next(&mut self, now: Instant, per_second: usize) -> Instant {
        self.settle(now);
        let taken = self.under_way.len() + self.answered.len();
        // Another call may have had more of them.
        let back = taken.checked_sub(per_second).and_then(|excess| self.returns(now, LOST).get(excess).copied());
        back.unwrap_or(now).max(self.paused_until.unwrap_or(now))
    }

    /// When a request may leave that so many others are ahead of, if answers come at once.
    fn expected(&mut self, now: Instant, per_second: usize, ahead: usize) -> Instant {
        self.settle(now);
        let returns = self.returns(now, Duration::ZERO);
        // The last ones: where there are more than turns, the first ones to come back are nobody's.
        let mut turns: Vec<_> = returns.iter().rev().take(per_second).copied().collect();
        turns.resize(per_second, now);
        turns.sort_unstable();
        let turn = turns.get(ahead % per_second).copied().unwrap_or(now);
        let rounds = u32::try_from(ahead / per_second).unwrap_or(u32::MAX);
        turn.max(self.paused_until.unwrap_or(now)) + WINDOW.saturating_mul(rounds)
    }
}

impl Bucket {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn turn(self: Arc<Self>, per_second: usize, longest: Duration) -> Result<Box<dyn Turn>, Duration> {
        let end = Instant::now() + longest;
        let place = Place::new(&self);
        let too_late = |ahead| {
            let now = Instant::now();
            let expected = self.state().expected(now, per_second, ahead);
            (expected >= end).then(|| expected - now)
        };
        let waited = async {
            let line = self.line.lock();
            tokio::pin!(line);
            let _first = loop {
                let later = self.later.notified();
                if let Some(wait) = too_late(place.ahead()) {
                    return Err(wait);
                }
                tokio::select! {
                    biased;
                    first = &mut line => break first,
                    () = later => {}
                }
            };
            loop {
                let (sooner, later) = (self.sooner.notified(), self.later.notified());
                if let Some(wait) = too_late(0) {
                    return Err(wait);
                }
                let now = Instant::now();
                let next = {
                    let mut state = self.state();
                    let next = state.next(now, per_second);
                    if next <= now {
                        return Ok(state.leave(now));
                    }
                    next
                };
                tokio::select! {
                    () = sleep_until(next) => {}
                    () = sooner => {}
                    () = later => {}
                }
            }
        };
        match timeout_at(end, waited).await {
            Ok(Ok(number)) => Ok(Box::new(Taken { bucket: self.clone(), number })),
            Ok(Err(wait)) => Err(wait),
            Err(_) => {
                let now = Instant::now();
                Err(self.state().expected(now, per_second, place.ahead()) - now)
            }
        }
    }
}

impl State {
    fn leave(&mut self, now: Instant) -> u64 {
        self.left += 1;
        self.under_way.push_back((self.left, now));
        self.left
    }
}

/// Somebody waits.
struct Place<'a> {
    bucket: &'a Bucket,
    ahead: usize,
    left_before: u64,
}

impl<'a> Place<'a> {
    fn new(bucket: &'a Bucket) -> Self {
        let mut state = bucket.state();
        let ahead = state.waiting;
        state.waiting += 1;
        Self { ahead, left_before: state.left, bucket }
    }

    /// How many are ahead; fewer, where some have given up.
    fn ahead(&self) -> usize {
        let left = self.bucket.state().left - self.left_before;
        self.ahead.saturating_sub(usize::try_from(left).unwrap_or(usize::MAX))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.bucket.state().waiting -= 1;
    }
}

/// A turn that is taken.
struct Taken {
    bucket: Arc<Bucket>,
    number: u64,
}

impl Turn for Taken {
    fn refused(self: Box<Self>, pause: Duration) {
        let until = Instant::now() + pause;
        {
            let mut state = self.bucket.state();
            state.paused_until = state.paused_until.max(Some(until));
        }
        self.bucket.later.notify_waiters();
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = self.bucket.state();
        // One that counted as lost has come back already.
        if let Some(index) = state.under_way.iter().position(|&(number, _)| number == self.number) {
            state.under_way.remove(index);
            state.answered.push_back(now);
        }
        drop(state);
        self.bucket.sooner.notify_one();
    }
}

/// What a connection says of pace and deadline, as the component reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pacing {
    /// `None`: any number.
    per_second: Option<NonZeroU32>,
    deadline: Duration,
}

impl Pacing {
    pub(crate) fn of(connection: &Connection) -> Option<Self> {
        let read = |variables: Vec<_>| Config::from_environment(variables).ok();
        let stand_in = || (API_KEY.to_owned(), "stand-in".to_owned());
        let own = connection.environment().map(|(name, value)| (name.to_owned(), value.to_owned()));
        // Where it cannot be read, the component does not send anything; another one may.
        let config = read(own.chain([stand_in()]).collect()).or_else(|| read(vec![stand_in()]))?;
        let per_second = u32::try_from(config.requests_per_second).ok().and_then(NonZeroU32::new);
        Some(Self { per_second, deadline: config.deadline })
    }
}

/// The limits that the requests of one call keep.
#[derive(Clone)]
pub(crate) struct Rate {
    limiter: Arc<dyn RateLimiter>,
    per_second: NonZeroU32,
    deadline: Instant,
}

impl Rate {
    /// `None` when there are none.
    pub(crate) fn of_call(limiter: &Arc<dyn RateLimiter>, pacing: Pacing) -> Option<Self> {
        let deadline = Instant::now() + pacing.deadline;
        pacing.per_second.map(|per_second| Self { limiter: limiter.clone(), per_second, deadline })
    }

    /// The turn that a request has to wait for. `None` when its route is not limited: then nobody asks which key it has.
    pub(crate) fn turn(
        &self,
        request: &Request<WasiBody>,
        options: Option<&RequestOptions>,
        key: &dyn Fn() -> KeyId,
    ) -> Option<impl Future<Output = Result<Box<dyn Turn>, Duration>> + Send + use<>> {
        let route = Route::find(crate::egress::method(request.method())?, request.uri().path())?;
        route.function.limit?;
        let limited = Limited { key: key(), route: route.template, per_second: self.per_second.get() };
        let first_byte = options.and_then(|options| options.first_byte_timeout).unwrap_or(FIRST_BYTE);
        let longest = self.deadline.saturating_duration_since(Instant::now()).min(first_byte / 2);
        let keeper = self.limiter.clone();
        Some(async move { keeper.turn(limited, longest).await })
    }
}

/// What a request is told whose turn does not come in time.
fn not_in_time(wait: Duration) -> Response<WasiBody> {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let text = r#"{"statusCode":429,"message":"too many requests with this key; not sent","error":"Too Many Requests"}"#;
    let body = Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {});
    let mut response = Response::new(WasiBody::new(body));
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, text.len().into());
    headers.insert(header::RETRY_AFTER, seconds.into());
    response
}

/// Sends a request when it is its turn. After an answer of 429, all others wait as long as Memberspot asks.
pub(crate) async fn limited<F: Future<Output = Exchange>>(
    turn: impl Future<Output = Result<Box<dyn Turn>, Duration>>,
    send: impl FnOnce() -> F,
) -> Exchange {
    let turn = match turn.await {
        Ok(turn) => turn,
        Err(wait) => return Ok((not_in_time(wait), Box::pin(ready(Ok(()))))),
    };
    let exchange = send().await;
    if let Ok((response, _)) = &exchange
        && response.status() == StatusCode::TOO_MANY_REQUESTS
    {
        turn.refused(pause(response.headers()));
    }
    exchange
}

/// How long a 429 asks to wait, in seconds or until a date, within bounds.
fn pause(headers: &HeaderMap) -> Duration {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let date = |text| httpdate::parse_http_date(text).ok();
    let asked = text(header::RETRY_AFTER).and_then(|text| {
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let now = self::date(headers).unwrap_or_else(SystemTime::now);
        date(text).map(|until| until.duration_since(now).unwrap_or_default())
    });
    asked.unwrap_or(DEFAULT_PAUSE).min(LONGEST_PAUSE)
}

/// When an answer says that it was made: against this the server's dates are to be read, not against our own clock.
fn date(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(header::DATE)?.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use futures_util::future::join_all;
    use proptest::prelude::*;
    use tokio::time::sleep;

    use super::*;

    const LONG: Duration = Duration::from_hours(1);

    fn limited(key: u8) -> Limited {
        Limited { key: KeyId([key; 32]), route: "/v1/users/list", per_second: 4 }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// How many leave without waiting.
    fn at_once(buckets: &Buckets, request: Limited) -> usize {
        let mut turns = Vec::new();
        while let Some(Ok(turn)) = buckets.turn(request, LONG).now_or_never() {
            turns.push(turn);
        }
        turns.len()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// However many there are, and whatever the way to the server and back takes.
        #[test]
        fn no_second_at_the_server_sees_more_than_allowed(
            per_second in 1_u32..6,
            calls in prop::collection::vec(prop::collection::vec((0_u64..1500, 0_u64..1500), 1..6), 1..12),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let mut arrivals = runtime.block_on(async {
                let buckets = Buckets::default();
                let arrivals = join_all(calls.iter().map(async |ways| {
                    let mut arrivals = Vec::new();
                    for &(there, back) in ways {
                        let limited = Limited { per_second, ..limited(1) };
                        let Ok(turn) = buckets.turn(limited, LONG).await else { panic!("no turn") };
                        sleep(Duration::from_millis(there)).await;
                        arrivals.push(Instant::now());
                        sleep(Duration::from_millis(back)).await;
                        drop(turn);
                    }
                    arrivals
                }));
                arrivals.await.concat()
            });
            arrivals.sort_unstable();
            prop_assert_eq!(arrivals.len(), calls.iter().map(Vec::len).sum::<usize>());
            let many = per_second as usize;
            for window in arrivals.windows(many + 1) {
                prop_assert!(window[many] - window[0] >= WINDOW, "{:?}", arrivals);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_quick_server_is_used_at_the_full_rate() {
        let buckets = Buckets::default();
        let started = Instant::now();
        join_all((0..40).map(async |_| drop(buckets.turn(limited(1), LONG).await))).await;
        assert_eq!(started.elapsed(), seconds(9));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_is_too_long_is_not_begun() {
        let buckets = Buckets::default();
        let calls = (0..12).map(async |_| buckets.turn(limited(1), seconds(2)).await.map(drop));
        let started = Instant::now();
        let results = join_all(calls.map(async |call| (call.await, started.elapsed()))).await;
        let expected = [(Ok(()), seconds(0)); 4].into_iter().chain([(Ok(()), seconds(1)); 4]);
        let expected: Vec<_> = expected.chain([(Err(seconds(2)), seconds(0)); 4]).collect();
        assert_eq!(results, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_not_answered_does_not_hold_the_others_for_ever() {
        let buckets = Buckets::default();
        let mut turns = Vec::new();
        for _ in 0..4 {
            turns.push(buckets.turn(limited(1), LONG).await);
        }
        let started = Instant::now();
        assert!(buckets.turn(limited(1), LONG).await.is_ok());
        assert_eq!(started.elapsed(), LOST + WINDOW);
        drop(turns);
        // They came back before.
        assert_eq!(at_once(&buckets, limited(1)), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_does_not_hold_the_others() {
        let buckets = Buckets::default();
        assert_eq!(at_once(&buckets, limited(1)), 4);
        let mut waiting: Vec<_> = (0..100).map(|_| buckets.turn(limited(1), LONG)).collect();
        assert!(waiting.iter_mut().all(|turn| turn.now_or_never().is_none()));
        let last = waiting.pop().expect("one that waits");
        drop(waiting);
        let started = Instant::now();
        assert!(last.await.is_ok());
        assert_eq!(started.elapsed(), WINDOW);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_holds_all_requests_of_the_key() {
        let buckets = Buckets::default();
        let Ok(turn) = buckets.turn(limited(1), LONG).await else { panic!("no turn") };
        assert_eq!(at_once(&buckets, limited(1)), 3);
        let started = Instant::now();
        let waiting = async |longest| (buckets.turn(limited(1), longest).await.map(drop), started.elapsed());
        let refused = async { turn.refused(seconds(10)) };
        let (short, long, ()) = tokio::join!(waiting(seconds(5)), waiting(seconds(20)), refused);
        assert_eq!(short, (Err(seconds(10)), seconds(0)), "nobody waits for nothing");
        assert_eq!(long, (Ok(()), seconds(10)));
        assert_eq!(at_once(&buckets, limited(2)), 4, "another key");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_in_use_is_forgotten() {
        let buckets = Buckets { most: 3, ..Buckets::default() };
        for key in 0..100 {
            assert!(buckets.turn(limited(key), LONG).await.is_ok());
            sleep(WINDOW).await;
            assert!(buckets.keys.lock().unwrap().len() <= 3);
        }
        let turns: Vec<_> = join_all((0..4).map(|key| buckets.turn(limited(key), LONG))).await;
        assert_eq!(turns.iter().filter(|turn| turn.is_ok()).count(), 3, "those in use are kept");
        drop(turns);
        sleep(WINDOW).await;
        assert!(buckets.turn(limited(3), LONG).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_has_one_limit_or_one_for_each_route() {
        let other = Limited { route: "/v1/users/find-by-mail/{}", ..limited(1) };
        for (buckets, expected) in [(Buckets::default(), 0), (Buckets::default().apart(), 4)] {
            assert_eq!(at_once(&buckets, limited(1)), 4);
            assert_eq!(at_once(&buckets, other), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_have_equal_parts() {
        for (nodes, expected) in [(1, 4), (2, 2), (3, 1), (4, 1), (5, 1)] {
            let buckets = Buckets::default().shared_by(NonZeroU32::new(nodes).unwrap());
            assert_eq!(at_once(&buckets, limited(1)), expected, "{nodes}");
        }
    }

    #[test]
    fn pauses_have_bounds() {
        let date = ("date", "Thu, 15 Jan 2026 12:00:00 GMT");
        for (headers, expected) in [
            (vec![], 1),
            (vec![("retry-after", "0")], 0),
            (vec![("retry-after", "7")], 7),
            (vec![("retry-after", " 7 ")], 7),
            (vec![("retry-after", "3600")], 60),
            (vec![("retry-after", "99999999999999999999")], 1),
            (vec![("retry-after", "soon")], 1),
            (vec![("retry-after", "Thu, 15 Jan 2026 12:00:09 GMT"), date], 9),
            (vec![("retry-after", "Thu, 15 Jan 2026 11:00:09 GMT"), date], 0),
            (vec![("retry-after", "Thu, 15 Jan 2026 13:00:09 GMT"), date], 60),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in &headers {
                map.insert(*name, value.parse().unwrap());
            }
            assert_eq!(pause(&map), seconds(expected), "{headers:?}");
        }
    }

    #[test]
    fn a_key_is_counted_for_its_origin_and_not_shown() {
        let origin = |url| Origin::parse(url);
        let id = |url, key: &str| KeyId::of(origin(url).as_ref(), Some(&ApiKey::new(key)));
        let one = id("https://api.memberspot.de", "canary-4711");
        assert_eq!(one, id("https://API.memberspot.de:443", "canary-4711"));
        assert_ne!(one, id("https://api.memberspot.de", "canary-4712"));
        assert_ne!(one, id("http://api.memberspot.de", "canary-4711"));
        assert!(!format!("{one:?}{one}").contains("canary"));
    }

    #[test]
    fn the_pace_is_that_of_the_component() {
        let pacing = |connection: Connection| {
            let Pacing { per_second, deadline } = Pacing::of(&connection).unwrap();
            (per_second.map_or(0, NonZeroU32::get), deadline.as_millis())
        };
        let connection = Connection::default();
        assert_eq!(pacing(connection.clone()), (4, 60_000));
        let pace = |pace: &str| connection.clone().deadline_ms(5).variable("MEMBERSPOT_REQUESTS_PER_SECOND", pace);
        assert_eq!(pacing(pace("10")), (10, 5));
        assert_eq!(pacing(pace("0")), (0, 5));
        assert_eq!(pacing(pace("many")), (4, 60_000), "not what the component sends anything with");
    }
}
