//! `memberspot component`: hands out the embedded component.

use std::borrow::Cow;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use memberspot_host::{COMPONENT, Host};
use serde_json::json;

use super::SUCCESS;
use super::output::{self, Failure};

/// Write the component to a file, for other engines; or say what it is.
#[derive(Debug, Args)]
pub struct Component {
    /// The file to write, or - for standard output. Without it, the component's size and imports are printed.
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    out: Option<PathBuf>,
    /// Write the machine code that the engine makes of the component, for HostBuilder::precompiled on a machine like this one.
    #[arg(long, requires = "out")]
    precompile: bool,
}

impl Component {
    pub fn execute(&self, json: bool) -> Result<u8, Failure> {
        let Some(file) = &self.out else { return describe(json) };
        let bytes = if self.precompile {
            Cow::Owned(Host::builder().precompile().map_err(|error| Failure::host(&error))?)
        } else {
            Cow::Borrowed(COMPONENT)
        };
        if file == Path::new("-") {
            if output::is_terminal() {
                return Err(Failure::usage("the component is binary; send standard output somewhere else"));
            }
            // Not through the stream that takes out styles: these are no texts.
            let mut out = std::io::stdout().lock();
            out.write_all(&bytes).and_then(|()| out.flush())?;
            return Ok(SUCCESS);
        }
        fs::write(file, &bytes).map_err(|error| Failure::output(file, &error))?;
        if json {
            output::json(&json!({"file": file.to_string_lossy(), "bytes": bytes.len()}))?;
        } else {
            output::message(|err| writeln!(err, "wrote {} ({} bytes)", file.display(), bytes.len()));
        }
        Ok(SUCCESS)
    }
}

/// Says how large the component is, and what it asks of an engine.
fn describe(json: bool) -> Result<u8, Failure> {
    let host = super::code_cache::build(Host::builder).map_err(|error| Failure::host(&error))?;
    let imports = host.imports();
    if json {
        output::json(&json!({"bytes": COMPONENT.len(), "imports": imports}))?;
    } else {
        output::stdout(|out| {
            writeln!(out, "{} bytes; imports:", COMPONENT.len())?;
            imports.iter().try_for_each(|import| writeln!(out, "  {import}"))
        })?;
    }
    Ok(SUCCESS)
}
