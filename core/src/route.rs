//! The routes of the Memberspot API: each method and path stands here and nowhere else.
//!
//! The functions build their requests from this table, and the raw call finds in it what a path is for. How sure each
//! route is known is said at its function in the WIT.

use percent_encoding::percent_decode_str;

use crate::{
    check::Segment,
    function::{self, Function},
    request::Method,
};

/// One route.
#[derive(Debug)]
pub struct Route {
    /// The method it answers to.
    pub method: Method,
    /// Its path; `{}` stands for a segment.
    pub template: &'static str,
    /// The function that uses it. Where `active` in the body decides, the one for a body with `active`.
    pub function: &'static Function,
    /// The function for a body without `active`, where that deletes.
    pub without_active: Option<&'static Function>,
}

impl Route {
    const fn new(method: Method, template: &'static str, function: &'static Function) -> Self {
        Self { method, template, function, without_active: None }
    }

    /// The path, with the segments in place of each `{}`.
    pub fn path(&self, segments: &[Segment]) -> String {
        let mut segments = segments.iter();
        let mut path = String::with_capacity(self.template.len() + 64);
        let mut rest = self.template;
        while let Some((before, after)) = rest.split_once("{}") {
            path.push_str(before);
            path.push_str(segments.next().map_or("", Segment::as_str));
            rest = after;
        }
        path.push_str(rest);
        path
    }

    /// The route that a server would choose for a path, if it is a known one. Servers of this kind do not look at case or
    /// at a slash at the end, and proxies may decode percent-encoding first, so this does not either.
    pub fn find(method: Method, path: &str) -> Option<&'static Self> {
        ALL.into_iter().find(|route| route.method == method && matches(route.template, path))
    }
}

fn matches(template: &str, path: &str) -> bool {
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut segments = path.split('/');
    let all = template.split('/').all(|expected| {
        segments.next().is_some_and(|segment| match expected {
            "{}" => !segment.is_empty(),
            _ => decoded(segment).eq_ignore_ascii_case(expected),
        })
    });
    all && segments.next().is_none()
}

/// A segment without its percent-encoding.
pub fn decoded(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

/// Test of the key.
pub static API_AUTH: Route = Route::new(Method::Get, "/api-auth", &function::CHECK_CONNECTION);
/// Grant by e-mail address.
pub static GRANT: Route = Route::new(Method::Post, "/v1/users/grant-user-offer-by-mail", &function::GRANT_ACCESS);
/// Revoke, restore or delete access to an offer.
pub static OFFER_STATE: Route = Route {
    without_active: Some(&function::DELETE_ACCESS),
    ..Route::new(Method::Post, "/v1/users/set-offer-state", &function::REVOKE_ACCESS)
};
/// Revoke, restore or delete what an order granted.
pub static ORDER_STATE: Route = Route {
    without_active: Some(&function::DELETE_ORDER_ACCESS),
    ..Route::new(Method::Post, "/v1/users/set-order-state", &function::REVOKE_ORDER_ACCESS)
};
/// Expiry of an access.
pub static OFFER_EXPIRES: Route = Route::new(Method::Patch, "/v1/users/set-offer-expires", &function::SET_ACCESS_EXPIRATION);
/// Deletion of members.
pub static DELETE_USERS: Route = Route::new(Method::Delete, "/v1/users/delete-users", &function::DELETE_USERS);
/// Deletion of members, for networks that drop the body of a DELETE request.
pub static DELETE_USERS_POST: Route = Route::new(Method::Post, "/v1/users/delete-users", &function::DELETE_USERS_VIA_POST);
/// Pages of members.
pub static LIST_USERS: Route = Route::new(Method::Get, "/v1/users/list", &function::LIST_USERS);
/// One member by address.
pub static FIND_USER: Route = Route::new(Method::Get, "/v1/users/find-by-mail/{}", &function::FIND_USER);
/// Login token by uid.
pub static LOGIN_TOKEN: Route = Route::new(Method::Get, "/v1/users/login-token/{}", &function::CREATE_LOGIN_TOKEN);
/// Values of custom properties.
pub static SET_PROPERTIES: Route = Route::new(Method::Post, "/v1/users/set-custom-user-properties", &function::SET_PROPERTIES);
/// Definitions of custom properties.
pub static LIST_PROPERTIES: Route = Route::new(Method::Get, "/v1/custom-user-properties/list", &function::LIST_PROPERTIES);
/// Offers.
pub static LIST_OFFERS: Route = Route::new(Method::Get, "/v1/offers", &function::LIST_OFFERS);
/// Progress of one member over all courses. Before [`COURSE_PROGRESS`], whose template fits its paths too.
pub static LIST_COURSE_PROGRESS: Route =
    Route::new(Method::Get, "/v1/users/course-progress/list/{}", &function::LIST_COURSE_PROGRESS);
/// Progress of one member in one course: course, then address.
pub static COURSE_PROGRESS: Route = Route::new(Method::Get, "/v1/users/course-progress/{}/{}", &function::GET_COURSE_PROGRESS);
/// Access to one chapter.
pub static CHAPTER_ACCESS: Route =
    Route::new(Method::Post, "/v1/chapters/chapter-access/enable", &function::ENABLE_CHAPTER_ACCESS);
/// Results of one exam.
pub static EXAM_RESULTS: Route = Route::new(Method::Get, "/v1/exams/{}/results", &function::LIST_EXAM_RESULTS);

static ALL: [&Route; 17] = [
    &API_AUTH,
    &GRANT,
    &OFFER_STATE,
    &ORDER_STATE,
    &OFFER_EXPIRES,
    &DELETE_USERS,
    &DELETE_USERS_POST,
    &LIST_USERS,
    &FIND_USER,
    &LOGIN_TOKEN,
    &SET_PROPERTIES,
    &LIST_PROPERTIES,
    &LIST_OFFERS,
    &LIST_COURSE_PROGRESS,
    &COURSE_PROGRESS,
    &CHAPTER_ACCESS,
    &EXAM_RESULTS,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check;

    #[test]
    fn every_function_has_a_route_but_those_that_use_others() {
        let others = [
            "call-api",
            "collect-users",
            "collect-course-progress",
            "apply-operations",
            "list-modules",
            "run-module",
            "list-options",
            "parse-webhook",
            "poll-new-users",
            "poll-exam-results",
            "poll-course-completions",
        ];
        for function in function::ALL {
            // `active: true` goes the way of `active: false`.
            let name = function.name.replace("restore", "revoke");
            let route = ALL
                .iter()
                .any(|route| route.function.name == name || route.without_active.is_some_and(|function| function.name == name));
            assert_ne!(route, others.contains(&function.name), "{}", function.name);
        }
    }

    #[test]
    fn segments_fill_the_template() {
        let segments = [check::id_segment("course-id", "c 1").unwrap(), check::email_segment("email", "a+b@c.de").unwrap()];
        assert_eq!(COURSE_PROGRESS.path(&segments), "/v1/users/course-progress/c%201/a%2Bb%40c.de");
        assert_eq!(LIST_OFFERS.path(&[]), "/v1/offers");
    }

    #[test]
    fn a_path_finds_the_route_that_a_server_would_choose() {
        let name = |method, path| Route::find(method, path).map(|route| route.function.name);
        assert_eq!(name(Method::Get, "/v1/users/login-token/u1"), Some("create-login-token"));
        assert_eq!(name(Method::Get, "/V1/Users/LOGIN-Token/u1/"), Some("create-login-token"));
        assert_eq!(name(Method::Get, "/v1/users/login%2Dtoken/u1"), Some("create-login-token"));
        assert_eq!(name(Method::Get, "/v1/users/%6Cogin-token/%75"), Some("create-login-token"));
        assert_eq!(name(Method::Get, "/v1/users/course-progress/list/a@b.de"), Some("list-course-progress"));
        assert_eq!(name(Method::Get, "/v1/users/course-progress/c1/a@b.de"), Some("get-course-progress"));
        assert_eq!(name(Method::Delete, "/v1/users/delete-users"), Some("delete-users"));
        assert_eq!(name(Method::Post, "/v1/users/delete-users"), Some("delete-users-via-post"));
        for (method, path) in [
            (Method::Put, "/v1/offers"),
            (Method::Get, "/v1/offers/1"),
            (Method::Get, "/v1"),
            (Method::Get, "/"),
            (Method::Get, "/v1/users/login-token/"),
            (Method::Get, "/v1/users/login-token/u1/more"),
        ] {
            assert!(Route::find(method, path).is_none(), "{path}");
        }
    }
}
