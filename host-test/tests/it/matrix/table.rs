//! The matrix for people: docs/faults.md.

use std::{env, fmt::Write as _, fs, path::Path};

use super::{
    Cell,
    faults::Case,
    rules::{Outcome, Plan},
    subjects::{Nature, Subject},
};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/faults.md");

const HEAD: &str = "\
# What each fault comes to

What a function returns when a fault befalls each of its requests, seen through the component with the default deadline of 60 s
and `MEMBERSPOT_MAX_ATTEMPTS=3`. A test calls every function in every fault, holds what comes out against the contract, and
makes this table of it:

```sh
cargo test --workspace --test it matrix -- --nocapture  # prints the table; fails when this file is another
UPDATE=1 cargo test --workspace --test it matrix        # writes this file
```

- **reads**, **writes**: functions that change nothing, and those that do and are safe to repeat, raw calls by GET and DELETE
  among them. **raw POST, PATCH**: `api.call-api` with a method that is not safe to repeat.
- **3×**: so many requests were made. With `MEMBERSPOT_MAX_ATTEMPTS=1` it is one, and the rest is the same.
- **unknown**: `outcome-unknown` is true, the request may have taken effect.
- **except**: functions that differ from the others of their column. Where the real answer has no body, or one of two bytes,
  it cannot be late for long.
";

/// Prints the table, and compares it with the file or writes it.
pub fn check(subjects: &[Subject], cases: &[Case], cells: &[Cell]) {
    let table = table(subjects, cases, cells);
    println!("{table}");
    if env::var_os("UPDATE").is_some_and(|value| value == "1") {
        fs::create_dir_all(Path::new(FILE).parent().expect("docs")).expect("a folder");
        fs::write(FILE, table).expect("a file that can be written");
        return;
    }
    let kept = fs::read_to_string(FILE).unwrap_or_default();
    // Git may check text out with other line ends.
    assert!(kept.replace("\r\n", "\n") == table, "docs/faults.md is stale; UPDATE=1 writes it");
}

fn table(subjects: &[Subject], cases: &[Case], cells: &[Cell]) -> String {
    let mut table = HEAD.to_owned();
    let mut group = "";
    for case in cases {
        if case.group != group {
            group = case.group;
            write!(table, "\n## {group}\n\n| fault | reads | writes | raw POST, PATCH | except |\n|---|---|---|---|---|\n")
                .expect("memory");
        }
        let cells = cells.iter().filter(|cell| cell.case == case.name && cell.plan == Plan::Lasting);
        let subject = |cell: &Cell| subjects.iter().find(|subject| subject.name() == cell.subject).expect("a subject");
        let cells: Vec<_> = cells.map(|cell| (subject(cell), text(subject(cell), cell))).collect();
        let columns = [Nature::Read, Nature::Write, Nature::Once].map(|nature| column(nature, &cells));
        let usual: Vec<_> = columns.iter().map(|(usual, _)| usual.as_str()).collect();
        let except: Vec<_> = columns.iter().flat_map(|(_, except)| except.iter().map(String::as_str)).collect();
        writeln!(table, "| {} | {} | {} |", case.name, usual.join(" | "), except.join("; ")).expect("memory");
    }
    table
}

/// What came of a call, without the requests that the fault did not befall.
fn text(subject: &Subject, cell: &Cell) -> String {
    let run = &cell.run;
    match &run.result {
        Outcome::Success => match run.requests - subject.before - subject.after {
            1 => "success".to_owned(),
            requests => format!("success, {requests}×"),
        },
        Outcome::Failure(failure) => {
            let case = if failure.transient { "transient" } else { "permanent" };
            let unknown = if failure.outcome_unknown { ", unknown" } else { "" };
            // The component may count wrongly.
            let requests = failure.attempts.saturating_sub(subject.before);
            format!("{case} `{}`, {requests}×{unknown}", failure.code)
        }
    }
}

/// What most functions of a nature come to, and which ones come to something else. Of two that are as many, the one of the
/// function that comes first.
fn column(nature: Nature, cells: &[(&Subject, String)]) -> (String, Vec<String>) {
    let mut texts: Vec<(&str, Vec<String>)> = vec![];
    for (subject, text) in cells.iter().filter(|(subject, _)| subject.nature == nature) {
        let name = subject.name();
        let (_, short) = name.split_once('.').expect("an interface");
        let short = format!("`{short}`");
        match texts.iter_mut().find(|(known, _)| known == text) {
            Some((_, names)) => names.push(short),
            None => texts.push((text, vec![short])),
        }
    }
    let usual = texts.iter().rev().max_by_key(|(_, names)| names.len()).map_or("", |(text, _)| *text);
    let others = texts.iter().filter(|(text, _)| *text != usual);
    (usual.to_owned(), others.map(|(text, names)| format!("{}: {text}", names.join(", "))).collect())
}
