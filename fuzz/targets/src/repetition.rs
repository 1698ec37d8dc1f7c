//! Whether a request is made once more, and when.

use std::time::Duration;

use memberspot_core::{
    error::{Effect, Nature, Trouble},
    retry::{Budget, Decision, decide},
    wit::types::FailureCode,
};

/// Input: words in one line, as in `once passing effect 1 3 60000 7 retry-after 5000`. The numbers are the requests made, the
/// requests allowed, the milliseconds left, and the random number.
pub fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (line, asked) = text.split_once("retry-after").map_or((&*text, None), |(line, asked)| (line, Some(asked)));
    let has = |word: &str| line.split_whitespace().any(|found| found == word);
    let mut numbers = line.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
    let mut number = || numbers.next().unwrap_or_default();
    let mut small = || u32::try_from(number()).unwrap_or(u32::MAX);

    let nature = match (has("once"), has("idempotent")) {
        (true, _) => Nature::Once,
        (false, true) => Nature::Idempotent,
        (false, false) => Nature::Read,
    };
    let trouble = Trouble {
        passing: has("passing"),
        effect: if has("effect") { Effect::Possible } else { Effect::None },
        retry_after_ms: asked.and_then(|asked| asked.trim().parse().ok()),
        ..Trouble::refused(FailureCode::Unavailable, "")
    };
    let (attempts, max_attempts) = (small(), small());
    let budget = Budget { max_attempts, attempts, time: Duration::from_millis(number()) };
    check(nature, &trouble, budget, number());
}

fn check(nature: Nature, trouble: &Trouble, budget: Budget, random: u64) {
    let safe = nature != Nature::Once || trouble.effect == Effect::None;
    let in_order = trouble.passing && safe && budget.attempts < budget.max_attempts;
    let decision = decide(nature, trouble, budget, random);
    match decision {
        Decision::Report => assert!(!in_order, "what is in order is not reported as final"),
        Decision::Repeat(wait) => assert!(in_order && wait < budget.time, "{wait:?}"),
        Decision::ReportWith(wait) => assert!(in_order && wait >= budget.time, "{wait:?}"),
    }
    if let Decision::Repeat(wait) | Decision::ReportWith(wait) = decision {
        match trouble.retry_after_ms {
            Some(asked) => assert_eq!(wait.as_millis(), u128::from(asked), "as Memberspot asks"),
            None => assert!(wait <= longest_backoff(budget.attempts), "{wait:?} after {} requests", budget.attempts),
        }
    }
}

/// Half a second, doubled for each repetition, twenty seconds at the most.
fn longest_backoff(attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(20);
    Duration::from_millis(500 << doublings).min(Duration::from_secs(20))
}
