//! How values are read from JSON: `Decode` for each type.

use std::fmt::Write as _;

use wit_parser::{InterfaceId, Resolve, TypeDefKind};

use crate::names::{lower_camel, rust_path, snake, upper_camel};

/// The Rust source of `Decode` for each type of an interface. What no input has in it is left out by the linker.
pub fn decoders(resolve: &Resolve, interface: &str, id: InterfaceId) -> String {
    let mut source = String::new();
    for (name, id) in &resolve.interfaces[id].types {
        let path = rust_path(interface, name);
        let body = match &resolve.types[*id].kind {
            TypeDefKind::Record(record) => {
                let names: Vec<_> = record.fields.iter().map(|field| lower_camel(&field.name)).collect();
                let fields = record.fields.iter().map(|field| format!("{}: fields.take()?, ", snake(&field.name)));
                format!("let mut fields = Fields::of(json, place, &{names:?})?; Ok(Self {{ {} }})", fields.collect::<String>())
            }
            TypeDefKind::Enum(cases) => {
                let names: Vec<_> = cases.cases.iter().map(|case| lower_camel(&case.name)).collect();
                let arms = cases.cases.iter().enumerate();
                let arms = arms.map(|(index, case)| format!("Some({index}) => Ok(Self::{}), ", upper_camel(&case.name)));
                format!(
                    "match choice(json, &{names:?}) {{ {} _ => Err(no_choice(place, &{names:?})) }}",
                    arms.collect::<String>()
                )
            }
            TypeDefKind::Variant(variant) => {
                let names: Vec<_> = variant.cases.iter().map(|case| lower_camel(&case.name)).collect();
                let arms = variant.cases.iter().enumerate().map(|(index, case)| {
                    let payload = if case.ty.is_some() { "(case.payload()?)" } else { "" };
                    format!("Some({index}) => Ok(Self::{}{payload}), ", upper_camel(&case.name))
                });
                let arms: String = arms.collect();
                format!(
                    "let case = Case::of(json, place)?; match choice(case.tag, &{names:?}) {{ {arms} \
                     _ => Err(no_choice(&case.place, &{names:?})) }}"
                )
            }
            _ => continue,
        };
        let _ = writeln!(
            source,
            "impl Decode for {path} {{ fn decode(json: Json<'_>, place: &Place<'_>) -> Result<Self, Error> {{ {body} }} }}"
        );
    }
    source
}
