//! `memberspot component`: hands out the embedded component, in the wrapping that an engine asks for.

use std::borrow::Cow;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum, ValueHint};
use memberspot_host::WEBHOOK_RECEIVER;
use memberspot_host::catalog::WIT;
use memberspot_host::{
    ACT_ADAPTER, ACT_ADAPTER_INVENTORY, ACT_ENVIRONMENT, ACT_ENVIRONMENT_INVENTORY, COMPONENT, Host, INVENTORY,
};
use serde_json::json;

use super::output::{self, Failure};
use super::{SUCCESS, code_cache};

/// Write the component to a file, for other engines; or say what it is.
#[derive(Debug, Args)]
pub struct Component {
    /// Which wrapping of it.
    #[arg(long, value_enum, default_value_t)]
    flavour: Flavour,
    /// The other component instead: the receiver of webhooks, for engines that serve HTTP.
    #[arg(long, conflicts_with = "flavour")]
    receiver: bool,
    /// The file to write, or - for standard output. Without it, the component's size and imports are printed.
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    out: Option<PathBuf>,
    /// Write the machine code that the engine makes of the component, for HostBuilder::precompiled on a machine like this one.
    #[arg(long, requires = "out")]
    precompile: bool,
}

/// The same code for engines that ask for different worlds.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum Flavour {
    /// The component as it was built, with an interface for each area: for most engines.
    #[default]
    Connector,
    /// Functions with short names, and descriptions within: for Wassette and other hosts of agents.
    Tools,
    /// The tools of an ACT component, whose configuration is a credential of ACT.
    Act,
}

impl Flavour {
    /// The name of its file, without the ending: the flavour that most engines take has none of its own.
    pub fn file_name(self) -> String {
        match self.to_possible_value() {
            Some(value) if !matches!(self, Self::Connector) => format!("memberspot-{}", value.get_name()),
            _ => "memberspot".to_owned(),
        }
    }

    /// What it is, in a line.
    pub fn description(self) -> String {
        self.to_possible_value().and_then(|value| Some(value.get_help()?.to_string())).unwrap_or_default()
    }

    /// What was compiled into it: one list for each component that it is composed of.
    pub fn inventories(self) -> &'static [&'static str] {
        match self {
            Self::Connector | Self::Tools => &[INVENTORY],
            Self::Act => &[INVENTORY, ACT_ADAPTER_INVENTORY, ACT_ENVIRONMENT_INVENTORY],
        }
    }

    /// The component.
    pub fn bytes(self) -> Result<Cow<'static, [u8]>, Failure> {
        let made = match self {
            Self::Connector => return Ok(COMPONENT.into()),
            Self::Tools => memberspot_flavours::tools(COMPONENT, WIT),
            Self::Act => memberspot_flavours::act(COMPONENT, ACT_ADAPTER, ACT_ENVIRONMENT),
        };
        made.map(Cow::Owned).map_err(|error| Failure::host(&error))
    }
}

impl Component {
    pub fn execute(&self, json: bool) -> Result<u8, Failure> {
        let bytes = if self.receiver { WEBHOOK_RECEIVER.into() } else { self.flavour.bytes()? };
        let Some(file) = &self.out else { return describe(&bytes, json) };
        let bytes = if self.precompile {
            Cow::Owned(Host::builder().component(bytes).precompile().map_err(|error| Failure::host(&error))?)
        } else {
            bytes
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
        if self.precompile {
            // Whoever can write to it can have anything executed, so the library refuses what others can write to.
            code_cache::restrict(file).map_err(|error| Failure::output(file, &error))?;
        }
        if json {
            output::json(&json!({"file": file.to_string_lossy(), "bytes": bytes.len()}))?;
        } else {
            output::message(|err| writeln!(err, "wrote {} ({} bytes)", file.display(), bytes.len()));
        }
        Ok(SUCCESS)
    }
}

/// Says how large the component is, and what it asks of an engine.
fn describe(bytes: &[u8], json: bool) -> Result<u8, Failure> {
    let imports = memberspot_flavours::imports(bytes).map_err(|error| Failure::host(&error))?;
    if json {
        output::json(&json!({"bytes": bytes.len(), "imports": imports}))?;
    } else {
        output::stdout(|out| {
            writeln!(out, "{} bytes; imports:", bytes.len())?;
            imports.iter().try_for_each(|import| writeln!(out, "  {import}"))
        })?;
    }
    Ok(SUCCESS)
}
