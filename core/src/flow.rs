//! Functions that may take more than one request.

use crate::{
    client::Client,
    request::{
        properties::{self, IdField},
        users,
    },
    transport::Transport,
    wit::{
        properties::SetPropertiesRequest,
        types::{Error, Failure},
    },
};

/// `properties.set-properties`: looks the names up, once for all of them, and sets the values.
///
/// How the field is called that holds a property's id is not known for certain. The likelier name is sent; a refusal that
/// asks for the other one is answered with it.
pub async fn set_properties(client: &Client<impl Transport>, request: &SetPropertiesRequest) -> Result<(), Error> {
    properties::check(request)?;
    let known = if properties::needs_look_up(request) { client.call(properties::look_up_properties()).await? } else { vec![] };
    match client.call(properties::set_properties(request, &known, IdField::Id)?).await {
        Err(Error::Permanent(failure)) if asks_for_property_id(&failure) => {
            client.call(properties::set_properties(request, &known, IdField::PropertyId)?).await
        }
        outcome => outcome,
    }
}

/// `users.delete-users`: over DELETE, and over POST when the body was lost on the way or is not wanted with DELETE.
pub async fn delete_users(client: &Client<impl Transport>, emails: &[String]) -> Result<(), Error> {
    match client.call(users::delete_users(emails)?).await {
        Err(Error::Permanent(failure)) if lacks_a_body(&failure) => {
            client.call(users::delete_users_after_refusal(emails)?).await
        }
        outcome => outcome,
    }
}

fn asks_for_property_id(failure: &Failure) -> bool {
    failure.status == Some(400) && failure.details.iter().any(|detail| detail.contains("propertyId"))
}

/// Whether a DELETE was refused for its body: the method is not wanted (405), the body was dropped and is missed (411), or
/// the list that was in it is (400). The list itself was checked before it was sent.
fn lacks_a_body(failure: &Failure) -> bool {
    let names_the_list = || failure.details.is_empty() || failure.details.iter().any(|detail| detail.contains("emails"));
    match failure.status {
        Some(405 | 411) => true,
        Some(400) => names_the_list(),
        _ => false,
    }
}
