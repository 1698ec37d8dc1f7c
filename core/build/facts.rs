//! The facts of each function, from the last line of its comment: `Scope: write. Repeat: safe. Limit: 4/s.`

use std::fmt::Write as _;

use wit_parser::{InterfaceId, Resolve};

/// The Rust source of one constant for each function, and of `ALL`.
pub fn table(resolve: &Resolve, interfaces: &[(&str, InterfaceId)]) -> Result<String, String> {
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
        "none" | "by-operation" | "by-module" => "Scopes::none()",
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
