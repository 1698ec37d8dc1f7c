//! The list of what is inside of a component, for its bill of materials.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use serde_json::json;

use super::ask;
use super::packages::{Package, Packages};

/// `Cargo.lock`, as far as it matters here.
#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
}

/// The packages with the given ids, as JSON: the compiler that made them, and each with its origin and what it needs.
pub fn list(
    component: &str,
    packages: &Packages,
    compiled: &[String],
    workspace: &Path,
    rustc: &OsStr,
) -> Result<String, String> {
    let lock = workspace.join("Cargo.lock");
    let lock = fs::read_to_string(&lock).map_err(|error| format!("cannot read {}: {error}", lock.display()))?;
    let lock: Lock = toml::from_str(&lock).map_err(|error| format!("Cargo.lock: {error}"))?;
    let checksums: BTreeMap<_, _> =
        lock.package.iter().map(|it| ((&*it.name, &*it.version, it.source.as_deref()), &it.checksum)).collect();

    let mut list = Vec::new();
    for id in compiled {
        let package = packages.get(id)?;
        let Package { name, version, source, license, repository, .. } = package;
        let mut dependencies = Vec::new();
        for dependency in packages.dependencies(id).filter(|id| compiled.iter().any(|it| it == id)) {
            dependencies.push(reference(packages.get(dependency)?));
        }
        dependencies.sort();
        list.push(json!({
            "reference": reference(package),
            "name": name,
            "version": version,
            "source": source,
            "license": license,
            "repository": repository,
            "checksum": checksums.get(&(name.as_str(), version.as_str(), source.as_deref())),
            "dependencies": dependencies,
        }));
    }
    // The ids of the workspace's own packages hold its folder, and with it an order that is not the same everywhere.
    list.sort_by_key(|package| package["reference"].to_string());
    let compiler = ask(Command::new(rustc).arg("-vV"))?;
    let compiler = compiler.lines().find_map(|line| line.strip_prefix("release: ")).ok_or("rustc has no version")?;
    let list = json!({"component": component, "compiler": compiler, "packages": list});
    serde_json::to_string_pretty(&list).map_err(|error| error.to_string())
}

/// What a package is called in the list.
fn reference(package: &Package) -> String {
    format!("{}@{}", package.name, package.version)
}
