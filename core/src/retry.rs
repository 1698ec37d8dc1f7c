//! Whether a request is made once more, and when. The only place that decides it, and pure: the moment and the randomness
//! come from outside.

use std::time::Duration;

use crate::error::{Nature, Trouble};

/// The backoff of the first repetition; it doubles with each further one,
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
/// up to this.
const LONGEST_BACKOFF: Duration = Duration::from_secs(20);

/// What a request that ran into trouble may still use.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// How often a request may be made in all; 1 means that nothing is repeated.
    pub max_attempts: u32,
    /// How often it was made.
    pub attempts: u32,
    /// How much time is left until the deadline of the call.
    pub time: Duration,
}

/// What to do about trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Report it.
    Report,
    /// Report it, and say how long to wait: the repetition would be in order, but the call has no time for it.
    ReportWith(Duration),
    /// Make the request once more after this time.
    Repeat(Duration),
}

/// Decides by the nature of the request, by what happened, and by what is left.
///
/// The wait is what Memberspot asked for, or else exponential backoff with full jitter: a random share of a span that
/// doubles, so that many instances that failed together do not come back together.
pub fn decide(nature: Nature, trouble: &Trouble, budget: Budget, random: u64) -> Decision {
    if !trouble.may_be_repeated(nature) || budget.attempts >= budget.max_attempts {
        return Decision::Report;
    }
    let wait = trouble.retry_after_ms.map_or_else(|| backoff(budget.attempts, random), |ms| Duration::from_millis(ms.into()));
    if wait < budget.time { Decision::Repeat(wait) } else { Decision::ReportWith(wait) }
}

fn backoff(attempts: u32, random: u64) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    let span = FIRST_BACKOFF.saturating_mul(1 << doublings).min(LONGEST_BACKOFF);
    // The upper half of the product is the random number scaled to the span.
    let nanoseconds = (u128::from(random) * span.as_nanos()) >> 64;
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

/// Spreads the bits of a number that is unlike the ones before it, such as the time, over all of the result. Enough for
/// jitter, and for nothing else.
pub fn scatter(seed: u64) -> u64 {
    let mixed = (seed ^ (seed >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{error::Effect, wit::types::FailureCode};

    fn trouble(passing: bool, effect: Effect, retry_after_ms: Option<u32>) -> Trouble {
        Trouble { passing, effect, retry_after_ms, ..Trouble::refused(FailureCode::Unavailable, "") }
    }

    fn budget(attempts: u32, seconds: u64) -> Budget {
        Budget { max_attempts: 3, attempts, time: Duration::from_secs(seconds) }
    }

    #[test]
    fn only_what_is_safe_and_may_pass_is_repeated() {
        for nature in [Nature::Read, Nature::Idempotent, Nature::Once] {
            for passing in [false, true] {
                for effect in [Effect::None, Effect::Possible] {
                    let repeat = decide(nature, &trouble(passing, effect, Some(0)), budget(1, 60), 0) != Decision::Report;
                    let safe = nature != Nature::Once || effect == Effect::None;
                    assert_eq!(repeat, passing && safe, "{nature:?} {passing} {effect:?}");
                }
            }
        }
    }

    #[test]
    fn attempts_have_an_end() {
        let passing = trouble(true, Effect::None, Some(0));
        assert_eq!(decide(Nature::Read, &passing, budget(2, 60), 0), Decision::Repeat(Duration::ZERO));
        assert_eq!(decide(Nature::Read, &passing, budget(3, 60), 0), Decision::Report);
        let once = Budget { max_attempts: 1, ..budget(1, 60) };
        assert_eq!(decide(Nature::Read, &passing, once, 0), Decision::Report);
    }

    #[test]
    fn what_memberspot_asks_for_is_obeyed_or_reported() {
        let asked = trouble(true, Effect::None, Some(7000));
        let wait = Duration::from_secs(7);
        assert_eq!(decide(Nature::Once, &asked, budget(1, 8), u64::MAX), Decision::Repeat(wait));
        assert_eq!(decide(Nature::Once, &asked, budget(1, 7), u64::MAX), Decision::ReportWith(wait));
    }

    proptest! {
        #[test]
        fn backoff_stays_in_its_span(attempts in 0_u32..100, random in any::<u64>()) {
            prop_assert!(backoff(attempts, random) <= LONGEST_BACKOFF);
            prop_assert!(backoff(1, random) <= FIRST_BACKOFF);
            prop_assert!(backoff(2, random) <= FIRST_BACKOFF * 2);
        }

        #[test]
        fn the_wait_is_always_shorter_than_what_is_left(ms in any::<u32>(), seconds in 0_u64..100, random in any::<u64>()) {
            for asked in [None, Some(ms)] {
                let left = budget(1, seconds);
                if let Decision::Repeat(wait) = decide(Nature::Read, &trouble(true, Effect::Possible, asked), left, random) {
                    prop_assert!(wait < left.time);
                }
            }
        }
    }

    #[test]
    fn jitter_spreads() {
        let early = (0..1000_u64).filter(|seed| scatter(seed * 1_000_000) < u64::MAX / 2).count();
        assert!((400..600).contains(&early), "{early} of 1000 in the first half");
    }
}
