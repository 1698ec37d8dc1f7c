//! What a school has to offer, and whether a key opens it.

use serde_json::{Value, json};

use super::super::clock::iso;
use super::super::nest::{self, Answer, Refusal};
use super::Visit;

/// The offers, as a bare list.
pub(super) fn offers(visit: &mut Visit<'_>) -> Result<Answer, Refusal> {
    let offers: Vec<Value> = visit
        .school
        .offers
        .iter()
        .map(|offer| {
            let mut shown = json!({"id": offer.id, "name": offer.name, "hasCourseIds": offer.course_ids});
            if let Some(priority) = offer.priority {
                shown["priority"] = priority.into();
            }
            if let Some(updated) = offer.updated {
                shown["updated"] = iso(updated).into();
            }
            shown
        })
        .collect();
    Ok(nest::json(&offers.into()))
}

/// The definitions of custom properties, as a bare list.
pub(super) fn properties(visit: &mut Visit<'_>) -> Result<Answer, Refusal> {
    let properties = visit.school.properties.iter();
    let properties: Vec<Value> = properties
        .map(|property| {
            json!({
                "id": property.id,
                "name": property.name,
                "schoolId": visit.school.id,
                "type": property.kind,
            })
        })
        .collect();
    Ok(nest::json(&properties.into()))
}

/// Says that the key is good. Only the status is known; the body is the simulator's own.
pub(super) fn check_key(visit: &mut Visit<'_>) -> Result<Answer, Refusal> {
    let school = &visit.school;
    let body = json!({"schoolId": school.id, "name": school.name});
    Ok(nest::json(&body))
}
