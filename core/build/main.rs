//! What is made from `wit/`, so that it is the only place where it stands: the facts of each function for `src/function.rs`, the
//! JSON forms of each type for `src/form.rs` and `src/input.rs`, and the description of each module for `src/modules.rs`.

mod facts;
mod forms;
mod inputs;
mod modules;
mod names;

use std::{env, fs, path::Path};

use wit_parser::Resolve;

fn main() {
    println!("cargo::rerun-if-changed=../wit");
    println!("cargo::rerun-if-changed=build");
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir("../wit").unwrap_or_else(|problem| panic!("wit/: {problem:#}"));
    let interfaces: Vec<_> = resolve.packages[package].interfaces.iter().map(|(name, id)| (name.as_str(), *id)).collect();
    let functions = facts::table(&resolve, &interfaces).unwrap_or_else(|problem| panic!("wit/: {problem}"));
    let forms: String = interfaces.iter().map(|(name, id)| forms::forms(&resolve, name, *id)).collect();
    let inputs: String = interfaces.iter().map(|(name, id)| inputs::decoders(&resolve, name, *id)).collect();
    let modules = modules::modules(&resolve, &interfaces);
    let folder = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts");
    for (file, source) in [("functions.rs", functions), ("forms.rs", forms), ("inputs.rs", inputs), ("modules.rs", modules)] {
        fs::write(Path::new(&folder).join(file), source).expect("OUT_DIR is writable");
    }
}
