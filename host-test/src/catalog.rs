//! What there is to call: functions, types and their documentation, read from the WIT.
//!
//! [`Host::functions`](crate::Host::functions) has the types as the component was built with them, but a component carries
//! no comments. Names of parameters, fields and cases are those of the [JSON form](crate::json).

pub use memberspot_comments::Facts;
use serde::Serialize;
use serde_json::{Map, Value};
use wit_parser::{Docs, InterfaceId, Resolve, SourceMap, Type, TypeDef, TypeDefKind, TypeId, WorldItem};

use crate::json::{json_name, nearest};

/// The WIT that the component was made from: pairs of file name and content.
pub const WIT: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/wit.rs"));

/// All that the connector exports.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Catalog {
    /// The WIT package, such as `memberspot:connector@0.1.0`.
    pub package: String,
    /// What it is.
    pub docs: String,
    /// The interfaces that have functions, in the order of the world.
    pub interfaces: Vec<Interface>,
    /// The types that have a name, in the order in which they are declared.
    pub types: Vec<NamedType>,
}

/// An interface: one area of the API.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// What it is about.
    pub docs: String,
    /// Its functions.
    pub functions: Vec<FunctionInfo>,
}

/// A function.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionInfo {
    /// Its name, which no other interface has.
    pub name: String,
    /// The interface that it belongs to.
    pub interface: String,
    /// The first sentence of its comment.
    pub summary: String,
    /// Its comment, without the line of facts.
    pub docs: String,
    /// What the line of facts says.
    pub facts: Facts,
    /// The keys of the JSON object that it takes.
    pub parameters: Vec<Field>,
    /// The type of what it gives on success. Absent when that is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// The smallest input that has the right form.
    pub example: Value,
}

/// A parameter, or a field of a record.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Field {
    /// Its name in JSON.
    pub name: String,
    /// Its type in WIT, such as `option<string>`.
    #[serde(rename = "type")]
    pub ty: String,
    /// Whether it must be given. What is optional may be left out, or be `null`.
    pub required: bool,
    /// What it means; empty for the parameters of a function, whose names say it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub docs: String,
}

/// A type that has a name.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NamedType {
    /// Its name in WIT.
    pub name: String,
    /// The interface that declares it.
    pub interface: String,
    /// What it is.
    pub docs: String,
    /// What it is made of.
    #[serde(flatten)]
    pub shape: Shape,
}

/// What a type is made of.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
#[non_exhaustive]
pub enum Shape {
    /// An object.
    Record {
        /// Its keys.
        fields: Vec<Field>,
    },
    /// An object of `tag` and `val`.
    Variant {
        /// The tags.
        cases: Vec<Case>,
    },
    /// A text out of a few.
    Enum {
        /// The texts.
        cases: Vec<Case>,
    },
    /// Anything else, in WIT.
    Other {
        /// The type.
        definition: String,
    },
}

/// A case of a variant or enum.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Case {
    /// Its name in JSON.
    pub name: String,
    /// The type of its payload in WIT.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub ty: Option<String>,
    /// What it means.
    pub docs: String,
}

/// Why the WIT could not be read as a catalog.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the WIT cannot be read: {0}")]
pub struct CatalogError(String);

impl Catalog {
    /// Reads the WIT that the component was made from.
    ///
    /// # Errors
    ///
    /// When the WIT is not valid, or a function lacks its facts.
    pub fn new() -> Result<Self, CatalogError> {
        Self::from_wit(WIT)
    }

    fn from_wit(files: &[(&str, &str)]) -> Result<Self, CatalogError> {
        let error = |error: &dyn std::fmt::Display| CatalogError(error.to_string());
        let mut sources = SourceMap::new();
        for (name, content) in files {
            sources.push_str(name, *content);
        }
        let mut resolve = Resolve::new();
        let group = sources.parse().map_err(|(_, problem)| error(&problem))?;
        let package = resolve.push_group(group).map_err(|problem| error(&problem))?;
        let world = resolve.select_world(&[package], None).map_err(|problem| error(&problem))?;

        let mut catalog = Self {
            package: resolve.packages[package].name.to_string(),
            docs: text(&resolve.packages[package].docs),
            interfaces: Vec::new(),
            types: Vec::new(),
        };
        for item in resolve.worlds[world].exports.values() {
            let WorldItem::Interface { id, .. } = item else { continue };
            let reader = Reader { resolve: &resolve, interface: *id };
            catalog.types.extend(reader.types());
            let interface = reader.interface()?;
            if !interface.functions.is_empty() {
                catalog.interfaces.push(interface);
            }
        }
        Ok(catalog)
    }

    /// All functions.
    pub fn functions(&self) -> impl Iterator<Item = &FunctionInfo> {
        self.interfaces.iter().flat_map(|interface| &interface.functions)
    }

    /// A function by its name, alone or after its interface and a dot.
    #[must_use]
    pub fn function(&self, wanted: &str) -> Option<&FunctionInfo> {
        let (interface, name) = match wanted.rsplit_once(['.', '#']) {
            Some((interface, name)) => (Some(interface), name),
            None => (None, wanted),
        };
        self.functions()
            .find(|function| function.name == name && interface.is_none_or(|interface| interface == function.interface))
    }

    /// The name of the function that was probably meant.
    #[must_use]
    pub fn nearest(&self, name: &str) -> Option<&str> {
        nearest(name, self.functions().map(|function| function.name.as_str()))
    }

    /// A type by its name in WIT.
    #[must_use]
    pub fn named_type(&self, name: &str) -> Option<&NamedType> {
        self.types.iter().find(|ty| ty.name == name)
    }

    /// The named types that occur in a type such as `option<list<user>>`, and in what these are made of, each once.
    #[must_use]
    pub fn types_in<'a>(&'a self, ty: &str) -> Vec<&'a NamedType> {
        let mut found = Vec::new();
        self.collect_types(ty, &mut found);
        found
    }

    fn collect_types<'a>(&'a self, ty: &str, found: &mut Vec<&'a NamedType>) {
        let words = ty.split(|char: char| !char.is_ascii_alphanumeric() && char != '-');
        for named in words.filter_map(|word| self.named_type(word)) {
            if found.iter().any(|known| known.name == named.name) {
                continue;
            }
            found.push(named);
            match &named.shape {
                Shape::Record { fields } => fields.iter().for_each(|field| self.collect_types(&field.ty, found)),
                Shape::Variant { cases } => {
                    cases.iter().filter_map(|case| case.ty.as_deref()).for_each(|ty| self.collect_types(ty, found));
                }
                Shape::Enum { .. } => {}
                Shape::Other { definition } => self.collect_types(definition, found),
            }
        }
    }
}

/// Reads one interface.
struct Reader<'a> {
    resolve: &'a Resolve,
    interface: InterfaceId,
}

impl Reader<'_> {
    fn name(&self) -> String {
        self.resolve.interfaces[self.interface].name.clone().unwrap_or_default()
    }

    fn interface(&self) -> Result<Interface, CatalogError> {
        let interface = &self.resolve.interfaces[self.interface];
        let functions = interface.functions.values().map(|function| self.function(function));
        Ok(Interface { name: self.name(), docs: text(&interface.docs), functions: functions.collect::<Result<_, _>>()? })
    }

    fn function(&self, function: &wit_parser::Function) -> Result<FunctionInfo, CatalogError> {
        let (docs, facts) = memberspot_comments::function(function)
            .map_err(|line| CatalogError(format!("the comment of {} ends in {line:?}, not in its facts", function.name)))?;
        // Every function gives `result<T, error>`; a contract test holds it to that.
        let result = match function.result.and_then(|ty| self.definition(ty)).map(|ty| &ty.kind) {
            Some(TypeDefKind::Result(result)) => result.ok,
            _ => function.result,
        };
        Ok(FunctionInfo {
            name: function.name.clone(),
            interface: self.name(),
            summary: first_sentence(docs),
            facts,
            parameters: self.parameters(function),
            result: result.map(|ty| self.spell(ty)),
            example: self.example(function),
            docs: docs.to_owned(),
        })
    }

    /// The record whose fields stand for the parameters: the single parameter `request`.
    fn request<'a>(&'a self, function: &wit_parser::Function) -> Option<&'a wit_parser::Record> {
        let [param] = function.params.as_slice() else { return None };
        match &self.definition(param.ty)?.kind {
            TypeDefKind::Record(record) if param.name == "request" => Some(record),
            _ => None,
        }
    }

    fn parameters(&self, function: &wit_parser::Function) -> Vec<Field> {
        match self.request(function) {
            Some(record) => self.fields(record),
            None => function.params.iter().map(|param| self.field(&param.name, param.ty, String::new())).collect(),
        }
    }

    fn example(&self, function: &wit_parser::Function) -> Value {
        match self.request(function) {
            Some(record) => self.example_record(record),
            None => function
                .params
                .iter()
                .map(|param| (json_name(&param.name), self.example_value(&param.name, param.ty)))
                .collect::<Map<_, _>>()
                .into(),
        }
    }

    fn example_record(&self, record: &wit_parser::Record) -> Value {
        let required = record.fields.iter().filter(|field| !self.is_option(field.ty));
        required.map(|field| (json_name(&field.name), self.example_value(&field.name, field.ty))).collect::<Map<_, _>>().into()
    }

    fn example_value(&self, name: &str, ty: Type) -> Value {
        let Some(definition) = self.definition(ty) else {
            return match ty {
                Type::Bool => true.into(),
                Type::Char => "x".into(),
                Type::String if name.starts_with("email") => "ada@example.com".into(),
                Type::String => format!("<{}>", name.replace('-', " ")).into(),
                _ => 1.into(),
            };
        };
        match &definition.kind {
            TypeDefKind::Record(record) => self.example_record(record),
            TypeDefKind::List(element) => vec![self.example_value(name, *element)].into(),
            TypeDefKind::Enum(cases) => cases.cases.first().map(|case| json_name(&case.name)).into(),
            TypeDefKind::Variant(variant) => {
                let Some(case) = variant.cases.first() else { return Value::Null };
                let mut object = Map::new();
                object.insert("tag".into(), json_name(&case.name).into());
                if let Some(ty) = case.ty {
                    object.insert("val".into(), self.example_value(&case.name, ty));
                }
                object.into()
            }
            _ => Value::Null,
        }
    }

    fn types(&self) -> Vec<NamedType> {
        let declared = self.resolve.interfaces[self.interface].types.iter();
        // A name that came in by `use` is declared elsewhere.
        let own = declared.filter(|(_, id)| !matches!(self.resolve.types[**id].kind, TypeDefKind::Type(Type::Id(_))));
        own.map(|(name, id)| NamedType {
            name: name.clone(),
            interface: self.name(),
            docs: text(&self.resolve.types[*id].docs),
            shape: self.shape(*id),
        })
        .collect()
    }

    fn shape(&self, id: TypeId) -> Shape {
        let case = |name: &str, ty: Option<Type>, docs: &Docs| Case {
            name: json_name(name),
            ty: ty.map(|ty| self.spell(ty)),
            docs: text(docs),
        };
        match &self.resolve.types[id].kind {
            TypeDefKind::Record(record) => Shape::Record { fields: self.fields(record) },
            TypeDefKind::Variant(variant) => {
                Shape::Variant { cases: variant.cases.iter().map(|it| case(&it.name, it.ty, &it.docs)).collect() }
            }
            TypeDefKind::Enum(cases) => {
                Shape::Enum { cases: cases.cases.iter().map(|it| case(&it.name, None, &it.docs)).collect() }
            }
            kind => Shape::Other { definition: self.spell_kind(kind) },
        }
    }

    fn fields(&self, record: &wit_parser::Record) -> Vec<Field> {
        record.fields.iter().map(|field| self.field(&field.name, field.ty, text(&field.docs))).collect()
    }

    fn field(&self, name: &str, ty: Type, docs: String) -> Field {
        Field { name: json_name(name), ty: self.spell(ty), required: !self.is_option(ty), docs }
    }

    fn is_option(&self, ty: Type) -> bool {
        self.definition(ty).is_some_and(|definition| matches!(definition.kind, TypeDefKind::Option(_)))
    }

    /// The definition of a type that is not primitive, behind its aliases.
    fn definition(&self, ty: Type) -> Option<&TypeDef> {
        let Type::Id(mut id) = ty else { return None };
        while let TypeDefKind::Type(Type::Id(next)) = self.resolve.types[id].kind {
            id = next;
        }
        Some(&self.resolve.types[id])
    }

    /// A type as in WIT.
    fn spell(&self, ty: Type) -> String {
        match ty {
            Type::Bool => "bool".into(),
            Type::U8 => "u8".into(),
            Type::U16 => "u16".into(),
            Type::U32 => "u32".into(),
            Type::U64 => "u64".into(),
            Type::S8 => "s8".into(),
            Type::S16 => "s16".into(),
            Type::S32 => "s32".into(),
            Type::S64 => "s64".into(),
            Type::F32 => "f32".into(),
            Type::F64 => "f64".into(),
            Type::Char => "char".into(),
            Type::String => "string".into(),
            Type::ErrorContext => "error-context".into(),
            Type::Id(id) => {
                let definition = &self.resolve.types[id];
                definition.name.clone().unwrap_or_else(|| self.spell_kind(&definition.kind))
            }
        }
    }

    fn spell_kind(&self, kind: &TypeDefKind) -> String {
        match kind {
            TypeDefKind::Option(ty) => format!("option<{}>", self.spell(*ty)),
            TypeDefKind::List(ty) => format!("list<{}>", self.spell(*ty)),
            TypeDefKind::Tuple(tuple) => {
                format!("tuple<{}>", tuple.types.iter().map(|ty| self.spell(*ty)).collect::<Vec<_>>().join(", "))
            }
            TypeDefKind::Result(result) => {
                let side = |ty: Option<Type>| ty.map_or_else(|| "_".to_owned(), |ty| self.spell(ty));
                format!("result<{}, {}>", side(result.ok), side(result.err))
            }
            TypeDefKind::Type(ty) => self.spell(*ty),
            kind => kind.as_str().to_owned(),
        }
    }
}

fn text(docs: &Docs) -> String {
    docs.contents.as_deref().unwrap_or_default().trim().to_owned()
}

/// The first sentence, on one line: up to a full stop with a space or the end of the paragraph behind it.
fn first_sentence(docs: &str) -> String {
    let paragraph = docs.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    match paragraph.split_once(". ") {
        Some((sentence, _)) => format!("{sentence}."),
        None => paragraph,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_the_first_sentence() {
        assert_eq!(first_sentence("Grant it. Or not."), "Grant it.");
        assert_eq!(first_sentence("Grant\nit,\nnow.\n\nMore."), "Grant it, now.");
    }

    #[test]
    fn a_request_record_stands_for_the_parameters() {
        let catalog = Catalog::new().unwrap();
        let grant = catalog.function("access.grant-access").unwrap();
        let names: Vec<_> = grant.parameters.iter().map(|field| (field.name.as_str(), field.required)).collect();
        assert_eq!(names, [("email", true), ("offerId", true), ("firstName", false), ("lastName", false), ("orderId", false)]);
        assert_eq!(grant.example, serde_json::json!({"email": "ada@example.com", "offerId": "<offer id>"}));
        assert_eq!(grant.result.as_deref(), Some("user"));
        let names: Vec<_> = catalog.types_in("option<user>").iter().map(|ty| ty.name.as_str()).collect();
        assert_eq!(names, ["user", "property-value", "course-progress"]);
        assert_eq!(catalog.nearest("grant-acces"), Some("grant-access"));
        assert_eq!(catalog.function("users.grant-access"), None);
    }
}
