//! What the simulator was asked, held against the results: each request belongs to an operation that is done or failed, in
//! the order that is promised, and no more often than is allowed.

use std::collections::BTreeSet;

use memberspot_host::simulator::{Entry, Method, Outcome as Answered};
use serde_json::Value;

use super::{
    promises::phases,
    scenario::{Op, Round},
};
use crate::bulk::Outcome;

const DELETE: &str = "/v1/users/delete-users";
const LOOK_UP: &str = "/v1/custom-user-properties/list";

/// A place in the order of one member's operations, at which requests may be made.
struct Station<'a> {
    what: What<'a>,
    phase: usize,
    /// How many requests there are at least,
    least: u32,
    /// at the most,
    most: u32,
    /// and at the most in each form.
    most_of_form: u32,
}

enum What<'a> {
    /// One operation, or identical ones that follow each other.
    Step(&'a Op),
    /// Deletions that follow each other.
    Deletions(BTreeSet<&'a str>),
}

/// Everything about a call that its journal is held against.
pub struct Audit<'a> {
    pub round: &'a Round,
    pub operations: &'a [Op],
    pub results: &'a [Outcome],
    pub journal: &'a [Entry],
}

impl Audit<'_> {
    /// Says what of the journal is not in order.
    pub fn check(&self) -> Result<(), String> {
        self.check_look_ups()?;
        let keys: BTreeSet<Option<String>> = self.operations.iter().map(Op::key).chain([None]).collect();
        for key in &keys {
            let stations = self.stations(key.as_deref());
            let requests =
                self.journal.iter().filter(|entry| subject(entry).is_some_and(|subject| subject.concerns(key.as_deref())));
            let requests: Vec<_> = requests.collect();
            if !fits(&stations, &requests) {
                return Err(format!("the requests that concern {key:?} are not those of its operations"));
            }
        }
        for entry in self.journal {
            match subject(entry) {
                Some(Subject::Member(key)) if !keys.contains(&Some(key.clone())) => return Err(format!("{key} was not meant")),
                Some(Subject::Deleted(emails)) => self.check_deletion(entry, &emails)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// All names cost one look-up together, and it comes first.
    fn check_look_ups(&self) -> Result<(), String> {
        let number = self.journal.iter().filter(|entry| entry.path == LOOK_UP).count();
        let first = self.journal.iter().take(number).all(|entry| entry.path == LOOK_UP);
        let most = if self.operations.iter().any(Op::needs_look_up) { self.round.setup.max_attempts as usize } else { 0 };
        if first && number <= most { Ok(()) } else { Err(format!("{number} look-ups, first: {first}")) }
    }

    /// Where requests about a member may be made, in order; deletions and operations without an address are on everybody's way.
    fn stations(&self, key: Option<&str>) -> Vec<Station<'_>> {
        let mut stations: Vec<Station> = vec![];
        for (place, (op, phase)) in self.operations.iter().zip(phases(self.operations)).enumerate() {
            let is_deletion = matches!(op, Op::DeleteUser(_));
            if !is_deletion && op.key().is_some_and(|other| Some(&*other) != key) {
                continue;
            }
            let (least, most) = self.requests_of(place);
            let last = stations.last_mut().filter(|last| last.phase == phase);
            if let Some(last) = last.and_then(|last| last.takes_in(op).then_some(last)) {
                last.least = last.least.max(least);
                last.most = last.most.max(most);
                continue;
            }
            let most_of_form = if is_deletion { u32::MAX } else { self.round.setup.max_attempts };
            let what = if let Op::DeleteUser(email) = op { What::Deletions([*email].into()) } else { What::Step(op) };
            stations.push(Station { what, phase, least, most, most_of_form });
        }
        stations
    }

    /// How many requests an operation has by its result, at least and at the most.
    fn requests_of(&self, place: usize) -> (u32, u32) {
        let op = &self.operations[place];
        let failure = match &self.results[place] {
            Outcome::Done(_) => return (1, u32::MAX),
            // It may have been refused along with others; `check_deletion` sees to that.
            Outcome::NotStarted if matches!(op, Op::DeleteUser(_)) => return (0, u32::MAX),
            Outcome::NotStarted => return (0, 0),
            Outcome::Failed(failure) => failure,
        };
        let attempts = u32::try_from(failure.attempts).expect("a handful");
        // What was only looked up was not sent.
        let all_read = self.round.strikes.iter().all(|strike| strike.mishap.is_read()) && !op.needs_look_up();
        match op {
            // Refusals of several are not counted.
            Op::DeleteUser(_) if attempts > 0 => (u32::from(all_read), u32::MAX),
            _ => (if all_read { attempts } else { 0 }, attempts),
        }
    }

    /// A deletion is done or failed, or it was refused along with others and could not be sent again.
    fn check_deletion(&self, entry: &Entry, emails: &[String]) -> Result<(), String> {
        let no_effect =
            matches!(entry.outcome, Answered::Faulted { effect: None | Some(400..), .. } | Answered::Answered(400..));
        let refused = no_effect && emails.len() > 1;
        for email in emails {
            let meant = self.operations.iter().zip(self.results).any(|(op, result)| {
                matches!(op, Op::DeleteUser(other) if other == email)
                    && match result {
                        Outcome::Done(_) => true,
                        Outcome::Failed(failure) => failure.attempts > 0,
                        Outcome::NotStarted => refused,
                    }
            });
            if !meant {
                return Err(format!("{email} was to be deleted by {entry}, against its result"));
            }
        }
        let same = |other: &&Entry| other.method == entry.method && subject(other) == Some(Subject::Deleted(emails.to_vec()));
        let number = self.journal.iter().filter(same).count();
        let groups = self.deletions_of(&emails[0]);
        let most = groups * self.round.setup.max_attempts as usize;
        if number <= most { Ok(()) } else { Err(format!("{emails:?} were sent {number} times instead of {most}")) }
    }

    /// How often an address is to be deleted, neighbours counted once.
    fn deletions_of(&self, email: &str) -> usize {
        let is = |op: &Op| matches!(op, Op::DeleteUser(other) if *other == email);
        self.operations.chunk_by(|one, next| is(one) && is(next)).filter(|group| is(&group[0])).count()
    }
}

/// Whom a request is about.
#[derive(PartialEq)]
enum Subject {
    Member(String),
    Anybody,
    Deleted(Vec<String>),
}

impl Subject {
    /// Whether it stands in the way of a member.
    fn concerns(&self, key: Option<&str>) -> bool {
        match self {
            Self::Member(member) => key == Some(member),
            Self::Anybody | Self::Deleted(_) => true,
        }
    }
}

/// Whom a request is about; nobody, if it is a look-up, or was never read.
fn subject(entry: &Entry) -> Option<Subject> {
    if entry.path == LOOK_UP {
        return None;
    }
    let body = entry.json()?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Some(match (body.get("emails"), body.get("email")) {
        (Some(emails), _) => Subject::Deleted(emails.as_array().into_iter().flatten().map(text).collect()),
        (None, Some(email)) => Subject::Member(text(email).to_lowercase()),
        (None, None) => Subject::Anybody,
    })
}

impl<'a> Station<'a> {
    /// Whether an operation of the same phase is one with what is here; then it is taken in.
    fn takes_in(&mut self, op: &'a Op) -> bool {
        match (&mut self.what, op) {
            (What::Deletions(emails), Op::DeleteUser(email)) => {
                emails.insert(email);
                true
            }
            (What::Step(last), op) => *last == op,
            (What::Deletions(_), _) => false,
        }
    }

    /// In which form a request belongs here, if it does.
    fn form(&self, entry: &Entry) -> Option<usize> {
        match &self.what {
            What::Step(op) => {
                let (path, bodies) = op.request().filter(|_| op.is_acceptable())?;
                let body = entry.json()?;
                bodies.iter().position(|other| *other == body).filter(|_| entry.path == path)
            }
            What::Deletions(meant) => {
                let Some(Subject::Deleted(emails)) = subject(entry) else { return None };
                let of_these = entry.path == DELETE && emails.iter().all(|email| meant.contains(&**email));
                of_these.then_some(usize::from(entry.method != Method::DELETE))
            }
        }
    }
}

/// Whether requests can be shared out to stations in order, so that each one has its number.
fn fits(stations: &[Station<'_>], requests: &[&Entry]) -> bool {
    // Which station was served last, and how often, in each form.
    let mut now: BTreeSet<(usize, [u32; 2])> = [(0, [0, 0])].into();
    if stations.is_empty() {
        return requests.is_empty();
    }
    let may_leave = |&(at, served): &(usize, [u32; 2])| served[0] + served[1] >= stations[at].least;
    for request in requests {
        let mut next = BTreeSet::new();
        for place in &now {
            let (at, served) = *place;
            for (to, station) in stations.iter().enumerate().skip(at) {
                if to > at && !(may_leave(place) && stations[at + 1..to].iter().all(|passed| passed.least == 0)) {
                    break;
                }
                let Some(form) = station.form(request) else { continue };
                let mut served = if to == at { served } else { [0, 0] };
                served[form] += 1;
                if served[form] <= station.most_of_form && served[0] + served[1] <= station.most {
                    next.insert((to, served));
                }
            }
        }
        now = next;
    }
    now.iter().any(|place| may_leave(place) && stations[place.0 + 1..].iter().all(|left| left.least == 0))
}
