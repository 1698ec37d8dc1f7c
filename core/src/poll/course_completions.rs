//! `triggers.poll-course-completions`: one look at each of some members. What is remembered of each is whether the course was
//! open or complete.

use crate::{
    check,
    client::Session,
    cursor::{Kind, Marks, mark},
    error::{self, invalid_input},
    function,
    request::{Call, progress},
    transport::Transport,
    wit::{
        triggers::{CourseCompletion, CourseCompletions, PollCourseCompletionsRequest},
        types::{CourseProgress, Error, Failure, FailureCode},
    },
};

const CURSOR: Kind = Kind("course1");

/// `triggers.poll-course-completions`
pub async fn course_completions(
    session: &Session<impl Transport>,
    request: PollCourseCompletionsRequest,
) -> Result<CourseCompletions, Error> {
    let PollCourseCompletionsRequest { course_id, emails, cursor, include_existing } = request;
    check::emails("emails", &emails)?;
    // Each becomes part of a path.
    if let Some(index) = emails.iter().position(|email| email.contains(['/', '\\'])) {
        return Err(invalid_input(&format!("emails[{index}]"), "must not contain a slash or a backslash"));
    }
    let known = cursor.as_deref().map(|cursor| CURSOR.read(&course_id, cursor, Known::read)).transpose()?;
    let known = known.unwrap_or_default();
    let mut members = members(emails);
    let look = |email: &str| -> Result<Call<_>, Error> {
        let call = progress::get_course_progress(email, &course_id)?.within(&function::POLL_COURSE_COMPLETIONS);
        Ok(Call { when_missing: Some(|| None), ..call.map(|found| Some(found.progress)) })
    };

    let mut round = Round { known, include_existing: include_existing == Some(true), ..Round::default() };
    let mut bytes = 0_usize;
    let mut refusal = None;
    // Those before had their turn at the poll before.
    let first = members.iter().position(|member| member.mark == round.known.next).unwrap_or_default();
    let rest = members.split_off(first);
    for member in &members {
        round.keep(&member.mark);
    }
    let mut members = rest.into_iter();
    while let Some(member) = members.next() {
        match session.client().call(look(&member.email)?).await {
            Ok(found) => {
                round.answered = true;
                bytes = bytes.saturating_add(round.saw(member, found));
            }
            Err(error) if concerns_the_member(&error) => {
                refusal.get_or_insert(error);
                round.keep(&member.mark);
                round.skipped += 1;
            }
            Err(error) if !round.answered => return Err(error::counted(refusal.unwrap_or(error), session.sent())),
            Err(error) => {
                round.more = matches!(error, Error::Transient(_));
                round.interrupted_by = error::failure(&error).cloned();
                round.keep(&member.mark);
                // What would fail again is not tried first.
                let next =
                    if round.more { Some(member.mark) } else { members.as_slice().first().map(|next| next.mark.clone()) };
                round.next = next.unwrap_or_default();
                break;
            }
        }
        if bytes >= session.config().max_response_bytes
            && let Some(next) = members.as_slice().first()
        {
            (round.more, round.next) = (true, next.mark.clone());
            break;
        }
    }
    members.for_each(|member| round.keep(&member.mark));
    match refusal {
        Some(error) if !round.answered => Err(error::counted(error, session.sent())),
        _ => Ok(round.end(&course_id)),
    }
}

struct Member {
    email: String,
    mark: String,
}

/// The members, each once.
fn members(emails: Vec<String>) -> Vec<Member> {
    let mut marks = Marks::default();
    let member = |email: String| Member { mark: mark(&email.to_ascii_lowercase()), email };
    let mut members: Vec<_> = emails.into_iter().map(member).collect();
    members.retain(|member| marks.add(member.mark.clone(), check::MOST_EMAILS));
    members
}

/// What an earlier poll knew.
#[derive(Default)]
struct Known {
    /// With whom to begin.
    next: String,
    open: Marks,
    complete: Marks,
}

impl Known {
    fn read(fields: &mut dyn Iterator<Item = &str>) -> Option<Self> {
        let next = fields.next()?.to_owned();
        Some(Self { next, open: Marks::read(fields.next()?)?, complete: Marks::read(fields.next()?)? })
    }
}

/// A look at all members.
#[derive(Default)]
struct Round {
    known: Known,
    include_existing: bool,
    open: Marks,
    complete: Marks,
    completions: Vec<CourseCompletion>,
    /// Whether Memberspot has answered about anybody.
    answered: bool,
    more: bool,
    next: String,
    skipped: u32,
    interrupted_by: Option<Failure>,
}

impl Round {
    /// Takes in how far a member is. Returns how much of it there is to report, in bytes.
    fn saw(&mut self, member: Member, found: Option<CourseProgress>) -> usize {
        let is_complete = found.as_ref().map_or(Some(false), is_complete);
        self.skipped += u32::from(found.is_none() || is_complete.is_none());
        let was_complete = self.known.complete.has(&member.mark);
        match (found, is_complete) {
            (Some(progress), Some(true)) if !was_complete => {
                let crossed = self.known.open.has(&member.mark);
                self.complete.add(member.mark, check::MOST_EMAILS);
                if !crossed && !self.include_existing {
                    return 0;
                }
                let bytes = progress.raw.len();
                self.completions.push(CourseCompletion { email: member.email, progress });
                bytes
            }
            (_, Some(false)) if !was_complete => {
                self.open.add(member.mark, check::MOST_EMAILS);
                0
            }
            _ => {
                self.keep(&member.mark);
                0
            }
        }
    }

    /// Remembers of a member what was known before.
    fn keep(&mut self, mark: &str) {
        for (known, now) in [(&self.known.open, &mut self.open), (&self.known.complete, &mut self.complete)] {
            if known.has(mark) {
                now.add(mark.to_owned(), check::MOST_EMAILS);
            }
        }
    }

    fn end(self, course_id: &str) -> CourseCompletions {
        let fields = [self.next, self.open.write(), self.complete.write()];
        CourseCompletions {
            completions: self.completions,
            cursor: CURSOR.write(course_id, &fields),
            more: self.more,
            skipped: self.skipped,
            interrupted_by: self.interrupted_by,
        }
    }
}

/// Whether all lessons that are open are completed; unknown where Memberspot does not say how many there are.
fn is_complete(progress: &CourseProgress) -> Option<bool> {
    let (open, completed) = (progress.active_posts?, progress.completed_posts?);
    Some(open > 0 && completed >= open)
}

/// Whether an error is about this member alone, as far as one can tell from it.
fn concerns_the_member(error: &Error) -> bool {
    let Error::Permanent(failure) = error else { return false };
    matches!(failure.code, FailureCode::Rejected | FailureCode::InvalidResponse)
}
