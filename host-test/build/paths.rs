//! Keeps the folders of this machine out of the component: panics name the file where they happen, by the path that the
//! compiler was called with.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::packages::Package;
use super::{TARGET, ask};

/// Folders that the compiler may name.
pub struct Folders<'a> {
    pub workspace: &'a Path,
    pub target_dir: &'a Path,
    pub rustc: &'a OsStr,
}

/// A configuration for cargo, beside `.cargo/config.toml`: cargo joins the flags of both.
///
/// Each package gets the name that its folder has in the registry's cache, wherever it lies: a folder of vendored packages
/// gives the same. Where several prefixes fit, rustc takes the last.
pub fn config(folders: &Folders<'_>, packages: &[&Package]) -> Result<String, String> {
    let mut flags = vec![flag(folders.workspace, ".")?, flag(folders.target_dir, "target")?];
    flags.push(standard_library(folders.rustc)?);
    for package in packages.iter().filter(|package| package.source.is_some()) {
        flags.push(flag(package.root(), &format!("{}-{}", package.name, package.version))?);
    }
    // An array of texts is the same in TOML as in JSON.
    Ok(format!("[target.{TARGET}]\nrustflags = {}\n", json!(flags)))
}

/// The standard library names its files by the commit that it was built from, but not where its source is installed: then
/// the compiler names the installed files.
fn standard_library(rustc: &OsStr) -> Result<String, String> {
    let sysroot = ask(Command::new(rustc).args(["--print", "sysroot"]))?;
    let version = ask(Command::new(rustc).arg("-vV"))?;
    let commit = version.lines().find_map(|line| line.strip_prefix("commit-hash: ")).ok_or("rustc has no commit")?;
    flag(&Path::new(sysroot.trim()).join("lib/rustlib/src/rust"), &format!("/rustc/{commit}"))
}

fn flag(from: &Path, to: &str) -> Result<String, String> {
    let from = from.to_str().ok_or_else(|| format!("the path {} is not text", from.display()))?;
    Ok(format!("--remap-path-prefix={from}={to}"))
}
