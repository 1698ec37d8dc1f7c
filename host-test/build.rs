//! Builds the component and embeds it, together with the WIT that it was made from, and with the parts that make it one
//! for ACT.
//!
//! The component is built by a second cargo, in a target folder of its own below `OUT_DIR`: the outer cargo holds the lock
//! of the usual one. What comes out must be what anybody gets from
//! `cargo build --profile component --target wasm32-unknown-unknown -p memberspot-connector`; a contract test compares the
//! bytes.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What is built, each by itself: together, they would share the features of their dependencies. The variable is where
/// the sources find it.
const PACKAGES: [(&str, &str); 3] = [
    ("memberspot-connector", "MEMBERSPOT_COMPONENT"),
    ("memberspot-act-adapter", "MEMBERSPOT_ACT_ADAPTER"),
    ("memberspot-act-environment", "MEMBERSPOT_ACT_ENVIRONMENT"),
];
const TARGET: &str = "wasm32-unknown-unknown";
const PROFILE: &str = "component";

/// What they are made from, relative to the workspace.
const INPUTS: [&str; 9] = [
    "src",
    "core",
    "wit",
    "host-test/flavours/act-adapter",
    "host-test/flavours/act-environment",
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
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("this package is not inside its workspace")?;
    let out = PathBuf::from(variable("OUT_DIR")?);

    for input in INPUTS.map(|input| workspace.join(input)) {
        // A path that does not exist would make cargo run this script every time.
        if input.exists() {
            println!("cargo::rerun-if-changed={}", input.display());
        }
    }

    require_target()?;
    for (package, variable) in PACKAGES {
        let component = build_component(package, workspace, &out)?;
        println!("cargo::rustc-env={variable}={}", component.display());
    }
    list_wit(&workspace.join("wit"), &out.join("wit.rs"))
}

/// Fails with the command to run when rustc has no standard library for the component's target.
fn require_target() -> Result<(), String> {
    let rustc = variable("RUSTC")?;
    let output = Command::new(&rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .map_err(|error| format!("cannot run {}: {error}", rustc.display()))?;
    let libraries = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && Path::new(libraries.trim()).is_dir() {
        Ok(())
    } else {
        Err(format!("the component needs the target {TARGET}; install it with: rustup target add {TARGET}"))
    }
}

/// Builds a component; the result is its path.
fn build_component(package: &str, workspace: &Path, out: &Path) -> Result<PathBuf, String> {
    let target_dir = out.join("component");
    let cargo = variable("CARGO")?;
    let mut command = Command::new(&cargo);
    command
        // Cargo looks for `.cargo/config.toml` from its working directory upwards, not from the manifest.
        .current_dir(workspace)
        .args(["build", "--locked", "--profile", PROFILE, "--target", TARGET, "--package", package])
        .arg("--target-dir")
        .arg(&target_dir);
    for name in NOT_INHERITED {
        command.env_remove(name);
    }
    let status = command.status().map_err(|error| format!("cannot run {}: {error}", cargo.display()))?;
    if !status.success() {
        return Err(format!("the component {package} does not build ({status}); its errors are listed below"));
    }
    Ok(target_dir.join(TARGET).join(PROFILE).join(package.replace('-', "_")).with_extension("wasm"))
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
    fs::write(list, source).map_err(|error| format!("cannot write {}: {error}", list.display()))
}

fn variable(name: &str) -> Result<OsString, String> {
    env::var_os(name).ok_or_else(|| format!("cargo did not set {name}"))
}
