//! Granting, revoking, restoring and removing access.

use serde_json::json;

use super::super::form::Form;
use super::super::nest::{self, Answer, Refusal};
use super::super::school::AccessChange;
use super::super::webhooks::Event;
use super::{Visit, user, user_not_found};

/// Grants an offer; an unknown address becomes a member. Names that a member already has are kept.
pub(super) fn grant(visit: &mut Visit<'_>) -> Result<Answer, Refusal> {
    let mut form = Form::body(visit.body.take());
    let email = form.email("email");
    let firstname = form.optional_text("firstname");
    let name = form.optional_text("name");
    let offer_id = form.text("grantOffer");
    let order_id = form.optional_text("orderId");
    form.finish()?;

    let school = &mut *visit.school;
    school.offer(&offer_id).ok_or_else(offer_not_found)?;
    let is_new = school.member(&email).is_none();
    if is_new {
        school.create_member(&email, visit.now);
    }
    let had_access = school.member(&email).is_some_and(|member| member.has_access(&offer_id, visit.now));
    if let Some(member) = school.member_mut(&email) {
        member.firstname = member.firstname.take().or(firstname);
        member.name = member.name.take().or(name);
    }
    school.grant(&email, &offer_id, order_id, visit.now);
    let member = school.member(&email).ok_or_else(user_not_found)?;
    if is_new {
        visit.events.push(Event::of("user_added", member, None, visit.now));
    }
    if !had_access {
        visit.events.push(Event::of("offer_granted", member, Some(offer_id), visit.now));
    }
    Ok(nest::json(&user(member)))
}

/// Revokes, restores or removes one offer of one member. Only restoring asks that there be something to change.
pub(super) fn set_offer_state(visit: &mut Visit<'_>) -> Result<Answer, Refusal> {
    let mut form = Form::body(visit.body.take());
    let email = form.email("email");
    let offer_id = form.text("offerId");
    let active = form.optional_boolean("active");
    form.finish()?;

    let school = &mut *visit.school;
    school.member(&email).ok_or_else(user_not_found)?;
    school.offer(&offer_id).ok_or_else(offer_not_found)?;
    let change = change(active);
    let changed = school.change_access(&email, &offer_id, change);
    if !changed && change == AccessChange::Restore {
        return Err(Refusal::not_found("User never had this offer"));
    }
    let mut echo = json!({"email": email, "offerId": offer_id});
    if let Some(active) = active {
        echo["active"] = active.into();
    }
    Ok(nest::json(&echo))
}

/// The same for everything that an order granted, to one member or to all.
pub(super) fn set_order_state(visit: &mut Visit<'_>) -> Result<Answer, Refusal> {
    let mut form = Form::body(visit.body.take());
    let email = form.optional_email("email");
    let order_id = form.text("orderId");
    let active = form.optional_boolean("active");
    form.finish()?;

    let school = &mut *visit.school;
    if !school.knows_order(&order_id) {
        return Err(order_not_found());
    }
    let buyer = match &email {
        Some(email) => Some(school.member(email).ok_or_else(user_not_found)?),
        None => None,
    };
    let granted: Vec<(String, String)> = school
        .members()
        .filter(|member| buyer.is_none_or(|buyer| buyer.uid() == member.uid()))
        .flat_map(|member| {
            let grants = member.grants_of_order(&order_id);
            grants.map(|(_, offer_id)| (member.email().to_owned(), offer_id.to_owned()))
        })
        .collect();
    let change = change(active);
    if granted.is_empty() && change == AccessChange::Restore {
        return Err(order_not_found());
    }
    for (email, offer_id) in granted {
        school.change_access(&email, &offer_id, change);
    }
    let mut echo = json!({"orderId": order_id});
    if let Some(email) = email {
        echo["email"] = email.into();
    }
    if let Some(active) = active {
        echo["active"] = active.into();
    }
    Ok(nest::json(&echo))
}

/// Sets the end of a member's access to an offer, or clears it.
pub(super) fn set_offer_expires(visit: &mut Visit<'_>) -> Result<Answer, Refusal> {
    let mut form = Form::body(visit.body.take());
    let email = form.email("email");
    let offer_id = form.text("offerId");
    let expires_at = form.optional_date("expiresAt");
    form.finish()?;

    visit.school.offer(&offer_id).ok_or_else(offer_not_found)?;
    let member = visit.school.member_mut(&email).ok_or_else(user_not_found)?;
    let grant = member.grants.get_mut(&offer_id);
    let grant = grant.ok_or_else(|| Refusal::not_found("User never had this offer"))?;
    grant.expires_at = expires_at;
    Ok(nest::empty())
}

fn change(active: Option<bool>) -> AccessChange {
    match active {
        Some(true) => AccessChange::Restore,
        Some(false) => AccessChange::Revoke,
        None => AccessChange::Remove,
    }
}

fn offer_not_found() -> Refusal {
    Refusal::not_found("Offer not found")
}

fn order_not_found() -> Refusal {
    Refusal::not_found("Order not found")
}
