//! `--set field=value`: the input of a function in pieces, read by the types of its fields.

use memberspot_host::Function;
use memberspot_host::json::from_text;
use serde_json::{Map, Value};
use wasmtime::component::types::Type;

use super::output::Failure;

/// Adds the assignments to the input, and to what `--set` did not mention nothing is done.
///
/// A text is taken as it is, even when it looks like a number. A list grows by one item for each assignment to it, or by
/// all items of a JSON list. Everything else is JSON.
pub fn apply(function: &Function, input: Value, assignments: &[String]) -> Result<Value, Failure> {
    if assignments.is_empty() {
        return Ok(input);
    }
    let mut object = match input {
        Value::Null => Map::new(),
        Value::Object(object) => object,
        _ => return Err(Failure::usage("--set adds to a JSON object, and the input is not one")),
    };
    let inputs = function.inputs();
    let mut assigned: Vec<&str> = Vec::new();
    for assignment in assignments {
        let (name, text) =
            assignment.split_once('=').ok_or_else(|| Failure::usage(format!("--set {assignment}: expected field=value")))?;
        let problem = |problem: &dyn std::fmt::Display| Failure::usage(format!("--set {name}: {problem}"));
        let Some((_, ty)) = inputs.iter().find(|(known, _)| known == name) else {
            let known: Vec<_> = inputs.iter().map(|(known, _)| known.as_str()).collect();
            return Err(problem(&match known.as_slice() {
                [] => format!("{} takes no input", function.name()),
                known => format!("there is no such field; {} takes {}", function.name(), known.join(", ")),
            }));
        };
        let again = assigned.contains(&name);
        assigned.push(name);
        match element(ty) {
            Some(element) => {
                let items = items(text, &element).map_err(|error| problem(&error))?;
                // What the input said before is replaced; what `--set` said before is added to.
                match object.get_mut(name) {
                    Some(Value::Array(list)) if again => list.extend(items),
                    _ => drop(object.insert(name.to_owned(), items.into())),
                }
            }
            None if again => return Err(problem(&"given twice")),
            None => drop(object.insert(name.to_owned(), from_text(text, ty).map_err(|error| problem(&error))?)),
        }
    }
    Ok(object.into())
}

/// The type of the items, when this is a list.
fn element(ty: &Type) -> Option<Type> {
    match ty {
        Type::List(list) => Some(list.ty()),
        Type::Option(option) => element(&option.ty()),
        _ => None,
    }
}

fn items(text: &str, element: &Type) -> Result<Vec<Value>, memberspot_host::json::JsonError> {
    // A text that begins with a bracket but is no JSON list is an item.
    match serde_json::from_str(text) {
        Ok(Value::Array(items)) => Ok(items),
        _ => Ok(vec![from_text(text, element)?]),
    }
}
