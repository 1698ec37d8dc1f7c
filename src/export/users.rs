use super::{Connector, begin, call};
use memberspot_core::{
    collect,
    request::users,
    wit::{
        types::{Error, User},
        users::{CollectUsersRequest, CollectedUsers, Guest, ListUsersRequest, LoginToken, UserPage},
    },
};

impl Guest for Connector {
    fn list_users(request: ListUsersRequest) -> Result<UserPage, Error> {
        call(|_| users::list_users(&request))
    }

    fn collect_users(request: CollectUsersRequest) -> Result<CollectedUsers, Error> {
        let session = begin()?;
        session.transport().block_on(collect::users(&session, request))
    }

    fn find_user(email: String) -> Result<Option<User>, Error> {
        call(|_| users::find_user(&email))
    }

    fn delete_users(emails: Vec<String>) -> Result<(), Error> {
        call(|_| users::delete_users(&emails))
    }

    fn delete_users_via_post(emails: Vec<String>) -> Result<(), Error> {
        call(|_| users::delete_users_via_post(&emails))
    }

    fn create_login_token(uid: String) -> Result<LoginToken, Error> {
        call(|_| users::create_login_token(&uid))
    }
}
