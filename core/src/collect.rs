//! Whole lists: page after page, until the last one or until something ends the walk. What was read is never thrown away.

use std::{cell::Cell, collections::BTreeSet, rc::Rc};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    answer::Malformed,
    check,
    client::Session,
    error::{self, Nature, Trouble, invalid_input},
    function::{self, Function},
    request::{Call, progress, users},
    transport::Transport,
    wit::{
        progress::{CollectCourseProgressRequest, CollectedCourseProgress, ListCourseProgressRequest},
        types::{CourseProgress, Error, Failure, FailureCode, User},
        users::{CollectUsersRequest, CollectedUsers, ListUsersRequest},
    },
};

/// Memberspot's largest page is not documented; one of this length is a quick answer of some ten kilobytes.
const PAGE_LENGTH: u32 = 100;
/// No school that is known of has as many members; what comes back must fit into the memory of an instance.
const MOST_ITEMS: u32 = 100_000;
/// After so many pages in a row without anything new, there is no reason to believe in the next one.
const MOST_BARREN_PAGES: u32 = 10;

/// `users.collect-users`
pub async fn users(session: &Session<impl Transport>, request: CollectUsersRequest) -> Result<CollectedUsers, Error> {
    check_most("max-users", request.max_users)?;
    let after = request.created_after.as_deref().map(|text| check::moment("created-after", text)).transpose()?;
    let pick = |user: &User| created(user) > after;
    let undated = Cell::new(0);
    let walk = UserWalk {
        function: &function::COLLECT_USERS,
        query: ListUsersRequest {
            offer_id: request.offer_id,
            course_id: request.course_id,
            active: request.active,
            page_token: request.page_token,
            page_length: None,
        },
        most: request.max_users,
        pick: if after.is_some() { Some(&pick) } else { None },
        left_out: &|user| undated.set(undated.get() + u32::from(created(user).is_none())),
        note: None,
    };
    let Collected { items, complete, next_page, interrupted_by } = walk_users(session, walk).await?;
    Ok(CollectedUsers { users: items, complete, next_page, interrupted_by, undated: undated.get() })
}

/// How many items to return: not none, and not too many.
pub(crate) fn check_most(field: &str, most: u32) -> Result<(), Error> {
    let fits = (1..=MOST_ITEMS).contains(&most);
    if fits { Ok(()) } else { Err(invalid_input(field, format_args!("must be from 1 to {MOST_ITEMS}"))) }
}

/// Is told when a page was answered, as far as the answer says that; may refuse it.
pub(crate) type Note = Rc<dyn Fn(Option<i64>) -> Result<(), Malformed>>;

/// All members, from the first page on.
pub(crate) const ALL_USERS: ListUsersRequest =
    ListUsersRequest { offer_id: None, course_id: None, active: None, page_token: None, page_length: None };

/// A walk over members.
pub(crate) struct UserWalk<'a> {
    /// The function that it is for.
    pub function: &'static Function,
    /// Which members, and from which page on.
    pub query: ListUsersRequest,
    /// How many to return at the most.
    pub most: u32,
    /// Who is wanted, where not all are.
    pub pick: Option<&'a dyn Fn(&User) -> bool>,
    /// Is told of each member who is not.
    pub left_out: &'a dyn Fn(&User),
    /// Is told of each page.
    pub note: Option<Note>,
}

/// Walks over members.
pub(crate) async fn walk_users(session: &Session<impl Transport>, walk: UserWalk<'_>) -> Result<Collected<User>, Error> {
    let UserWalk { function, mut query, most, pick, left_out, note } = walk;
    let look = |user: &User| pick.is_none_or(|pick| pick(user));
    let mut walk = Walk::new(query.page_token.take(), most, session.config().max_response_bytes, |user: &User| Item {
        identity: &user.uid,
        bytes: user.raw.len(),
        wanted: look(user),
    });
    walk.picks = pick.is_some();
    let page = |token, length| {
        query.page_token = token;
        query.page_length = Some(length);
        let call = users::list_users(&query)?.map(|page| (page.users, page.next_page)).within(function);
        Ok(match &note {
            Some(note) => call.noted(Rc::clone(note)),
            None => call,
        })
    };
    walk.run(session, page, left_out).await
}

fn created(user: &User) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(user.created.as_deref()?, &Rfc3339).ok()
}

/// `progress.collect-course-progress`
pub async fn course_progress(
    session: &Session<impl Transport>,
    request: CollectCourseProgressRequest,
) -> Result<CollectedCourseProgress, Error> {
    let mut query = ListCourseProgressRequest { email: request.email, page_token: None, page_length: None };
    let most_bytes = session.config().max_response_bytes;
    let walk = Walk::new(request.page_token, MOST_ITEMS, most_bytes, |entry: &CourseProgress| Item {
        identity: &entry.course_id,
        bytes: entry.raw.len(),
        wanted: true,
    });
    let page = |token, length| {
        query.page_token = token;
        query.page_length = Some(length);
        let call = progress::list_course_progress(&query)?.map(|page| (page.entries, page.next_page));
        Ok(call.within(&function::COLLECT_COURSE_PROGRESS))
    };
    let Collected { items, complete, next_page, interrupted_by } = walk.run(session, page, |_| {}).await?;
    Ok(CollectedCourseProgress { entries: items, complete, next_page, interrupted_by })
}

/// What a walk looks at in an item.
struct Item<'a> {
    /// What tells it from others.
    identity: &'a str,
    /// Its length as it was sent.
    bytes: usize,
    /// Whether it is to be returned.
    wanted: bool,
}

/// What a walk brought.
pub(crate) struct Collected<I> {
    pub items: Vec<I>,
    pub complete: bool,
    pub next_page: Option<String>,
    pub interrupted_by: Option<Failure>,
}

/// A walk from page to page.
struct Walk<I, L> {
    /// How many items to return at the most.
    most: usize,
    /// How long they may be together.
    most_bytes: usize,
    look: L,
    /// Whether only some of the items of a page are wanted.
    picks: bool,
    items: Vec<I>,
    bytes: usize,
    /// The identities of all items that were read.
    known: BTreeSet<String>,
    /// The token of the next page.
    token: Option<String>,
    /// The tokens of all pages so far.
    tokens: BTreeSet<String>,
}

impl<I, L: Fn(&I) -> Item<'_>> Walk<I, L> {
    fn new(token: Option<String>, most: u32, most_bytes: usize, look: L) -> Self {
        Self {
            most: usize::try_from(most).unwrap_or(usize::MAX),
            most_bytes,
            look,
            picks: false,
            items: vec![],
            bytes: 0,
            known: BTreeSet::new(),
            tokens: BTreeSet::new(),
            token,
        }
    }

    /// Reads pages until there is no more, enough, or a reason to stop. Tells of each item that it leaves out.
    async fn run(
        mut self,
        session: &Session<impl Transport>,
        mut page: impl FnMut(Option<String>, u32) -> Result<Call<(Vec<I>, Option<String>)>, Error>,
        mut unwanted: impl FnMut(&I),
    ) -> Result<Collected<I>, Error> {
        self.tokens.extend(self.token.clone());
        let mut client = session.client();
        let mut length = PAGE_LENGTH;
        let mut cut = None;
        let mut barren = 0;
        let mut begun = false;
        while self.items.len() < self.most && self.bytes < self.most_bytes {
            let asked = cut.unwrap_or_else(|| self.length(length));
            let (read, next) = match client.call(page(self.token.clone(), asked)?).await {
                Ok(page) => page,
                Err(error) if asked > 1 && refuses_length(&error) => {
                    (length, cut) = (asked / 2, None);
                    continue;
                }
                Err(error) if !begun => return Err(error),
                Err(error) => return Ok(self.stopped(error::failure(&error).cloned())),
            };
            let enough = self.enough(&read).filter(|enough| *enough < asked);
            if enough.is_some() && cut.is_none() {
                // The page has more than is wanted. It is read again up to there, so that the next walk goes on behind it.
                cut = enough;
                continue;
            }
            barren = if self.take(read, &mut unwanted) { 0 } else { barren + 1 };
            self.token = next;
            let Some(next) = &self.token else {
                return Ok(Collected { complete: true, ..self.stopped(None) });
            };
            let leads_nowhere = check::page_token("page-token", Some(next)).is_err()
                || !self.tokens.insert(next.clone())
                || barren == MOST_BARREN_PAGES;
            if leads_nowhere {
                self.token = None;
                let message =
                    "Memberspot's pages lead nowhere: a token came twice or cannot be used, or many pages had nothing new";
                let trouble = Trouble::refused(FailureCode::InvalidResponse, message);
                let error = trouble.into_error(Nature::Read, client.attempts());
                return Ok(self.stopped(error::failure(&error).cloned()));
            }
            (client, cut, begun) = (session.client(), None, true);
        }
        Ok(self.stopped(None))
    }

    /// How long a page to ask for.
    fn length(&self, longest: u32) -> u32 {
        let left = u32::try_from(self.most.saturating_sub(self.items.len())).unwrap_or(u32::MAX);
        if self.picks { longest } else { longest.min(left) }
    }

    /// How many of these items come before the first one that is too many; none if there is no such.
    fn enough(&self, read: &[I]) -> Option<u32> {
        let left = self.most.saturating_sub(self.items.len());
        let mut wanted = read.iter().enumerate().filter(|(_, item)| {
            let item = (self.look)(item);
            item.wanted && !self.known.contains(item.identity)
        });
        u32::try_from(wanted.nth(left)?.0).ok()
    }

    /// Keeps what is wanted and not there yet. Whether there was anything that is not there yet.
    fn take(&mut self, read: Vec<I>, mut unwanted: impl FnMut(&I)) -> bool {
        let mut anything_new = false;
        for item in read {
            let seen = (self.look)(&item);
            if self.known.contains(seen.identity) {
                continue;
            }
            anything_new = true;
            self.known.insert(seen.identity.to_owned());
            if seen.wanted {
                self.bytes = self.bytes.saturating_add(seen.bytes);
                self.items.push(item);
            } else {
                unwanted(&item);
            }
        }
        anything_new
    }

    fn stopped(self, interrupted_by: Option<Failure>) -> Collected<I> {
        Collected { items: self.items, complete: false, next_page: self.token, interrupted_by }
    }
}

/// Whether a page was refused for its length, as far as the refusal says why.
fn refuses_length(error: &Error) -> bool {
    let Error::Permanent(failure) = error else { return false };
    let names_it = || failure.details.iter().any(|detail| detail.contains("pageLength"));
    matches!(failure.status, Some(400 | 422)) && (failure.details.is_empty() || names_it())
}
