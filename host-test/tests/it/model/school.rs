//! A small school of our own: what operations do to members, and what the results of a call say about the members after it.

use std::collections::{BTreeMap, BTreeSet};

use memberspot_host::simulator::{Grant, Progress, School};
use serde_json::{Map, Value};
use time::{OffsetDateTime, macros::datetime};

use super::{
    promises::phases,
    scenario::{Change, OWNER, Op},
};
use crate::bulk::Outcome;

/// Between all moments at which access ends here.
const NOW: OffsetDateTime = datetime!(2026-01-15 12:00 UTC);

/// What of a member an operation can change.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    email: String,
    first_name: Option<String>,
    grants: BTreeMap<String, Grant>,
    /// Progress, by course.
    progress: BTreeMap<String, Progress>,
    properties: Map<String, Value>,
    chapters: BTreeSet<(String, String)>,
}

/// The members of a school, by address in lower case.
pub type Members = BTreeMap<String, Member>;

/// The members of the simulator's school.
pub fn members(school: &School) -> Members {
    let member = |member: &memberspot_host::simulator::Member| Member {
        email: member.email().to_owned(),
        first_name: member.firstname.clone(),
        grants: member.grants.clone(),
        progress: member.progress.clone(),
        properties: member.properties.clone(),
        chapters: member.chapters.clone(),
    };
    school.members().map(|it| (it.email().to_lowercase(), member(it))).collect()
}

/// What the school has, and does not change.
pub struct Catalog {
    /// Offers with their courses, and how many posts each of those has.
    offers: BTreeMap<String, Vec<(String, u32)>>,
    properties: BTreeSet<String>,
    chapters: BTreeSet<(String, String)>,
    /// The orders that granted something before the call.
    orders: BTreeSet<String>,
}

impl Catalog {
    pub fn of(school: &School, orders: &[&str]) -> Self {
        let posts = |course: &String| school.course(course).map_or(0, |course| course.posts);
        let offers = school.offers.iter().map(|offer| {
            let courses = offer.course_ids.iter().map(|course| (course.clone(), posts(course)));
            (offer.id.clone(), courses.collect())
        });
        let chapters = school
            .courses
            .iter()
            .flat_map(|course| course.chapter_ids.iter().map(|chapter| (course.id.clone(), chapter.clone())));
        Self {
            offers: offers.collect(),
            properties: school.properties.iter().map(|property| property.id.clone()).collect(),
            chapters: chapters.collect(),
            orders: orders.iter().filter(|order| school.knows_order(order)).map(|&order| order.to_owned()).collect(),
        }
    }

    /// What an operation makes of a member; nothing when it is refused. `knows_order` is whether anybody was ever granted
    /// anything under the order that it names.
    fn apply(&self, op: &Op, member: Option<&Member>, knows_order: bool) -> Option<Option<Member>> {
        if let Op::Grant { email, offer, order, name } = op {
            let courses = self.offers.get(*offer)?;
            let mut member = member.cloned().unwrap_or_else(|| Member::new(email));
            member.grant(offer, courses, *order, *name);
            return Some(Some(member));
        }
        if let Op::DeleteUser(email) = op {
            return (email.to_lowercase() != OWNER).then_some(None);
        }
        if let Op::OnOrder(change, None, order) = op {
            let changed = member.cloned().map(|mut member| {
                member.change_order(order, *change, &self.offers);
                member
            });
            return knows_order.then_some(changed);
        }
        let mut member = member?.clone();
        match op {
            Op::OnOffer(change, _, offer) => {
                let courses = self.offers.get(*offer)?;
                if !member.change(offer, *change, courses) && *change == Change::Restore {
                    return None;
                }
            }
            Op::Expire { offer, until, .. } => {
                member.grants.get_mut(*offer)?.expires_at = until.map(moment);
            }
            Op::OnOrder(change, _, order) => {
                let changed = member.change_order(order, *change, &self.offers);
                if !knows_order || (!changed && *change == Change::Restore) {
                    return None;
                }
            }
            Op::Set(_, values) => {
                for (property, value) in values {
                    let id = property.id().filter(|id| self.properties.contains(*id))?;
                    member.properties.insert(id.into(), (*value).into());
                }
            }
            Op::Chapter(_, course, chapter) => {
                let chapter = ((*course).to_owned(), (*chapter).to_owned());
                member.chapters.insert(self.chapters.get(&chapter)?.clone());
            }
            Op::Grant { .. } | Op::DeleteUser(_) => {}
        }
        Some(Some(member))
    }
}

impl Member {
    fn new(email: &str) -> Self {
        Self {
            email: email.into(),
            first_name: None,
            grants: BTreeMap::new(),
            progress: BTreeMap::new(),
            properties: Map::new(),
            chapters: BTreeSet::new(),
        }
    }

    fn grant(&mut self, offer: &str, courses: &[(String, u32)], order: Option<&str>, name: Option<&str>) {
        let old = self.grants.get(offer);
        let lasts = old.filter(|old| old.active && old.expires_at.is_none_or(|end| end > NOW));
        let order = order.map(str::to_owned).or_else(|| old?.order_id.clone());
        let expires_at = lasts.and_then(|old| old.expires_at);
        self.grants.insert(offer.into(), Grant { active: true, order_id: order, expires_at });
        for (course, posts) in courses {
            let fresh = Progress { active_posts: *posts, completed_posts: 0 };
            self.progress.entry(course.clone()).or_insert(fresh);
        }
        self.first_name = self.first_name.take().or(name.map(str::to_owned));
    }

    /// Whether there was anything to change.
    fn change(&mut self, offer: &str, change: Change, courses: &[(String, u32)]) -> bool {
        let Some(grant) = self.grants.get_mut(offer) else { return false };
        grant.active = change == Change::Restore;
        if change == Change::Delete {
            self.grants.remove(offer);
            self.progress.retain(|course, _| !courses.iter().any(|(lost, _)| lost == course));
        }
        true
    }

    fn change_order(&mut self, order: &str, change: Change, offers: &BTreeMap<String, Vec<(String, u32)>>) -> bool {
        let granted = self.grants.iter().filter(|(_, grant)| grant.order_id.as_deref() == Some(order));
        let granted: Vec<String> = granted.map(|(offer, _)| offer.clone()).collect();
        for offer in &granted {
            self.change(offer, change, &offers[offer]);
        }
        !granted.is_empty()
    }
}

fn moment(text: &str) -> OffsetDateTime {
    match text {
        "2020-01-01T00:00:00+01:00" => datetime!(2019-12-31 23:00 UTC),
        "2030-01-31" => datetime!(2030-01-31 23:59:59.999 UTC),
        "2040-01-01T00:00:00Z" => datetime!(2040-01-01 00:00 UTC),
        other => panic!("{other} is never sent"),
    }
}

/// What may have become of the members, as far as the results tell: for each of them a set of states, since an operation whose
/// outcome is unknown may have happened or not. It is the last one on its member, so the simulator need not tell when it did.
pub struct Judge<'a> {
    pub catalog: &'a Catalog,
    pub operations: &'a [Op],
    pub results: &'a [Outcome],
    /// Nothing went wrong on the way, so what failed was refused by the school.
    pub faultless: bool,
}

type States = Vec<Option<Member>>;

impl Judge<'_> {
    /// Says what of the results cannot be true.
    pub fn check(&self, before: &Members, after: &Members) -> Result<(), String> {
        // An operation on everybody whose outcome is unknown happened to all, or to nobody.
        let happened = self.check_if(true, before, after);
        let did_not = || self.check_if(false, before, after);
        happened.or_else(|why| did_not().map_err(|_| why))
    }

    fn check_if(&self, unknown_happened: bool, before: &Members, after: &Members) -> Result<(), String> {
        let keys: BTreeSet<String> = before.keys().cloned().chain(self.operations.iter().filter_map(Op::key)).collect();
        for key in keys {
            let states = self.states(&key, before.get(&key), unknown_happened)?;
            let seen = after.get(&key);
            if !states.iter().any(|state| state.as_ref() == seen) {
                return Err(format!("{key} is {seen:#?}, but must be one of {states:#?}"));
            }
        }
        let known = |key: &String| before.contains_key(key) || self.operations.iter().any(|op| op.key().as_ref() == Some(key));
        after.keys().find(|key| !known(key)).map_or(Ok(()), |key| Err(format!("{key} came from nowhere")))
    }

    fn states(&self, key: &str, before: Option<&Member>, unknown_happened: bool) -> Result<States, String> {
        let mut states: States = vec![before.cloned()];
        for (place, (op, result)) in self.operations.iter().zip(self.results).enumerate() {
            if op.key().is_some_and(|other| other != key) || !op.is_acceptable() {
                continue;
            }
            let next =
                |knows| states.iter().filter_map(|state| self.catalog.apply(op, state.as_ref(), knows)).collect::<States>();
            // Whatever an order does, it does to those who have something of it, and then it is known.
            let [surely, maybe] = self.knows_order(place);
            let mut changed = if maybe { next(true) } else { vec![] };
            if !surely {
                changed.extend(next(false));
            }
            match result {
                Outcome::Done(_) if changed.is_empty() => {
                    return Err(format!("{place} is done, but {key} cannot have taken it"));
                }
                Outcome::Done(_) => states = changed,
                Outcome::Failed(failure) if failure.outcome_unknown => match op.key() {
                    Some(_) => states.extend(changed),
                    None if unknown_happened => states = changed,
                    None => {}
                },
                Outcome::Failed(_) if self.faultless && surely && next(true).len() == states.len() => {
                    return Err(format!("{place} failed, but {key} would have taken it"));
                }
                Outcome::Failed(_) | Outcome::NotStarted => {}
            }
        }
        Ok(states)
    }

    /// Whether the order that an operation names was known when it was its turn: surely, or maybe. Members of one phase do not
    /// wait for each other, so nobody knows who was first.
    fn knows_order(&self, place: usize) -> [bool; 2] {
        let Op::OnOrder(_, email, order) = &self.operations[place] else { return [true, true] };
        let phases = phases(self.operations);
        let key = email.map(str::to_lowercase);
        let known = self.catalog.orders.contains(*order);
        let grants = (0..self.operations.len()).filter(|&grant| match &self.operations[grant] {
            Op::Grant { order: granted, .. } => *granted == Some(*order) && phases[grant] <= phases[place],
            _ => false,
        });
        let (mut surely, mut maybe) = (known, known);
        for grant in grants {
            let before = phases[grant] < phases[place] || (self.operations[grant].key() == key && grant < place);
            match &self.results[grant] {
                Outcome::Done(_) => {
                    surely |= before;
                    maybe = true;
                }
                Outcome::Failed(failure) => maybe |= failure.outcome_unknown,
                Outcome::NotStarted => {}
            }
        }
        [surely, maybe]
    }
}
