//! Standard output and standard error: data on the one, messages on the other; colours and tables only on a terminal.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, IsTerminal as _, Write};
use std::path::Path;

use anstyle::{AnsiColor, Style};
pub use memberspot_bulk_file::text::one_line;
use serde::Serialize;
use serde_json::json;

use super::{HOST, SUCCESS, USAGE};

pub const BOLD: Style = Style::new().bold();
pub const DIM: Style = Style::new().dimmed();
pub const NAME: Style = AnsiColor::Cyan.on_default();
pub const ERROR: Style = AnsiColor::Red.on_default().bold();
pub const HINT: Style = AnsiColor::Green.on_default().bold();

/// Columns of text: those of the terminal, and no more than can be read with ease.
pub fn width() -> usize {
    let columns = terminal_size::terminal_size().map_or(80, |(columns, _)| usize::from(columns.0));
    columns.clamp(40, 100)
}

/// Whether standard output is a terminal.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Why a command ended early.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// The command line or the input is wrong.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self { code: USAGE, message: message.to_string() }
    }

    /// The engine, the component or the machine is in the way. The message has the error's causes too.
    pub fn host(error: &dyn std::error::Error) -> Self {
        Self { code: HOST, message: chain(error) }
    }

    /// A file that should say something could not be read.
    pub fn input(path: &Path, error: &io::Error) -> Self {
        Self::usage(format!("cannot read {}: {error}", path.display()))
    }

    /// A file could not be written.
    pub fn output(path: &Path, error: &io::Error) -> Self {
        Self { code: HOST, message: format!("cannot write {}: {error}", path.display()) }
    }

    /// Says what happened; the result is the exit code.
    pub fn report(&self, json: bool) -> u8 {
        if self.code == SUCCESS {
            return SUCCESS;
        }
        if json {
            let tag = if self.code == USAGE { "usage" } else { "host" };
            let error = json!({"tag": tag, "val": {"message": self.message}});
            // There is no one left to tell.
            let _ = stdout(|out| writeln!(out, "{error}"));
        }
        message(|err| writeln!(err, "{ERROR}error:{ERROR:#} {}", visible(&self.message)));
        self.code
    }
}

/// Standard output failed. A reader that has seen enough, such as `head`, is no failure.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let code = if error.kind() == io::ErrorKind::BrokenPipe { SUCCESS } else { HOST };
        Self { code, message: format!("cannot write to standard output: {error}") }
    }
}

/// An error and its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Writes to standard output. Styles vanish where it is not a terminal.
pub fn stdout(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    write(&mut out)?;
    out.flush()
}

/// Writes to standard error. That it may fail is nobody's concern: there is no place to say so.
pub fn message(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
    let _ = write(&mut anstream::stderr().lock());
}

/// Prints JSON: indented for a reader, on one line for a program.
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = if is_terminal() { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    let text = text.map_err(|error| Failure::host(&error))?;
    Ok(stdout(|out| writeln!(out, "{text}"))?)
}

/// Text from elsewhere, such as a server's words, without anything that a terminal would obey.
pub fn visible(text: &str) -> Cow<'_, str> {
    let is_hidden = |char: char| char.is_control() && char != '\n';
    if text.contains(is_hidden) { text.replace(is_hidden, "\u{fffd}").into() } else { text.into() }
}

/// Documentation as text: what is bold there, is not here.
pub fn plain(docs: &str) -> String {
    docs.replace("**", "")
}

/// Breaks text into lines of at most `width` columns, each after `indent` spaces. Paragraphs, lists and tables keep their
/// own breaks. The text is the documentation of the WIT: a character is a column.
pub fn wrap(text: &str, width: usize, indent: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    // Whether the next line of the text continues the paragraph of the last one.
    let mut flows = false;
    for line in text.lines() {
        let own_line = line.is_empty() || line.starts_with(['|', '-', '#']) || line.starts_with("  ");
        if own_line {
            lines.push(line.to_owned());
            flows = line.starts_with('-');
            continue;
        }
        for word in line.split_whitespace() {
            match lines.last_mut() {
                Some(last) if flows && last.chars().count() + 1 + word.chars().count() + indent <= width => {
                    last.push(' ');
                    last.push_str(word);
                }
                _ => lines.push(word.to_owned()),
            }
            flows = true;
        }
    }
    let margin = " ".repeat(indent);
    let indented = lines.iter().map(|line| if line.is_empty() { String::new() } else { format!("{margin}{line}") });
    indented.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_by_paragraphs() {
        let text = "one two three four\nfive six\n\nseven\n- a\n- b\n| x | y |";
        assert_eq!(wrap(text, 12, 2), "  one two\n  three four\n  five six\n\n  seven\n  - a\n  - b\n  | x | y |");
    }

    #[test]
    fn a_terminal_is_not_commanded_by_a_server() {
        assert_eq!(visible("plain"), "plain");
        assert_eq!(one_line("a\nerror: b\u{202e}"), "a\u{fffd}error: b\u{fffd}");
        assert_eq!(visible("a\u{1b}[31mb\nc\u{9b}"), "a\u{fffd}[31mb\nc\u{fffd}");
    }
}
