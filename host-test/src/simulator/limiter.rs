//! The limit of so many requests a second on the routes that are slow for the server.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use time::OffsetDateTime;

const WINDOW: Duration = Duration::from_secs(1);

/// Counts the requests of the last second, for each API key.
///
/// The window slides: no second, wherever it starts, holds more than the limit. Whether the real service slides or
/// counts in fixed windows is not known; a client that keeps this limit keeps the other as well. It holds at most
/// `limit` times for each key that a school knows.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    admitted: HashMap<String, VecDeque<OffsetDateTime>>,
}

impl Limiter {
    /// Admits a request at `now`, or says how long to wait for the next free place. A refused request does not count.
    pub(super) fn admit(&mut self, key: &str, limit: u32, now: OffsetDateTime) -> Result<(), Duration> {
        let admitted = self.admitted.entry(key.to_owned()).or_default();
        while admitted.front().is_some_and(|&first| now - first >= WINDOW) {
            admitted.pop_front();
        }
        if admitted.len() < limit as usize {
            admitted.push_back(now);
            return Ok(());
        }
        let waited = admitted.front().map_or(Duration::ZERO, |&first| {
            // Negative when the machine's clock was set back: then the whole window is still to come.
            Duration::try_from(now - first).unwrap_or_default()
        });
        Err(WINDOW.saturating_sub(waited))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn no_second_holds_more_than_the_limit() {
        let start = datetime!(2026-01-01 00:00 UTC);
        let at = |millis| start + Duration::from_millis(millis);
        let mut limiter = Limiter::default();
        assert_eq!(limiter.admit("a", 2, at(0)), Ok(()));
        assert_eq!(limiter.admit("a", 2, at(600)), Ok(()));
        assert_eq!(limiter.admit("a", 2, at(700)), Err(Duration::from_millis(300)));
        assert_eq!(limiter.admit("b", 2, at(700)), Ok(()));
        assert_eq!(limiter.admit("a", 2, at(1000)), Ok(()));
        assert_eq!(limiter.admit("a", 2, at(1001)), Err(Duration::from_millis(599)));
        assert_eq!(limiter.admit("c", 0, at(0)), Err(WINDOW));
    }
}
