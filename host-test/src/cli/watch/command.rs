//! The command that each item is handed to.

use std::io::Write as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How often it is looked whether the command has ended.
const GLANCE: Duration = Duration::from_millis(10);

/// Why an item counts as not delivered.
#[derive(Debug)]
pub enum Trouble {
    /// The command could not be begun, or waited for.
    Machine(std::io::Error),
    /// It ended with another status than 0.
    Status(ExitStatus),
    /// It took too long, and was killed.
    Slow,
}

/// Runs a command line in the shell, with the item on its standard input: command lines are there for everybody on the machine to
/// see. Waits for its end.
pub fn run(line: &str, item: String, longest: Duration) -> Result<(), Trouble> {
    let mut child = shell(line).stdin(Stdio::piped()).spawn().map_err(Trouble::Machine)?;
    let input = child.stdin.take();
    // A command that reads nothing must not hold anybody up. When it ends, so does the writing.
    thread::spawn(move || input.map(|mut input| input.write_all(item.as_bytes())));
    let begun = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(Trouble::Status(status)),
            Ok(None) if begun.elapsed() >= longest => {
                end(&mut child);
                return Err(Trouble::Slow);
            }
            Ok(None) => thread::sleep(GLANCE),
            Err(error) => {
                end(&mut child);
                return Err(Trouble::Machine(error));
            }
        }
    }
}

fn shell(line: &str) -> Command {
    let (shell, option) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
    let mut command = Command::new(shell);
    command.arg(option).arg(line);
    command
}

fn end(child: &mut Child) {
    // It may have ended by itself meanwhile.
    let _ = child.kill();
    let _ = child.wait();
}
