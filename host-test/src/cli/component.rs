//! `memberspot component`: hands out the embedded component.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use memberspot_host::COMPONENT;
use serde_json::json;

use super::SUCCESS;
use super::output::{self, Failure};

/// Write the component to a file, for other engines.
#[derive(Debug, Args)]
pub struct Component {
    /// The file to write, or - for standard output.
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    out: PathBuf,
}

impl Component {
    pub fn execute(&self, json: bool) -> Result<u8, Failure> {
        if self.out == Path::new("-") {
            if output::is_terminal() {
                return Err(Failure::usage("the component is binary; send standard output somewhere else"));
            }
            // Not through the stream that takes out styles: these are no texts.
            let mut out = std::io::stdout().lock();
            out.write_all(COMPONENT).and_then(|()| out.flush())?;
            return Ok(SUCCESS);
        }
        fs::write(&self.out, COMPONENT).map_err(|error| Failure::output(&self.out, &error))?;
        if json {
            output::json(&json!({"file": self.out.to_string_lossy(), "bytes": COMPONENT.len()}))?;
        } else {
            output::message(|err| writeln!(err, "wrote {} ({} bytes)", self.out.display(), COMPONENT.len()));
        }
        Ok(SUCCESS)
    }
}
