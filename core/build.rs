//! Reads the facts of each function (scope, repeatability, rate limit) from the last line of its comment in `wit/`, and
//! writes them as a table for `src/function.rs`. The WIT is the only place where they stand.

use std::{env, fmt::Write as _, fs, path::Path};

use wit_parser::Resolve;

fn main() {
    println!("cargo::rerun-if-changed=../wit");
    println!("cargo::rerun-if-changed=build.rs");
    let table = table(Path::new("../wit")).unwrap_or_else(|problem| panic!("wit/: {problem}"));
    let folder = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts");
    fs::write(Path::new(&folder).join("functions.rs"), table).expect("OUT_DIR is writable");
}

/// The Rust source of one constant for each function, and of `ALL`.
fn table(wit: &Path) -> Result<String, String> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(wit).map_err(|error| format!("{error:#}"))?;
    let mut constants = String::new();
    let mut all = String::new();
    for (interface, id) in &resolve.packages[package].interfaces {
        for (name, function) in &resolve.interfaces[*id].functions {
            let docs = function.docs.contents.as_deref().unwrap_or_default();
            let facts = docs.lines().last().unwrap_or_default().trim();
            let (scope, repeat, limit) = facts_of(facts)
                .ok_or_else(|| format!("{interface}.{name}: the comment ends in {facts:?}, not in its facts"))?;
            let constant = name.replace('-', "_").to_uppercase();
            writeln!(
                constants,
                "/// `{interface}.{name}`\npub const {constant}: Function = Function {{ interface: {interface:?}, \
                 name: {name:?}, scope: Scope::{scope}, repeat: Repeat::{repeat}, limit: {limit:?} }};"
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
        "read" => "Read",
        "write" => "Write",
        "delete" => "Delete",
        "login" => "Login",
        "raw" => "Raw",
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
