//! `triggers.poll-new-users`: passes over all members. A pass reports who was created in a span of time; the next one's span
//! begins where this one's ends, and a little earlier.

use std::{
    cell::{Cell, RefCell},
    collections::BinaryHeap,
    rc::Rc,
};

use percent_encoding::percent_decode_str;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    answer::Malformed,
    check,
    client::Session,
    collect::{self, Collected, UserWalk},
    cursor::{Kind, Marks, mark},
    error, function,
    transport::Transport,
    wit::{
        triggers::{NewUsers, PollNewUsersRequest},
        types::{Error, FailureCode, User},
        users::ListUsersRequest,
    },
};

const CURSOR: Kind = Kind("users1");
/// How late a member may come onto the list, and how far clocks may be apart, in milliseconds.
const OVERLAP: i64 = 600_000;
/// How many members of that time are remembered, for each of two passes. With the longest page token, every byte of it
/// percent-encoded, a cursor stays below 20 KiB.
const MOST_MARKS: usize = 400;

/// `triggers.poll-new-users`
pub async fn new_users(session: &Session<impl Transport>, request: PollNewUsersRequest) -> Result<NewUsers, Error> {
    collect::check_most("max-users", request.max_users)?;
    let existing = request.include_existing == Some(true);
    let notes_only = request.cursor.is_none() && !existing;
    let mut pass = match &request.cursor {
        Some(cursor) => CURSOR.read("", cursor, Pass::read)?,
        None => Pass { from: i64::MIN, ..Pass::default() },
    };
    let most = if notes_only { 1 } else { request.max_users };
    loop {
        let span = Span::of(&pass);
        let left_out = LeftOut::default();
        let walk = UserWalk {
            function: &function::POLL_NEW_USERS,
            query: ListUsersRequest { page_token: pass.token.clone(), ..collect::ALL_USERS },
            most,
            pick: if notes_only { None } else { Some(&|user| span.has(user) && !pass.before.has(&mark(&user.uid))) },
            left_out: &|user| left_out.note(user, &span),
            note: Some(span.clock()),
        };
        match collect::walk_users(session, walk).await {
            Ok(_) if notes_only => return Ok(reported(&Pass { from: span.end.get().unwrap_or(i64::MIN), ..Pass::default() })),
            Ok(collected) => return Ok(pass.after(collected, &span, left_out)),
            // The token of a pass that was interrupted may not be good for ever.
            Err(error) if pass.token.is_some() && refuses_token(&error) => pass = pass.anew(),
            Err(error) => return Err(error::counted(error, session.sent())),
        }
    }
}

/// A poll that reports nothing.
fn reported(next: &Pass) -> NewUsers {
    NewUsers { users: vec![], cursor: next.write(), more: next.token.is_some(), skipped: 0, interrupted_by: None }
}

/// A pass over all members, between two calls. Moments are milliseconds since 1970.
#[derive(Debug, Default, PartialEq)]
struct Pass {
    /// The beginning of its span of time.
    from: i64,
    /// The end of it, once the pass has begun.
    end: Option<i64>,
    /// The next page, once it has begun.
    token: Option<String>,
    /// Who was reported by earlier passes, and may be seen again by this one.
    before: Marks,
    /// Who was reported by this pass or by earlier ones, and may be seen again by the next.
    now: Marks,
}

impl Pass {
    fn write(&self) -> String {
        let fields = [
            self.from.to_string(),
            self.end.map(|end| end.to_string()).unwrap_or_default(),
            self.token.as_deref().map(check::encode).unwrap_or_default(),
            self.before.write(),
            self.now.write(),
        ];
        CURSOR.write("", &fields)
    }

    fn read(fields: &mut dyn Iterator<Item = &str>) -> Option<Self> {
        let from = fields.next()?.parse().ok()?;
        let end = fields.next()?;
        let token = percent_decode_str(fields.next()?).decode_utf8().ok()?.into_owned();
        let token = Some(token).filter(|token| !token.is_empty());
        check::page_token("cursor", token.as_deref()).ok()?;
        let end = if end.is_empty() { None } else { Some(end.parse().ok()?) };
        // A pass has begun, or it has not.
        let whole = end.is_some() == token.is_some();
        let (before, now) = (Marks::read(fields.next()?)?, Marks::read(fields.next()?)?);
        whole.then_some(Self { from, end, token, before, now })
    }

    /// The same span from the first page on. It ends later, since it begins later.
    fn anew(self) -> Self {
        let mut before = self.now;
        before.add_all(self.before, MOST_MARKS);
        Self { from: self.from, before, ..Self::default() }
    }

    /// What a walk comes to, and where to go on.
    fn after(self, collected: Collected<User>, span: &Span, left_out: LeftOut) -> NewUsers {
        let Collected { items: users, complete, next_page, interrupted_by } = collected;
        let mut now = self.now;
        let recent = users.iter().filter(|user| span.is_recent(user)).map(|user| mark(&user.uid));
        for mark in recent.chain(left_out.recent.into_inner()) {
            now.add(mark, MOST_MARKS);
        }
        let next = Self { now, end: span.end.get(), token: next_page, ..self };
        let next = if complete {
            Self { from: span.next(), before: next.now, ..Self::default() }
        } else if next.token.is_none() {
            // The pages lead nowhere: what was not seen is still to be.
            next.anew()
        } else {
            next
        };
        NewUsers { users: by_creation(users), skipped: left_out.undated.get(), interrupted_by, ..reported(&next) }
    }
}

/// The span of time of a pass. Its end is known when the first page is there.
struct Span {
    from: i64,
    end: Rc<Cell<Option<i64>>>,
}

impl Span {
    fn of(pass: &Pass) -> Self {
        Self { from: pass.from, end: Rc::new(Cell::new(pass.end)) }
    }

    /// Notes the end from the first answer.
    fn clock(&self) -> collect::Note {
        let (from, end) = (self.from, Rc::clone(&self.end));
        Rc::new(move |date| {
            if end.get().is_none() {
                let date = date.ok_or(Malformed("an answer with a date"))?.saturating_mul(1000);
                if date < from.saturating_sub(OVERLAP) {
                    return Err(Malformed("of a date after that of the cursor"));
                }
                end.set(Some(date));
            }
            Ok(())
        })
    }

    /// Whether a member was created in it.
    fn has(&self, user: &User) -> bool {
        created(user).is_some_and(|created| created >= self.from && self.end.get().is_some_and(|end| created < end))
    }

    /// Whether a member is in this span and the next one.
    fn is_recent(&self, user: &User) -> bool {
        self.has(user) && created(user) >= Some(self.next())
    }

    /// The beginning of the next one.
    fn next(&self) -> i64 {
        self.end.get().map_or(self.from, |end| self.from.max(end.saturating_sub(OVERLAP)))
    }
}

/// Members who were seen and are not reported.
#[derive(Default)]
struct LeftOut {
    undated: Cell<u32>,
    /// Reported before, and to be remembered.
    recent: RefCell<Vec<String>>,
}

impl LeftOut {
    fn note(&self, user: &User, span: &Span) {
        if created(user).is_none() {
            self.undated.set(self.undated.get().saturating_add(1));
        } else if span.is_recent(user) {
            self.recent.borrow_mut().push(mark(&user.uid));
        }
    }
}

/// The members, oldest first. A heap, because the code of the usual sorting takes four times as much room.
fn by_creation(users: Vec<User>) -> Vec<User> {
    let order: BinaryHeap<_> = users.iter().enumerate().map(|(index, user)| (created(user), index)).collect();
    let mut users: Vec<_> = users.into_iter().map(Some).collect();
    let sorted = order.into_sorted_vec();
    sorted.into_iter().filter_map(|(_, index)| users.get_mut(index)?.take()).collect()
}

/// When a member was created, in milliseconds since 1970.
fn created(user: &User) -> Option<i64> {
    let moment = OffsetDateTime::parse(user.created.as_deref()?, &Rfc3339).ok()?;
    Some(moment.unix_timestamp() * 1000 + i64::from(moment.millisecond()))
}

/// Whether a page may have been refused for its token.
fn refuses_token(error: &Error) -> bool {
    let Error::Permanent(failure) = error else { return false };
    matches!(failure.code, FailureCode::Rejected | FailureCode::NotFound)
}
