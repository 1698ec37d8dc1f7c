//! The order on each member: an operation neither overtakes an earlier one that is still open, nor is sent after a later one
//! that is done. Members are told apart as the component does it (`core/src/bulk/plan.rs`). Pure.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use memberspot_bulk_file::reading::Row;

/// A member, by a number; none where an operation may concern anybody.
pub type Member = Option<usize>;

/// Whom each row concerns.
pub fn members(rows: &[Row]) -> Vec<Member> {
    let mut numbers = HashMap::new();
    let number = |row: &Row| {
        let key = address(&row.json)?;
        let next = numbers.len();
        Some(*numbers.entry(key).or_insert(next))
    };
    rows.iter().map(number).collect()
}

/// The address of an operation. Letters beyond ASCII keep their case, as in the component.
fn address(operation: &str) -> Option<String> {
    // The rows are JSON that this program wrote.
    let operation: Value = serde_json::from_str(operation).ok()?;
    let val = &operation["val"];
    Some(val.as_str().or_else(|| val["email"].as_str())?.to_ascii_lowercase())
}

/// The rows that are not done although a later one on the same member is: to send one now would reverse the order.
pub fn overtaken(members: &[Member], is_done: impl Fn(usize) -> bool) -> Vec<usize> {
    let (mut later, mut anybody) = (HashSet::new(), false);
    let mut overtaken = Vec::new();
    for (index, member) in members.iter().enumerate().rev() {
        match member {
            _ if !is_done(index) => {
                let is_late = anybody || member.map_or(!later.is_empty(), |member| later.contains(&member));
                overtaken.extend(is_late.then_some(index));
            }
            Some(member) => {
                later.insert(*member);
            }
            None => anybody = true,
        }
    }
    overtaken.reverse();
    overtaken
}

/// The members whose rows are left for a later run.
#[derive(Debug, Default)]
pub struct Aside {
    members: HashSet<usize>,
    /// From this row on, everybody's are.
    from: Option<usize>,
}

impl Aside {
    /// Sets a row aside, and what comes after it on the same member.
    pub fn add(&mut self, index: usize, member: Member) {
        match member {
            Some(member) => {
                self.members.insert(member);
            }
            None => self.from = Some(self.from.map_or(index, |from| from.min(index))),
        }
    }

    /// Whether a row has to wait. One that may concern anybody waits for whoever is set aside, and the later ones for it.
    pub fn holds(&mut self, index: usize, member: Member) -> bool {
        if self.from.is_some_and(|from| index >= from) {
            return true;
        }
        match member {
            Some(member) => self.members.contains(&member),
            None if self.members.is_empty() => false,
            None => {
                self.add(index, None);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(json: &str) -> Row {
        Row { number: 0, operation: 0, json: json.into() }
    }

    #[test]
    fn members_are_told_apart_by_their_addresses() {
        let rows = [
            r#"{"tag":"grantAccess","val":{"email":"Ada@example.com","offerId":"o"}}"#,
            r#"{"tag":"deleteUser","val":"ada@EXAMPLE.com"}"#,
            r#"{"tag":"deleteUser","val":"ben@example.com"}"#,
            r#"{"tag":"deleteOrderAccess","val":{"orderId":"1"}}"#,
            r#"{"tag":"deleteOrderAccess","val":{"email":"ben@example.com","orderId":"1"}}"#,
        ];
        assert_eq!(members(&rows.map(row)), [Some(0), Some(0), Some(1), None, Some(1)]);
    }

    #[test]
    fn what_was_overtaken_is_found() {
        let (a, b) = (Some(0), Some(1));
        let found = |members: &[Member], done: &[usize]| overtaken(members, |index| done.contains(&index));
        assert_eq!(found(&[a, b, a, b], &[2]), [0]);
        assert_eq!(found(&[a, b, a, a], &[0, 3]), [2]);
        assert!(found(&[a, b, a], &[0, 1]).is_empty());
        // A row that may concern anybody is overtaken by everybody, and overtakes everybody.
        assert_eq!(found(&[None, a, None], &[1]), [0]);
        assert_eq!(found(&[a, b, None, a], &[2]), [0, 1]);
        assert!(found(&[a, b], &[]).is_empty());
    }

    #[test]
    fn what_is_set_aside_holds_up_what_comes_after_it() {
        let (a, b) = (Some(0), Some(1));
        let mut aside = Aside::default();
        assert!(!aside.holds(0, None));
        aside.add(1, a);
        assert!(aside.holds(2, a) && !aside.holds(3, b));
        assert!(aside.holds(4, None) && aside.holds(5, b));
        assert!(!aside.holds(3, b), "it came before the one that concerns anybody");
    }
}
