//! The commands, one module each, and what they share: options, exit codes, output.

mod audit;
mod bench;
mod bulk;
mod code_cache;
mod component;
mod demo;
mod docs;
mod functions;
mod interrupt;
#[cfg(feature = "keyring")]
mod key;
mod output;
mod receive;
mod release;
mod run;
mod set;
mod simulate;
mod watch;

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

use output::Failure;

/// Everything went well.
const SUCCESS: u8 = 0;
/// The function failed, and the same call would fail again.
const PERMANENT: u8 = 1;
/// The command line is wrong; clap uses the same code.
const USAGE: u8 = 2;
/// The function failed, and the same call may succeed later.
const TRANSIENT: u8 = 3;
/// The component did not come to an answer, or the machine does not cooperate.
const HOST: u8 = 4;

const EXIT_CODES: &str = "\
Exit codes:
  0  success
  1  the function failed, and the same call would fail again; a value that it does not accept is one reason
  2  the command line is wrong, or the input does not have the shape that the function takes; nothing was sent
  3  the function failed, and the same call may succeed later
  4  the call did not come to an answer, or a file could not be written";

/// Calls Memberspot through the sandboxed connector.
#[derive(Debug, Parser)]
#[command(name = "memberspot", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    /// Print JSON for programs: results, and the failures of functions.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Run(run::Run),
    Bulk(bulk::Bulk),
    Watch(watch::Watch),
    Receive(receive::Receive),
    Audit(audit::Audit),
    #[cfg(feature = "keyring")]
    Key(key::Key),
    Functions(functions::Functions),
    Simulate(simulate::Simulate),
    Component(component::Component),
    Bench(bench::Bench),
    Release(release::Release),
    Docs(docs::Docs),
    Completions(Completions),
}

/// Print a completion script.
#[derive(Debug, clap::Args)]
#[command(long_about = "Print a completion script for a shell, for example: memberspot completions bash > \
                        ~/.local/share/bash-completion/completions/memberspot")]
struct Completions {
    /// The shell.
    shell: Shell,
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Demo(demo) => demo.execute(cli.json),
        Command::Simulate(simulate) => simulate.execute(cli.json),
        Command::Run(run) => run.execute(cli.json),
        Command::Bulk(bulk) => bulk.execute(cli.json),
        Command::Watch(watch) => watch.execute(cli.json),
        Command::Receive(receive) => receive.execute(cli.json),
        Command::Audit(audit) => audit.execute(cli.json),
        #[cfg(feature = "keyring")]
        Command::Key(key) => key.execute(),
        Command::Functions(functions) => functions.execute(cli.json),
        Command::Component(component) => component.execute(cli.json),
        Command::Bench(bench) => bench.execute(cli.json),
        Command::Release(release) => release.execute(cli.json),
        Command::Docs(docs) => docs.execute(),
        Command::Completions(completions) => completions.execute(),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => ExitCode::from(failure.report(cli.json)),
    }
}

impl Completions {
    fn execute(&self) -> Result<u8, Failure> {
        // `generate` panics when it cannot write, which a closed pipe would make it do.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "memberspot", &mut script);
        output::stdout(|out| io::Write::write_all(out, &script))?;
        Ok(SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
