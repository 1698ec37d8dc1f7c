//! What a function has to come to in a fault: the contract of the WIT, the README and ARCHITECTURE.md, stated once more and
//! in another way than the component does.

use std::time::Duration;

use super::{
    faults::{Ask, Body, Case, Late, Means, Status},
    subjects::{Nature, Shape, Subject},
};

/// How long a call may take.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// How long an answer may take to begin.
const FIRST_BYTE: Duration = Duration::from_secs(30);
/// How long a connection may stand still.
const STANDSTILL: Duration = Duration::from_secs(15);
/// The longest wait before the first repetition, where Memberspot asks for none; it doubles with each further one.
const BACKOFF: Duration = Duration::from_millis(500);

/// How often the component may make a request, and how long a fault lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plan {
    /// Three times, and the fault strikes each time.
    Lasting,
    /// Three times, and the fault strikes once.
    Passing,
    /// Once.
    Single,
}

impl Plan {
    pub const ALL: [Self; 3] = [Self::Lasting, Self::Passing, Self::Single];

    pub fn max_attempts(self) -> u32 {
        if self == Self::Single { 1 } else { 3 }
    }
}

/// The faults that befall the requests of a call, one after the other; with the last one it goes as the plan says.
#[derive(Clone, Copy)]
pub struct Course<'a> {
    pub cases: &'a [&'a Case],
    pub plan: Plan,
}

impl<'a> Course<'a> {
    /// What befalls a request, counted from 0.
    pub fn case(self, request: usize) -> Option<&'a Case> {
        let last = self.cases.last().filter(|_| self.plan != Plan::Passing);
        self.cases.get(request).or(last).copied()
    }

    /// Each fault, and how many requests it befalls.
    pub fn times(self) -> impl Iterator<Item = (&'a Case, u32)> {
        let last = self.cases.len().saturating_sub(1);
        let lasts = self.plan != Plan::Passing;
        self.cases.iter().enumerate().map(move |(nth, case)| (*case, if nth == last && lasts { u32::MAX } else { 1 }))
    }
}

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub result: Outcome,
    /// How many requests were sent.
    pub requests: u32,
    /// When each of them was, since the beginning of the call.
    pub starts: Vec<Duration>,
    /// How long the call took.
    pub took: Duration,
}

/// What a call says.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Success,
    Failure(Failure),
}

/// The parts of an error that a program decides by.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    pub code: String,
    pub transient: bool,
    pub outcome_unknown: bool,
    pub status: Option<u16>,
    pub attempts: u32,
    pub retry_after: Option<Duration>,
}

/// How a request failed.
#[derive(Clone, Copy)]
struct Bad {
    code: &'static str,
    status: Option<u16>,
    /// The same request may succeed later.
    passing: bool,
    /// It may have taken effect.
    effect: bool,
    /// How long to wait.
    ask: Option<Duration>,
}

impl Bad {
    fn refused(code: &'static str, status: Option<u16>) -> Self {
        Self { code, status, passing: false, effect: false, ask: None }
    }

    fn busy(code: &'static str, status: Option<u16>, ask: Option<Duration>) -> Self {
        Self { passing: true, ask, ..Self::refused(code, status) }
    }

    fn lost(code: &'static str, status: Option<u16>) -> Self {
        Self { passing: true, effect: true, ..Self::refused(code, status) }
    }

    fn strange(code: &'static str, status: Option<u16>) -> Self {
        Self { effect: true, ..Self::refused(code, status) }
    }

    /// Whether the request may be made once more.
    fn is_safe(self, nature: Nature) -> bool {
        self.passing && !(nature == Nature::Once && self.effect)
    }
}

/// What the call has to come to. `jitter` is the share of the longest backoff that is waited, from 0 to 1.
pub fn run(subject: &Subject, course: Course<'_>, jitter: f64) -> Run {
    let mut now = Duration::ZERO;
    let mut starts = vec![now; subject.before as usize];
    let mut struck = 0;
    let mut effect = false;
    for form in 0.. {
        let mut attempts = 0;
        // The other form of a write is a POST.
        let status = if form == 0 || subject.nature == Nature::Read { subject.status } else { 201 };
        let subject = &Subject { status, ..subject.clone() };
        let (case, bad) = loop {
            starts.push(now);
            attempts += 1;
            let case = course.case(struck);
            struck += 1;
            let (end, took) = request(subject, case.map(|case| case.means), now);
            now += took;
            let Err(bad) = end else {
                starts.extend(vec![now; subject.after as usize]);
                return Run { result: Outcome::Success, requests: count(&starts), starts, took: now };
            };
            effect |= bad.effect;
            if !bad.is_safe(subject.nature) || attempts == course.plan.max_attempts() {
                break (case, Bad { effect, ..bad });
            }
            let wait = bad.ask.unwrap_or_else(|| (BACKOFF * (1 << (attempts - 1))).mul_f64(jitter));
            if wait >= DEADLINE - now {
                break (case, Bad { effect, ask: Some(wait), ..bad });
            }
            now += wait;
        };
        if form < subject.other_forms && case.is_some_and(|case| subject.other_form.contains(&case.name)) {
            continue;
        }
        let requests = count(&starts);
        let failure = Failure {
            code: bad.code.to_owned(),
            transient: bad.is_safe(subject.nature),
            outcome_unknown: subject.nature != Nature::Read && bad.effect,
            status: bad.status,
            attempts: requests,
            retry_after: bad.ask,
        };
        return Run { result: Outcome::Failure(failure), requests, starts, took: now };
    }
    unreachable!("no request has endless forms")
}

fn count(starts: &[Duration]) -> u32 {
    u32::try_from(starts.len()).expect("a handful")
}

/// How a request ends that starts at this moment, and after how long. Without a fault, it succeeds at once.
fn request(subject: &Subject, means: Option<Means>, now: Duration) -> (Result<(), Bad>, Duration) {
    let left = DEADLINE - now;
    let status_of = |status| match status {
        Status::None => None,
        Status::Real => Some(subject.status),
        Status::Is(status) => Some(status),
    };
    let end = match means {
        None | Some(Means::Drift) => Ok(()),
        Some(Means::Missing) if subject.may_be_missing => Ok(()),
        Some(Means::Missing) => Err(Bad::refused("not-found", Some(404))),
        Some(Means::Refused(code, status)) => Err(Bad::refused(code, Some(status))),
        Some(Means::Busy(code, status, ask)) => Err(Bad::busy(code, Some(status), ask.wait(now))),
        Some(Means::Unsent) => Err(Bad::busy("unreachable", None, None)),
        Some(Means::Lost(code, status)) => Err(Bad::lost(code, status_of(status))),
        Some(Means::Strange(code, status)) => Err(Bad::strange(code, status_of(status))),
        Some(Means::Body(status, body)) => match promise(subject.shape, body) {
            Promise::Kept => Ok(()),
            Promise::Broken => Err(Bad::strange("invalid-response", status_of(status))),
            Promise::NameUnknown => Err(Bad::refused("invalid-input", None)),
        },
        Some(Means::Whole(late)) => return whole(subject, late, left),
        Some(Means::NoAnswer) => return (Err(Bad::lost("timed-out", None)), patience(subject, left)),
        Some(Means::Standstill) => return (Err(Bad::lost("timed-out", Some(subject.status))), left.min(STANDSTILL)),
    };
    (end, Duration::ZERO)
}

impl Ask {
    fn wait(self, now: Duration) -> Option<Duration> {
        match self {
            Self::Nothing => None,
            Self::After(wait) => Some(wait),
            Self::At(moment) => moment.checked_sub(now),
        }
    }
}

/// How long the beginning of an answer is waited for.
fn patience(subject: &Subject, left: Duration) -> Duration {
    if subject.slow { left } else { left.min(FIRST_BYTE) }
}

/// An answer that is only late is good if all of it comes within the bounds.
fn whole(subject: &Subject, late: Late, left: Duration) -> (Result<(), Bad>, Duration) {
    let no_head = Err(Bad::lost("timed-out", None));
    let half = Err(Bad::lost("timed-out", Some(subject.status)));
    let standstill = left.min(STANDSTILL);
    match late {
        Late::Head(late) if late < patience(subject, left) => (Ok(()), late),
        Late::Head(_) => (no_head, patience(subject, left)),
        Late::Rest(_) | Late::Byte(_) if subject.length == 0 => (Ok(()), Duration::ZERO),
        Late::Rest(pause) if pause < standstill => (Ok(()), pause),
        Late::Byte(pause) if pause < STANDSTILL && pause * subject.length < left => (Ok(()), pause * subject.length),
        Late::Byte(pause) if pause < STANDSTILL => (half, left),
        Late::Rest(_) | Late::Byte(_) => (half, standstill),
        Late::Somewhat => (Ok(()), Duration::ZERO),
    }
}

/// Whether an answer says what was promised.
enum Promise {
    Kept,
    Broken,
    /// It is what was promised, and the name that was looked for is not in it.
    NameUnknown,
}

fn promise(shape: Shape, body: Body) -> Promise {
    let list = matches!(shape, Shape::List | Shape::ListWithoutIds | Shape::Names);
    let acknowledgement = shape == Shape::Acknowledgement;
    let kept = match body {
        Body::NotUtf8 | Body::Compressed | Body::Refusal => false,
        _ if shape == Shape::Text => true,
        Body::Html | Body::BrokenJson | Body::LongText => false,
        Body::Empty | Body::EmptyObject | Body::Null | Body::Scalars => acknowledgement,
        Body::Word => acknowledgement || shape == Shape::Token,
        Body::EmptyList | Body::WrappedEmptyList if shape == Shape::Names => return Promise::NameUnknown,
        Body::EmptyList | Body::WrappedEmptyList => list || acknowledgement,
        Body::WithoutIds => !matches!(shape, Shape::List | Shape::Names | Shape::Member),
        Body::WithoutOptional if shape == Shape::Names => return Promise::NameUnknown,
        Body::WithoutOptional => true,
    };
    if kept { Promise::Kept } else { Promise::Broken }
}
