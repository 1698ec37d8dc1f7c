//! `properties`: custom properties.

use serde::Serialize;

use crate::{
    check,
    doubt::Doubt,
    entity,
    error::{invalid_input, listed},
    function,
    request::{Call, Request},
    route,
    wit::{
        properties::{Property, PropertyReference, SetPropertiesRequest},
        types::Error,
    },
};

/// `properties.list-properties`
pub fn list_properties() -> Call<Vec<Property>> {
    let request = Request::new(&route::LIST_PROPERTIES, &function::LIST_PROPERTIES, &[]);
    Call::new(request, |answer| Ok(answer.list("a list of custom properties", entity::property)?.items))
}

/// The look-up that `properties.set-properties` makes for names. It is part of setting them, so it needs no scope of its
/// own.
pub fn look_up_properties() -> Call<Vec<Property>> {
    list_properties().within(&function::SET_PROPERTIES)
}

/// Whether a request names a property by name, so that [`look_up_properties`] comes first.
pub fn needs_look_up(request: &SetPropertiesRequest) -> bool {
    request.values.iter().any(|value| matches!(value.property, PropertyReference::Name(_)))
}

/// Checks all of a request that can be checked without knowing the school's properties.
pub fn check(request: &SetPropertiesRequest) -> Result<(), Error> {
    check::email("email", &request.email)?;
    check::value_count("values", request.values.len())?;
    for (index, value) in request.values.iter().enumerate() {
        let (PropertyReference::Id(text) | PropertyReference::Name(text)) = &value.property;
        check::id(&format!("values[{index}].property"), text)?;
    }
    Ok(())
}

/// `properties.set-properties`, with the school's properties as far as they were looked up.
pub fn set_properties(request: &SetPropertiesRequest, known: &[Property]) -> Result<Call<()>, Error> {
    check(request)?;
    let mut settings: Vec<(&str, &str)> = Vec::with_capacity(request.values.len());
    for (index, assignment) in request.values.iter().enumerate() {
        let place = format!("values[{index}].property");
        let id = match &assignment.property {
            PropertyReference::Id(id) => id,
            PropertyReference::Name(name) => id_of(&place, name, known)?,
        };
        if settings.iter().any(|(earlier, _)| earlier == id) {
            return Err(invalid_input(&place, "is set twice; pass each property once"));
        }
        settings.push((id, &assignment.value));
    }
    // The likelier name of the field is `id`; one public client writes `propertyId`.
    let likely = setting(&request.email, &settings, |id, value| Setting { id: Some(id), property_id: None, value })?;
    let other = setting(&request.email, &settings, |id, value| Setting { id: None, property_id: Some(id), value })?;
    Ok(Call::new(likely.or(Doubt::PropertyId, other), |answer| answer.acknowledgement().map(drop)))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Setting<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    property_id: Option<&'a str>,
    value: &'a str,
}

/// The request that sets values, with the property's id where `form` puts it.
fn setting<'a>(
    email: &str,
    settings: &[(&'a str, &'a str)],
    form: fn(&'a str, &'a str) -> Setting<'a>,
) -> Result<Request, Error> {
    #[derive(Serialize)]
    struct Body<'a> {
        email: &'a str,
        properties: Vec<Setting<'a>>,
    }

    let properties = settings.iter().map(|(id, value)| form(id, value)).collect();
    Request::new(&route::SET_PROPERTIES, &function::SET_PROPERTIES, &[]).json(&Body { email, properties })
}

/// The id of the property with a name.
fn id_of<'a>(field: &str, name: &str, known: &'a [Property]) -> Result<&'a String, Error> {
    /// More names would make the message unreadable; each is at most this many bytes.
    const MOST_NAMES: usize = 50;
    const LONGEST_NAME: usize = 60;

    let mut found = known.iter().filter(|property| property.name.as_deref() == Some(name));
    match (found.next(), found.next()) {
        (Some(property), None) => Ok(&property.id),
        (Some(_), Some(_)) => Err(invalid_input(field, "is the name of several properties; pass the id instead")),
        (None, _) => {
            let names = known.iter().filter_map(|property| property.name.as_deref()).take(MOST_NAMES);
            let names = listed(names.map(|name| name.get(..name.floor_char_boundary(LONGEST_NAME)).unwrap_or(name)));
            Err(match names.as_str() {
                "" => invalid_input(field, "is unknown: the school has no custom properties"),
                names => invalid_input(field, format_args!("is unknown; the school has: {names}")),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wit::{properties::PropertyAssignment, types::FailureCode};

    fn property(id: &str, name: &str) -> Property {
        Property { id: id.into(), name: Some(name.into()), kind: None, school_id: None, raw: String::new() }
    }

    fn request(values: &[(PropertyReference, &str)]) -> SetPropertiesRequest {
        let values =
            values.iter().map(|(property, value)| PropertyAssignment { property: property.clone(), value: (*value).into() });
        SetPropertiesRequest { email: "a@b.de".into(), values: values.collect() }
    }

    fn id(text: &str) -> PropertyReference {
        PropertyReference::Id(text.into())
    }

    fn name(text: &str) -> PropertyReference {
        PropertyReference::Name(text.into())
    }

    #[test]
    fn names_become_ids() {
        let known = [property("p1", "Shoe size"), property("p2", "City")];
        let request = request(&[(id("p9"), ""), (name("City"), "Ulm")]);
        let likely = set_properties(&request, &known).unwrap().request;
        let other = likely.other.clone().unwrap().request;
        for (request, name) in [(likely, "id"), (other, "propertyId")] {
            let body = request.body.unwrap();
            let list = format!(r#"[{{"{name}":"p9","value":""}},{{"{name}":"p2","value":"Ulm"}}]"#);
            assert_eq!(body, format!(r#"{{"email":"a@b.de","properties":{list}}}"#));
        }
    }

    #[test]
    fn doubtful_names_are_refused() {
        let known = [property("p1", "City"), property("p2", "City"), property("p3", "Size")];
        for (values, part) in [
            (request(&[(name("City"), "")]), "several"),
            (request(&[(name("size"), "")]), "the school has: City, City, Size"),
            (request(&[(id("p3"), ""), (name("Size"), "")]), "values[1].property"),
            (request(&[(id(""), "")]), "values[0].property"),
            (request(&[]), "values"),
        ] {
            let Err(Error::Permanent(failure)) = set_properties(&values, &known).map(|_| ()) else {
                panic!("{values:?} was taken")
            };
            assert_eq!(failure.code, FailureCode::InvalidInput);
            assert!(failure.message.contains(part), "{}", failure.message);
        }
    }
}
