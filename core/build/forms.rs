//! How values are written as JSON: `Serialize` for each type.

use std::fmt::Write as _;

use wit_parser::{InterfaceId, Resolve, TypeDefKind};

use crate::names::{is_option, lower_camel, rust_path, upper_camel};

/// The Rust source of `Serialize` for each type of an interface.
pub fn forms(resolve: &Resolve, interface: &str, id: InterfaceId) -> String {
    let mut source = String::new();
    for (name, id) in &resolve.interfaces[id].types {
        let path = rust_path(interface, name);
        let body = match &resolve.types[*id].kind {
            TypeDefKind::Record(record) => {
                let fields = record.fields.iter().map(|field| {
                    let (json, rust) = (lower_camel(&field.name), field.name.replace('-', "_"));
                    if is_option(resolve, field.ty) {
                        format!("object.optional({json:?}, self.{rust}.as_ref())?; ")
                    } else {
                        format!("object.field({json:?}, &self.{rust})?; ")
                    }
                });
                format!("let mut object = Fields::new(serializer)?; {}object.end()", fields.collect::<String>())
            }
            TypeDefKind::Enum(cases) => {
                let arms = cases
                    .cases
                    .iter()
                    .map(|case| format!("Self::{} => {:?}, ", upper_camel(&case.name), lower_camel(&case.name)));
                format!("serializer.serialize_str(match self {{ {} }})", arms.collect::<String>())
            }
            TypeDefKind::Variant(variant) => {
                let arms = variant.cases.iter().map(|case| {
                    let (rust, json) = (upper_camel(&case.name), lower_camel(&case.name));
                    match case.ty {
                        Some(_) => format!("Self::{rust}(value) => case(serializer, {json:?}, Some(value)), "),
                        None => format!("Self::{rust} => case(serializer, {json:?}, None::<&()>), "),
                    }
                });
                format!("match self {{ {} }}", arms.collect::<String>())
            }
            // What an interface takes from another one is written there.
            TypeDefKind::Type(_) => continue,
            other => panic!("wit/: {interface}.{name}: there is no JSON form yet for {}", other.as_str()),
        };
        let _ = writeln!(
            source,
            "impl Serialize for {path} {{ fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {{ {body} }} }}"
        );
    }
    source
}
