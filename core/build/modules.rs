//! The description of each module, and the way from its id to the function.
//!
//! A JSON Schema is kept as a text for each type, in which the number of another type between two bytes 1 stands for that
//! type's own text. Each text is the inside of an object, without the opening brace, so that a description can go before it.

use std::{collections::BTreeSet, fmt::Write as _};

use memberspot_comments::{MODULES, function as comment, on_one_line, parameter, resolved};
use wit_parser::{Function, InterfaceId, Resolve, Type, TypeDefKind, TypeId};

use crate::names::{is_option, lower_camel, snake};

/// The Rust source of the tables `TYPES` and `MODULES`, and of `run_module`.
pub fn modules(resolve: &Resolve, interfaces: &[(&str, InterfaceId)]) -> String {
    let mut schemas = Schemas { resolve, texts: vec![], ids: vec![], inputs: BTreeSet::new() };
    let described: Vec<_> = interfaces.iter().filter(|(name, _)| *name != MODULES).collect();
    let functions: Vec<_> = described
        .iter()
        .flat_map(|(name, id)| resolve.interfaces[*id].functions.values().map(move |function| (*name, *id, function)))
        .collect();
    for (_, _, function) in &functions {
        for parameter in &function.params {
            schemas.note_input(parameter.ty);
        }
    }
    let mut table = String::new();
    let mut arms = String::new();
    for (interface, id, function) in &functions {
        let input = schemas.input(function, *id);
        let output = schemas.output(function);
        let description = comment(function).map_or("", |(docs, _)| docs);
        let _ = writeln!(
            table,
            "Description {{ function: &crate::function::{}, docs: {description:?}, input: {input:?}, output: {output:?} }},",
            snake(&function.name).to_uppercase(),
        );
        let _ = writeln!(arms, "{:?} => {},", format!("{interface}.{}", function.name), arm(function, interface, resolve));
    }
    let bounds = described.iter().filter(|(_, id)| !resolve.interfaces[*id].functions.is_empty());
    let bounds: Vec<_> = bounds.map(|(name, _)| format!("crate::wit::{}::Guest", snake(name))).collect();
    let texts = &schemas.texts;
    format!(
        "static TYPES: &[&str] = &{texts:?};\nstatic MODULES: &[Description] = &[{table}];\n\
         /// `modules.run-module`, for a component that has the functions.\n\
         pub fn run_module<C: {}>(id: &str, input: &str) -> Result<String, Error> {{\n\
         Description::find(id)?; let json = parse(input)?; match id {{ {arms} _ => Err(unknown(id)) }} }}\n",
        bounds.join(" + "),
    )
}

/// Reads the input and calls the function.
fn arm(function: &Function, interface: &str, resolve: &Resolve) -> String {
    let call = format!("<C as crate::wit::{}::Guest>::{}", snake(interface), snake(&function.name));
    if request(function, resolve).is_some() {
        return format!("done({call}(Decode::decode(json, &Place::ALL)?))");
    }
    let names: Vec<_> = function.params.iter().map(|parameter| lower_camel(&parameter.name)).collect();
    let arguments = vec!["fields.take()?"; names.len()].join(", ");
    let mutable = if names.is_empty() { "_" } else { "mut " };
    format!("{{ let {mutable}fields = Fields::of(json, &Place::ALL, &{names:?})?; done({call}({arguments})) }}")
}

/// The record that the input is, where the only parameter is one.
fn request(function: &Function, resolve: &Resolve) -> Option<TypeId> {
    let [parameter] = function.params.as_slice() else { return None };
    let Type::Id(id) = parameter.ty else { return None };
    let id = resolved(resolve, id);
    matches!(resolve.types[id].kind, TypeDefKind::Record(_)).then_some(id)
}

struct Schemas<'a> {
    resolve: &'a Resolve,
    texts: Vec<String>,
    ids: Vec<TypeId>,
    /// The types that inputs have in them: those that take no other fields.
    inputs: BTreeSet<TypeId>,
}

impl Schemas<'_> {
    fn note_input(&mut self, ty: Type) {
        let Type::Id(id) = ty else { return };
        let id = resolved(self.resolve, id);
        if !self.inputs.insert(id) {
            return;
        }
        match &self.resolve.types[id].kind {
            TypeDefKind::Record(record) => record.fields.iter().for_each(|field| self.note_input(field.ty)),
            TypeDefKind::Variant(variant) => {
                variant.cases.iter().filter_map(|case| case.ty).for_each(|ty| self.note_input(ty));
            }
            TypeDefKind::Option(ty) | TypeDefKind::List(ty) => self.note_input(*ty),
            _ => {}
        }
    }

    fn input(&mut self, function: &Function, interface: InterfaceId) -> String {
        if let Some(id) = request(function, self.resolve) {
            return self.of(Type::Id(id));
        }
        let field = |it: &wit_parser::Param| (it.name.clone(), it.ty, parameter(self.resolve, interface, function, &it.name));
        let fields: Vec<_> = function.params.iter().map(field).collect();
        let fields: Vec<_> = fields.iter().map(|(name, ty, docs)| (name.as_str(), *ty, docs.clone())).collect();
        self.object(&fields, true)
    }

    fn output(&mut self, function: &Function) -> String {
        let Some(Type::Id(id)) = function.result else { panic!("wit/: {} gives no result", function.name) };
        let TypeDefKind::Result(result) = &self.resolve.types[id].kind else {
            panic!("wit/: {} gives no result", function.name)
        };
        match result.ok {
            None => r#""type":"null"}"#.to_owned(),
            Some(ty) if is_option(self.resolve, ty) => format!(r#""anyOf":[{{{},{{"type":"null"}}]}}"#, self.of(ty)),
            Some(ty) => self.of(ty),
        }
    }

    /// The inside of a type's schema.
    fn of(&mut self, ty: Type) -> String {
        match ty {
            Type::String => r#""type":"string"}"#.to_owned(),
            Type::Bool => r#""type":"boolean"}"#.to_owned(),
            Type::U16 => r#""type":"integer","minimum":0,"maximum":65535}"#.to_owned(),
            Type::U32 => r#""type":"integer","minimum":0,"maximum":4294967295}"#.to_owned(),
            Type::S32 => r#""type":"integer","minimum":-2147483648,"maximum":2147483647}"#.to_owned(),
            Type::Id(id) => self.of_id(resolved(self.resolve, id)),
            other => panic!("wit/: there is no JSON Schema yet for {other:?}"),
        }
    }

    fn of_id(&mut self, id: TypeId) -> String {
        let resolve = self.resolve;
        match &resolve.types[id].kind {
            TypeDefKind::Option(ty) => self.of(*ty),
            TypeDefKind::List(ty) => format!(r#""type":"array","items":{{{}}}"#, self.of(*ty)),
            TypeDefKind::Record(_) | TypeDefKind::Variant(_) | TypeDefKind::Enum(_) => {
                let number = self.ids.iter().position(|known| *known == id).unwrap_or_else(|| {
                    let text = self.definition(id);
                    self.ids.push(id);
                    self.texts.push(text);
                    self.ids.len() - 1
                });
                format!("\u{1}{number}\u{1}")
            }
            other => panic!("wit/: there is no JSON Schema yet for {}", other.as_str()),
        }
    }

    fn definition(&mut self, id: TypeId) -> String {
        let resolve = self.resolve;
        let strict = self.inputs.contains(&id);
        match &resolve.types[id].kind {
            TypeDefKind::Record(record) => {
                let fields: Vec<_> =
                    record.fields.iter().map(|field| (field.name.as_str(), field.ty, on_one_line(&field.docs))).collect();
                self.object(&fields, strict)
            }
            TypeDefKind::Enum(cases) => {
                let names: Vec<_> = cases.cases.iter().map(|case| json(&lower_camel(&case.name))).collect();
                format!(r#""type":"string","enum":[{}]}}"#, names.join(","))
            }
            TypeDefKind::Variant(variant) => {
                let cases: Vec<_> = variant
                    .cases
                    .iter()
                    .map(|case| {
                        let tag = json(&lower_camel(&case.name));
                        let (value, required) = match case.ty {
                            Some(ty) => (format!(r#","val":{{{}"#, self.of(ty)), r#","val""#),
                            None => (String::new(), ""),
                        };
                        let closed = if strict { r#","additionalProperties":false"# } else { "" };
                        format!(
                            r#"{{"title":{},"description":{},"type":"object","properties":{{"tag":{{"const":{tag}}}{value}}},"required":["tag"{required}]{closed}}}"#,
                            json(&title(&case.name)),
                            json(&on_one_line(&case.docs)),
                        )
                    })
                    .collect();
                format!(r#""oneOf":[{}]}}"#, cases.join(","))
            }
            _ => unreachable!("only named types are defined"),
        }
    }

    fn object(&mut self, fields: &[(&str, Type, String)], strict: bool) -> String {
        let mut properties = vec![];
        let mut required = vec![];
        for (name, ty, docs) in fields {
            let key = json(&lower_camel(name));
            if !is_option(self.resolve, *ty) {
                required.push(key.clone());
            }
            let options = match *name {
                "offer-id" | "course-id" | "property" if strict => r#","x-options":true"#,
                _ => "",
            };
            properties.push(format!(r#"{key}:{{"description":{}{options},{}"#, json(docs), self.of(*ty)));
        }
        let required = if required.is_empty() { String::new() } else { format!(r#","required":[{}]"#, required.join(",")) };
        let closed = if strict { r#","additionalProperties":false"# } else { "" };
        format!(r#""type":"object","properties":{{{}}}{required}{closed}}}"#, properties.join(","))
    }
}

/// `Grant access`
fn title(name: &str) -> String {
    let words = name.replace('-', " ");
    let (first, rest) = words.split_at(1);
    first.to_uppercase() + rest
}

/// A text as JSON. Comments have no control characters but line ends.
fn json(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
