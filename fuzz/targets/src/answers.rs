//! Answers to every function: what Memberspot, or whoever answers in its place, may send.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use memberspot_core::{
    bulk,
    client::Session,
    collect,
    config::{API_KEY, Config},
    flow, poll,
    request::{Call, access, api, chapters, connection, exams, offers, orders, progress, properties, users},
    wit::{
        access::{ExpirationRequest, GrantRequest},
        api::{ApiRequest, HttpMethod},
        bulk::{BulkRequest, MemberOffer, Operation},
        chapters::ChapterAccessRequest,
        orders::OrderDeletionRequest,
        progress::{CollectCourseProgressRequest, ListCourseProgressRequest},
        properties::{PropertyAssignment, PropertyReference, SetPropertiesRequest},
        triggers::{PollCourseCompletionsRequest, PollExamResultsRequest, PollNewUsersRequest},
        types::Error,
        users::{CollectUsersRequest, ListUsersRequest},
    },
};

use network::Network;
use results::Bounded;
use script::Script;

mod network;
mod results;
mod script;

const EMAIL: &str = "ada@example.com";

/// Input: a `Script`. Every function gets the same answers.
pub fn run(input: &[u8]) {
    let script = Script::parse(input);
    let school = School { script: &script };
    school.reads();
    school.writes();
    school.deletions();
    school.raw_calls();
    school.whole_lists();
    school.polls();
    school.many_operations();
}

/// Calls that are all answered from one script.
struct School<'a> {
    script: &'a Script,
}

impl School<'_> {
    fn reads(&self) {
        self.call(|| Ok(connection::check_connection()));
        self.call(|| Ok(offers::list_offers()));
        self.call(|| Ok(properties::list_properties()));
        self.call(|| users::find_user(EMAIL));
        self.call(|| users::create_login_token("u1"));
        self.call(|| exams::list_exam_results("e1"));
        self.call(|| progress::get_course_progress(EMAIL, "c1"));
        self.call(|| {
            let email = EMAIL.to_owned();
            progress::list_course_progress(&ListCourseProgressRequest { email, page_token: None, page_length: None })
        });
        self.call(|| {
            let nothing = None;
            users::list_users(&ListUsersRequest {
                offer_id: nothing.clone(),
                course_id: nothing.clone(),
                page_token: nothing,
                active: None,
                page_length: None,
            })
        });
    }

    fn writes(&self) {
        let (email, offer_id) = (EMAIL.to_owned(), "o1".to_owned());
        let grant = GrantRequest {
            email: email.clone(),
            offer_id: offer_id.clone(),
            first_name: None,
            last_name: None,
            order_id: None,
        };
        self.call(|| access::grant_access(&grant));
        self.call(|| access::revoke_access(EMAIL, "o1"));
        self.call(|| access::restore_access(EMAIL, "o1"));
        self.call(|| orders::revoke_order_access(EMAIL, "b1"));
        self.call(|| orders::restore_order_access(EMAIL, "b1"));
        let expiry = ExpirationRequest { email: email.clone(), offer_id, expires_at: None };
        self.call(|| access::set_access_expiration(&expiry));
        let chapter = ChapterAccessRequest { email: email.clone(), course_id: "c1".into(), chapter_id: "h1".into() };
        self.call(|| chapters::enable_chapter_access(&chapter));
        for property in [PropertyReference::Id("p1".into()), PropertyReference::Name("City".into())] {
            let values = vec![PropertyAssignment { property, value: "Ulm".into() }];
            let request = SetPropertiesRequest { email: email.clone(), values };
            self.one(async |session| flow::set_properties(&session.client(), &request).await);
        }
    }

    fn deletions(&self) {
        let emails = [EMAIL.to_owned()];
        self.call(|| users::delete_users(&emails));
        self.call(|| users::delete_users_via_post(&emails));
        self.call(|| access::delete_access(EMAIL, "o1"));
        let deletion = OrderDeletionRequest { order_id: "b1".into(), email: None };
        self.call(|| orders::delete_order_access(&deletion));
    }

    fn raw_calls(&self) {
        for method in [HttpMethod::Get, HttpMethod::Post, HttpMethod::Put] {
            let request = ApiRequest { method, path: "/v1/anything".into(), headers: vec![], body: None };
            self.one(async |session| session.client().call(api::call_api(request, &session.config().origin)?).await);
        }
    }

    fn whole_lists(&self) {
        let course_progress = CollectCourseProgressRequest { email: EMAIL.to_owned(), page_token: None };
        self.many(async |session| collect::course_progress(session, course_progress).await);
        let after = Some("2026-01-01T00:00:00Z".to_owned());
        for (created_after, max_users) in [(None, 100_000), (after, 2)] {
            let request = CollectUsersRequest {
                offer_id: None,
                course_id: None,
                active: None,
                created_after,
                page_token: None,
                max_users,
            };
            self.many(async |session| collect::users(session, request).await);
        }
    }

    fn polls(&self) {
        for include_existing in [None, Some(true)] {
            let request = PollNewUsersRequest { cursor: None, max_users: 3, include_existing };
            self.many(async |session| poll::new_users(session, request).await);
            let request = PollExamResultsRequest { exam_id: "e1".into(), cursor: None, max_results: 3, include_existing };
            self.many(async |session| poll::exam_results(session, request).await);
            let emails = vec![EMAIL.to_owned(), "eve@example.com".to_owned()];
            let request = PollCourseCompletionsRequest { course_id: "c1".into(), emails, cursor: None, include_existing };
            self.many(async |session| poll::course_completions(session, request).await);
        }
    }

    fn many_operations(&self) {
        let email = || EMAIL.to_owned();
        let member = |email: &str| MemberOffer { email: email.to_owned(), offer_id: "o1".into() };
        let value = PropertyAssignment { property: PropertyReference::Name("City".into()), value: "Ulm".into() };
        let operations = vec![
            Operation::RevokeAccess(member(EMAIL)),
            Operation::DeleteAccess(member(EMAIL)),
            Operation::RestoreAccess(member("eve@example.com")),
            Operation::SetProperties(SetPropertiesRequest { email: email(), values: vec![value] }),
            Operation::DeleteOrderAccess(OrderDeletionRequest { order_id: "b1".into(), email: None }),
            Operation::DeleteUser("bob@example.com".into()),
            Operation::DeleteUser("eve@example.com".into()),
            Operation::DeleteUser(email()),
        ];
        for stop_on_error in [false, true] {
            let request = BulkRequest { operations: operations.clone(), stop_on_error, dry_run: None };
            self.many(async |session| bulk::apply(session, request).await);
        }
    }

    fn call<T: Bounded>(&self, call: impl Fn() -> Result<Call<T>, Error>) {
        self.one(async |session| session.client().call(call()?).await);
    }

    /// One thing to do.
    fn one<T: Bounded>(&self, work: impl AsyncFnOnce(&Session<Network<'_>>) -> Result<T, Error>) {
        let session = self.session();
        results::check(&at_once(work(&session)), self.script, session.transport());
    }

    /// Work that goes on when a part of it fails.
    fn many<T: Bounded>(&self, work: impl AsyncFnOnce(&Session<Network<'_>>) -> Result<T, Error>) {
        let session = self.session();
        results::check_many(&at_once(work(&session)), self.script, session.transport());
    }

    fn session(&self) -> Session<Network<'_>> {
        let config = Config::from_environment(vec![(API_KEY.to_owned(), self.script.key.to_owned())]);
        Session::new(config.unwrap_or_else(|error| panic!("{error:?}")), Network::new(self.script))
    }
}

/// The network of a script never lets anybody wait.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("nothing is left to wait for"),
    }
}
