//! A school, which is one Memberspot account: its members, what it sells, and who may have what.
//!
//! Everything here is the simulator's own bookkeeping. What a request changes is decided here; how it is said in JSON
//! is in the routes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use serde_json::{Map, Value};
use time::OffsetDateTime;

/// One account with all its data.
///
/// The lists are public and may be edited freely; members are reached through methods, which keep the look-up by e-mail
/// address right.
#[derive(Clone, Debug)]
pub struct School {
    /// The id that property definitions carry as `schoolId`.
    pub id: String,
    /// A readable name; the journal shows it.
    pub name: String,
    /// Each of these keys opens the whole school.
    pub keys: Vec<ApiKey>,
    /// What members can be granted.
    pub offers: Vec<Offer>,
    /// What offers contain.
    pub courses: Vec<Course>,
    /// The definitions of custom user properties.
    pub properties: Vec<Property>,
    /// Exams with the results handed in so far.
    pub exams: Vec<Exam>,
    /// Whether the plan includes finding a user by address; without it that route answers 403. On by default.
    pub enterprise: bool,
    /// Addresses, in lower case, that cannot be deleted, such as the owner's: a list with one of them is refused as a whole.
    /// That the real service does so is a guess.
    pub undeletable: BTreeSet<String>,
    /// Which of the uncertain spellings this school's server speaks.
    pub dialect: Dialect,
    members: BTreeMap<String, Member>,
    /// The order of the user list: a place for each uid.
    listed: BTreeSet<Place>,
    /// Chooses the places; 0 for the order of the uids.
    shuffle: u64,
    /// Lower-cased address to uid.
    uids: HashMap<String, String>,
    /// Every order id ever granted under, so that removing the access of an order twice is no mistake.
    orders: BTreeSet<String>,
    created_members: u64,
}

/// An API key. It cannot be printed; [`ApiKey::reveal`] is for the code that must send it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

/// The spellings that the public clients disagree about, so that a client can be tried with each of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dialect {
    /// The name of the id in a custom property value.
    pub property_key: PropertyKey,
    /// The form of the login token answer.
    pub login_token: LoginTokenForm,
    /// What `nextPage` holds.
    pub page_token: PageToken,
    /// The name of the token of the next page.
    pub page_field: PageField,
}

/// The name of the id in `set-custom-user-properties`; the other one is refused with a 400 that names the right one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PropertyKey {
    /// `{"id": …, "value": …}` (documented; confidence B).
    #[default]
    Id,
    /// `{"propertyId": …, "value": …}` (one public client).
    PropertyId,
}

/// What `GET /v1/users/login-token/{uid}` answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoginTokenForm {
    /// `{"token": …, "loginUrl": …}`
    #[default]
    Object,
    /// The bare token, as `text/html`, which is how NestJS sends a string.
    Text,
    /// The token as a JSON string, in quotes.
    JsonString,
}

/// What identifies the last entry of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PageToken {
    /// The id of the last entry, a string.
    #[default]
    Id,
    /// How many entries of the unfiltered list were passed, a JSON number.
    Number,
}

/// The name of the token of the next page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PageField {
    /// `nextPage`
    #[default]
    NextPage,
    /// `next_page`
    SnakeCase,
}

/// One person of a school.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    uid: String,
    email: String,
    /// The first name.
    pub firstname: Option<String>,
    /// The last name; the API calls it `name`.
    pub name: Option<String>,
    /// Whether the account is active.
    pub active: bool,
    /// When the account was made.
    pub created: OffsetDateTime,
    /// Values of custom properties, by property id.
    pub properties: Map<String, Value>,
    /// What the member was granted, by offer id.
    pub grants: BTreeMap<String, Grant>,
    /// Progress, by course id.
    pub progress: BTreeMap<String, Progress>,
    /// Chapters that were opened one by one, as course id and chapter id.
    pub chapters: BTreeSet<(String, String)>,
}

/// Where a member is in the user list.
type Place = (u64, String);

/// The access of one member to one offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// False after a revoke.
    pub active: bool,
    /// The order it was granted under, if any.
    pub order_id: Option<String>,
    /// When the access ends by itself; never when absent.
    pub expires_at: Option<OffsetDateTime>,
}

/// How far a member is in one course, in posts (lessons).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Posts that are open to the member.
    pub active_posts: u32,
    /// Posts that the member has finished.
    pub completed_posts: u32,
}

/// Something that can be granted: a bundle of courses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The offer's id.
    pub id: String,
    /// The offer's name.
    pub name: String,
    /// The courses that it opens; the API calls them `hasCourseIds`.
    pub course_ids: Vec<String>,
    /// The place in the school's own order; not every offer has one.
    pub priority: Option<i64>,
    /// When it was last edited; not every offer says so.
    pub updated: Option<OffsetDateTime>,
}

/// A course, made of chapters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Course {
    /// The course's id.
    pub id: String,
    /// The course's name; no known route shows it.
    pub name: String,
    /// The ids of its chapters.
    pub chapter_ids: Vec<String>,
    /// How many posts it has; a fresh grant opens all of them.
    pub posts: u32,
}

/// The definition of a custom user property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// The property's id.
    pub id: String,
    /// The property's name.
    pub name: String,
    /// The property's type as the API writes it. Values are not checked against it: what the server does is not known.
    pub kind: String,
}

/// An exam with its submissions.
#[derive(Clone, Debug, PartialEq)]
pub struct Exam {
    /// The exam's id.
    pub id: String,
    /// The exam's name; no known route shows it.
    pub name: String,
    /// What was handed in.
    pub results: Vec<ExamResult>,
}

/// One submission of an exam. The field names of the real API are not known.
#[derive(Clone, Debug, PartialEq)]
pub struct ExamResult {
    /// The submission's id.
    pub id: String,
    /// Who handed it in.
    pub uid: String,
    /// Points reached.
    pub score: f64,
    /// Points that could be reached.
    pub max_score: f64,
    /// Whether that was enough.
    pub passed: bool,
    /// When it was handed in.
    pub submitted: OffsetDateTime,
}

/// What a state request does to access: the `active` field of `set-offer-state` and `set-order-state`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AccessChange {
    /// `active: false`: no access, progress kept.
    Revoke,
    /// `active: true`: access again.
    Restore,
    /// No `active`: the access is gone, and the progress of its courses with it.
    Remove,
}

impl School {
    /// An empty school that opens with `key`.
    #[must_use]
    pub fn new(id: impl Into<String>, key: impl Into<ApiKey>) -> Self {
        let id = id.into();
        Self {
            name: id.clone(),
            id,
            keys: vec![key.into()],
            offers: Vec::new(),
            courses: Vec::new(),
            properties: Vec::new(),
            exams: Vec::new(),
            enterprise: true,
            undeletable: BTreeSet::new(),
            dialect: Dialect::default(),
            members: BTreeMap::new(),
            listed: BTreeSet::new(),
            shuffle: 0,
            uids: HashMap::new(),
            orders: BTreeSet::new(),
            created_members: 0,
        }
    }

    /// Whether `key` opens this school.
    #[must_use]
    pub fn opens_with(&self, key: &str) -> bool {
        self.keys.iter().any(|own| own.0 == key)
    }

    /// All members in the order of their uids.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// How many members there are.
    #[must_use]
    pub fn member_count(&self) -> usize {
        self.members.len()
    }

    /// The member with this address, in whatever case it is written.
    #[must_use]
    pub fn member(&self, email: &str) -> Option<&Member> {
        self.members.get(self.uids.get(&email.to_lowercase())?)
    }

    /// The member with this address, to be changed.
    pub fn member_mut(&mut self, email: &str) -> Option<&mut Member> {
        self.members.get_mut(self.uids.get(&email.to_lowercase())?)
    }

    /// The member with this uid.
    #[must_use]
    pub fn member_by_uid(&self, uid: &str) -> Option<&Member> {
        self.members.get(uid)
    }

    /// Gives the user list another order, which the seed chooses; 0 for that of the uids, which it has by default. How the real
    /// list is ordered is not documented.
    ///
    /// A token of the next page stays good, and then leads to those who come after that member in the new order.
    pub fn shuffle_members(&mut self, seed: u64) {
        self.shuffle = seed;
        self.listed = self.members.keys().map(|uid| self.place(uid)).collect();
    }

    /// The uids in the order of the user list.
    pub(super) fn listed(&self) -> impl Iterator<Item = &str> {
        self.listed.iter().map(|(_, uid)| uid.as_str())
    }

    /// The members who come after this one in the user list, whether or not he is there; all of them for an empty uid.
    pub(super) fn listed_after(&self, uid: &str) -> impl Iterator<Item = &Member> {
        use std::ops::Bound::{Excluded, Unbounded};
        let begin = if uid.is_empty() { Unbounded } else { Excluded(self.place(uid)) };
        self.listed.range((begin, Unbounded)).filter_map(|(_, uid)| self.members.get(uid))
    }

    fn place(&self, uid: &str) -> Place {
        let mut random = fastrand::Rng::with_seed(self.shuffle);
        let place = uid.bytes().fold(0, |place, byte| {
            random.seed(place ^ u64::from(byte) ^ self.shuffle.rotate_left(32));
            random.u64(..)
        });
        (if self.shuffle == 0 { 0 } else { place }, uid.to_owned())
    }

    /// Adds a member; whoever had the same uid or address makes way.
    pub fn insert(&mut self, member: Member) {
        self.detach(&member.email);
        if let Some(old) = self.members.get(&member.uid) {
            self.uids.remove(&old.email.to_lowercase());
        }
        let orders = member.grants.values().filter_map(|grant| grant.order_id.clone());
        self.orders.extend(orders);
        self.uids.insert(member.email.to_lowercase(), member.uid.clone());
        self.listed.insert(self.place(&member.uid));
        self.members.insert(member.uid.clone(), member);
    }

    /// Deletes a member with access, progress and exam results; false when the address is unknown.
    pub fn remove_member(&mut self, email: &str) -> bool {
        let Some(member) = self.detach(email) else {
            return false;
        };
        for exam in &mut self.exams {
            exam.results.retain(|result| result.uid != member.uid);
        }
        true
    }

    fn detach(&mut self, email: &str) -> Option<Member> {
        let uid = self.uids.remove(&email.to_lowercase())?;
        self.listed.remove(&self.place(&uid));
        self.members.remove(&uid)
    }

    /// The offer with this id.
    #[must_use]
    pub fn offer(&self, id: &str) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.id == id)
    }

    /// The course with this id.
    #[must_use]
    pub fn course(&self, id: &str) -> Option<&Course> {
        self.courses.iter().find(|course| course.id == id)
    }

    /// What an order granted and that is not removed, as uid and offer id, active or not.
    #[must_use]
    pub fn order(&self, order_id: &str) -> Vec<(&str, &str)> {
        self.members().flat_map(|member| member.grants_of_order(order_id)).collect()
    }

    /// Whether something was ever granted under this order id.
    #[must_use]
    pub fn knows_order(&self, order_id: &str) -> bool {
        self.orders.contains(order_id)
    }

    /// Makes an account for an address that has none.
    pub(super) fn create_member(&mut self, email: &str, now: OffsetDateTime) {
        let uid = loop {
            self.created_members += 1;
            let uid = format!("uid-{:08}", self.created_members);
            if !self.members.contains_key(&uid) {
                break uid;
            }
        };
        self.insert(Member::new(uid, email, now));
    }

    /// Grants an existing offer to an existing member; false when one of them does not exist.
    ///
    /// Access in effect stays as it is, but for the order id, which is replaced by a newer one. Access that was revoked
    /// or has expired starts afresh, without an expiry. Progress is never lost by a grant.
    pub(super) fn grant(&mut self, email: &str, offer_id: &str, order_id: Option<String>, now: OffsetDateTime) -> bool {
        let Some(offer) = self.offer(offer_id) else {
            return false;
        };
        let opened: Vec<(String, u32)> =
            offer.course_ids.iter().map(|id| (id.clone(), self.course(id).map_or(0, |course| course.posts))).collect();
        self.orders.extend(order_id.clone());
        let Some(member) = self.member_mut(email) else {
            return false;
        };
        let fresh = Grant { active: true, order_id: None, expires_at: None };
        let grant = member.grants.entry(offer_id.to_owned()).or_insert_with(|| fresh.clone());
        if !grant.in_effect(now) {
            grant.active = true;
            grant.expires_at = None;
        }
        if order_id.is_some() {
            grant.order_id = order_id;
        }
        for (course_id, posts) in opened {
            member.progress.entry(course_id).or_insert(Progress { active_posts: posts, completed_posts: 0 });
        }
        true
    }

    /// Changes the access of a member to an offer; false when there is none to change.
    pub(super) fn change_access(&mut self, email: &str, offer_id: &str, change: AccessChange) -> bool {
        let course_ids = self.offer(offer_id).map(|offer| offer.course_ids.clone()).unwrap_or_default();
        let Some(member) = self.member_mut(email) else {
            return false;
        };
        let Some(grant) = member.grants.get_mut(offer_id) else {
            return false;
        };
        match change {
            AccessChange::Revoke => grant.active = false,
            AccessChange::Restore => grant.active = true,
            AccessChange::Remove => {
                member.grants.remove(offer_id);
                // Also when another offer holds the same course: nothing public says that it would be spared.
                member.progress.retain(|id, _| !course_ids.contains(id));
            }
        }
        true
    }
}

impl Member {
    /// An active member without names, access or progress.
    #[must_use]
    pub fn new(uid: impl Into<String>, email: impl Into<String>, created: OffsetDateTime) -> Self {
        Self {
            uid: uid.into(),
            email: email.into(),
            firstname: None,
            name: None,
            active: true,
            created,
            properties: Map::new(),
            grants: BTreeMap::new(),
            progress: BTreeMap::new(),
            chapters: BTreeSet::new(),
        }
    }

    /// The id that the API calls `uid`.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// The address as it was first given.
    #[must_use]
    pub fn email(&self) -> &str {
        &self.email
    }

    /// Whether the member may use this offer at `now`: granted, not revoked, not expired.
    #[must_use]
    pub fn has_access(&self, offer_id: &str, now: OffsetDateTime) -> bool {
        self.grants.get(offer_id).is_some_and(|grant| grant.in_effect(now))
    }

    /// This member's grants under an order, as uid and offer id.
    pub(super) fn grants_of_order(&self, order_id: &str) -> impl Iterator<Item = (&str, &str)> {
        self.grants
            .iter()
            .filter(move |(_, grant)| grant.order_id.as_deref() == Some(order_id))
            .map(|(offer_id, _)| (self.uid.as_str(), offer_id.as_str()))
    }
}

impl Grant {
    /// Whether it gives access at `now`.
    #[must_use]
    pub fn in_effect(&self, now: OffsetDateTime) -> bool {
        self.active && self.expires_at.is_none_or(|end| now < end)
    }
}

impl ApiKey {
    /// The key itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ApiKey {
    fn from(key: &str) -> Self {
        Self(key.to_owned())
    }
}

impl From<String> for ApiKey {
    fn from(key: String) -> Self {
        Self(key)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}
