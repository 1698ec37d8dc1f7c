//! `memberspot functions`: what there is to call, from the WIT.

use std::io::{self, Write};

use clap::Args;
use memberspot_host::catalog::{Case, Catalog, Field, FunctionInfo, NamedType, Shape};
use memberspot_host::{Connection, Host, Outcome};
use serde::Serialize;
use serde_json::{Value, json};

use super::SUCCESS;
use super::output::{self, BOLD, DIM, Failure, NAME, plain, wrap};

/// Show what there is to call.
#[derive(Debug, Args)]
#[command(long_about = "Show what there is to call: all functions, or one of them with its parameters, types and \
                        documentation.\n\nWhere standard output is not a terminal, the list has one line for each \
                        function: name, interface, scope and summary, separated by tabs.")]
pub struct Functions {
    /// The function to explain.
    function: Option<String>,
    /// Print all as a list of tools, the way an MCP server does.
    #[arg(long, conflicts_with = "function")]
    mcp: bool,
}

/// A function together with the types that it uses.
#[derive(Serialize)]
struct Page<'a> {
    #[serde(flatten)]
    function: &'a FunctionInfo,
    types: &'a [&'a NamedType],
}

impl Functions {
    pub fn execute(&self, json: bool) -> Result<u8, Failure> {
        if self.mcp {
            let runtime = tokio::runtime::Runtime::new().map_err(|error| Failure::host(&error))?;
            output::json(&runtime.block_on(tools())?)?;
            return Ok(SUCCESS);
        }
        let catalog = Catalog::new().map_err(|error| Failure::host(&error))?;
        let Some(name) = &self.function else {
            if json {
                output::json(&catalog)?;
            } else if output::is_terminal() {
                output::stdout(|out| table(out, &catalog))?;
            } else {
                output::stdout(|out| lines(out, &catalog))?;
            }
            return Ok(SUCCESS);
        };
        let function = catalog.function(name).ok_or_else(|| {
            let hint = catalog.nearest(name).map(|nearest| format!("; did you mean `{nearest}`?"));
            Failure::usage(format!("there is no function `{name}`{}", hint.unwrap_or_default()))
        })?;
        let types = types_of(&catalog, function);
        if json {
            output::json(&Page { function, types: &types })?;
        } else {
            output::stdout(|out| page(out, function, &types))?;
        }
        Ok(SUCCESS)
    }
}

/// The component's modules as the result of `tools/list` of the Model Context Protocol.
async fn tools() -> Result<Value, Failure> {
    let host = super::code_cache::build(Host::builder()).map_err(|error| Failure::host(&error))?;
    let modules = host.call(&host.tenant("", Connection::default()), "list-modules", &json!({})).await;
    let modules = match modules.map_err(|error| Failure::host(&error))? {
        Outcome::Success(modules) => modules.to_json(),
        // It fails for no reason that is known.
        Outcome::Failure(error) => return Err(Failure::usage(error.to_json())),
    };
    let tools: Vec<_> = modules.as_array().into_iter().flatten().map(tool).collect();
    Ok(json!({"tools": tools}))
}

fn tool(module: &Value) -> Value {
    let schema = |name: &str| -> Value {
        // The component's schemas are JSON; a test reads them all.
        serde_json::from_str(module[name].as_str().unwrap_or_default()).unwrap_or_default()
    };
    let id = module["id"].as_str().unwrap_or_default();
    let hints = &module["hints"];
    let mut output = schema("outputSchema");
    if output["type"] != "object" {
        // Structured content is an object; anything else goes into one.
        let dialect = output.as_object_mut().and_then(|inner| inner.remove("$schema"));
        output = json!({"$schema": dialect, "type": "object", "properties": {"result": output}, "required": ["result"]});
    }
    json!({
        "name": id.rsplit_once('.').map_or(id, |(_, name)| name),
        "title": module["title"],
        "description": module["description"],
        "inputSchema": schema("inputSchema"),
        "outputSchema": output,
        "annotations": {
            "readOnlyHint": hints["readOnly"],
            "destructiveHint": hints["destructive"],
            "idempotentHint": hints["idempotent"],
        },
    })
}

/// The types of the parameters, then those of the result.
fn types_of<'a>(catalog: &'a Catalog, function: &FunctionInfo) -> Vec<&'a NamedType> {
    let mut spelled: Vec<_> = function.parameters.iter().map(|field| field.ty.as_str()).collect();
    spelled.extend(function.result.as_deref());
    catalog.types_in(&spelled.join(" "))
}

fn lines(out: &mut dyn Write, catalog: &Catalog) -> io::Result<()> {
    for function in catalog.functions() {
        let FunctionInfo { name, interface, summary, facts, .. } = function;
        writeln!(out, "{name}\t{interface}\t{}\t{}", facts.scope, plain(summary))?;
    }
    Ok(())
}

fn table(out: &mut dyn Write, catalog: &Catalog) -> io::Result<()> {
    let width = output::width();
    let longest = catalog.functions().map(|function| function.name.len()).max().unwrap_or_default();
    let scope = catalog.functions().map(|function| function.facts.scope.len()).max().unwrap_or_default();
    let indent = longest + scope + 6;
    for (index, interface) in catalog.interfaces.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        writeln!(out, "{BOLD}{}{BOLD:#}", interface.name)?;
        for function in &interface.functions {
            let summary = wrap(&plain(&function.summary), width, indent);
            let FunctionInfo { name, facts, .. } = function;
            let summary = summary.trim_start();
            writeln!(out, "  {NAME}{name:longest$}{NAME:#}  {DIM}{:scope$}{DIM:#}  {summary}", facts.scope)?;
        }
    }
    writeln!(out, "\n{DIM}memberspot functions FUNCTION explains one.{DIM:#}")
}

fn page(out: &mut dyn Write, function: &FunctionInfo, types: &[&NamedType]) -> io::Result<()> {
    let width = output::width();
    let FunctionInfo { name, interface, docs, facts, parameters, result, example, .. } = function;
    writeln!(out, "{BOLD}{interface}.{name}{BOLD:#}\n\n{}\n", wrap(&plain(docs), width, 2))?;
    writeln!(out, "  Scope: {}. Repeat: {}. Limit: {}.\n", facts.scope, facts.repeat, facts.limit)?;

    writeln!(out, "{BOLD}Input{BOLD:#}")?;
    if parameters.is_empty() {
        writeln!(out, "  none")?;
    }
    for parameter in parameters {
        field(out, parameter, width)?;
    }
    writeln!(out, "\n{BOLD}Result{BOLD:#}\n  {}", result.as_deref().unwrap_or("null"))?;
    for ty in types {
        named_type(out, ty, width)?;
    }

    writeln!(out, "\n{BOLD}Example{BOLD:#}")?;
    if parameters.is_empty() {
        writeln!(out, "  memberspot run {name}")
    } else {
        writeln!(out, "  memberspot run {name} '{example}'")
    }
}

fn named_type(out: &mut dyn Write, ty: &NamedType, width: usize) -> io::Result<()> {
    let kind = match ty.shape {
        Shape::Record { .. } => "object",
        Shape::Variant { .. } => "object of tag and val",
        Shape::Enum { .. } => "text",
        _ => "",
    };
    writeln!(out, "\n{BOLD}{}{BOLD:#} {DIM}{kind}{DIM:#}", ty.name)?;
    if !ty.docs.is_empty() {
        writeln!(out, "{}", wrap(&plain(&ty.docs), width, 2))?;
    }
    match &ty.shape {
        Shape::Record { fields } => fields.iter().try_for_each(|it| field(out, it, width)),
        Shape::Variant { cases } | Shape::Enum { cases } => cases.iter().try_for_each(|it| case(out, it, width)),
        Shape::Other { definition } => writeln!(out, "  {definition}"),
        _ => Ok(()),
    }
}

fn field(out: &mut dyn Write, field: &Field, width: usize) -> io::Result<()> {
    let optional = if field.required { "" } else { " (optional)" };
    let ty = field.ty.strip_prefix("option<").and_then(|ty| ty.strip_suffix('>')).unwrap_or(&field.ty);
    item(out, &field.name, &format!("{ty}{optional}"), &field.docs, width)
}

fn case(out: &mut dyn Write, case: &Case, width: usize) -> io::Result<()> {
    item(out, &case.name, case.ty.as_deref().unwrap_or_default(), &case.docs, width)
}

fn item(out: &mut dyn Write, name: &str, ty: &str, docs: &str, width: usize) -> io::Result<()> {
    writeln!(out, "  {NAME}{name}{NAME:#} {DIM}{ty}{DIM:#}")?;
    if docs.is_empty() { Ok(()) } else { writeln!(out, "{}", wrap(&plain(docs), width, 6)) }
}
