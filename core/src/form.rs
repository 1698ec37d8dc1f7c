//! The JSON form of the types of the WIT: names in lowerCamelCase, a record as an object without what is absent, an enum as
//! its name, a variant as `{"tag": …, "val": …}`. The build script writes it for each type.

use serde::{Serialize, Serializer, ser::SerializeMap};

/// The JSON text of a function's result; `null` for one without a result.
pub fn text(result: &impl Serialize) -> String {
    // All keys are texts and nothing here refuses a value, which are the only reasons for which this could fail.
    serde_json::to_string(result).unwrap_or_default()
}

/// Writes the fields of a record.
struct Fields<S: Serializer>(S::SerializeMap);

impl<S: Serializer> Fields<S> {
    fn new(serializer: S) -> Result<Self, S::Error> {
        serializer.serialize_map(None).map(Self)
    }

    fn field(&mut self, name: &'static str, value: &impl Serialize) -> Result<(), S::Error> {
        self.0.serialize_entry(name, value)
    }

    fn optional(&mut self, name: &'static str, value: Option<&impl Serialize>) -> Result<(), S::Error> {
        value.map_or(Ok(()), |value| self.field(name, value))
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.0.end()
    }
}

fn case<S: Serializer>(serializer: S, tag: &'static str, value: Option<&impl Serialize>) -> Result<S::Ok, S::Error> {
    let mut object = serializer.serialize_map(None)?;
    object.serialize_entry("tag", tag)?;
    if let Some(value) = value {
        object.serialize_entry("val", value)?;
    }
    object.end()
}

include!(concat!(env!("OUT_DIR"), "/forms.rs"));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wit::{
        api::HttpMethod,
        bulk::{Operation, OperationResult},
        orders::OrderDeletionRequest,
    };

    #[test]
    fn every_kind_of_type_has_its_form() {
        let operation = Operation::DeleteOrderAccess(OrderDeletionRequest { order_id: "1\"".into(), email: None });
        assert_eq!(text(&operation), r#"{"tag":"deleteOrderAccess","val":{"orderId":"1\""}}"#);
        assert_eq!(
            text(&vec![OperationResult::NotStarted, OperationResult::Done("null".into())]),
            r#"[{"tag":"notStarted"},{"tag":"done","val":"null"}]"#
        );
        assert_eq!(text(&Some(HttpMethod::Get)), r#""get""#);
        assert_eq!(text(&()), "null");
    }
}
