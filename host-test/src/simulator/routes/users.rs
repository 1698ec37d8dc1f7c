//! Listing, finding and deleting members, their login tokens and their custom properties.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::super::form::Form;
use super::super::nest::{self, Answer, Refusal};
use super::super::school::{LoginTokenForm, PropertyKey};
use super::pages::{Page, PageRequest};
use super::{Visit, user, user_not_found};

/// Members in the order of the list, filtered.
///
/// `offerId` and `courseId` ask for access in effect now, `active` for the account's own state. How the real filters
/// work together is not documented.
pub(super) fn list(visit: &mut Visit<'_>) -> Result<Answer, Refusal> {
    let mut form = Form::query(visit.query);
    let page = PageRequest::take(&mut form);
    let offer_id = form.query_text("offerId");
    let course_id = form.query_text("courseId");
    let active = form.query_boolean("active");
    form.finish()?;

    let (school, now) = (&*visit.school, visit.now);
    let holders: Option<Vec<&str>> = course_id.map(|course_id| {
        let offers = school.offers.iter();
        offers.filter(|offer| offer.course_ids.contains(&course_id)).map(|offer| offer.id.as_str()).collect()
    });
    let after = page.after(school.dialect, school.listed())?;
    let wanted = school
        .listed_after(&after)
        .filter(|member| active.is_none_or(|active| member.active == active))
        .filter(|member| {
            let offer_id = offer_id.as_deref();
            offer_id.is_none_or(|offer_id| member.has_access(offer_id, now))
        })
        .filter(|member| {
            let holders = holders.as_ref();
            holders.is_none_or(|ids| ids.iter().any(|id| member.has_access(id, now)))
        });
    let page = Page::fill(&page, wanted, |member| member.uid());
    let users: Vec<Value> = page.entries.iter().map(|member| user(member)).collect();
    let mut answer = json!({"users": users});
    page.link(&mut answer, school.dialect, school.listed());
    Ok(nest::json(&answer))
}

/// The member with an address; only on plans that include it.
pub(super) fn find(visit: &mut Visit<'_>) -> Result<Answer, Refusal> {
    if !visit.school.enterprise {
        let message = "This endpoint requires the Enterprise plan or the API add-on";
        return Err(Refusal::new(StatusCode::FORBIDDEN, message));
    }
    let member = visit.school.member(visit.param(0));
    let member = member.ok_or_else(user_not_found)?;
    Ok(nest::json(&user(member)))
}

/// Deletes members by address; addresses that nobody has are passed over.
pub(super) fn delete(visit: &mut Visit<'_>) -> Result<Answer, Refusal> {
    let mut form = Form::body(visit.body.take());
    let emails = form.texts("emails");
    form.finish()?;

    if emails.iter().any(|email| visit.school.undeletable.contains(&email.to_lowercase())) {
        return Err(Refusal::bad_request("the owner of the school cannot be deleted"));
    }
    for email in &emails {
        visit.school.remove_member(email);
    }
    Ok(nest::text("ok"))
}

/// A new token that logs a member in, good for an hour.
pub(super) fn login_token(visit: &mut Visit<'_>) -> Result<Answer, Refusal> {
    let member = visit.school.member_by_uid(visit.param(0));
    let uid = member.ok_or_else(user_not_found)?.uid();
    let token = visit.tokens.issue(&visit.school.id, uid, visit.now);
    Ok(match visit.school.dialect.login_token {
        LoginTokenForm::Object => {
            let login_url = format!("{}/login/{token}", visit.origin);
            nest::json(&json!({"token": token, "loginUrl": login_url}))
        }
        LoginTokenForm::Text => nest::text(token),
        LoginTokenForm::JsonString => nest::json(&token.into()),
    })
}

/// Sets custom properties of a member; all of them, or none when one is unknown.
pub(super) fn set_properties(visit: &mut Visit<'_>) -> Result<Answer, Refusal> {
    let school = &mut *visit.school;
    let key = match school.dialect.property_key {
        PropertyKey::Id => "id",
        PropertyKey::PropertyId => "propertyId",
    };
    let mut form = Form::body(visit.body.take());
    let email = form.email("email");
    let values = form.forms("properties", |form| (form.text(key), form.scalar("value")));
    form.finish()?;

    let known = |id: &String| school.properties.iter().any(|property| property.id == *id);
    if !values.iter().all(|(id, _)| known(id)) {
        return Err(Refusal::not_found("Custom user property not found"));
    }
    let member = school.member_mut(&email).ok_or_else(user_not_found)?;
    member.properties.extend(values);
    Ok(nest::empty())
}
