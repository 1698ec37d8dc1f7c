//! Replays what the fuzzers have collected, with any compiler.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use memberspot_fuzz_targets::TARGETS;

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|problem| panic!("{}: {problem}", folder.display()));
    let stem = |path: PathBuf| path.file_stem().expect("a name").to_string_lossy().into_owned();
    entries.map(|entry| stem(entry.expect("an entry").path())).collect()
}

fn fuzz() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the folder of the fuzzers")
}

#[test]
fn every_input_of_the_corpus_holds() {
    for (name, target) in TARGETS {
        let mut inputs = 0;
        for entry in fs::read_dir(fuzz().join("corpus").join(name)).expect("a corpus") {
            let path = entry.expect("an entry").path();
            let input = fs::read(&path).expect("an input");
            // Printed only when the target panics, to tell which input it was.
            println!("{}", path.display());
            target(&input);
            inputs += 1;
        }
        assert!(inputs > 0, "{name} has no corpus");
    }
}

#[test]
fn every_target_has_a_fuzzer_a_corpus_and_a_dictionary() {
    let targets: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    for folder in ["fuzz_targets", "corpus", "dictionaries"] {
        assert_eq!(names(&fuzz().join(folder)), targets, "{folder}");
    }
}
