//! The operations, as the component has them.

use memberspot_bulk_file::operations::{self, ADDRESS, Field, Operation};
use memberspot_host::catalog::{Catalog, Shape};
use memberspot_host::json::{from_text, json_name, to_val};
use memberspot_host::{Host, HostError};
use serde_json::Value;
use wasmtime::component::types::Type;

use crate::cli::output::Failure;

/// The function that applies them.
pub const FUNCTION: &str = "apply-operations";

/// All operations.
pub type Operations = operations::Operations<WitType>;

/// A type of the component.
pub struct WitType(Type);

impl operations::Type for WitType {
    fn is_optional(&self) -> bool {
        matches!(self.0, Type::Option(_))
    }

    fn read(&self, text: &str) -> Result<Value, String> {
        from_text(text, &self.0).map_err(|error| error.to_string())
    }

    fn check(&self, value: &Value) -> Result<(), String> {
        to_val(value, &self.0).map(drop).map_err(|error| error.to_string())
    }
}

/// Those that the component takes.
pub fn of(host: &Host) -> Result<Operations, Failure> {
    let function = host.function(FUNCTION).map_err(|error| Failure::host(&error))?;
    let operations = function.inputs().into_iter().find(|(name, _)| name == "operations");
    let Some(Type::List(list)) = operations.map(|(_, ty)| ty) else { return Err(strange()) };
    let ty = list.ty();
    let Type::Variant(variant) = &ty else { return Err(strange()) };
    let destructive = destructive()?;
    let all = variant.cases().map(|case| {
        let tag = json_name(case.name);
        let (is_bare, fields) = match case.ty {
            Some(Type::Record(record)) => (false, record.fields().map(|of| field(of.name, of.ty)).collect()),
            Some(ty) => (true, vec![field(ADDRESS, ty)]),
            None => (false, Vec::new()),
        };
        let destructive = destructive.contains(&tag);
        Operation { name: case.name.to_owned(), tag, destructive, fields, is_bare }
    });
    Ok(Operations::new(all.collect(), WitType(ty)))
}

fn field(name: &str, ty: Type) -> Field<WitType> {
    Field { name: name.to_owned(), key: json_name(name), ty: WitType(ty) }
}

/// The component is not the one that this command was written for.
fn strange() -> Failure {
    Failure::host(&HostError::NoJsonForm { function: FUNCTION.into() })
}

/// The tags of the operations that need the scope `delete`: the comment of each begins with its function.
fn destructive() -> Result<Vec<String>, Failure> {
    let catalog = Catalog::new().map_err(|error| Failure::host(&error))?;
    let function = catalog.function(FUNCTION).ok_or_else(strange)?;
    let spelled: Vec<_> = function.parameters.iter().map(|field| field.ty.as_str()).collect();
    let types = catalog.types_in(&spelled.join(" "));
    let Some(Shape::Variant { cases }) = types.iter().map(|ty| &ty.shape).find(|shape| matches!(shape, Shape::Variant { .. }))
    else {
        return Err(strange());
    };
    let needs_delete = |docs: &str| {
        let function = docs.split('`').nth(1).and_then(|name| catalog.function(name));
        // Better one question too many.
        function.is_none_or(|function| function.facts.scope == "delete")
    };
    Ok(cases.iter().filter(|case| needs_delete(&case.docs)).map(|case| case.name.clone()).collect())
}
