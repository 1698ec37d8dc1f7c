//! The packages of the workspace and of what it depends on, as cargo knows them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

use super::{TARGET, ask};

/// What `cargo metadata` says.
#[derive(Deserialize)]
pub struct Packages {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
pub struct Package {
    pub id: String,
    pub name: String,
    pub version: String,
    /// Where it comes from; nothing for a package of this workspace.
    pub source: Option<String>,
    pub license: Option<String>,
    pub repository: Option<String>,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    /// Nothing for a normal dependency.
    kind: Option<String>,
}

impl Package {
    /// The folder of the package.
    pub fn root(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(&self.manifest_path)
    }
}

impl Packages {
    pub fn read(cargo: &OsStr, workspace: &Path) -> Result<Self, String> {
        let mut command = Command::new(cargo);
        command.current_dir(workspace).args(["metadata", "--locked", "--format-version", "1", "--filter-platform", TARGET]);
        let metadata = ask(&mut command).map_err(|problem| format!("cargo metadata: {problem}"))?;
        serde_json::from_str(&metadata).map_err(|error| format!("cargo metadata: {error}"))
    }

    /// A package by its id.
    pub fn get(&self, id: &str) -> Result<&Package, String> {
        self.packages.iter().find(|package| package.id == id).ok_or_else(|| format!("cargo metadata lacks {id}"))
    }

    /// What a package needs at run time, itself excluded, by the ids.
    ///
    /// Cargo unites here the features that any package of the workspace asks for, so there may be more than is compiled.
    pub fn dependencies(&self, id: &str) -> impl Iterator<Item = &str> {
        let normal = |dependency: &&Dependency| dependency.dep_kinds.iter().any(|kind| kind.kind.is_none());
        let node = self.resolve.nodes.iter().filter(move |node| node.id == id);
        node.flat_map(move |node| node.deps.iter().filter(normal).map(|dependency| dependency.pkg.as_str()))
    }

    /// All packages that some packages of this workspace may consist of, themselves included.
    pub fn below(&self, names: &[&str]) -> Result<Vec<&Package>, String> {
        let mut found = BTreeMap::new();
        let mut open = Vec::new();
        for name in names {
            let own = |package: &&Package| package.name == *name && package.source.is_none();
            let top = self.packages.iter().find(own).ok_or_else(|| format!("cargo metadata lacks {name}"))?;
            open.push(top.id.as_str());
        }
        while let Some(id) = open.pop() {
            if found.insert(id, self.get(id)?).is_none() {
                open.extend(self.dependencies(id));
            }
        }
        Ok(found.into_values().collect())
    }
}

/// The ids of the packages that were compiled into the folder of a target, from the messages of cargo; what was compiled
/// for this machine, such as build scripts and macros, lies elsewhere.
pub fn compiled(messages: &str, folder: &Path) -> Result<Vec<String>, String> {
    let mut ids = BTreeSet::new();
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).map_err(|error| format!("a message of cargo: {error}"))?;
        let mut files = message["filenames"].as_array().into_iter().flatten().filter_map(Value::as_str);
        if message["reason"] == "compiler-artifact" && files.any(|file| Path::new(file).starts_with(folder)) {
            ids.extend(message["package_id"].as_str().map(str::to_owned));
        }
    }
    Ok(ids.into_iter().collect())
}
