//! `memberspot docs`: the reference of all functions and types, as Markdown.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, ValueHint};
use memberspot_host::catalog::{Case, Catalog, Field, FunctionInfo, NamedType, Shape};

use super::SUCCESS;
use super::output::{self, Failure};

/// Write the reference of all functions and types, as Markdown.
#[derive(Debug, Args)]
pub struct Docs {
    /// The file to write; standard output when not given.
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    out: Option<PathBuf>,
}

impl Docs {
    pub fn execute(&self) -> Result<u8, Failure> {
        let catalog = Catalog::new().map_err(|error| Failure::host(&error))?;
        let mut text = Vec::new();
        reference(&mut text, &catalog)?;
        match &self.out {
            Some(file) => std::fs::write(file, text).map_err(|error| Failure::output(file, &error))?,
            None => output::stdout(|out| out.write_all(&text))?,
        }
        Ok(SUCCESS)
    }
}

fn reference(out: &mut dyn Write, catalog: &Catalog) -> io::Result<()> {
    writeln!(out, "# Functions\n\nMade by `memberspot docs --out docs/functions.md` from the WIT.")?;
    writeln!(out, "\nPackage `{}`. Names are those of the JSON form; `?` marks what may be left out.", catalog.package)?;
    for interface in &catalog.interfaces {
        writeln!(out, "\n## {}\n\n{}", interface.name, interface.docs)?;
        interface.functions.iter().try_for_each(|it| function(out, it))?;
        catalog.types.iter().filter(|it| it.interface == interface.name).try_for_each(|it| named_type(out, it))?;
    }
    writeln!(out, "\n## Shared types")?;
    let shared = |it: &&NamedType| !catalog.interfaces.iter().any(|interface| interface.name == it.interface);
    catalog.types.iter().filter(shared).try_for_each(|it| named_type(out, it))
}

fn function(out: &mut dyn Write, function: &FunctionInfo) -> io::Result<()> {
    let FunctionInfo { name, docs, facts, parameters, result, example, .. } = function;
    writeln!(out, "\n### {name}\n\n{docs}\n")?;
    writeln!(out, "Scope: {}. Repeat: {}. Limit: {}.\n", facts.scope, facts.repeat, facts.limit)?;
    if parameters.is_empty() {
        writeln!(out, "Takes nothing.\n")?;
    } else {
        fields(out, parameters)?;
        writeln!(out, "\nThe least input: `{example}`\n")?;
    }
    writeln!(out, "Gives: `{}`", result.as_deref().unwrap_or("null"))
}

fn named_type(out: &mut dyn Write, ty: &NamedType) -> io::Result<()> {
    writeln!(out, "\n#### {}\n\n{}\n", ty.name, ty.docs)?;
    match &ty.shape {
        Shape::Record { fields: list } => fields(out, list),
        Shape::Variant { cases: list } => cases(out, list, "tag"),
        Shape::Enum { cases: list } => cases(out, list, "text"),
        Shape::Other { definition } => writeln!(out, "`{definition}`"),
        _ => Ok(()),
    }
}

fn fields(out: &mut dyn Write, fields: &[Field]) -> io::Result<()> {
    writeln!(out, "| field | type | meaning |\n|---|---|---|")?;
    fields.iter().try_for_each(|field| {
        let ty = field.ty.strip_prefix("option<").and_then(|ty| ty.strip_suffix('>')).unwrap_or(&field.ty);
        let optional = if field.required { "" } else { "?" };
        writeln!(out, "| `{}`{optional} | `{ty}` | {} |", field.name, cell(&field.docs))
    })
}

fn cases(out: &mut dyn Write, cases: &[Case], what: &str) -> io::Result<()> {
    writeln!(out, "| {what} | carries | meaning |\n|---|---|---|")?;
    cases.iter().try_for_each(|case| {
        let ty = case.ty.as_deref().map(|ty| format!("`{ty}`")).unwrap_or_default();
        writeln!(out, "| `{}` | {ty} | {} |", case.name, cell(&case.docs))
    })
}

/// Text for a cell of a table, which has one line.
fn cell(docs: &str) -> String {
    docs.replace('\n', " ").replace('|', "\\|")
}
