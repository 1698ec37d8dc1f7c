//! Operations to read files against: some of every shape that the component's have, and a number, which they lack.

use memberspot_bulk_file::operations::{ADDRESS, Field, Operation, Operations, Type};
use serde_json::Value;

/// What a field is; and what an operation is, as the type of all of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    OptionalText,
    OptionalNumber,
    Values,
    Operation,
}

/// Name and key of each field.
type Fields = &'static [(&'static str, &'static str, Kind)];

const EMAIL: (&str, &str, Kind) = (ADDRESS, ADDRESS, Kind::Text);
const OFFER: (&str, &str, Kind) = ("offer-id", "offerId", Kind::Text);

/// Name, tag and fields of each operation.
pub const ALL: [(&str, &str, Fields); 4] = [
    ("grant-access", "grantAccess", &[EMAIL, OFFER, ("first-name", "firstName", Kind::OptionalText)]),
    ("extend-access", "extendAccess", &[EMAIL, OFFER, ("days", "days", Kind::OptionalNumber)]),
    ("set-properties", "setProperties", &[EMAIL, ("values", "values", Kind::Values)]),
    (DELETION, "deleteUser", &[EMAIL]),
];

/// Takes its only field as it is.
const DELETION: &str = "delete-user";

pub fn operations() -> Operations<Kind> {
    let all = ALL.iter().map(|(name, tag, fields)| Operation {
        name: (*name).into(),
        tag: (*tag).into(),
        destructive: *name == DELETION,
        fields: fields.iter().map(|(name, key, ty)| Field { name: (*name).into(), key: (*key).into(), ty: *ty }).collect(),
        is_bare: *name == DELETION,
    });
    Operations::new(all.collect(), Kind::Operation)
}

impl Type for Kind {
    fn is_optional(&self) -> bool {
        matches!(self, Self::OptionalText | Self::OptionalNumber)
    }

    fn read(&self, text: &str) -> Result<Value, String> {
        match self {
            Self::Text | Self::OptionalText => Ok(text.into()),
            _ => serde_json::from_str(text).map_err(|_| "expected something else".into()),
        }
    }

    fn check(&self, value: &Value) -> Result<(), String> {
        if self.has(value) { Ok(()) } else { Err("expected something else".into()) }
    }
}

impl Kind {
    fn has(self, value: &Value) -> bool {
        match self {
            Self::Text | Self::OptionalText => value.is_string(),
            Self::OptionalNumber => value.as_u64().is_some_and(|number| u32::try_from(number).is_ok()),
            Self::Values => value.as_array().is_some_and(|values| values.iter().all(is_assignment)),
            Self::Operation => is_operation(value),
        }
    }
}

fn is_assignment(value: &Value) -> bool {
    let property = &value["property"];
    has_keys(value, &["property", "value"])
        && has_keys(property, &["tag", "val"])
        && (property["tag"] == "name" || property["tag"] == "id")
        && property["val"].is_string()
        && value["value"].is_string()
}

fn is_operation(value: &Value) -> bool {
    let Some((name, _, fields)) = ALL.iter().find(|(_, tag, _)| value["tag"] == *tag) else { return false };
    let val = &value["val"];
    if *name == DELETION {
        return val.is_string();
    }
    let is_field = |(key, value): (&String, &Value)| fields.iter().any(|(_, known, kind)| key == known && kind.has(value));
    let has = |(_, key, kind): &(&str, &str, Kind)| kind.is_optional() || val.get(key).is_some();
    val.as_object().is_some_and(|val| val.iter().all(is_field)) && fields.iter().all(has)
}

fn has_keys(value: &Value, keys: &[&str]) -> bool {
    value.as_object().is_some_and(|object| object.keys().eq(keys))
}
