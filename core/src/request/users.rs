//! `users`: list, find, delete, log in.

use serde::Serialize;

use crate::{
    check,
    doubt::Doubt,
    entity,
    function::{self, Function},
    request::{Call, Request},
    route::{self, Route},
    wit::{
        types::{Error, User},
        users::{ListUsersRequest, LoginToken, UserPage},
    },
};

/// How long Memberspot's login tokens are valid, in seconds.
const LOGIN_TOKEN_SECONDS: u32 = 3600;

/// `users.list-users`
pub fn list_users(request: &ListUsersRequest) -> Result<Call<UserPage>, Error> {
    let page_length = check::page_length("page-length", request.page_length)?.map(|length| length.to_string());
    let query = [
        ("lastLoadedId", check::page_token("page-token", request.page_token.as_deref())?),
        ("pageLength", page_length.as_deref()),
        ("offerId", check::optional_id("offer-id", request.offer_id.as_deref())?),
        ("courseId", check::optional_id("course-id", request.course_id.as_deref())?),
        ("active", request.active.map(|active| if active { "true" } else { "false" })),
    ];
    let request = Request::new(&route::LIST_USERS, &function::LIST_USERS, &[]).query(&query);
    Ok(Call::new(request, |answer| {
        let page = answer.list("a page of members", entity::user)?;
        Ok(UserPage { users: page.items, next_page: page.next })
    }))
}

/// `users.find-user`
pub fn find_user(email: &str) -> Result<Call<Option<User>>, Error> {
    let request = Request::new(&route::FIND_USER, &function::FIND_USER, &[check::email_segment("email", email)?]);
    let call = Call::new(request, |answer| answer.entity("a member", "user", entity::user).map(Some));
    Ok(Call { when_missing: Some(|| None), ..call })
}

/// `users.delete-users`: over DELETE, and over POST when the body was lost on the way or is not wanted with DELETE.
pub fn delete_users(emails: &[String]) -> Result<Call<()>, Error> {
    let delete = deletion(&route::DELETE_USERS, &function::DELETE_USERS, emails)?;
    let post = deletion(&route::DELETE_USERS_POST, &function::DELETE_USERS, emails)?;
    Ok(acknowledged(delete.or(Doubt::BodyOfDelete, post)))
}

/// `users.delete-users-via-post`
pub fn delete_users_via_post(emails: &[String]) -> Result<Call<()>, Error> {
    Ok(acknowledged(deletion(&route::DELETE_USERS_POST, &function::DELETE_USERS_VIA_POST, emails)?))
}

fn deletion(route: &Route, function: &'static Function, emails: &[String]) -> Result<Request, Error> {
    #[derive(Serialize)]
    struct Body<'a> {
        emails: Vec<&'a str>,
    }

    let body = Body { emails: check::emails("emails", emails)? };
    let request = Request::new(route, function, &[]).json(&body)?;
    // Memberspot deletes one member after the other before it answers.
    Ok(Request { slow: true, ..request })
}

fn acknowledged(request: Request) -> Call<()> {
    Call::new(request, |answer| answer.acknowledgement().map(drop))
}

/// `users.create-login-token`
pub fn create_login_token(uid: &str) -> Result<Call<LoginToken>, Error> {
    let request = Request::new(&route::LOGIN_TOKEN, &function::CREATE_LOGIN_TOKEN, &[check::id_segment("uid", uid)?]);
    Ok(Call::new(request, |answer| {
        let (token, login_url) = answer.login_token()?;
        Ok(LoginToken { token, login_url, valid_for_seconds: LOGIN_TOKEN_SECONDS })
    }))
}
