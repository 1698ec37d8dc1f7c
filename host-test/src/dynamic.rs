//! Calls by name, with JSON: what the component exports decides, so that a new function of the WIT is there without glue.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use wasmtime::Engine;
use wasmtime::component::types::{ComponentFunc, ComponentItem, Type};
use wasmtime::component::{Component, ComponentExportIndex, Val};

use crate::HostError;
use crate::egress::Refusal;
use crate::json::{self, Answer, JsonError};

/// What a function answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The function succeeded: its result.
    Success(Answer),
    /// The function failed: its `error`, an object of `tag` and `val`.
    Failure(Answer),
}

impl Outcome {
    /// The JSON of the result or of the error.
    ///
    /// # Errors
    ///
    /// The error of the function, when it failed.
    pub fn into_json(self) -> Result<Value, Value> {
        match self {
            Self::Success(answer) => Ok(answer.to_json()),
            Self::Failure(answer) => Err(answer.to_json()),
        }
    }

    /// Whether the function failed as it does after such a refusal.
    pub(crate) fn is_due_to(&self, refusal: &Refusal) -> bool {
        let code = match refusal {
            Refusal::Unrecorded { .. } => "unreachable",
            _ => "notPermitted",
        };
        matches!(self, Self::Failure(error) if error.to_json()["val"]["code"] == code)
    }
}

/// A function that the component exports.
#[derive(Debug, Clone)]
pub struct Function {
    interface: String,
    name: String,
    ty: ComponentFunc,
    pub(crate) index: ComponentExportIndex,
}

impl Function {
    /// The name of its interface in full, such as `memberspot:connector/access@0.1.0`; empty for a function of the world.
    #[must_use]
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Its name, such as `grant-access`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its type.
    #[must_use]
    pub fn ty(&self) -> &ComponentFunc {
        &self.ty
    }

    /// The short name of its interface, such as `access`.
    #[must_use]
    pub fn short_interface(&self) -> &str {
        let name = self.interface.rsplit('/').next().unwrap_or_default();
        name.split('@').next().unwrap_or_default()
    }

    /// The keys of the JSON object that it takes, with their types: its parameters or, when its single parameter is a
    /// record `request`, the fields of that record.
    #[must_use]
    pub fn inputs(&self) -> Vec<(String, Type)> {
        match self.request_record() {
            Some(record) => record.fields().map(|field| (json::json_name(field.name), field.ty)).collect(),
            None => self.ty.params().map(|(name, ty)| (json::json_name(name), ty)).collect(),
        }
    }

    /// The record whose fields may stand for the parameters.
    fn request_record(&self) -> Option<wasmtime::component::types::Record> {
        let mut params = self.ty.params();
        match (params.next(), params.next()) {
            (Some(("request", Type::Record(record))), None) => Some(record),
            _ => None,
        }
    }

    /// Whether each of its types has a JSON form.
    fn is_representable(&self) -> bool {
        self.ty.params().map(|(_, ty)| ty).chain(self.ty.results()).all(|ty| json::is_representable(&ty))
    }

    /// The values to call it with.
    pub(crate) fn arguments(&self, input: &Value) -> Result<Vec<Val>, HostError> {
        if !self.is_representable() {
            return Err(HostError::NoJsonForm { function: self.name.clone() });
        }
        self.read(input).map_err(|source| HostError::Input { function: self.name.clone(), source })
    }

    fn read(&self, input: &Value) -> Result<Vec<Val>, JsonError> {
        let params: Vec<_> = self.ty.params().collect();
        let nothing = Map::new();
        let object = match input {
            Value::Null => &nothing,
            Value::Object(object) => object,
            // A list gives the parameters in their order.
            _ => return json::tuple_vals(input, &params),
        };
        match self.request_record() {
            // `{"request": {…}}` is the long form, unless the record itself has such a field.
            Some(record) if !object.contains_key("request") || record.fields().any(|field| field.name == "request") => {
                json::to_val(&Value::Object(object.clone()), &Type::Record(record)).map(|val| vec![val])
            }
            _ => json::object_vals(object, &params),
        }
    }
}

/// What the result of a function says.
pub(crate) fn outcome(results: Vec<Val>) -> Outcome {
    match results.into_iter().next() {
        Some(Val::Result(Ok(value))) => Outcome::Success(Answer::new(value)),
        Some(Val::Result(Err(value))) => Outcome::Failure(Answer::new(value)),
        value => Outcome::Success(Answer::new(value.map(Box::new))),
    }
}

/// All functions that a component exports, at the root or one interface deep.
pub(crate) fn exports(engine: &Engine, component: &Component) -> Vec<Function> {
    let mut functions = Vec::new();
    for (export, item) in component.component_type().exports(engine) {
        match item.ty {
            ComponentItem::ComponentFunc(ty) => {
                if let Some(index) = component.get_export_index(None, export) {
                    functions.push(Function { interface: String::new(), name: export.to_owned(), ty, index });
                }
            }
            ComponentItem::ComponentInstance(instance) => {
                let Some(parent) = component.get_export_index(None, export) else { continue };
                for (name, item) in instance.exports(engine) {
                    let ComponentItem::ComponentFunc(ty) = item.ty else { continue };
                    if let Some(index) = component.get_export_index(Some(&parent), name) {
                        functions.push(Function { interface: export.to_owned(), name: name.to_owned(), ty, index });
                    }
                }
            }
            _ => {}
        }
    }
    functions
}

/// Finds a function by its name, alone (`grant-access`) or after its interface, short or in full, and a `.` or `#`
/// (`access.grant-access`).
pub(crate) fn find<'a>(functions: &'a [Function], wanted: &str) -> Result<&'a Function, HostError> {
    let (interface, name) = match wanted.rsplit_once(['.', '#']) {
        Some((interface, name)) => (Some(interface), name),
        None => (None, wanted),
    };
    let in_interface = |function: &&Function| {
        interface.is_none_or(|interface| interface == function.short_interface() || interface == function.interface)
    };
    let mut matches = functions.iter().filter(|function| function.name == name).filter(in_interface);
    match (matches.next(), matches.next()) {
        (Some(function), None) => Ok(function),
        (Some(first), Some(second)) => {
            let candidates = [first, second].into_iter().chain(matches);
            Err(HostError::AmbiguousFunction {
                name: wanted.to_owned(),
                interfaces: candidates.map(|function| function.interface.clone()).collect(),
            })
        }
        (None, _) => {
            let names: BTreeSet<_> = functions.iter().map(|function| function.name.as_str()).collect();
            Err(HostError::UnknownFunction {
                name: wanted.to_owned(),
                nearest: json::nearest(name, names.into_iter()).map(str::to_owned),
            })
        }
    }
}
