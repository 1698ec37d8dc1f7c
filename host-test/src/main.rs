//! The command line `memberspot`.

#![warn(clippy::pedantic)]
#![allow(clippy::doc_markdown, reason = "comments on commands are their help, printed as they stand")]
#![allow(clippy::unused_self, reason = "every command is executed in the same way")]
#![deny(unsafe_code)]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
