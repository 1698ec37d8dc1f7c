//! Builds the component and embeds it, together with the WIT that it was made from, with the parts that make it one for ACT,
//! and with a list of what is inside of each.
//!
//! The component is built by a second cargo, in a target folder of its own below `OUT_DIR`: the outer cargo holds the lock
//! of the usual one. What comes out is what anybody gets from
//! `cargo build --profile component --target wasm32-unknown-unknown -p memberspot-connector`, but for the folders of this
//! machine, which panic messages would name; a contract test compares the bytes.

mod inventory;
mod packages;
mod paths;

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use packages::Packages;
use paths::Folders;

/// What is built, each by itself: together, they would share the features of their dependencies. The variable is where
/// the sources find it.
const PACKAGES: [(&str, &str); 4] = [
    ("memberspot-connector", "MEMBERSPOT_COMPONENT"),
    ("memberspot-act-adapter", "MEMBERSPOT_ACT_ADAPTER"),
    ("memberspot-act-environment", "MEMBERSPOT_ACT_ENVIRONMENT"),
    ("memberspot-webhook-receiver", "MEMBERSPOT_WEBHOOK_RECEIVER"),
];
const TARGET: &str = "wasm32-unknown-unknown";
const PROFILE: &str = "component";

/// What they are made from, relative to the workspace.
const INPUTS: [&str; 11] = [
    "src",
    "core",
    "wit",
    "host-test/flavours/act-adapter",
    "host-test/flavours/act-environment",
    "webhook-receiver/Cargo.toml",
    "webhook-receiver/src",
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
    ".cargo/config.toml",
];

/// What the outer cargo, or the caller's shell, must not hand down to the inner cargo.
///
/// Each of the first two replaces the `rustflags` of `.cargo/config.toml`, and with them the linker arguments that make
/// memory small. Cargo sets the first for every build script, to an empty text. Clippy sets the third, which would check
/// the component instead of building it.
const NOT_INHERITED: [&str; 3] = ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER"];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error={message}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let package = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let workspace = package.parent().ok_or("this package is not inside its workspace")?;
    let out = PathBuf::from(variable("OUT_DIR")?);

    for input in INPUTS.map(|input| workspace.join(input)) {
        // A path that does not exist would make cargo run this script every time.
        if input.exists() {
            println!("cargo::rerun-if-changed={}", input.display());
        }
    }

    let (cargo, rustc) = (variable("CARGO")?, variable("RUSTC")?);
    require_target(&rustc)?;
    let packages = Packages::read(&cargo, workspace)?;
    let flags = out.join("paths.toml");
    let target_dir = out.join("component");
    let folders = Folders { workspace, target_dir: &target_dir, rustc: &rustc };
    // The same for all, so that what they share is built once.
    write(&flags, &paths::config(&folders, &packages.below(&PACKAGES.map(|(name, _)| name))?)?)?;
    println!("cargo::rustc-env=MEMBERSPOT_PATHS={}", flags.display());
    for (name, variable) in PACKAGES {
        let compiled = build_component(name, &cargo, workspace, &target_dir, &flags)?;
        let list = out.join(name).with_extension("json");
        write(&list, &inventory::list(name, &packages, &compiled, workspace, &rustc)?)?;
        let component = target_dir.join(TARGET).join(PROFILE).join(name.replace('-', "_")).with_extension("wasm");
        println!("cargo::rustc-env={variable}={}", component.display());
        println!("cargo::rustc-env={variable}_INVENTORY={}", list.display());
    }
    list_wit(&workspace.join("wit"), &out.join("wit.rs"))
}

/// Fails with the command to run when rustc has no standard library for the component's target.
fn require_target(rustc: &OsStr) -> Result<(), String> {
    let asked = ask(Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]));
    if asked.is_ok_and(|libraries| Path::new(libraries.trim()).is_dir()) {
        Ok(())
    } else {
        Err(format!("the component needs the target {TARGET}; install it with: rustup target add {TARGET}"))
    }
}

/// Builds a component, with the further configuration in `flags`; the result are the ids of the packages in it.
fn build_component(
    package: &str,
    cargo: &OsStr,
    workspace: &Path,
    target_dir: &Path,
    flags: &Path,
) -> Result<Vec<String>, String> {
    let mut command = Command::new(cargo);
    command
        // Cargo looks for `.cargo/config.toml` from its working directory upwards, not from the manifest.
        .current_dir(workspace)
        .args(["build", "--locked", "--profile", PROFILE, "--target", TARGET, "--package", package])
        .args(["--message-format", "json-render-diagnostics"])
        .arg("--config")
        .arg(flags)
        .arg("--target-dir")
        .arg(target_dir)
        .stderr(Stdio::inherit());
    for name in NOT_INHERITED {
        command.env_remove(name);
    }
    let messages = ask(&mut command)
        .map_err(|problem| format!("the component {package} does not build ({problem}); its errors are listed below"))?;
    packages::compiled(&messages, &target_dir.join(TARGET))
}

/// Writes a Rust expression for the WIT files: pairs of name and content.
fn list_wit(wit: &Path, list: &Path) -> Result<(), String> {
    let unreadable = |error| format!("cannot read {}: {error}", wit.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(wit).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "wit") {
            files.push(path);
        }
    }
    files.sort();

    let mut source = String::from("&[\n");
    for path in &files {
        let name = path.file_name().and_then(OsStr::to_str).ok_or("a name in wit/ is not text")?;
        let path = path.to_str().ok_or("the path of this repository is not text")?;
        // Rust's own escapes.
        writeln!(source, "    ({name:?}, include_str!({path:?})),").map_err(|error| error.to_string())?;
    }
    source.push_str("]\n");
    write(list, &source)
}

/// What a program prints.
fn ask(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("cannot run {}: {error}", command.get_program().display()))?;
    if !output.status.success() {
        return Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("{}: {error}", command.get_program().display()))
}

fn write(file: &Path, content: &str) -> Result<(), String> {
    fs::write(file, content).map_err(|error| format!("cannot write {}: {error}", file.display()))
}

fn variable(name: &str) -> Result<OsString, String> {
    env::var_os(name).ok_or_else(|| format!("cargo did not set {name}"))
}
