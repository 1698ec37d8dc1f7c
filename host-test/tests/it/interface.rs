//! What a change of the WIT means for its version: small interfaces for each kind of change, and the real one since the last
//! release.

use std::fs;
use std::path::{Path, PathBuf};

use memberspot_host::catalog::WIT;
use memberspot_release::{Change, Error, Interface};

/// Where the interfaces of releases are kept.
fn released() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/released")
}

const BEFORE: &str = "\
/// The package.
package a:b@0.1.0;

/// What all share.
interface types {
    /// A fault.
    enum fault { one, two }
    /// An outcome.
    variant outcome { good(string), bad(fault) }
    /// A person.
    record person {
        /// What they are called.
        name: string,
        age: option<u32>,
    }
}

/// The functions.
interface people {
    use types.{person, outcome};

    /// Finds somebody.
    ///
    /// Scope: read. Repeat: safe. Limit: none.
    find: func(name: string) -> person;

    /// Puts somebody in.
    ///
    /// Scope: write. Repeat: safe. Limit: 4 per second.
    put: func(person: person) -> outcome;
}

/// All of it.
world whole {
    export types;
    export people;
}
";

fn parse(text: &str) -> Interface {
    Interface::parse(&[("test.wit", text)]).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The interface with one thing replaced.
fn with(from: &str, to: &str) -> Interface {
    assert_eq!(BEFORE.matches(from).count(), 1, "{from}");
    parse(&BEFORE.replace(from, to))
}

fn change(from: &str, to: &str) -> Change {
    parse(BEFORE).compare(&with(from, to)).unwrap()
}

#[test]
fn order_and_comments_of_the_source_mean_nothing() {
    assert_eq!(parse(BEFORE).compare(&parse(BEFORE)).unwrap(), Change::Nothing);
    assert_eq!(change("// Finds", "// Finds"), Change::Nothing);
    assert_eq!(change("    export types;\n    export people;", "    export people;\n    export types;"), Change::Nothing);
    assert_eq!(change("export people;", "export people;\n    // For the reader of the source."), Change::Nothing);
    let (start, end) = (BEFORE.find("    /// Finds").unwrap(), BEFORE.find("    /// Puts").unwrap());
    let moved = BEFORE[start..end].to_owned();
    let reordered = BEFORE.replace(&moved, "").replace("-> outcome;\n", &format!("-> outcome;\n\n{moved}"));
    assert_ne!(reordered, BEFORE);
    assert_eq!(parse(BEFORE).compare(&parse(&reordered)).unwrap(), Change::Nothing);
}

#[test]
fn words_are_documentation() {
    assert_eq!(change("/// The package.", "/// The package, once more."), Change::Documentation);
    assert_eq!(change("/// Finds somebody.", "/// Finds anybody."), Change::Documentation);
    assert_eq!(change("/// What they are called.", "/// Their name."), Change::Documentation);
    assert_eq!(change("/// All of it.", "/// Everything."), Change::Documentation);
    // Memberspot's own limit, which is not ours to promise.
    assert_eq!(change("Limit: 4 per second.", "Limit: 2 per second."), Change::Documentation);
    // A comment that wandered to another field.
    let wandered =
        change("/// What they are called.\n        name: string,\n", "name: string,\n        /// What they are called.\n");
    assert_eq!(wandered, Change::Documentation);
}

#[test]
fn what_is_new_and_leaves_the_old_alone_is_an_addition() {
    assert_eq!(change("/// Finds", "/// New.\n    count: func() -> u32;\n    /// Finds"), Change::Addition);
    assert_eq!(change("/// A person.", "record thing { size: u32 }\n    /// A person."), Change::Addition);
    let interface = "interface more { more: func(); }\n/// All of it.\nworld part { export more; }\n/// All of it.";
    assert_eq!(change("/// All of it.", interface), Change::Addition);
    assert_eq!(change("export people;", "export people;\n    export more: func();"), Change::Addition);
    assert_eq!(change("/// All of it.", "world part { export types; }\n/// All of it."), Change::Addition);
}

/// It could change without being noticed.
#[test]
fn an_interface_without_a_world_is_not_compared() {
    let stray = with("/// All of it.", "interface stray { more: func(); }\n/// All of it.");
    assert!(matches!(parse(BEFORE).compare(&stray), Err(Error::Wit(_))));
    assert!(matches!(stray.compare(&parse(BEFORE)), Err(Error::Wit(_))));
}

#[test]
fn everything_else_breaks() {
    let changes = [
        // Types are the same or they are not: engines copy them by their layout.
        ("age: option<u32>,", "age: option<u32>,\n        nick: option<string>,"),
        ("age: option<u32>,", ""),
        ("age: option<u32>,", "age: u32,"),
        ("age: option<u32>,", "years: option<u32>,"),
        (
            "/// What they are called.\n        name: string,\n        age: option<u32>,",
            "age: option<u32>,\n        name: string,",
        ),
        ("enum fault { one, two }", "enum fault { one, two, three }"),
        ("enum fault { one, two }", "enum fault { two, one }"),
        ("variant outcome { good(string), bad(fault) }", "variant outcome { good(string), bad(fault), worse }"),
        ("variant outcome { good(string), bad(fault) }", "variant outcome { good(string), bad }"),
        // Functions.
        ("find: func(name: string)", "find: func(name: string, age: option<u32>)"),
        ("find: func(name: string)", "find: func(text: string)"),
        ("find: func(name: string)", "seek: func(name: string)"),
        ("-> person;", "-> option<person>;"),
        // Interfaces and worlds.
        ("world whole", "world all"),
        ("export people;", "export people;\n    import more: func();"),
        ("package a:b@0.1.0;", "package a:c@0.1.0;"),
        // What callers and operators decide by.
        ("Scope: read.", "Scope: write."),
        ("Scope: write. Repeat: safe.", "Scope: write. Repeat: unsafe."),
    ];
    for (from, to) in changes {
        let change = change(from, to);
        assert!(matches!(change, Change::Breaking(_)), "{from} -> {to}: {change:?}");
    }
    // An interface that is gone: its text, and that the world exports it.
    let (start, end) = (BEFORE.find("/// The functions.").unwrap(), BEFORE.find("/// All of it.").unwrap());
    let gone = BEFORE.replace(&BEFORE[start..end], "").replace("    export people;\n", "");
    assert!(matches!(parse(BEFORE).compare(&parse(&gone)).unwrap(), Change::Breaking(_)));
    assert_eq!(parse(&gone).compare(&parse(BEFORE)).unwrap(), Change::Addition, "and back again");
}

/// The outcome for a change under another version.
fn check(from: &str, to: &str, versions: [&str; 2]) -> Result<Change, Error> {
    let [old, new] = versions;
    let later = BEFORE.replace(from, to).replace("@0.1.0", &format!("@{new}"));
    parse(&BEFORE.replace("@0.1.0", &format!("@{old}"))).check(&parse(&later))
}

#[test]
fn a_version_says_what_has_changed() {
    let nothing = ("// Finds", "// Finds");
    let words = ("/// Finds somebody.", "/// Finds anybody.");
    let addition = ("/// Finds", "/// New.\n    count: func() -> u32;\n    /// Finds");
    let breaking = ("name: string,", "name: string, nick: option<string>,");

    for versions in [["0.1.0", "0.1.0"], ["0.1.0", "0.1.1"], ["0.1.0", "0.2.0"], ["1.0.0", "1.0.0"]] {
        assert_eq!(check(nothing.0, nothing.1, versions).unwrap(), Change::Nothing, "{versions:?}");
        assert_eq!(check(words.0, words.1, versions).unwrap(), Change::Documentation, "{versions:?}");
    }
    for versions in [["0.1.0", "0.1.1"], ["0.1.0", "0.2.0"], ["0.1.0", "1.0.0"], ["1.2.0", "1.3.0"], ["1.2.0", "2.0.0"]] {
        assert_eq!(check(addition.0, addition.1, versions).unwrap(), Change::Addition, "{versions:?}");
    }
    for versions in [["0.1.3", "0.2.0"], ["0.1.0", "1.0.0"], ["1.2.0", "2.0.0"], ["0.0.1", "0.0.2"]] {
        assert!(matches!(check(breaking.0, breaking.1, versions), Ok(Change::Breaking(_))), "{versions:?}");
    }

    assert!(matches!(check(addition.0, addition.1, ["0.1.0", "0.1.0"]), Err(Error::Unchanged(_))));
    for versions in [["0.1.0", "0.1.0"], ["0.1.0", "0.1.1"], ["1.2.0", "1.3.0"]] {
        assert!(matches!(check(breaking.0, breaking.1, versions), Err(Error::Incompatible(..))), "{versions:?}");
    }
    for (from, to) in [nothing, words, addition, breaking] {
        assert!(matches!(check(from, to, ["0.2.0", "0.1.9"]), Err(Error::Backwards { .. })));
    }
}

/// The last release in a folder, if there was one.
fn last_release(folder: &Path) -> Option<Interface> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let releases = files.filter(|file| file.extension().is_some_and(|extension| extension == "wit")).map(|file| {
        let interface = parse(&fs::read_to_string(&file).unwrap());
        assert_eq!(file.file_stem().unwrap().to_str(), Some(interface.file_name().as_str()), "the name says what is inside");
        interface
    });
    releases.max_by(|a, b| a.version().cmp(b.version()))
}

#[test]
fn the_wit_keeps_the_promise_of_its_version() {
    let interface = Interface::parse(WIT).unwrap();
    if let Some(released) = last_release(&released()) {
        let change = released.check(&interface);
        assert!(change.is_ok(), "since {}: {}; see docs/versioning.md", released.version(), change.unwrap_err());
    }
}

/// How the next release will be found and compared, with the interface as it is.
#[test]
fn a_release_is_compared_with_the_last_one_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let interface = Interface::parse(WIT).unwrap();
    let text = interface.to_text().unwrap();
    assert_eq!(interface.compare(&parse(&text)).unwrap(), Change::Nothing, "one text says what the files say");
    let version = interface.version().to_string();
    for version in ["0.0.9", "0.0.10", &version] {
        let earlier = text.replace(&format!("@{}", interface.version()), &format!("@{version}"));
        fs::write(folder.path().join(format!("memberspot-connector-{version}.wit")), earlier).unwrap();
    }
    let last = last_release(folder.path()).unwrap();
    assert_eq!(last.version(), interface.version());
    assert_eq!(last.check(&interface).unwrap(), Change::Nothing);

    let broken = text.replacen("record failure {", "record failure {\n    trace: option<string>,", 1);
    assert_ne!(broken, text);
    assert!(matches!(last.check(&parse(&broken)), Err(Error::Incompatible(..))));
}
