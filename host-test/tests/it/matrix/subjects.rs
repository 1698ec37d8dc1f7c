//! The functions of the WIT: how to call each one, and what is known of it that decides how it fares in a fault.

use serde_json::{Value, json};

/// What making a request once or twice does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Nature {
    /// It changes nothing.
    Read,
    /// It changes something; made twice, nothing more.
    Write,
    /// Made twice, it may act twice: a raw POST or PATCH.
    Once,
}

/// What the body of a success has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A list, bare or wrapped, of things that need an id.
    List,
    /// A list of things that need none.
    ListWithoutIds,
    /// A list of custom properties in which a name is looked for.
    Names,
    /// A member.
    Member,
    /// Progress in the course that was asked for.
    Progress,
    /// A login token.
    Token,
    /// Nothing, any JSON, or a word.
    Acknowledgement,
    /// Any text.
    Text,
}

/// A function, called in one way.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The function, as `interface.function`.
    pub function: &'static str,
    /// The way, where the function has several.
    pub way: &'static str,
    pub input: Value,
    /// The nature of the request that the faults befall.
    pub nature: Nature,
    pub shape: Shape,
    /// Memberspot may take until the deadline to begin its answer.
    pub slow: bool,
    /// The status of the simulator's own answer,
    pub status: u16,
    /// and how long its body is; of a long one, it does not matter how long.
    pub length: u32,
    /// How many requests of the call come before the one that the faults befall,
    pub before: u32,
    /// and how many after it.
    pub after: u32,
    /// Where the faults strike, of the requests of the call.
    pub path: &'static str,
    /// The faults, by name, after which the function makes the request once more in another form,
    pub other_form: &'static [&'static str],
    /// and how many other forms there are.
    pub other_forms: u32,
    /// A 404 from the route itself is a result: there is none.
    pub may_be_missing: bool,
}

impl Subject {
    fn read(function: &'static str, shape: Shape, input: Value) -> Self {
        Self {
            function,
            way: "",
            input,
            nature: Nature::Read,
            shape,
            slow: false,
            status: 200,
            length: 100,
            before: 0,
            after: 0,
            path: "*",
            other_form: &[],
            other_forms: 1,
            may_be_missing: false,
        }
    }

    /// By POST, which the simulator answers with 201.
    fn write(function: &'static str, input: Value) -> Self {
        Self { nature: Nature::Write, status: 201, ..Self::read(function, Shape::Acknowledgement, input) }
    }

    fn raw(way: &'static str, nature: Nature, input: Value) -> Self {
        Self { way, nature, slow: true, ..Self::read("api.call-api", Shape::Text, input) }
    }

    /// The function and the way.
    pub fn name(&self) -> String {
        if self.way.is_empty() { self.function.to_owned() } else { format!("{} ({})", self.function, self.way) }
    }
}

/// Every function of the WIT, in its order. A new function has its place here, with an input that the simulator's demo school
/// has an answer for.
pub fn subjects() -> Vec<Subject> {
    let anna = || json!({"email": "anna@example.com"});
    let access = || json!({"email": "anna@example.com", "offerId": "offer-breath"});
    let order = || json!({"email": "anna@example.com", "orderId": "order-1001"});
    let emails = || json!({"emails": ["anna@example.com", "ben@example.com"]});
    let refused_with_its_body = &["405", "411", "400 without a body", "400 that misses `emails`"];
    let property = |reference: Value| json!({"email": "anna@example.com", "values": [{"property": reference, "value": "a"}]});
    let by_name = property(json!({"tag": "name", "val": "Level"}));
    let asks_for_the_other_name = &["400 that asks for `propertyId`"];
    let raw = |method: &str, path: &str, body: Value| {
        let body = if body.is_null() { Value::Null } else { body.to_string().into() };
        json!({"method": method, "path": path, "headers": [], "body": body})
    };
    vec![
        Subject::read("connection.check-connection", Shape::Acknowledgement, json!({})),
        Subject::write("access.grant-access", access()),
        Subject::write("access.revoke-access", access()),
        Subject::write("access.restore-access", access()),
        Subject::write("access.delete-access", access()),
        Subject { status: 200, length: 0, ..Subject::write("access.set-access-expiration", access()) },
        Subject::write("orders.revoke-order-access", order()),
        Subject::write("orders.restore-order-access", order()),
        Subject::write("orders.delete-order-access", order()),
        Subject::read("users.list-users", Shape::List, json!({})),
        Subject::read("users.collect-users", Shape::List, json!({"maxUsers": 1})),
        Subject { may_be_missing: true, ..Subject::read("users.find-user", Shape::Member, anna()) },
        Subject {
            slow: true,
            status: 200,
            length: 2,
            other_form: refused_with_its_body,
            ..Subject::write("users.delete-users", emails())
        },
        Subject { slow: true, length: 2, ..Subject::write("users.delete-users-via-post", emails()) },
        Subject::read("users.create-login-token", Shape::Token, json!({"uid": "uid-anna"})),
        Subject::read("properties.list-properties", Shape::List, json!({})),
        Subject {
            way: "by id",
            length: 0,
            other_form: asks_for_the_other_name,
            ..Subject::write("properties.set-properties", property(json!({"tag": "id", "val": "prop-level"})))
        },
        Subject {
            way: "by name, at the look-up",
            after: 1,
            path: "/v1/custom-user-properties/list",
            ..Subject::read("properties.set-properties", Shape::Names, by_name.clone())
        },
        Subject {
            way: "by name, after the look-up",
            length: 0,
            before: 1,
            other_form: asks_for_the_other_name,
            ..Subject::write("properties.set-properties", by_name)
        },
        Subject::read("offers.list-offers", Shape::List, json!({})),
        Subject::read("progress.list-course-progress", Shape::List, anna()),
        Subject {
            // From 100 entries a page down to one.
            other_form: &["400 without a body"],
            other_forms: 6,
            ..Subject::read("progress.collect-course-progress", Shape::List, anna())
        },
        Subject::read(
            "progress.get-course-progress",
            Shape::Progress,
            json!({"email": "anna@example.com", "courseId": "course-sun-salutation"}),
        ),
        Subject {
            length: 0,
            ..Subject::write(
                "chapters.enable-chapter-access",
                json!({
                    "email": "anna@example.com",
                    "courseId": "course-sun-salutation",
                    "chapterId": "chapter-sun-salutation-3",
                }),
            )
        },
        Subject {
            way: "an operation",
            ..Subject::write(
                "bulk.apply-operations",
                json!({"operations": [{"tag": "grantAccess", "val": access()}], "stopOnError": false}),
            )
        },
        Subject {
            way: "a grant",
            ..Subject::write("modules.run-module", json!({"id": "access.grant-access", "inputJson": access().to_string()}))
        },
        Subject::read("modules.list-options", Shape::List, json!({"moduleId": "access.grant-access", "field": "offerId"})),
        Subject::read("exams.list-exam-results", Shape::ListWithoutIds, json!({"examId": "exam-basics"})),
        Subject::read("triggers.poll-new-users", Shape::List, json!({"maxUsers": 1})),
        Subject::read("triggers.poll-exam-results", Shape::ListWithoutIds, json!({"examId": "exam-basics", "maxResults": 1})),
        Subject {
            may_be_missing: true,
            ..Subject::read(
                "triggers.poll-course-completions",
                Shape::Progress,
                json!({"courseId": "course-sun-salutation", "emails": ["anna@example.com"]}),
            )
        },
        Subject::raw("GET", Nature::Read, raw("get", "/v1/offers", Value::Null)),
        Subject { length: 2, ..Subject::raw("DELETE", Nature::Write, raw("delete", "/v1/users/delete-users", emails())) },
        Subject {
            status: 201,
            ..Subject::raw(
                "POST",
                Nature::Once,
                raw(
                    "post",
                    "/v1/users/grant-user-offer-by-mail",
                    json!({"email": "anna@example.com", "grantOffer": "offer-breath"}),
                ),
            )
        },
        Subject { length: 0, ..Subject::raw("PATCH", Nature::Once, raw("patch", "/v1/users/set-offer-expires", access())) },
    ]
}
