//! How often routes are used that Memberspot limits.

use std::{collections::VecDeque, time::Duration};

const SECOND: Duration = Duration::from_secs(1);

/// A bucket with a token for each request that is allowed in a second. A token is back one second after the request that
/// took it **was answered**: whenever it arrived, that was before its answer. So however long requests travel, no second
/// at the server's end sees more of them than there are tokens; and a server that is quick is used at nearly the full rate.
///
/// The requests that it paces follow one another; none is sent before the one before it was answered.
#[derive(Debug)]
pub struct Pace {
    tokens: usize,
    /// When the last requests were answered, at most as many as there are tokens.
    answered: VecDeque<Duration>,
}

impl Pace {
    /// So many requests a second; with 0, any number.
    pub fn new(per_second: usize) -> Self {
        Self { tokens: per_second, answered: VecDeque::new() }
    }

    /// When the next request may be sent: a moment that may have passed.
    pub fn next(&self) -> Duration {
        match self.answered.front() {
            Some(oldest) if self.tokens > 0 && self.answered.len() >= self.tokens => oldest.saturating_add(SECOND),
            _ => Duration::ZERO,
        }
    }

    /// A request was answered, or given up.
    pub fn answered(&mut self, now: Duration) {
        self.answered.push_back(now);
        while self.answered.len() > self.tokens {
            self.answered.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn without_a_limit_nobody_waits() {
        let mut pace = Pace::new(0);
        for millisecond in 0..100 {
            assert_eq!(pace.next(), Duration::ZERO);
            pace.answered(Duration::from_millis(millisecond));
        }
    }

    #[test]
    fn a_quick_server_is_used_at_the_full_rate() {
        let mut pace = Pace::new(4);
        let mut now = Duration::ZERO;
        for _ in 0..400 {
            now = now.max(pace.next()) + Duration::from_millis(5);
            pace.answered(now);
        }
        assert!(now < Duration::from_secs(101), "{now:?}");
    }

    proptest! {
        /// Whatever the way to the server and back takes.
        #[test]
        fn no_second_at_the_server_sees_more_than_allowed(
            tokens in 1_usize..10,
            ways in prop::collection::vec((0_u64..1500, 0_u64..1500), 1..60),
        ) {
            let mut pace = Pace::new(tokens);
            let mut now = Duration::ZERO;
            let mut arrivals = vec![];
            for (there, back) in ways {
                now = now.max(pace.next()) + Duration::from_millis(there);
                arrivals.push(now);
                now += Duration::from_millis(back);
                pace.answered(now);
            }
            for window in arrivals.windows(tokens + 1) {
                prop_assert!(window[tokens] >= window[0] + SECOND);
            }
        }
    }
}
