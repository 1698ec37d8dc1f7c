//! `bulk.apply-operations`: many operations in one call. [`plan`] says what may happen at once, [`operation`] which request
//! an operation is; here they are carried out.
//!
//! An operation that may have to be passed again holds up the later ones on the same member: they are left for the next
//! call as well, so that the order stays as it was given.

pub mod operation;
pub mod plan;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    time::Duration,
};

use futures_util::future::join_all;

use crate::{
    check::{self, MOST_EMAILS},
    client::Session,
    error::{self, Nature, Trouble, invalid_input},
    flow, form,
    request::users,
    transport::Transport,
    wit::{
        bulk::{BulkReport, BulkRequest, Operation, OperationResult},
        properties::Property,
        types::{Error, FailureCode},
    },
};
use plan::{Deletion, Member, Phase, Place};

/// What fits into the memory of an instance and, at Memberspot's pace, into a call of a few minutes.
pub const MOST_OPERATIONS: usize = 10_000;

/// `bulk.apply-operations`
pub async fn apply(session: &Session<impl Transport>, request: BulkRequest) -> Result<BulkReport, Error> {
    let number = request.operations.len();
    if number > MOST_OPERATIONS {
        let message = format!("operations: there are {number}; at most {MOST_OPERATIONS} are taken in a call, so pass fewer");
        return Err(Trouble::refused(FailureCode::TooLarge, message).into_error(Nature::Read, 0));
    }
    let work = Work {
        session,
        operations: &request.operations,
        stop_on_error: request.stop_on_error,
        known: Ok(vec![]),
        stopped: Cell::new(false),
        held: RefCell::default(),
        all_held: Cell::new(false),
        results: RefCell::new(vec![OperationResult::NotStarted; number]),
        room: Cell::new(session.config().max_response_bytes),
    };
    let results = if request.dry_run == Some(true) { work.check() } else { work.carry_out().await };
    Ok(report(results, session.quiet()))
}

fn report(results: Vec<OperationResult>, quiet: Duration) -> BulkReport {
    let number = |is: fn(&OperationResult) -> bool| {
        // There are at most as many as were taken.
        u32::try_from(results.iter().filter(|result| is(result)).count()).unwrap_or(u32::MAX)
    };
    let asked = results.iter().filter_map(|result| match result {
        OperationResult::Failed(error) => error::failure(error)?.retry_after_ms,
        _ => None,
    });
    let quiet = u32::try_from(quiet.as_millis()).unwrap_or(u32::MAX);
    BulkReport {
        done: number(|result| matches!(result, OperationResult::Done(_))),
        failed: number(|result| matches!(result, OperationResult::Failed(_))),
        not_started: number(|result| matches!(result, OperationResult::NotStarted)),
        retry_after_ms: asked.chain((quiet > 0).then_some(quiet)).max(),
        results,
    }
}

/// The operations of a call, and what has become of them so far.
struct Work<'a, T> {
    session: &'a Session<T>,
    operations: &'a [Operation],
    stop_on_error: bool,
    /// The school's properties, where operations name some; or why they could not be looked up.
    known: Result<Vec<Property>, Error>,
    /// Nothing more is started.
    stopped: Cell<bool>,
    /// The members, in lower case, whose operations are left for the next call.
    held: RefCell<BTreeSet<String>>,
    /// Everybody's are.
    all_held: Cell<bool>,
    results: RefCell<Vec<OperationResult>>,
    /// How many bytes of results may still be reported.
    room: Cell<usize>,
}

impl<T: Transport> Work<'_, T> {
    /// Finds what would be refused, and sends nothing.
    fn check(self) -> Vec<OperationResult> {
        for (place, operation) in self.operations.iter().enumerate() {
            let checked = operation::check(operation).and_then(|request| self.session.client().permit(&request));
            if let Err(error) = checked {
                self.note(&[place], &Err(error));
            }
        }
        self.results.into_inner()
    }

    async fn carry_out(mut self) -> Vec<OperationResult> {
        let needs_look_up = |operation| operation::needs_look_up(operation) && operation::check(operation).is_ok();
        if self.operations.iter().any(needs_look_up) {
            self.known = flow::look_up_properties(&self.session.client()).await;
        }
        self.session.share(self.session.config().concurrency);
        for phase in plan::phases(self.operations) {
            match phase {
                Phase::Members(members) => self.at_once(members, async |member| self.member(member).await).await,
                Phase::Anybody(place) => self.anybody(place).await,
                Phase::Deletions(deletions) => self.deletions(deletions).await,
            }
        }
        self.results.into_inner()
    }

    /// Works on so many tasks at a time as the configuration allows.
    async fn at_once<I>(&self, tasks: Vec<I>, work: impl AsyncFn(I)) {
        let workers = tasks.len().min(self.session.config().concurrency);
        let tasks = RefCell::new(tasks.into_iter());
        let next = || tasks.borrow_mut().next();
        let worker = async || {
            while let Some(task) = next() {
                work(task).await;
            }
        };
        join_all((0..workers).map(|_| worker())).await;
    }

    /// Whether anything more is started.
    fn goes_on(&self) -> bool {
        !self.stopped.get() && self.session.is_open()
    }

    async fn member(&self, member: Member) {
        if self.is_held(&member.key) {
            return;
        }
        for step in member.steps {
            let Some(place) = step.first().filter(|_| self.goes_on()) else { return };
            let outcome = self.perform(*place).await;
            self.note(&step, &outcome);
            if is_open(&outcome) {
                self.hold(member.key);
                return;
            }
        }
    }

    /// An operation that may concern anybody: whoever has operations left for the next call, so it is left for it, too.
    async fn anybody(&self, place: Place) {
        if self.held.borrow().is_empty() && !self.all_held.get() && self.goes_on() {
            let outcome = self.perform(place).await;
            self.note(&[place], &outcome);
            self.all_held.set(is_open(&outcome));
        } else {
            self.all_held.set(true);
        }
    }

    async fn perform(&self, place: Place) -> Result<String, Error> {
        let operation = self.operations.get(place).ok_or_else(|| invalid_input("operations", "has no such place"))?;
        let known = match &self.known {
            Err(error) if operation::needs_look_up(operation) => {
                operation::check(operation)?;
                return Err(error.clone());
            }
            known => known.as_deref().unwrap_or_default(),
        };
        self.session.client().call(operation::call(operation, known)?).await
    }

    async fn deletions(&self, deletions: Vec<Deletion>) {
        let mut batches: Vec<Vec<Deletion>> = vec![];
        for deletion in deletions {
            if self.is_held(&deletion.key) || !self.goes_on() {
                continue;
            }
            if let Err(error) = check::email("email", &deletion.email) {
                self.note(&deletion.places, &Err(error));
                continue;
            }
            match batches.last_mut() {
                Some(batch) if batch.len() < MOST_EMAILS => batch.push(deletion),
                _ => batches.push(vec![deletion]),
            }
        }
        self.at_once(batches, async |batch| self.delete(batch).await).await;
    }

    /// Deletes members with one request. A refusal may mean one address: halves are tried, and halves of halves.
    async fn delete(&self, batch: Vec<Deletion>) {
        let mut batches = vec![batch];
        while let Some(mut batch) = batches.pop().filter(|_| self.goes_on()) {
            // An earlier half may have had the same member.
            batch.retain(|deletion| !self.is_held(&deletion.key));
            if batch.is_empty() {
                continue;
            }
            let emails: Vec<String> = batch.iter().map(|deletion| deletion.email.clone()).collect();
            let outcome = match users::delete_users(&emails) {
                Ok(call) => self.session.client().call(call.map(|deleted| form::text(&deleted))).await,
                Err(error) => Err(error),
            };
            if batch.len() > 1 && outcome.as_ref().is_err_and(may_be_about_one) {
                let second = batch.split_off(batch.len() / 2);
                batches.extend([second, batch]);
                continue;
            }
            for deletion in batch {
                self.note(&deletion.places, &outcome);
                if is_open(&outcome) {
                    self.hold(deletion.key);
                }
            }
        }
    }

    fn hold(&self, key: String) {
        self.held.borrow_mut().insert(key);
    }

    fn is_held(&self, key: &str) -> bool {
        self.all_held.get() || self.held.borrow().contains(key)
    }

    /// Records what became of operations that were one request.
    fn note(&self, places: &[Place], outcome: &Result<String, Error>) {
        let failure = outcome.as_ref().err().and_then(error::failure);
        if failure.is_some_and(|failure| failure.attempts == 0 && failure.code == FailureCode::TimedOut) {
            // The time was over before it was sent.
            return;
        }
        // A key that is not accepted now will not be for the next operation either.
        let is_hopeless = failure.is_some_and(|failure| failure.code == FailureCode::Unauthorized);
        if failure.is_some() && (self.stop_on_error || is_hopeless) {
            self.stopped.set(true);
        }
        let mut results = self.results.borrow_mut();
        for place in places {
            let Some(result) = results.get_mut(*place) else { continue };
            *result = match outcome {
                Ok(text) => OperationResult::Done(self.fitting(text)),
                Err(error) => OperationResult::Failed(self.fitting_error(error.clone())),
            };
        }
    }

    /// A result, as long as there is room for it.
    fn fitting(&self, text: &str) -> String {
        if self.takes(text.len()) { text.to_owned() } else { String::new() }
    }

    /// An error, with Memberspot's own messages as long as there is room for them.
    fn fitting_error(&self, mut error: Error) -> Error {
        if let Error::Permanent(failure) | Error::Transient(failure) = &mut error
            && !self.takes(failure.details.iter().map(String::len).sum())
        {
            failure.details.clear();
        }
        error
    }

    /// Whether there is room for so many bytes, which then are taken.
    fn takes(&self, bytes: usize) -> bool {
        let left = self.room.get().checked_sub(bytes);
        left.inspect(|left| self.room.set(*left)).is_some()
    }
}

/// Whether the operation may be passed again, or may still take effect: what comes after it must wait.
fn is_open(outcome: &Result<String, Error>) -> bool {
    match outcome {
        Ok(_) => false,
        Err(Error::Permanent(failure)) => failure.outcome_unknown,
        Err(_) => true,
    }
}

/// Whether a request for several members may have been refused for one of them.
fn may_be_about_one(error: &Error) -> bool {
    use FailureCode as Code;
    let Error::Permanent(failure) = error else { return false };
    failure.attempts > 0
        && !failure.outcome_unknown
        && matches!(failure.code, Code::Rejected | Code::NotFound | Code::Conflict | Code::TooLarge)
}
