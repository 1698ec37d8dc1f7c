//! Polls against a school in memory: members come, the list is shuffled, calls fail, cursors get lost.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use proptest::prelude::*;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::*;
use crate::{
    client::Session,
    config::Config,
    cursor::mark,
    transport::{Bounds, Fault, Incoming, Outgoing, Transport},
    wit::{
        triggers::{NewExamResults, NewUsers, PollCourseCompletionsRequest, PollExamResultsRequest, PollNewUsersRequest},
        types::{Error, FailureCode},
    },
};

/// When the tests begin: in seconds since 1970.
const BEGIN: i64 = 1_800_000_000;

/// What an exchange comes to.
type Exchange = Result<Incoming, Fault>;

/// A server; gets path and query.
struct Server<'a> {
    answer: &'a dyn Fn(&str) -> Exchange,
    now: Cell<Duration>,
}

impl Transport for Server<'_> {
    fn now(&self) -> Duration {
        self.now.get()
    }

    async fn sleep_until(&self, moment: Duration) {
        self.now.set(self.now().max(moment));
    }

    async fn exchange(&self, request: Outgoing<'_>, _: Bounds) -> Exchange {
        self.now.set(self.now() + Duration::from_millis(500));
        (self.answer)(request.target)
    }
}

fn session(answer: &dyn Fn(&str) -> Exchange, deadline_ms: u32) -> Session<Server<'_>> {
    let deadline = deadline_ms.to_string();
    let variables = [
        ("MEMBERSPOT_API_KEY", "s3cret"),
        ("MEMBERSPOT_DEADLINE_MS", deadline.as_str()),
        ("MEMBERSPOT_MAX_ATTEMPTS", "1"),
        ("MEMBERSPOT_REQUESTS_PER_SECOND", "0"),
    ];
    let config = Config::from_environment(variables.map(|(name, value)| (name.into(), value.into())).to_vec());
    Session::new(config.unwrap_or_else(|error| panic!("{error:?}")), Server { answer, now: Cell::default() })
}

fn run<R>(future: impl Future<Output = R>) -> R {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("the server always answers at once"),
    }
}

#[allow(clippy::unnecessary_wraps, reason = "the form in which a server gives it")]
fn answer(status: u16, date: Option<i64>, body: &str) -> Exchange {
    let headers = date.map(|date| ("Date".to_owned(), http_date(date).into_bytes()));
    Ok(Incoming { status, headers: headers.into_iter().collect(), body: body.as_bytes().to_vec(), fault: None })
}

fn http_date(seconds: i64) -> String {
    let moment = OffsetDateTime::from_unix_timestamp(seconds).unwrap();
    let (month, time) = (moment.month().to_string(), moment.time());
    let (hour, minute, second) = time.as_hms();
    format!("Sat, {:02} {} {} {hour:02}:{minute:02}:{second:02} GMT", moment.day(), &month[..3], moment.year())
}

fn query(target: &str) -> BTreeMap<String, String> {
    let pairs = target.split_once('?').map_or("", |(_, query)| query).split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[track_caller]
fn assert_bad_cursor<T: std::fmt::Debug>(result: Result<T, Error>) {
    let Err(Error::Permanent(failure)) = result else { panic!("{result:?}") };
    assert_eq!((failure.code, failure.attempts), (FailureCode::InvalidInput, 0));
    assert!(failure.message.starts_with("cursor: "), "{}", failure.message);
}

/// A member of the model.
#[derive(Clone, Debug)]
struct Member {
    uid: String,
    /// In milliseconds since 1970; unknown for some.
    created: Option<i64>,
    /// From when on the list has the member.
    listed: i64,
}

/// A school whose members have no order but that of a seed.
#[derive(Default)]
struct School {
    /// In milliseconds since 1970.
    now: i64,
    members: Vec<Member>,
    seed: u64,
    /// Requests until the next trouble, and which.
    trouble: Option<(u32, Trouble)>,
    requests: u32,
}

#[derive(Clone, Copy, Debug)]
enum Trouble {
    Broken,
    Busy,
    TokenRefused,
    LeadsNowhere,
    NotJson,
}

impl School {
    fn place(&self, uid: &str) -> String {
        mark(&format!("{} {uid}", self.seed))
    }

    fn list(&mut self, target: &str) -> Exchange {
        self.now += 500;
        self.requests += 1;
        let query = query(target);
        let strikes = match &mut self.trouble {
            Some((0, trouble)) => Some(*trouble),
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        };
        let date = Some(self.now / 1000);
        let token = query.get("lastLoadedId").cloned().unwrap_or_default();
        let mut next_is_bad = false;
        match strikes {
            Some(Trouble::Broken) => return Err(Fault::Broken),
            Some(Trouble::Busy) => return answer(503, date, ""),
            Some(Trouble::NotJson) => return answer(200, date, "<html>"),
            Some(Trouble::TokenRefused) if !token.is_empty() => {
                self.trouble = None;
                return answer(400, date, r#"{"statusCode":400,"message":"lastLoadedId is unknown"}"#);
            }
            Some(Trouble::LeadsNowhere) => next_is_bad = true,
            _ => {}
        }
        let length = query["pageLength"].parse::<usize>().unwrap().min(7);
        let now = self.now;
        let listed = self.members.iter().filter(|member| member.listed <= now);
        let mut listed: Vec<_> = listed.map(|member| (self.place(&member.uid), member)).collect();
        listed.sort_by(|one, other| one.0.cmp(&other.0));
        listed.retain(|(place, _)| *place > token);
        let more = listed.len() > length;
        listed.truncate(length);
        let next = listed.last().filter(|_| more).map(|(place, _)| format!(",\"nextPage\":\"{place}\"")).unwrap_or_default();
        // A token that was there before, or one that cannot be sent.
        let bad = if token.is_empty() { "\\n" } else { &token };
        let next = if next_is_bad { format!(",\"nextPage\":\"{bad}\"") } else { next };
        let users: Vec<_> = listed.iter().map(|(_, member)| user(member)).collect();
        answer(200, date, &format!("{{\"users\":[{}]{next}}}", users.join(",")))
    }

    fn add(&mut self, created: Option<i64>, late: i64) {
        let uid = format!("u{}", self.members.len());
        self.members.push(Member { uid, created, listed: self.now + late });
    }
}

fn user(member: &Member) -> String {
    let created = member.created.map(|created| {
        let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(created) * 1_000_000).unwrap();
        format!(",\"created\":\"{}\"", moment.format(&Rfc3339).unwrap())
    });
    format!("{{\"uid\":\"{0}\",\"email\":\"{0}@b.de\"{1}}}", member.uid, created.unwrap_or_default())
}

fn poll_users(school: &RefCell<School>, cursor: Option<&str>, most: u32, existing: bool) -> Result<NewUsers, Error> {
    let respond = |target: &str| school.borrow_mut().list(target);
    let session = session(&respond, 5_000);
    let request = PollNewUsersRequest { cursor: cursor.map(Into::into), max_users: most, include_existing: Some(existing) };
    let before = school.borrow().requests;
    let result = run(new_users(&session, request));
    if let Err(Error::Permanent(failure) | Error::Transient(failure)) = &result {
        assert_eq!(failure.attempts, school.borrow().requests - before, "{failure:?}");
    }
    if let Ok(batch) = &result {
        assert!(batch.cursor.len() <= 20 << 10 && batch.cursor.bytes().all(|byte| byte.is_ascii_graphic()));
        let created: Vec<_> = batch.users.iter().map(|user| user.created.clone()).collect();
        assert!(created.is_sorted_by_key(|created| OffsetDateTime::parse(created.as_deref().unwrap(), &Rfc3339).unwrap()));
    }
    result
}

/// A story of a school and somebody who polls it.
#[derive(Clone, Debug)]
enum Step {
    /// So many members come; some late onto the list.
    Come { count: u8, late: bool },
    /// A member without a date comes.
    ComeUndated,
    /// So many seconds pass.
    Wait(u16),
    /// A poll, at which this goes wrong after so many requests.
    Poll { most: u32, trouble: Option<(u32, Trouble)>, end: End },
}

/// What becomes of the result of a poll.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Kept,
    /// Everything was dealt with, and then the machine died.
    CursorLost,
    /// The machine died before anything was dealt with.
    AllLost,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let trouble = prop_oneof![
        Just(Trouble::Broken),
        Just(Trouble::Busy),
        Just(Trouble::TokenRefused),
        Just(Trouble::LeadsNowhere),
        Just(Trouble::NotJson),
    ];
    let end = prop_oneof![4 => Just(End::Kept), 1 => Just(End::CursorLost), 1 => Just(End::AllLost)];
    let poll = (prop_oneof![1_u32..6, Just(1000)], proptest::option::of((0_u32..6, trouble)), end)
        .prop_map(|(most, trouble, end)| Step::Poll { most, trouble, end });
    let step = prop_oneof![
        2 => (0_u8..12, any::<bool>()).prop_map(|(count, late)| Step::Come { count, late }),
        1 => Just(Step::ComeUndated),
        2 => (0_u16..1500).prop_map(Step::Wait),
        5 => poll,
    ];
    proptest::collection::vec(step, 1..40)
}

/// Who polls: the cursor, and who was reported how often.
#[derive(Default)]
struct Poller {
    cursor: Option<String>,
    /// Whether a pass is under way, according to the cursor that was kept.
    under_way: bool,
    reported: BTreeMap<String, u32>,
    /// Whether anything happened for which members may come again.
    disturbed: bool,
}

impl Poller {
    fn poll(&mut self, school: &RefCell<School>, most: u32, end: End) -> bool {
        // Between passes, the list gets another order.
        if !self.under_way {
            school.borrow_mut().seed += 1;
        }
        let Ok(batch) = poll_users(school, self.cursor.as_deref(), most, false) else { return false };
        self.disturbed |= end == End::CursorLost || (batch.interrupted_by.is_some() && !batch.more);
        if end != End::AllLost {
            for user in batch.users {
                *self.reported.entry(user.uid).or_default() += 1;
            }
        }
        if end == End::Kept {
            (self.cursor, self.under_way) = (Some(batch.cursor), batch.more);
        }
        true
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn every_new_member_is_reported(old in 0_u8..30, steps in steps()) {
        let school = RefCell::new(School { now: BEGIN * 1000, ..School::default() });
        for nth in 0..old {
            school.borrow_mut().add(Some((BEGIN - 10 - i64::from(nth) * 50) * 1000), 0);
        }
        let mut poller = Poller::default();
        prop_assert!(poller.poll(&school, 3, End::Kept));
        let first = school.borrow().now / 1000 * 1000;
        for step in steps {
            match step {
                Step::Come { count, late } => for nth in 0..count {
                    let mut school = school.borrow_mut();
                    school.now += 37;
                    let created = Some(school.now);
                    school.add(created, if late { i64::from(nth) * 50_000 } else { 0 });
                },
                Step::ComeUndated => school.borrow_mut().add(None, 0),
                Step::Wait(seconds) => school.borrow_mut().now += i64::from(seconds) * 1000,
                Step::Poll { most, trouble, end } => {
                    poller.disturbed |= matches!(trouble, Some((_, Trouble::TokenRefused)));
                    school.borrow_mut().trouble = trouble;
                    poller.poll(&school, most, end);
                    school.borrow_mut().trouble = None;
                }
            }
        }
        // In quiet times, a pass that begins after all of that comes to its end.
        school.borrow_mut().now += 1_000_000;
        for _ in 0..2 {
            prop_assert!(poller.poll(&school, 1000, End::Kept));
            while poller.under_way {
                prop_assert!(poller.poll(&school, 1000, End::Kept));
            }
        }
        for member in &school.borrow().members {
            let reported = poller.reported.get(&member.uid).copied().unwrap_or_default();
            let is_new = member.created.is_some_and(|created| created >= first);
            prop_assert_eq!(reported > 0, is_new, "{:?}", member);
            prop_assert!(reported <= 1 || poller.disturbed, "{:?} came {} times", member, reported);
        }
    }

    #[test]
    fn no_cursor_makes_a_poll_panic(name in "users1|exam1|course1|x", fields in proptest::collection::vec("[-0-9a-zA-Z%]{0,22}", 0..6)) {
        let cursor = crate::cursor::Kind(match name.as_str() { "users1" => "users1", "exam1" => "exam1", "course1" => "course1", _ => "x" })
            .write("", &fields);
        let school = RefCell::new(School { now: BEGIN * 1000, ..School::default() });
        let _ = poll_users(&school, Some(&cursor), 1, false);
        let _ = poll_exam("e", &["1"], Some(&cursor), 1, false);
        let _ = poll_course(&|_| answer(404, None, ""), &["a@b.de"], Some(&cursor), false);
    }
}

#[test]
fn existing_members_are_reported_when_asked_for() {
    let school = RefCell::new(School { now: BEGIN * 1000, ..School::default() });
    for nth in 0..30 {
        school.borrow_mut().add(Some((BEGIN - nth * 100_000) * 1000 - 1), 0);
    }
    school.borrow_mut().add(None, 0);
    let mut cursor = None;
    let mut seen = BTreeSet::new();
    let mut skipped = 0;
    loop {
        let batch = poll_users(&school, cursor.as_deref(), 12, true).unwrap();
        assert!(batch.users.iter().all(|user| seen.insert(user.uid.clone())), "a member came twice");
        assert!(batch.interrupted_by.is_none());
        skipped += batch.skipped;
        cursor = Some(batch.cursor);
        if !batch.more {
            break;
        }
    }
    assert_eq!((seen.len(), skipped), (30, 1));
    let again = poll_users(&school, cursor.as_deref(), 12, true).unwrap();
    assert_eq!((again.users.len(), again.more, again.skipped), (0, false, 1));
}

#[test]
fn time_is_that_of_the_answers() {
    let school = RefCell::new(School { now: BEGIN * 1000, ..School::default() });
    let cursor = poll_users(&school, None, 1, false).unwrap().cursor;
    // A clock that runs a little behind, as that of another machine may, delays, and does no more.
    school.borrow_mut().now -= 30_000;
    let created = Some(BEGIN * 1000 + 5_000);
    school.borrow_mut().add(created, -60_000);
    let early = poll_users(&school, Some(&cursor), 1, false).unwrap();
    assert_eq!((early.users.len(), early.more), (0, false));
    school.borrow_mut().now += 60_000;
    assert_eq!(poll_users(&school, Some(&early.cursor), 1, false).unwrap().users.len(), 1);
    // One that is far behind is not believed, and neither is an answer without a date.
    school.borrow_mut().now -= 700_000;
    let Err(Error::Permanent(failure)) = poll_users(&school, Some(&cursor), 1, false) else { panic!("it was believed") };
    assert_eq!(failure.code, FailureCode::InvalidResponse);
    for cursor in [None, Some(cursor)] {
        let respond = |_: &str| answer(200, None, "[]");
        let session = session(&respond, 5_000);
        let request = PollNewUsersRequest { cursor, max_users: 1, include_existing: None };
        let Err(Error::Permanent(failure)) = run(new_users(&session, request)) else { panic!("it was believed") };
        assert_eq!((failure.code, failure.attempts), (FailureCode::InvalidResponse, 1));
    }
}

#[test]
fn what_is_remembered_of_members_is_bounded() {
    let school = RefCell::new(School { now: BEGIN * 1000, ..School::default() });
    let mut cursor = poll_users(&school, None, 1, false).unwrap().cursor;
    for _ in 0..600 {
        let created = Some(school.borrow().now + 1000);
        school.borrow_mut().add(created, 0);
    }
    school.borrow_mut().now += 10_000;
    let mut reported = BTreeMap::<_, u32>::new();
    for _ in 0..2 {
        loop {
            let batch = poll_users(&school, Some(&cursor), 1000, false).unwrap();
            batch.users.into_iter().for_each(|user| *reported.entry(user.uid).or_default() += 1);
            cursor = batch.cursor;
            if !batch.more {
                break;
            }
        }
    }
    assert_eq!(reported.len(), 600);
    assert_eq!(reported.values().filter(|times| **times == 2).count(), 200, "all that are not remembered");
    // The longest page token, of characters that take the most room.
    let respond = |_: &str| {
        let token = "%".repeat(4096);
        answer(
            200,
            Some(BEGIN + 60),
            &format!(r#"{{"users":[{{"uid":"x","email":"y","created":"2027-01-15T08:00:20Z"}}],"nextPage":"{token}"}}"#),
        )
    };
    let session = session(&respond, 5_000);
    let request = PollNewUsersRequest { cursor: Some(cursor), max_users: 1, include_existing: None };
    let batch = run(new_users(&session, request)).unwrap();
    assert!(batch.more && (16_000..=20 << 10).contains(&batch.cursor.len()), "{}", batch.cursor.len());
}

#[test]
fn a_cursor_of_another_poll_is_refused() {
    let school = RefCell::new(School { now: BEGIN * 1000, ..School::default() });
    let users = poll_users(&school, None, 1, false).unwrap().cursor;
    let exam = poll_exam("e", &[], None, 1, false).unwrap().cursor;
    let course = poll_course(&|_| answer(404, None, MISSING), &["a@b.de"], None, false).unwrap().cursor;
    for other in [exam.as_str(), &course, "", "users1:::::", &users.to_lowercase(), &format!("{users}x")] {
        assert_bad_cursor(poll_users(&school, Some(other), 1, false));
    }
    for other in [&users, &course] {
        assert_bad_cursor(poll_exam("e", &[], Some(other), 1, false));
    }
    assert_bad_cursor(poll_exam("f", &[], Some(&exam), 1, false));
    for other in [&users, &exam] {
        assert_bad_cursor(poll_course(&|_| panic!("sent"), &["a@b.de"], Some(other), false));
    }
    let session = session(&|_| panic!("sent"), 5_000);
    let request = PollCourseCompletionsRequest {
        course_id: "another".into(),
        emails: vec!["a@b.de".into()],
        cursor: Some(course),
        include_existing: None,
    };
    assert_bad_cursor(run(course_completions(&session, request)));
}

const MISSING: &str = r#"{"statusCode":404,"message":"User not found","error":"Not Found"}"#;

/// Submissions with these ids; one without an id where there is a brace.
fn poll_exam(exam: &str, results: &[&str], cursor: Option<&str>, most: u32, existing: bool) -> Result<NewExamResults, Error> {
    let result = |text: &&str| if text.contains('{') { (*text).to_owned() } else { format!("{{\"id\":\"{text}\"}}") };
    let body = format!("[{}]", results.iter().map(result).collect::<Vec<_>>().join(","));
    let respond = |_: &str| answer(200, None, &body);
    let session = session(&respond, 5_000);
    let cursor = cursor.map(Into::into);
    let request = PollExamResultsRequest { exam_id: exam.into(), cursor, max_results: most, include_existing: Some(existing) };
    run(exam_results(&session, request))
}

fn ids(batch: &NewExamResults) -> Vec<&str> {
    batch.results.iter().map(|result| result.id.as_deref().unwrap_or(&result.raw)).collect()
}

#[test]
fn new_submissions_are_told_from_old_ones() {
    let first = poll_exam("e", &["1", "2"], None, 10, false).unwrap();
    assert_eq!((ids(&first), first.more), (vec![], false));
    let second = poll_exam("e", &["3", "1", "{\"score\":1}", "2", "3"], Some(&first.cursor), 10, false).unwrap();
    assert_eq!((ids(&second), second.more), (vec!["3", "{\"score\":1}"], false));
    // An answer that is empty by mistake makes nothing new.
    let third = poll_exam("e", &[], Some(&second.cursor), 10, false).unwrap();
    assert_eq!(ids(&third), Vec::<&str>::new());
    let fourth = poll_exam("e", &["1", "2", "3", "{\"score\":1}", "{\"score\":2}"], Some(&third.cursor), 10, true).unwrap();
    assert_eq!(ids(&fourth), ["{\"score\":2}"]);
    // As many as wanted, and then the rest.
    let all = ["1", "2", "3", "4", "5"];
    let mut cursor = None;
    for (expected, more) in [(["1", "2"].as_slice(), true), (&["3", "4"], true), (&["5"], false), (&[], false)] {
        let batch = poll_exam("e", &all, cursor.as_deref(), 2, true).unwrap();
        assert_eq!((ids(&batch), batch.more), (expected.to_vec(), more));
        cursor = Some(batch.cursor);
    }
}

#[test]
fn what_is_remembered_of_submissions_is_bounded() {
    let names = |from: u32| (from..from + 10_000).map(|nth| nth.to_string()).collect::<Vec<_>>();
    let (old, new) = (names(0), names(5_000));
    let old: Vec<_> = old.iter().map(String::as_str).collect();
    let new: Vec<_> = new.iter().map(String::as_str).collect();
    let first = poll_exam("e", &old, None, 1, false).unwrap();
    assert!(first.cursor.len() > 100_000 && first.cursor.len() <= 100 << 10, "{}", first.cursor.len());
    let second = poll_exam("e", &new, Some(&first.cursor), 10_000, false).unwrap();
    assert_eq!((second.results.len(), second.cursor.len()), (5_000, first.cursor.len()));
    assert_eq!(poll_exam("e", &new, Some(&second.cursor), 10_000, false).unwrap().results.len(), 0);
}

fn poll_course(
    respond: &dyn Fn(&str) -> Exchange,
    emails: &[&str],
    cursor: Option<&str>,
    existing: bool,
) -> Result<crate::wit::triggers::CourseCompletions, Error> {
    let session = session(respond, 5_000);
    let emails = emails.iter().map(|email| (*email).to_owned()).collect();
    let cursor = cursor.map(Into::into);
    let request = PollCourseCompletionsRequest { course_id: "c".into(), emails, cursor, include_existing: Some(existing) };
    let result = run(course_completions(&session, request));
    if let Ok(batch) = &result {
        assert!(batch.cursor.len() <= 2 << 10 && batch.cursor.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    result
}

/// Progress by the first letter of the address: open lessons and completed ones.
fn progress(members: &'static [(&'static str, Option<(u32, u32)>)]) -> impl Fn(&str) -> Exchange {
    move |target: &str| {
        let letter = target.rsplit('/').next().and_then(|email| email.get(..1)).unwrap();
        match members.iter().find(|(name, _)| *name == letter) {
            Some((_, Some((open, done)))) => {
                answer(200, None, &format!("{{\"courseId\":\"c\",\"activePosts\":{open},\"completedPosts\":{done}}}"))
            }
            Some((_, None)) => answer(200, None, r#"{"courseId":"c"}"#),
            None => answer(404, None, MISSING),
        }
    }
}

#[test]
fn a_completion_is_reported_once() {
    const EMAILS: [&str; 5] = ["a@b.de", "b@b.de", "c@b.de", "d@b.de", "A@b.de"];
    let names = |batch: &crate::wit::triggers::CourseCompletions| {
        batch.completions.iter().map(|completion| completion.email.clone()).collect::<Vec<_>>()
    };
    let begin = progress(&[("a", Some((5, 1))), ("b", Some((5, 5))), ("c", None)]);
    let first = poll_course(&begin, &EMAILS, None, false).unwrap();
    assert_eq!((names(&first), first.skipped, first.more), (vec![], 2, false));
    let later = progress(&[("a", Some((5, 5))), ("b", Some((5, 5))), ("c", Some((0, 0))), ("d", Some((1, 2)))]);
    let second = poll_course(&later, &EMAILS, Some(&first.cursor), false).unwrap();
    assert_eq!((names(&second), second.skipped), (vec!["a@b.de".into(), "d@b.de".into()], 0));
    // Lessons that are added, or progress that is deleted, and completing them anew, are nothing new.
    let reopened = progress(&[("a", Some((6, 5))), ("b", Some((6, 5))), ("c", Some((5, 5)))]);
    let third = poll_course(&reopened, &EMAILS, Some(&second.cursor), false).unwrap();
    assert_eq!(names(&third), ["c@b.de"]);
    let again = progress(&[("a", Some((6, 6))), ("b", Some((6, 6))), ("c", Some((5, 5))), ("d", Some((1, 1)))]);
    let fourth = poll_course(&again, &EMAILS, Some(&third.cursor), true).unwrap();
    assert_eq!(names(&fourth), Vec::<String>::new());
    // Who is seen for the first time is reported only when that is asked for.
    let with = |existing| names(&poll_course(&again, &EMAILS, None, existing).unwrap());
    assert_eq!((with(false), with(true).len()), (vec![], 4));
}

#[test]
fn everybody_has_a_turn() {
    const EMAILS: [&str; 30] = [
        "a@b.de", "b@b.de", "c@b.de", "d@b.de", "e@b.de", "f@b.de", "g@b.de", "h@b.de", "i@b.de", "j@b.de", "k@b.de", "l@b.de",
        "m@b.de", "n@b.de", "o@b.de", "p@b.de", "q@b.de", "r@b.de", "s@b.de", "t@b.de", "u@b.de", "v@b.de", "w@b.de", "x@b.de",
        "y@b.de", "z@b.de", "0@b.de", "1@b.de", "2@b.de", "3@b.de",
    ];
    // In five seconds, ten are looked up.
    let asked = RefCell::new(BTreeSet::new());
    let open = |target: &str| {
        asked.borrow_mut().insert(target.to_owned());
        answer(200, None, r#"{"courseId":"c","activePosts":2,"completedPosts":1}"#)
    };
    let mut cursor = None;
    for round in 1..=3 {
        let batch = poll_course(&open, &EMAILS, cursor.as_deref(), false).unwrap();
        assert_eq!(asked.borrow().len(), round * 10);
        assert_eq!((batch.more, batch.interrupted_by.is_some()), (round < 3, round < 3));
        cursor = Some(batch.cursor);
    }
    // What an earlier poll noted of those who had no turn is kept.
    let done = |_: &str| answer(200, None, r#"{"courseId":"c","activePosts":2,"completedPosts":2}"#);
    let mut reported = 0;
    for _ in 0..3 {
        let batch = poll_course(&done, &EMAILS, cursor.as_deref(), false).unwrap();
        reported += batch.completions.len();
        cursor = Some(batch.cursor);
    }
    assert_eq!(reported, 30);
}

#[test]
fn trouble_with_one_address_is_not_trouble_with_all() {
    let refuse = |letter: &'static str| {
        move |target: &str| {
            if target.contains(letter) {
                return answer(400, None, r#"{"statusCode":400,"message":["email must be an email"]}"#);
            }
            answer(200, None, r#"{"courseId":"c","activePosts":2,"completedPosts":2}"#)
        }
    };
    let batch = poll_course(&refuse("/a"), &["a@b.de", "b@b.de"], None, true).unwrap();
    assert_eq!((batch.completions.len(), batch.skipped, batch.more), (1, 1, false));
    let Err(Error::Permanent(failure)) = poll_course(&refuse("/"), &["a@b.de", "b@b.de"], None, true) else {
        panic!("that is no success")
    };
    assert_eq!((failure.code, failure.attempts), (FailureCode::Rejected, 2));
    // What ends it for good is not tried first the next time.
    let forbid = |target: &str| {
        if target.contains("/b") { answer(403, None, "") } else { answer(200, None, r#"{"activePosts":2,"completedPosts":2}"#) }
    };
    let first = poll_course(&forbid, &["a@b.de", "b@b.de", "c@b.de"], None, true).unwrap();
    assert_eq!((first.completions.len(), first.more), (1, false));
    assert_eq!(first.interrupted_by.unwrap().code, FailureCode::Forbidden);
    let second = poll_course(&forbid, &["a@b.de", "b@b.de", "c@b.de"], Some(&first.cursor), true).unwrap();
    assert_eq!(second.completions[0].email, "c@b.de");
}
