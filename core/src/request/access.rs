//! `access`: a member's access to an offer.

use serde::Serialize;

use crate::{
    answer::Malformed,
    check,
    entity::{self, State},
    function::{self, Function},
    request::{Call, Request},
    route,
    wit::{
        access::{AccessState, ExpirationRequest, GrantRequest},
        types::{Error, User},
    },
};

/// `access.grant-access`. Where Memberspot acknowledges without the member, what was asked for is reported.
pub fn grant_access(request: &GrantRequest) -> Result<Call<User>, Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        email: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        firstname: Option<&'a str>,
        /// Memberspot's word for the last name.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'a str>,
        grant_offer: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        order_id: Option<&'a str>,
    }

    let body = Body {
        email: check::email("email", &request.email)?,
        firstname: check::optional_name(request.first_name.as_deref()),
        name: check::optional_name(request.last_name.as_deref()),
        grant_offer: check::id("offer-id", &request.offer_id)?,
        order_id: check::optional_id("order-id", request.order_id.as_deref())?,
    };
    let asked_for = User {
        uid: String::new(),
        email: body.email.to_owned(),
        first_name: body.firstname.map(str::to_owned),
        last_name: body.name.map(str::to_owned),
        active: None,
        created: None,
        custom_properties: vec![],
        progress: vec![],
        raw: String::new(),
    };
    let request = Request::new(&route::GRANT, &function::GRANT_ACCESS, &[]).json(&body)?;
    Ok(Call::new(request, move |answer| match answer.entity("a member", "user", entity::user) {
        Ok(user) => Ok(user),
        Err(_) => answer.acknowledgement().map(|written| User { raw: written.raw.to_owned(), ..asked_for }),
    }))
}

/// `access.revoke-access`
pub fn revoke_access(email: &str, offer_id: &str) -> Result<Call<AccessState>, Error> {
    set_offer_state(&function::REVOKE_ACCESS, email, offer_id, Some(false))
}

/// `access.restore-access`
pub fn restore_access(email: &str, offer_id: &str) -> Result<Call<AccessState>, Error> {
    set_offer_state(&function::RESTORE_ACCESS, email, offer_id, Some(true))
}

/// `access.delete-access`
pub fn delete_access(email: &str, offer_id: &str) -> Result<Call<AccessState>, Error> {
    set_offer_state(&function::DELETE_ACCESS, email, offer_id, None)
}

/// One route for three functions: without `active`, it deletes.
fn set_offer_state(
    function: &'static Function,
    email: &str,
    offer_id: &str,
    active: Option<bool>,
) -> Result<Call<AccessState>, Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        email: &'a str,
        offer_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        active: Option<bool>,
    }

    let body = Body { email: check::email("email", email)?, offer_id: check::id("offer-id", offer_id)?, active };
    let (email, offer_id) = (body.email.to_owned(), body.offer_id.to_owned());
    let request = Request::new(&route::OFFER_STATE, function, &[]).json(&body)?;
    Ok(Call::new(request, move |answer| {
        let written = answer.acknowledgement()?;
        let state = written.object.map(|object| entity::state(&object, "offerId")).unwrap_or_default();
        let asked = State { email: Some(email.clone()), id: Some(offer_id.clone()), active };
        if state.contradicts(&asked) {
            return Err(Malformed("about what was asked for"));
        }
        Ok(AccessState { email: state.email.unwrap_or(email), offer_id, active, raw: written.raw.to_owned() })
    }))
}

/// `access.set-access-expiration`
pub fn set_access_expiration(request: &ExpirationRequest) -> Result<Call<()>, Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        email: &'a str,
        offer_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        expires_at: Option<String>,
    }

    let body = Body {
        email: check::email("email", &request.email)?,
        offer_id: check::id("offer-id", &request.offer_id)?,
        expires_at: request.expires_at.as_deref().map(|text| check::instant("expires-at", text)).transpose()?,
    };
    let request = Request::new(&route::OFFER_EXPIRES, &function::SET_ACCESS_EXPIRATION, &[]).json(&body)?;
    Ok(Call::new(request, |answer| answer.acknowledgement().map(drop)))
}
