//! JSON to component values and back, by the component's own types.
//!
//! | WIT | JSON |
//! |---|---|
//! | record | object; keys are the field names in lowerCamelCase |
//! | `option<T>` | the value; `null` or a missing key for none, and none is left out of objects that come back |
//! | variant | `{"tag": "caseName", "val": …}`, without `val` where the case has no payload |
//! | `result<T, E>` inside of a value | the same, with the tags `ok` and `err` |
//! | enum | the case name in lowerCamelCase, as text |
//! | flags | list of names in lowerCamelCase |
//! | list, tuple | list |
//! | numbers | number; integers without fraction and within the range of the type |
//! | `char` | text of one character |
//!
//! Resources, futures, streams, maps and error contexts have no JSON form.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

pub use memberspot_bulk_file::text::nearest;
use serde::ser::{Error as _, Serialize, SerializeMap as _, SerializeSeq as _, Serializer};
use serde_json::{Map, Value};
use wasmtime::component::Val;
use wasmtime::component::types::{Case, Type};

/// The JSON form of a WIT name: `offer-id` is `offerId`.
#[must_use]
pub fn json_name(wit: &str) -> String {
    let mut name = String::with_capacity(wit.len());
    for (index, word) in wit.split('-').enumerate() {
        let mut chars = word.chars();
        // WIT also allows words in upper case.
        match chars.next() {
            Some(first) if index > 0 => name.push(first.to_ascii_uppercase()),
            Some(first) => name.push(first.to_ascii_lowercase()),
            None => {}
        }
        name.extend(chars.map(|char| char.to_ascii_lowercase()));
    }
    name
}

/// Why a JSON value is not a value of a WIT type, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError {
    /// The way to the value, innermost first.
    path: Vec<String>,
    problem: Problem,
}

/// See [`JsonError`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// The value is of another kind, or out of range.
    Expected {
        /// What the type asks for, in words.
        expected: String,
        /// What is there, in words.
        found: Cow<'static, str>,
    },
    /// An object lacks a key.
    Missing {
        /// The key.
        name: String,
        /// What its type asks for, in words.
        expected: String,
    },
    /// A key or a name that the type does not have.
    Unknown {
        /// What was given.
        name: String,
        /// What the type has.
        known: Vec<String>,
    },
    /// The type has no JSON form.
    Unsupported,
}

impl JsonError {
    fn new(problem: Problem) -> Self {
        Self { path: Vec::new(), problem }
    }

    fn inside(mut self, segment: impl Into<String>) -> Self {
        self.path.push(segment.into());
        self
    }

    /// What is wrong.
    #[must_use]
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// Where: a JSON pointer (RFC 6901); empty for the whole document.
    #[must_use]
    pub fn pointer(&self) -> String {
        let mut pointer = String::new();
        for segment in self.path.iter().rev() {
            pointer.push('/');
            pointer.push_str(&segment.replace('~', "~0").replace('/', "~1"));
        }
        pointer
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "at {}: ", self.pointer())?;
        }
        match &self.problem {
            Problem::Expected { expected, found } => write!(f, "expected {expected}, found {found}"),
            Problem::Missing { name, expected } => write!(f, "`{name}` is missing; it is {expected}"),
            Problem::Unknown { name, known } => {
                write!(f, "`{name}` is not known here")?;
                match nearest(name, known.iter().map(String::as_str)) {
                    Some(nearest) => write!(f, "; did you mean `{nearest}`?"),
                    None if known.is_empty() => f.write_str("; nothing is expected"),
                    None => write!(f, "; known are {}", known.join(", ")),
                }
            }
            Problem::Unsupported => f.write_str("this type cannot be written as JSON"),
        }
    }
}

impl std::error::Error for JsonError {}

/// Reads a value of this type.
///
/// # Errors
///
/// When the JSON value is not one of this type.
pub fn to_val(json: &Value, ty: &Type) -> Result<Val, JsonError> {
    let expected = || JsonError::new(Problem::Expected { expected: describe(ty), found: kind(json) });
    match ty {
        Type::Bool => json.as_bool().map(Val::Bool).ok_or_else(expected),
        Type::S8 => integer(json).map(Val::S8).ok_or_else(expected),
        Type::U8 => integer(json).map(Val::U8).ok_or_else(expected),
        Type::S16 => integer(json).map(Val::S16).ok_or_else(expected),
        Type::U16 => integer(json).map(Val::U16).ok_or_else(expected),
        Type::S32 => integer(json).map(Val::S32).ok_or_else(expected),
        Type::U32 => integer(json).map(Val::U32).ok_or_else(expected),
        Type::S64 => integer(json).map(Val::S64).ok_or_else(expected),
        Type::U64 => integer(json).map(Val::U64).ok_or_else(expected),
        #[expect(clippy::cast_possible_truncation, reason = "the nearest value is what a float means")]
        Type::Float32 => {
            json.as_f64().map(|number| number as f32).filter(|number| number.is_finite()).map(Val::Float32).ok_or_else(expected)
        }
        Type::Float64 => json.as_f64().map(Val::Float64).ok_or_else(expected),
        Type::Char => {
            let mut chars = json.as_str().ok_or_else(expected)?.chars();
            match (chars.next(), chars.next()) {
                (Some(char), None) => Ok(Val::Char(char)),
                _ => Err(expected()),
            }
        }
        Type::String => json.as_str().map(|text| Val::String(text.to_owned())).ok_or_else(expected),
        Type::Option(_) if json.is_null() => Ok(Val::Option(None)),
        Type::Option(option) => Ok(Val::Option(Some(Box::new(to_val(json, &option.ty())?)))),
        Type::List(list) => {
            let element = list.ty();
            let items = json.as_array().ok_or_else(expected)?;
            items
                .iter()
                .enumerate()
                .map(|(index, item)| item_val(item, &element, index))
                .collect::<Result<_, _>>()
                .map(Val::List)
        }
        Type::FixedLengthList(list) => {
            let element = list.ty();
            let items = json.as_array().filter(|items| items.len() == list.len() as usize).ok_or_else(expected)?;
            items
                .iter()
                .enumerate()
                .map(|(index, item)| item_val(item, &element, index))
                .collect::<Result<_, _>>()
                .map(Val::FixedLengthList)
        }
        Type::Tuple(tuple) => {
            let items = json.as_array().filter(|items| items.len() == tuple.types().len()).ok_or_else(expected)?;
            let values = items.iter().zip(tuple.types()).enumerate();
            values.map(|(index, (item, ty))| item_val(item, &ty, index)).collect::<Result<_, _>>().map(Val::Tuple)
        }
        Type::Record(record) => {
            let fields: Vec<_> = record.fields().map(|field| (field.name, field.ty)).collect();
            object_vals(json.as_object().ok_or_else(expected)?, &fields)
                .map(|values| Val::Record(fields.iter().map(|(name, _)| (*name).to_owned()).zip(values).collect()))
        }
        Type::Variant(variant) => {
            let cases: Vec<_> = variant.cases().collect();
            let (name, payload) = case_val(json, &cases)?.ok_or_else(expected)?;
            Ok(Val::Variant(name, payload))
        }
        Type::Result(result) => {
            let cases = [Case { name: "ok", ty: result.ok() }, Case { name: "err", ty: result.err() }];
            let (name, payload) = case_val(json, &cases)?.ok_or_else(expected)?;
            Ok(Val::Result(if name == "ok" { Ok(payload) } else { Err(payload) }))
        }
        Type::Enum(cases) => {
            let text = json.as_str().ok_or_else(expected)?;
            one_of(text, cases.names()).map(Val::Enum)
        }
        Type::Flags(flags) => {
            let items = json.as_array().ok_or_else(expected)?;
            let names = items.iter().enumerate().map(|(index, item)| {
                let text = item.as_str().ok_or_else(expected)?;
                one_of(text, flags.names()).map_err(|error| error.inside(index.to_string()))
            });
            names.collect::<Result<_, _>>().map(Val::Flags)
        }
        Type::Map(_) | Type::Own(_) | Type::Borrow(_) | Type::Future(_) | Type::Stream(_) | Type::ErrorContext => {
            Err(JsonError::new(Problem::Unsupported))
        }
    }
}

fn item_val(item: &Value, ty: &Type, index: usize) -> Result<Val, JsonError> {
    to_val(item, ty).map_err(|error| error.inside(index.to_string()))
}

fn integer<T: TryFrom<i128>>(json: &Value) -> Option<T> {
    let number = json.as_i64().map(i128::from).or_else(|| json.as_u64().map(i128::from))?;
    T::try_from(number).ok()
}

/// The values of an object's keys, in the order of the fields. Fields are named as in WIT.
pub(crate) fn object_vals(object: &Map<String, Value>, fields: &[(&str, Type)]) -> Result<Vec<Val>, JsonError> {
    let names: Vec<_> = fields.iter().map(|(name, _)| json_name(name)).collect();
    if let Some(unknown) = object.keys().find(|key| !names.contains(key)) {
        return Err(JsonError::new(Problem::Unknown { name: unknown.clone(), known: names }));
    }
    let values = names.into_iter().zip(fields).map(|(name, (_, ty))| match (object.get(&name), ty) {
        (Some(value), _) => to_val(value, ty).map_err(|error| error.inside(name)),
        (None, Type::Option(_)) => Ok(Val::Option(None)),
        (None, _) => Err(JsonError::new(Problem::Missing { name, expected: describe(ty) })),
    });
    values.collect()
}

/// The values of a list that gives fields or parameters in their order.
pub(crate) fn tuple_vals(json: &Value, fields: &[(&str, Type)]) -> Result<Vec<Val>, JsonError> {
    let Some(items) = json.as_array().filter(|items| items.len() == fields.len()) else {
        let names: Vec<_> = fields.iter().map(|(name, _)| json_name(name)).collect();
        let expected = match names.as_slice() {
            [] => "nothing".to_owned(),
            names => format!("an object, or a list in this order: {}", names.join(", ")),
        };
        return Err(JsonError::new(Problem::Expected { expected, found: kind(json) }));
    };
    items.iter().zip(fields).enumerate().map(|(index, (item, (_, ty)))| item_val(item, ty, index)).collect()
}

type CaseVal = (String, Option<Box<Val>>);

/// Reads `{"tag": …, "val": …}`. `None` when that is not the shape of the value.
fn case_val(json: &Value, cases: &[Case<'_>]) -> Result<Option<CaseVal>, JsonError> {
    let Some(object) = json.as_object() else { return Ok(None) };
    let Some(tag) = object.get("tag").and_then(Value::as_str) else { return Ok(None) };
    if let Some(unknown) = object.keys().find(|key| !["tag", "val"].contains(&key.as_str())) {
        let known = vec!["tag".to_owned(), "val".to_owned()];
        return Err(JsonError::new(Problem::Unknown { name: unknown.clone(), known }));
    }
    let Some(case) = cases.iter().find(|case| json_name(case.name) == tag) else {
        let known = cases.iter().map(|case| json_name(case.name)).collect();
        return Err(JsonError::new(Problem::Unknown { name: tag.to_owned(), known }).inside("tag"));
    };
    let payload = match (&case.ty, object.get("val")) {
        (None, None | Some(Value::Null)) => None,
        (None, Some(value)) => {
            let expected = format!("no `val` beside the tag {tag}");
            return Err(JsonError::new(Problem::Expected { expected, found: kind(value) }).inside("val"));
        }
        (Some(Type::Option(_)), None) => Some(Val::Option(None)),
        (Some(ty), None) => {
            return Err(JsonError::new(Problem::Missing { name: "val".into(), expected: describe(ty) }));
        }
        (Some(ty), Some(value)) => Some(to_val(value, ty).map_err(|error| error.inside("val"))?),
    };
    Ok(Some((case.name.to_owned(), payload.map(Box::new))))
}

fn one_of<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> Result<String, JsonError> {
    let mut known = Vec::new();
    for name in names {
        let json = json_name(name);
        if json == text {
            return Ok(name.to_owned());
        }
        known.push(json);
    }
    Err(JsonError::new(Problem::Unknown { name: text.to_owned(), known }))
}

/// Whether values of this type have a JSON form.
pub(crate) fn is_representable(ty: &Type) -> bool {
    match ty {
        Type::Map(_) | Type::Own(_) | Type::Borrow(_) | Type::Future(_) | Type::Stream(_) | Type::ErrorContext => false,
        Type::Option(option) => is_representable(&option.ty()),
        Type::List(list) => is_representable(&list.ty()),
        Type::FixedLengthList(list) => is_representable(&list.ty()),
        Type::Tuple(tuple) => tuple.types().all(|ty| is_representable(&ty)),
        Type::Record(record) => record.fields().all(|field| is_representable(&field.ty)),
        Type::Variant(variant) => variant.cases().filter_map(|case| case.ty).all(|ty| is_representable(&ty)),
        Type::Result(result) => result.ok().into_iter().chain(result.err()).all(|ty| is_representable(&ty)),
        _ => true,
    }
}

/// What a type asks for, in words.
fn describe(ty: &Type) -> String {
    match ty {
        Type::Bool => "true or false".into(),
        Type::S8 => whole_number(i8::MIN, i8::MAX),
        Type::U8 => whole_number(u8::MIN, u8::MAX),
        Type::S16 => whole_number(i16::MIN, i16::MAX),
        Type::U16 => whole_number(u16::MIN, u16::MAX),
        Type::S32 => whole_number(i32::MIN, i32::MAX),
        Type::U32 => whole_number(u32::MIN, u32::MAX),
        Type::S64 => whole_number(i64::MIN, i64::MAX),
        Type::U64 => whole_number(u64::MIN, u64::MAX),
        Type::Float32 | Type::Float64 => "a number".into(),
        Type::Char => "text of one character".into(),
        Type::String => "text".into(),
        Type::List(list) => format!("a list, each item {}", describe(&list.ty())),
        Type::FixedLengthList(list) => format!("a list of {}, each item {}", list.len(), describe(&list.ty())),
        Type::Tuple(tuple) => format!("a list of {}", tuple.types().len()),
        Type::Record(record) => {
            let mut text = String::from("an object");
            for (index, field) in record.fields().enumerate() {
                let separator = if index == 0 { " of" } else { "," };
                let optional = if matches!(field.ty, Type::Option(_)) { "?" } else { "" };
                // Writing to a string does not fail.
                let _ = write!(text, "{separator} {}{optional}", json_name(field.name));
            }
            text
        }
        Type::Variant(variant) => {
            let tags: Vec<_> = variant.cases().map(|case| json_name(case.name)).collect();
            format!("an object of `tag` ({}) and `val`", tags.join(" or "))
        }
        Type::Result(_) => "an object of `tag` (ok or err) and `val`".into(),
        Type::Enum(cases) => {
            format!("one of {}", cases.names().map(json_name).collect::<Vec<_>>().join(", "))
        }
        Type::Flags(flags) => {
            format!("a list of {}", flags.names().map(json_name).collect::<Vec<_>>().join(", "))
        }
        Type::Option(option) => format!("{}, or null", describe(&option.ty())),
        Type::Map(_) | Type::Own(_) | Type::Borrow(_) | Type::Future(_) | Type::Stream(_) | Type::ErrorContext => {
            "of a type that cannot be written as JSON".into()
        }
    }
}

fn whole_number<T: fmt::Display>(min: T, max: T) -> String {
    format!("a whole number from {min} to {max}")
}

/// What a JSON value is, in words. Texts are not repeated: they may be long, or secret.
fn kind(json: &Value) -> Cow<'static, str> {
    match json {
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string().into(),
        Value::Number(number) => number.to_string().into(),
        Value::String(text) if text.is_empty() => "an empty text".into(),
        Value::String(_) => "text".into(),
        Value::Array(items) => match items.len() {
            1 => "a list of 1 item".into(),
            count => format!("a list of {count} items").into(),
        },
        Value::Object(_) => "an object".into(),
    }
}

/// A value that a component answered. It serializes to the JSON form of its type; records keep the order of their fields.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer(Option<Val>);

impl Answer {
    /// `None` stands for a `result` without a payload, and is `null` in JSON. The value's type is representable.
    pub(crate) fn new(value: Option<Box<Val>>) -> Self {
        Self(value.map(|value| *value))
    }

    /// The value itself.
    #[must_use]
    pub fn val(&self) -> Option<&Val> {
        self.0.as_ref()
    }

    /// The JSON form of the value.
    #[must_use]
    pub fn to_json(&self) -> Value {
        // Only types without a JSON form fail, and a function that has one in its result is not called.
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_ref().map(Json).serialize(serializer)
    }
}

struct Json<'a>(&'a Val);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Val::Bool(value) => value.serialize(serializer),
            Val::S8(value) => value.serialize(serializer),
            Val::U8(value) => value.serialize(serializer),
            Val::S16(value) => value.serialize(serializer),
            Val::U16(value) => value.serialize(serializer),
            Val::S32(value) => value.serialize(serializer),
            Val::U32(value) => value.serialize(serializer),
            Val::S64(value) => value.serialize(serializer),
            Val::U64(value) => value.serialize(serializer),
            Val::Float32(value) => value.serialize(serializer),
            Val::Float64(value) => value.serialize(serializer),
            Val::Char(value) => value.serialize(serializer),
            Val::String(value) => value.serialize(serializer),
            Val::List(items) | Val::FixedLengthList(items) | Val::Tuple(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(&Json(item))?;
                }
                list.end()
            }
            Val::Record(fields) => {
                let mut object = serializer.serialize_map(None)?;
                for (name, value) in fields {
                    if !matches!(value, Val::Option(None)) {
                        object.serialize_entry(&json_name(name), &Json(value))?;
                    }
                }
                object.end()
            }
            Val::Variant(tag, payload) => case(serializer, &json_name(tag), payload.as_deref()),
            Val::Result(Ok(payload)) => case(serializer, "ok", payload.as_deref()),
            Val::Result(Err(payload)) => case(serializer, "err", payload.as_deref()),
            Val::Enum(name) => json_name(name).serialize(serializer),
            Val::Flags(names) => serializer.collect_seq(names.iter().map(|name| json_name(name))),
            Val::Option(value) => value.as_deref().map(Json).serialize(serializer),
            Val::Map(_) | Val::Resource(_) | Val::Future(_) | Val::Stream(_) | Val::ErrorContext(_) => {
                Err(S::Error::custom("this type cannot be written as JSON"))
            }
        }
    }
}

fn case<S: Serializer>(serializer: S, tag: &str, payload: Option<&Val>) -> Result<S::Ok, S::Error> {
    let mut object = serializer.serialize_map(None)?;
    object.serialize_entry("tag", tag)?;
    if let Some(payload) = payload {
        object.serialize_entry("val", &Json(payload))?;
    }
    object.end()
}

/// Reads a value from the short form of the command line: a text is taken as it is, everything else is JSON.
///
/// # Errors
///
/// When the text is not a value of this type.
pub fn from_text(text: &str, ty: &Type) -> Result<Value, JsonError> {
    match ty {
        Type::Option(option) => from_text(text, &option.ty()),
        Type::String | Type::Char | Type::Enum(_) => Ok(Value::String(text.to_owned())),
        _ => serde_json::from_str(text)
            .map_err(|_| JsonError::new(Problem::Expected { expected: describe(ty), found: "other text".into() })),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wasmtime::Engine;
    use wasmtime::component::Component;
    use wasmtime::component::types::ComponentItem;

    use super::*;

    /// The type of a parameter, written as in the text format. Types that need a name are declared as `$kind`.
    fn ty(text: &str) -> Type {
        let component = format!(
            r#"(component
                (type $record' (record (field "offer-id" string) (field "page-length" (option u8))))
                (import "record" (type $record (eq $record')))
                (type $variant' (variant (case "by-id" string) (case "all") (case "near" (option u8))))
                (import "variant" (type $variant (eq $variant')))
                (type $enum' (enum "invalid-input" "timed-out"))
                (import "enum" (type $enum (eq $enum')))
                (type $flags' (flags "read-only" "raw"))
                (import "flags" (type $flags (eq $flags')))
                (import "resource" (type $resource (sub resource)))
                (import "f" (func (param "x" {text}))))"#
        );
        let engine = Engine::default();
        let component = Component::from_binary(&engine, &wat::parse_str(component).unwrap()).unwrap();
        let component = component.component_type();
        let (_, item) = component.imports(&engine).find(|(name, _)| *name == "f").unwrap();
        let ComponentItem::ComponentFunc(function) = item.ty else { panic!("f is a function") };
        function.params().next().unwrap().1
    }

    fn message(json: &Value, ty: &Type) -> String {
        to_val(json, ty).unwrap_err().to_string()
    }

    #[test]
    fn names_are_lower_camel_case() {
        for (wit, json) in [
            ("email", "email"),
            ("offer-id", "offerId"),
            ("retry-after-ms", "retryAfterMs"),
            ("a-b2-c", "aB2C"),
            ("HTTP-method", "httpMethod"),
            ("get-URL", "getUrl"),
        ] {
            assert_eq!(json_name(wit), json);
        }
    }

    #[test]
    fn values_come_back_as_they_went() {
        for (text, values) in [
            ("bool", vec![json!(true), json!(false)]),
            ("s8", vec![json!(-128), json!(127)]),
            ("u8", vec![json!(0), json!(255)]),
            ("s16", vec![json!(-32_768), json!(32_767)]),
            ("u16", vec![json!(65_535)]),
            ("s32", vec![json!(i32::MIN), json!(i32::MAX)]),
            ("u32", vec![json!(u32::MAX)]),
            ("s64", vec![json!(i64::MIN), json!(i64::MAX)]),
            ("u64", vec![json!(u64::MAX)]),
            ("f32", vec![json!(1.5)]),
            ("f64", vec![json!(0.1), json!(-1e300)]),
            ("char", vec![json!("ä")]),
            ("string", vec![json!(""), json!("a\u{0}b\u{1f600}")]),
            ("(list string)", vec![json!([]), json!(["a", "b"])]),
            ("(tuple u8 string)", vec![json!([1, "a"])]),
            ("(option string)", vec![json!("a"), json!(null)]),
            ("(result string (error u8))", vec![json!({"tag": "ok", "val": "a"}), json!({"tag": "err", "val": 1})]),
            ("(result)", vec![json!({"tag": "ok"}), json!({"tag": "err"})]),
            ("$record", vec![json!({"offerId": "o", "pageLength": 1}), json!({"offerId": "o"})]),
            ("(list $record)", vec![json!([{"offerId": "o"}])]),
            ("$variant", vec![json!({"tag": "byId", "val": "1"}), json!({"tag": "all"}), json!({"tag": "near", "val": null})]),
            ("$enum", vec![json!("invalidInput"), json!("timedOut")]),
            ("$flags", vec![json!([]), json!(["readOnly", "raw"])]),
        ] {
            let ty = ty(text);
            assert!(is_representable(&ty));
            for value in values {
                let val = to_val(&value, &ty).unwrap_or_else(|error| panic!("{text} {value}: {error}"));
                assert_eq!(Answer(Some(val)).to_json(), value, "{text}");
            }
        }
    }

    #[test]
    fn an_option_may_be_left_out_or_null() {
        let ty = ty("$record");
        let none = to_val(&json!({"offerId": "o"}), &ty).unwrap();
        assert_eq!(to_val(&json!({"offerId": "o", "pageLength": null}), &ty).unwrap(), none);
        assert_eq!(Answer(Some(none)).to_json(), json!({"offerId": "o"}));
    }

    #[test]
    fn records_keep_the_order_of_their_fields() {
        let val = to_val(&json!({"pageLength": 1, "offerId": "o"}), &ty("$record")).unwrap();
        assert_eq!(serde_json::to_string(&Answer(Some(val))).unwrap(), r#"{"offerId":"o","pageLength":1}"#);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (text, values) in [
            ("bool", vec![json!(1), json!("true"), json!(null)]),
            ("s8", vec![json!(128), json!(-129), json!(1.0), json!("1")]),
            ("u8", vec![json!(256), json!(-1), json!(1e2)]),
            ("u32", vec![json!(4_294_967_296_u64)]),
            ("s64", vec![json!(u64::MAX)]),
            ("u64", vec![json!(-1), json!(1e30)]),
            ("f32", vec![json!(1e300), json!("1")]),
            ("char", vec![json!(""), json!("ab")]),
            ("string", vec![json!(1), json!(null), json!(["a"])]),
            ("(list string)", vec![json!("a"), json!({}), json!(["a", 1])]),
            ("(tuple u8 string)", vec![json!([1]), json!([1, "a", 2]), json!(["a", 1])]),
            ("(result string)", vec![json!("a"), json!({"tag": "ok"}), json!({"tag": "no"})]),
            ("$record", vec![json!([]), json!({}), json!({"offer-id": "o"}), json!({"offerId": null})]),
            ("$variant", vec![json!("all"), json!({}), json!({"tag": 1}), json!({"tag": "all", "val": 1})]),
            ("$variant", vec![json!({"tag": "byId"}), json!({"tag": "all", "x": 1}), json!({"tag": "by-id", "val": ""})]),
            ("$enum", vec![json!("invalid-input"), json!(0)]),
            ("$flags", vec![json!(["read"]), json!([1]), json!("raw")]),
            ("(own $resource)", vec![json!(1), json!(null)]),
        ] {
            let ty = ty(text);
            for value in values {
                assert!(to_val(&value, &ty).is_err(), "{text} {value}");
            }
        }
        assert!(!is_representable(&ty("(list (own $resource))")));
    }

    #[test]
    fn an_error_says_where_and_what() {
        let list = ty("(list $record)");
        for (json, text) in [
            (json!([{"offerId": "o"}, {"offerId": 1}]), "at /1/offerId: expected text, found 1"),
            (
                json!([{"offerId": "o", "pageLength": 256}]),
                "at /0/pageLength: expected a whole number from 0 to 255, found 256",
            ),
            (json!([{}]), "at /0: `offerId` is missing; it is text"),
            (json!([{"offerid": "o"}]), "at /0: `offerid` is not known here; did you mean `offerId`?"),
            (json!([{"zz": 1}]), "at /0: `zz` is not known here; known are offerId, pageLength"),
            (json!({}), "expected a list, each item an object of offerId, pageLength?, found an object"),
        ] {
            assert_eq!(message(&json, &list), text);
        }
        let variant = ty("$variant");
        for (json, text) in [
            (json!({"tag": "alle"}), "at /tag: `alle` is not known here; did you mean `all`?"),
            (json!({"tag": "byId", "val": 1}), "at /val: expected text, found 1"),
            (json!("all"), "expected an object of `tag` (byId or all or near) and `val`, found text"),
        ] {
            assert_eq!(message(&json, &variant), text);
        }
        // Texts may be secret.
        assert!(!message(&json!(["hush"]), &ty("(list u8)")).contains("hush"));
    }

    #[test]
    fn pointers_are_escaped() {
        let error = JsonError::new(Problem::Unsupported).inside("a/b").inside("m~n");
        assert_eq!(error.pointer(), "/m~0n/a~1b");
    }

    #[test]
    fn the_short_form_takes_texts_as_they_are() {
        for (text, value, json) in [
            ("string", "42", json!("42")),
            ("string", "", json!("")),
            ("(option string)", "null", json!("null")),
            ("$enum", "timedOut", json!("timedOut")),
            ("u8", "42", json!(42)),
            ("(option bool)", "true", json!(true)),
            ("$variant", r#"{"tag":"all"}"#, json!({"tag": "all"})),
        ] {
            assert_eq!(from_text(value, &ty(text)).unwrap(), json);
        }
        assert_eq!(from_text("yes", &ty("bool")).unwrap_err().to_string(), "expected true or false, found other text");
    }
}
