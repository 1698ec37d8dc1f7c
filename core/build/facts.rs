//! The facts of each function, from the last line of its comment: `Scope: write. Repeat: safe. Limit: 4/s.`

use std::fmt::Write as _;

use memberspot_comments::Facts;
use wit_parser::{InterfaceId, Resolve};

/// The Rust source of one constant for each function, and of `ALL`.
pub fn table(resolve: &Resolve, interfaces: &[(&str, InterfaceId)]) -> Result<String, String> {
    let mut constants = String::new();
    let mut all = String::new();
    for (interface, id) in interfaces {
        for (name, function) in &resolve.interfaces[*id].functions {
            let (_, facts) = memberspot_comments::function(function)
                .map_err(|line| format!("{interface}.{name}: the comment ends in {line:?}, not in its facts"))?;
            let (scope, repeat, limit) = in_rust(&facts).ok_or_else(|| format!("{interface}.{name}: there is no {facts:?}"))?;
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

fn in_rust(facts: &Facts) -> Option<(&'static str, &'static str, Option<u32>)> {
    let scope = match facts.scope.as_str() {
        "read" => "Scopes::none().with(Scope::Read)",
        "write" => "Scopes::none().with(Scope::Write)",
        "delete" => "Scopes::none().with(Scope::Delete)",
        "login" => "Scopes::none().with(Scope::Login)",
        "raw" => "Scopes::none().with(Scope::Raw)",
        "none" | "by-operation" | "by-module" => "Scopes::none()",
        _ => return None,
    };
    let repeat = match facts.repeat.as_str() {
        "safe" => "Safe",
        "by-method" => "ByMethod",
        _ => return None,
    };
    Some((scope, repeat, facts.per_second()))
}
