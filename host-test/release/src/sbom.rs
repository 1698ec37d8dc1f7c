//! The bill of materials of a component, as `CycloneDX` 1.6 lays it down: the packages that were compiled into it, with
//! their licences and checksums.
//!
//! What is inside is known to the build alone; what it lists is passed on here.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use crate::{Component, Error, Release, sha256};

/// What was compiled into a part of a component, as the host's build script lists it.
#[derive(Debug, Deserialize)]
pub struct Inventory {
    /// The package that was built.
    component: String,
    /// The version of the compiler, and of the standard library that came with it.
    compiler: String,
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    /// What other packages of the list call it.
    reference: String,
    name: String,
    version: String,
    /// Where it comes from; nothing for a package of this repository.
    source: Option<String>,
    license: Option<String>,
    repository: Option<String>,
    /// The SHA-256 of the package as its registry hands it out.
    checksum: Option<String>,
    dependencies: Vec<String>,
}

impl Inventory {
    /// Reads the list of the build script.
    ///
    /// # Errors
    ///
    /// When it is another text.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Ok(serde_json::from_str(text)?)
    }

    /// The standard library, which no package names and every package uses.
    fn standard_library(&self) -> (String, Value) {
        let reference = format!("rust-std@{}", self.compiler);
        let component = json!({
            "type": "library",
            "bom-ref": reference,
            "name": "rust-std",
            "version": self.compiler,
            "description": "The Rust standard library, with what is built into it",
            "licenses": [{"expression": "MIT OR Apache-2.0"}],
            "externalReferences": [{"type": "vcs", "url": "https://github.com/rust-lang/rust"}],
        });
        (reference, component)
    }

    /// The packages at the top of the list.
    fn tops(&self) -> impl Iterator<Item = String> {
        self.packages.iter().filter(|package| package.name == self.component).map(|package| package.reference.clone())
    }
}

impl Package {
    fn describe(&self) -> Value {
        let mut component = json!({
            "type": "library",
            "bom-ref": self.reference,
            "name": self.name,
            "version": self.version,
        });
        if let Some(license) = &self.license {
            // As cargo wrote a choice, before it took over SPDX.
            component["licenses"] = json!([{"expression": license.replace('/', " OR ")}]);
        }
        if let Some(repository) = &self.repository {
            component["externalReferences"] = json!([{"type": "vcs", "url": repository}]);
        }
        if let Some(checksum) = &self.checksum {
            component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
        }
        // A package of this repository is in no registry.
        if self.source.is_some() {
            // The one sign of versions that has a meaning of its own there.
            component["purl"] = format!("pkg:cargo/{}@{}", self.name, self.version.replace('+', "%2B")).into();
        }
        component
    }
}

/// The bill of materials of a component.
pub fn cyclonedx(release: &Release<'_>, component: &Component) -> Result<Vec<u8>, Error> {
    let root = format!("{}@{}", component.name, release.version);
    // Parts may have packages in common.
    let (mut components, mut dependencies) = (BTreeMap::new(), BTreeMap::new());
    let mut tops = Vec::new();
    for part in &component.parts {
        let (standard_library, described) = part.standard_library();
        components.insert(standard_library.clone(), described);
        dependencies.insert(standard_library.clone(), Vec::new());
        for package in &part.packages {
            components.insert(package.reference.clone(), package.describe());
            dependencies.insert(package.reference.clone(), package.dependencies.clone());
        }
        tops.extend(part.tops().chain([standard_library]));
    }
    tops.sort();
    tops.dedup();
    dependencies.insert(root.clone(), tops);

    let compilers = component.parts.iter().map(|part| &part.compiler).collect::<std::collections::BTreeSet<_>>();
    let tools = compilers.iter().map(|version| json!({"type": "application", "name": "rustc", "version": version}));
    let mut metadata = json!({
        "lifecycles": [{"phase": "build"}],
        "tools": {"components": tools.collect::<Vec<_>>()},
        "component": {
            "type": "library",
            "bom-ref": root,
            "name": component.name,
            "version": release.version,
            "description": component.description,
            "licenses": [{"expression": release.license}],
            "hashes": [{"alg": "SHA-256", "content": sha256(&component.bytes)}],
        },
    });
    if let Some(created) = release.created {
        metadata["timestamp"] = created.format(&Rfc3339)?.into();
    }
    let dependencies = dependencies.iter().map(|(reference, all)| json!({"ref": reference, "dependsOn": all}));
    Ok(serde_json::to_vec_pretty(&json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": metadata,
        "components": components.into_values().collect::<Vec<_>>(),
        "dependencies": dependencies.collect::<Vec<_>>(),
    }))?)
}
