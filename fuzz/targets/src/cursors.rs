//! Cursors: what is not ours is refused, and what could be ours does no harm, whatever is in it.

use std::{cell::Cell, time::Duration};

use memberspot_core::{
    client::Session,
    config::{API_KEY, Config},
    cursor::Kind,
    poll,
    transport::{Bounds, Fault, Incoming, Outgoing, Transport},
    wit::{
        triggers::{PollCourseCompletionsRequest, PollExamResultsRequest, PollNewUsersRequest},
        types::{Error, FailureCode},
    },
};

use crate::{answers::at_once, text::fields};

/// Input: lines, the fields of a cursor. The first one is a cursor as well.
pub fn run(input: &[u8]) {
    let fields = fields(input);
    let text = fields.first().map_or("", String::as_str);
    for (kind, subject, longest, poll) in &POLLS {
        assert_eq!(poll(text), Outcome::Refused, "{text:?} is not ours");
        if let Outcome::Next(next) = poll(&Kind(kind).write(subject, &fields)) {
            assert!(next.len() <= *longest && next.bytes().all(|byte| byte.is_ascii_graphic()), "{next:?}");
            // A moment that lies ahead is not believed the next time; only a cursor made by hand has one.
            assert_ne!(poll(&next), Outcome::Refused, "{next:?} is ours");
        }
    }
}

/// What becomes of a poll.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// The cursor is refused.
    Refused,
    /// The server is not believed.
    Disbelieved,
    Next(String),
}

/// The kind of a cursor, what it is about, how long one may be, and the function that takes it.
type Poll = (&'static str, &'static str, usize, fn(&str) -> Outcome);

static POLLS: [Poll; 3] =
    [("users1", "", 20 << 10, users), ("exam1", "e1", 100 << 10, exam), ("course1", "c1", 2 << 10, course)];

fn users(cursor: &str) -> Outcome {
    let request = PollNewUsersRequest { cursor: Some(cursor.to_owned()), max_users: 2, include_existing: None };
    outcome(at_once(poll::new_users(&session(), request)).map(|batch| batch.cursor))
}

fn exam(cursor: &str) -> Outcome {
    let cursor = Some(cursor.to_owned());
    let request = PollExamResultsRequest { exam_id: "e1".into(), cursor, max_results: 2, include_existing: None };
    outcome(at_once(poll::exam_results(&session(), request)).map(|batch| batch.cursor))
}

fn course(cursor: &str) -> Outcome {
    let emails = vec!["ada@example.com".to_owned(), "bob@example.com".to_owned()];
    let cursor = Some(cursor.to_owned());
    let request = PollCourseCompletionsRequest { course_id: "c1".into(), emails, cursor, include_existing: None };
    outcome(at_once(poll::course_completions(&session(), request)).map(|batch| batch.cursor))
}

fn outcome(result: Result<String, Error>) -> Outcome {
    match result {
        Ok(cursor) => Outcome::Next(cursor),
        Err(Error::Permanent(failure)) if failure.code == FailureCode::InvalidInput => {
            assert!(failure.message.starts_with("cursor: ") && failure.attempts == 0, "{failure:?}");
            Outcome::Refused
        }
        Err(Error::Permanent(failure)) if failure.code == FailureCode::InvalidResponse => Outcome::Disbelieved,
        Err(error) => panic!("{error:?}"),
    }
}

fn session() -> Session<Server> {
    let config = Config::from_environment(vec![(API_KEY.to_owned(), "mk-4711".to_owned())]);
    Session::new(config.unwrap_or_else(|error| panic!("{error:?}")), Server::default())
}

/// Has some members, some submissions, and one page of each.
#[derive(Default)]
struct Server {
    now: Cell<Duration>,
}

impl Transport for Server {
    fn now(&self) -> Duration {
        self.now.get()
    }

    async fn sleep_until(&self, moment: Duration) {
        self.now.set(self.now().max(moment));
    }

    async fn exchange(&self, request: Outgoing<'_>, _: Bounds) -> Result<Incoming, Fault> {
        let body = match request.target {
            list if list.starts_with("/v1/users/list") => {
                r#"{"users":[{"uid":"u1","email":"a","created":"2026-01-15T11:59:00Z"},{"uid":"u2","email":"b"},
                    {"uid":"u3","email":"c","created":"2026-01-15T12:30:00Z"},{"uid":"u4","email":"d","created":"2026-01-15T11:50:30Z"},
                    {"uid":"u5","email":"e","created":"2025-01-15T11:59:00Z"}]}"#
            }
            exam if exam.starts_with("/v1/exams/") => r#"[{"id":"1"},{"id":"2"},{"id":"3"},{"score":1}]"#,
            _ => r#"{"activePosts":3,"completedPosts":3}"#,
        };
        let headers = vec![("date".to_owned(), b"Thu, 15 Jan 2026 12:00:00 GMT".to_vec())];
        Ok(Incoming { status: 200, headers, body: body.into(), fault: None })
    }
}
