//! In which order operations are carried out: what may happen at once, and what waits for what. Pure.

use std::collections::BTreeMap;

use super::operation::{Subject, subject};
use crate::wit::bulk::Operation;

/// Operations are named by their place in the list.
pub type Place = usize;

/// Identical operations that follow each other on one member: one request, several results.
pub type Step = Vec<Place>;

/// What is done before the next phase begins.
#[derive(Debug, PartialEq, Eq)]
pub enum Phase {
    /// Members do not wait for each other.
    Members(Vec<Member>),
    /// An operation that may concern anybody.
    Anybody(Place),
    /// Deletions of members.
    Deletions(Vec<Deletion>),
}

/// The operations on one member.
#[derive(Debug, PartialEq, Eq)]
pub struct Member {
    /// The address, in lower case.
    pub key: String,
    /// What is done, one after the other.
    pub steps: Vec<Step>,
}

/// The deletion of one member.
#[derive(Debug, PartialEq, Eq)]
pub struct Deletion {
    /// The address, in lower case.
    pub key: String,
    /// The address as it was given.
    pub email: String,
    /// The operations that ask for it.
    pub places: Step,
}

/// What makes operations on one member find each other. Letters beyond ASCII keep their case: to know theirs takes tables
/// of 20 KB, and hardly an address has any.
fn key(email: &str) -> String {
    email.to_ascii_lowercase()
}

/// Sorts operations into phases.
pub fn phases(operations: &[Operation]) -> Vec<Phase> {
    let mut phases = vec![];
    // Where the members of the last phase are in it.
    let mut members: BTreeMap<String, usize> = BTreeMap::new();
    for (place, operation) in operations.iter().enumerate() {
        match (subject(operation), phases.last_mut()) {
            (Subject::Member(email), last) => {
                let key = key(email);
                let first = Member { key: key.clone(), steps: vec![vec![place]] };
                let Some(Phase::Members(phase)) = last else {
                    members.clear();
                    members.insert(key, 0);
                    phases.push(Phase::Members(vec![first]));
                    continue;
                };
                if let Some(member) = members.get(&key).and_then(|index| phase.get_mut(*index)) {
                    member.add(place, operations);
                } else {
                    members.insert(key, phase.len());
                    phase.push(first);
                }
            }
            (Subject::Unknown, _) => phases.push(Phase::Anybody(place)),
            (Subject::Deleted(email), Some(Phase::Deletions(phase))) => match phase.last_mut() {
                Some(last) if last.email == email => last.places.push(place),
                _ => phase.push(Deletion::new(email, place)),
            },
            (Subject::Deleted(email), _) => phases.push(Phase::Deletions(vec![Deletion::new(email, place)])),
        }
    }
    phases
}

impl Member {
    fn add(&mut self, place: Place, operations: &[Operation]) {
        match self.steps.last_mut() {
            Some(step) if step.first().and_then(|first| operations.get(*first)) == operations.get(place) => step.push(place),
            _ => self.steps.push(vec![place]),
        }
    }
}

impl Deletion {
    fn new(email: &str, place: Place) -> Self {
        Self { key: key(email), email: email.to_owned(), places: vec![place] }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wit::{access::GrantRequest, bulk::MemberOffer, orders::OrderDeletionRequest};

    fn grant(email: &str) -> Operation {
        let request =
            GrantRequest { email: email.into(), offer_id: "o".into(), first_name: None, last_name: None, order_id: None };
        Operation::GrantAccess(request)
    }

    fn revoke(email: &str) -> Operation {
        Operation::RevokeAccess(MemberOffer { email: email.into(), offer_id: "o".into() })
    }

    fn order(email: Option<&str>) -> Operation {
        Operation::DeleteOrderAccess(OrderDeletionRequest { order_id: "1".into(), email: email.map(str::to_owned) })
    }

    fn delete(email: &str) -> Operation {
        Operation::DeleteUser(email.into())
    }

    fn member(key: &str, steps: &[&[Place]]) -> Member {
        Member { key: key.into(), steps: steps.iter().map(|step| step.to_vec()).collect() }
    }

    #[test]
    fn a_member_is_one_whatever_the_case() {
        let operations = [grant("a@b.de"), grant("c@b.de"), revoke("A@b.de"), order(Some("C@B.DE"))];
        let expected = Phase::Members(vec![member("a@b.de", &[&[0], &[2]]), member("c@b.de", &[&[1], &[3]])]);
        assert_eq!(phases(&operations), [expected]);
    }

    #[test]
    fn only_neighbours_that_are_identical_are_one() {
        let operations =
            [grant("a@b.de"), grant("a@b.de"), grant("c@b.de"), grant("a@b.de"), revoke("a@b.de"), grant("a@b.de")];
        let expected = Phase::Members(vec![member("a@b.de", &[&[0, 1, 3], &[4], &[5]]), member("c@b.de", &[&[2]])]);
        assert_eq!(phases(&operations), [expected]);
    }

    #[test]
    fn barriers_divide() {
        let operations = [
            grant("a@b.de"),
            order(None),
            grant("a@b.de"),
            delete("x@b.de"),
            delete("x@b.de"),
            delete("y@b.de"),
            revoke("a@b.de"),
        ];
        let deletion =
            |email: &str, places: &[Place]| Deletion { key: email.into(), email: email.into(), places: places.into() };
        let expected = [
            Phase::Members(vec![member("a@b.de", &[&[0]])]),
            Phase::Anybody(1),
            Phase::Members(vec![member("a@b.de", &[&[2]])]),
            Phase::Deletions(vec![deletion("x@b.de", &[3, 4]), deletion("y@b.de", &[5])]),
            Phase::Members(vec![member("a@b.de", &[&[6]])]),
        ];
        assert_eq!(phases(&operations), expected);
        assert_eq!(phases(&[]), []);
    }

    proptest! {
        #[test]
        fn every_operation_has_its_place_and_members_keep_their_order(kinds in prop::collection::vec((0..4, 0..3), 0..60)) {
            let operations: Vec<_> = kinds.iter().map(|(kind, member)| {
                let email = format!("{member}@b.de");
                match kind {
                    0 => grant(&email),
                    1 => revoke(&email),
                    2 => delete(&email),
                    _ => order(None),
                }
            }).collect();
            let mut places = vec![];
            for phase in phases(&operations) {
                let mut of_phase: Vec<Place> = match phase {
                    Phase::Members(members) => {
                        for member in &members {
                            prop_assert!(member.steps.concat().is_sorted());
                        }
                        members.into_iter().flat_map(|member| member.steps.concat()).collect()
                    }
                    Phase::Anybody(place) => vec![place],
                    Phase::Deletions(deletions) => deletions.into_iter().flat_map(|deletion| deletion.places).collect(),
                };
                of_phase.sort_unstable();
                places.extend(of_phase);
            }
            prop_assert_eq!(places, (0..operations.len()).collect::<Vec<_>>());
        }
    }
}
