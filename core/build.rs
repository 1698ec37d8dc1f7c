//! What is made from `wit/`, so that it is the only place where it stands: the facts of each function (scope, repeatability,
//! rate limit), from the last line of its comment, for `src/function.rs`; and the JSON form of each type, for `src/form.rs`.

use std::{env, fmt::Write as _, fs, path::Path};

use wit_parser::{InterfaceId, Resolve, Type, TypeDefKind};

fn main() {
    println!("cargo::rerun-if-changed=../wit");
    println!("cargo::rerun-if-changed=build.rs");
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir("../wit").unwrap_or_else(|problem| panic!("wit/: {problem:#}"));
    let interfaces: Vec<_> = resolve.packages[package].interfaces.iter().map(|(name, id)| (name.as_str(), *id)).collect();
    let table = table(&resolve, &interfaces).unwrap_or_else(|problem| panic!("wit/: {problem}"));
    let forms: String = interfaces.iter().map(|(name, id)| forms(&resolve, name, *id)).collect();
    let folder = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts");
    for (file, source) in [("functions.rs", table), ("forms.rs", forms)] {
        fs::write(Path::new(&folder).join(file), source).expect("OUT_DIR is writable");
    }
}

/// The Rust source of `Serialize` for each type of an interface.
fn forms(resolve: &Resolve, interface: &str, id: InterfaceId) -> String {
    let mut source = String::new();
    for (name, id) in &resolve.interfaces[id].types {
        let path = format!("crate::wit::{}::{}", interface.replace('-', "_"), upper_camel(name));
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

fn is_option(resolve: &Resolve, ty: Type) -> bool {
    matches!(ty, Type::Id(id) if matches!(resolve.types[id].kind, TypeDefKind::Option(_)))
}

fn upper_camel(name: &str) -> String {
    name.split('-').map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

fn lower_camel(name: &str) -> String {
    let camel = upper_camel(name);
    camel[..1].to_lowercase() + &camel[1..]
}

/// The Rust source of one constant for each function, and of `ALL`.
fn table(resolve: &Resolve, interfaces: &[(&str, InterfaceId)]) -> Result<String, String> {
    let mut constants = String::new();
    let mut all = String::new();
    for (interface, id) in interfaces {
        for (name, function) in &resolve.interfaces[*id].functions {
            let docs = function.docs.contents.as_deref().unwrap_or_default();
            let facts = docs.lines().last().unwrap_or_default().trim();
            let (scope, repeat, limit) = facts_of(facts)
                .ok_or_else(|| format!("{interface}.{name}: the comment ends in {facts:?}, not in its facts"))?;
            let constant = name.replace('-', "_").to_uppercase();
            writeln!(
                constants,
                "/// `{interface}.{name}`\npub const {constant}: Function = Function {{ interface: {interface:?}, \
                 name: {name:?}, scopes: {scope}, repeat: Repeat::{repeat}, limit: {limit:?} }};"
            )
            .map_err(|error| error.to_string())?;
            write!(all, "{constant}, ").map_err(|error| error.to_string())?;
        }
    }
    Ok(format!("{constants}/// Every function of the WIT.\npub const ALL: &[Function] = &[{all}];\n"))
}

/// Reads `Scope: write. Repeat: safe. Limit: 4/s.`
fn facts_of(line: &str) -> Option<(&'static str, &'static str, Option<u32>)> {
    let (scope, rest) = line.strip_prefix("Scope: ")?.split_once(". Repeat: ")?;
    let (repeat, limit) = rest.strip_suffix('.')?.split_once(". Limit: ")?;
    let scope = match scope {
        "read" => "Scopes::none().with(Scope::Read)",
        "write" => "Scopes::none().with(Scope::Write)",
        "delete" => "Scopes::none().with(Scope::Delete)",
        "login" => "Scopes::none().with(Scope::Login)",
        "raw" => "Scopes::none().with(Scope::Raw)",
        "by-operation" => "Scopes::none()",
        _ => return None,
    };
    let repeat = match repeat {
        "safe" => "Safe",
        "by-method" => "ByMethod",
        _ => return None,
    };
    let limit = match limit {
        "none" => None,
        limit => Some(limit.strip_suffix("/s")?.parse().ok()?),
    };
    Some((scope, repeat, limit))
}
