//! What an operation is: whom it is about, and which request it becomes.

use serde::Serialize;

use crate::{
    check, form,
    request::{Call, Request, access, chapters, orders, properties, users},
    wit::{bulk::Operation, properties::Property, types::Error},
};

/// Whom an operation is about.
#[derive(Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    /// One member.
    Member(&'a str),
    /// Whoever an order belongs to.
    Unknown,
    /// A member who is to be deleted.
    Deleted(&'a str),
}

/// Whom an operation is about.
pub fn subject(operation: &Operation) -> Subject<'_> {
    match operation {
        Operation::GrantAccess(request) => Subject::Member(&request.email),
        Operation::RevokeAccess(member) | Operation::RestoreAccess(member) | Operation::DeleteAccess(member) => {
            Subject::Member(&member.email)
        }
        Operation::SetAccessExpiration(request) => Subject::Member(&request.email),
        Operation::RevokeOrderAccess(member) | Operation::RestoreOrderAccess(member) => Subject::Member(&member.email),
        Operation::DeleteOrderAccess(request) => request.email.as_deref().map_or(Subject::Unknown, Subject::Member),
        Operation::SetProperties(request) => Subject::Member(&request.email),
        Operation::EnableChapterAccess(request) => Subject::Member(&request.email),
        Operation::DeleteUser(email) => Subject::Deleted(email),
    }
}

/// Whether an operation names custom properties, which must be looked up.
pub fn needs_look_up(operation: &Operation) -> bool {
    matches!(operation, Operation::SetProperties(request) if properties::needs_look_up(request))
}

/// Checks all of an operation that can be checked without asking Memberspot, and says with which request it would begin.
pub fn check(operation: &Operation) -> Result<Request, Error> {
    match operation {
        Operation::SetProperties(request) if properties::needs_look_up(request) => {
            properties::check(request)?;
            Ok(properties::look_up_properties().request)
        }
        operation => Ok(call(operation, &[])?.request),
    }
}

/// The call that an operation is; its result as JSON text. `known` are the school's properties, for an operation that names
/// some.
pub fn call(operation: &Operation, known: &[Property]) -> Result<Call<String>, Error> {
    match operation {
        Operation::GrantAccess(request) => json(access::grant_access(request)),
        Operation::RevokeAccess(member) => json(access::revoke_access(&member.email, &member.offer_id)),
        Operation::RestoreAccess(member) => json(access::restore_access(&member.email, &member.offer_id)),
        Operation::DeleteAccess(member) => json(access::delete_access(&member.email, &member.offer_id)),
        Operation::SetAccessExpiration(request) => json(access::set_access_expiration(request)),
        Operation::RevokeOrderAccess(member) => json(orders::revoke_order_access(&member.email, &member.order_id)),
        Operation::RestoreOrderAccess(member) => json(orders::restore_order_access(&member.email, &member.order_id)),
        Operation::DeleteOrderAccess(request) => json(orders::delete_order_access(request)),
        Operation::SetProperties(request) => json(properties::set_properties(request, known)),
        Operation::EnableChapterAccess(request) => json(chapters::enable_chapter_access(request)),
        Operation::DeleteUser(email) => {
            check::email("email", email)?;
            json(users::delete_users(std::slice::from_ref(email)))
        }
    }
}

fn json<T: Serialize + 'static>(call: Result<Call<T>, Error>) -> Result<Call<String>, Error> {
    Ok(call?.map(|result| form::text(&result)))
}
