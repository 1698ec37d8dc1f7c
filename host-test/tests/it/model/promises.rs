//! What is promised of the results alone: who waits for whom, and when a call stops.

use std::collections::BTreeSet;

use super::scenario::{Op, Setup};
use crate::{
    bulk::{Outcome, Report},
    stage::Failure,
};

/// Whether an operation has to be passed again: it may succeed later, or may have happened or not, or was not tried.
pub fn is_open(result: &Outcome) -> bool {
    match result {
        Outcome::Done(_) => false,
        Outcome::Failed(failure) => failure.transient || failure.outcome_unknown,
        Outcome::NotStarted => true,
    }
}

/// For each operation, which of the phases that wait for each other it belongs to: operations without an address are by
/// themselves, deletions that follow each other are together, and so is what lies between.
pub fn phases(operations: &[Op]) -> Vec<usize> {
    let kind = |op: &Op| match op {
        Op::DeleteUser(_) => 0,
        Op::OnOrder(_, None, _) => 1,
        _ => 2,
    };
    let mut phase = 0;
    let mut phases = vec![];
    for (place, op) in operations.iter().enumerate() {
        let before = place.checked_sub(1).map(|before| kind(&operations[before]));
        phase += usize::from(before.is_some_and(|before| before != kind(op) || before == 1));
        phases.push(phase);
    }
    phases
}

/// A report, and what was asked for.
pub struct Promises<'a> {
    pub operations: &'a [Op],
    pub report: &'a Report,
    pub setup: &'a Setup,
    /// Nothing went wrong on the way, so what failed was refused by the school.
    pub faultless: bool,
}

impl Promises<'_> {
    /// Says which promise is broken.
    pub fn check(&self) -> Result<(), String> {
        for (op, (place, result)) in self.operations.iter().zip(self.report.results.iter().enumerate()) {
            self.check_result(op, result).map_err(|why| format!("{place} {why}"))?;
        }
        self.check_order()?;
        self.check_stop()?;
        let longest_wait = self.failures().filter_map(|(_, failure)| failure.retry_after_ms).max();
        if self.report.retry_after_ms < longest_wait {
            return Err(format!("a failure asks for a longer wait: {longest_wait:?}"));
        }
        Ok(())
    }

    fn failures(&self) -> impl Iterator<Item = (&Op, &Failure)> {
        self.operations.iter().zip(&self.report.results).filter_map(|(op, result)| match result {
            Outcome::Failed(failure) => Some((op, failure)),
            Outcome::Done(_) | Outcome::NotStarted => None,
        })
    }

    fn check_result(&self, op: &Op, result: &Outcome) -> Result<(), &'static str> {
        // A look-up can fail before a name turns out to be unknown.
        let refused_unsent = |failure: &Failure| {
            (failure.code == "invalidInput" && !failure.outcome_unknown && failure.attempts == 0) || op.needs_look_up()
        };
        let code = if matches!(op, Op::DeleteUser(_)) { "rejected" } else { "notFound" };
        let refused = |failure: &Failure| failure.code == code && !failure.outcome_unknown && !failure.transient;
        match result {
            Outcome::Done(_) if !op.is_acceptable() => Err("is done, but not acceptable"),
            Outcome::Failed(failure) if !op.is_acceptable() && !refused_unsent(failure) => Err("is not acceptable"),
            Outcome::Failed(failure) if op.is_acceptable() && self.faultless && !refused(failure) => {
                Err("failed without a fault")
            }
            Outcome::NotStarted if self.faultless && !self.setup.stop_on_error => Err("was not started, without a fault"),
            _ => Ok(()),
        }
    }

    /// What comes after an operation that is open waits for the next call, on the same member or, without an address, on all.
    fn check_order(&self) -> Result<(), String> {
        let mut held: BTreeSet<String> = BTreeSet::new();
        let mut all_held = false;
        for (place, (op, result)) in self.operations.iter().zip(&self.report.results).enumerate() {
            let key = op.key();
            let waits = all_held || key.as_ref().map_or(!held.is_empty(), |key| held.contains(key));
            if waits && *result != Outcome::NotStarted && !self.was_one_with_earlier(place) {
                return Err(format!("{place} did not wait for what comes before it"));
            }
            if is_open(result) {
                all_held |= key.is_none();
                held.extend(key);
            }
        }
        Ok(())
    }

    /// Whether an operation may have been one request with an earlier one: identical ones and deletions may, and have one
    /// result then.
    fn was_one_with_earlier(&self, place: usize) -> bool {
        let (phases, results) = (phases(self.operations), &self.report.results);
        (0..place).any(|earlier| {
            let (one, other) = (&self.operations[earlier], &self.operations[place]);
            let deletions = matches!((one, other), (Op::DeleteUser(_), Op::DeleteUser(_)));
            phases[earlier] == phases[place]
                && (deletions || one == other)
                && other.email().is_some()
                && results[earlier] == results[place]
        })
    }

    /// After the first failure, only what was under way may fail as well. Deletions are left out: many are one request.
    fn check_stop(&self) -> Result<(), String> {
        let failed = self.failures().filter(|(op, _)| !matches!(op, Op::DeleteUser(_)));
        let failed: BTreeSet<String> = failed.map(|(op, _)| format!("{op:?}")).collect();
        if self.setup.stop_on_error && failed.len() > self.setup.concurrency {
            return Err(format!("{} operations failed before the call stopped", failed.len()));
        }
        Ok(())
    }
}
