//! The interface as a WIT package, and what the difference between two of its versions means.

use std::collections::BTreeMap;

use semver::Version;
use wit_component::{OutputToString, WitPrinter};
use wit_parser::{InterfaceId, PackageId, PackageMetadata, PackageName, Resolve, SourceMap, WorldId, WorldItem};

use crate::Error;

/// A WIT package that has a version.
#[derive(Debug, Clone)]
pub struct Interface {
    resolve: Resolve,
    package: PackageId,
    version: Version,
}

/// How one version of an interface differs from the one before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// It is the same; the order of functions and interfaces may be another.
    Nothing,
    /// Comments say something else.
    Documentation,
    /// There is more of it: what was written for the older one works with the newer one.
    Addition,
    /// What was written for the older one may fail with the newer one; the text says at what.
    Breaking(String),
}

impl Interface {
    /// Reads a package from its files: pairs of name and content.
    ///
    /// # Errors
    ///
    /// When the WIT is not valid, or its package has no version.
    pub fn parse(files: &[(&str, &str)]) -> Result<Self, Error> {
        let mut sources = SourceMap::new();
        for (name, content) in files {
            sources.push_str(name, *content);
        }
        let group = sources.parse().map_err(|(sources, error)| Error::Wit(error.render(&sources)))?;
        let mut resolve = Resolve::new();
        let package = resolve.push_group(group).map_err(|error| Error::Wit(error.to_string()))?;
        let version = resolve.packages[package].name.version.clone();
        let version = version.ok_or_else(|| Error::Wit("the package has no version".to_owned()))?;
        Ok(Self { resolve, package, version })
    }

    /// The name of the package, such as `memberspot-connector`.
    pub fn name(&self) -> String {
        let PackageName { namespace, name, .. } = self.package_name();
        format!("{namespace}-{name}")
    }

    /// The version of the package.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The name of its files in a release, without their endings.
    pub fn file_name(&self) -> String {
        format!("{}-{}", self.name(), self.version)
    }

    /// The package as one text.
    ///
    /// # Errors
    ///
    /// When it cannot be written as WIT, which a package that was read can be.
    pub fn to_text(&self) -> Result<String, Error> {
        let mut printer = WitPrinter::new(OutputToString::default());
        printer.print(&self.resolve, self.package, &[]).map_err(|error| Error::Wit(format!("{error:#}")))?;
        Ok(printer.output.to_string())
    }

    /// The package in its binary form, as registries of WebAssembly packages hold it.
    ///
    /// # Errors
    ///
    /// When it cannot be encoded.
    pub fn to_binary(&self) -> Result<Vec<u8>, Error> {
        wit_component::encode(&self.resolve, self.package, false).map_err(|error| Error::Wit(format!("{error:#}")))
    }

    /// The names of its interfaces and worlds, in order.
    pub(crate) fn contents(&self) -> Vec<String> {
        let package = &self.resolve.packages[self.package];
        let names = package.interfaces.keys().chain(package.worlds.keys());
        let mut names: Vec<_> = names.map(|name| self.resolve.id_of_name(self.package, name)).collect();
        names.sort();
        names
    }

    /// How a later version differs from this one.
    ///
    /// # Errors
    ///
    /// When the two cannot be laid side by side, such as packages with interfaces that no world exports.
    pub fn compare(&self, later: &Self) -> Result<Change, Error> {
        let (old, new) = (self.package_name(), later.package_name());
        if (&old.namespace, &old.name) != (&new.namespace, &new.name) {
            return Ok(Change::Breaking(format!("{} has become {}", self.name(), later.name())));
        }
        let (before, after) = (self.facts(), later.facts());
        let fact = before.iter().find(|(function, facts)| after.get(*function).is_some_and(|it| it != *facts));
        if let Some((function, facts)) = fact {
            return Ok(Change::Breaking(format!("{function} no longer says: {facts}")));
        }
        self.require_exports()?;
        later.require_exports()?;
        let both = Both::new(self, later)?;
        for name in both.worlds(both.old) {
            if let Err(problem) = both.replaces(name, both.new, both.old) {
                return Ok(Change::Breaking(problem));
            }
        }
        if both.worlds(both.new).any(|name| both.replaces(name, both.old, both.new).is_err()) {
            return Ok(Change::Addition);
        }
        Ok(if self.comments()? == later.comments()? { Change::Nothing } else { Change::Documentation })
    }

    /// How a later version differs from this one, when its version says so.
    ///
    /// # Errors
    ///
    /// When the later version has to be higher, or incompatible, or when the two cannot be laid side by side.
    pub fn check(&self, later: &Self) -> Result<Change, Error> {
        let change = self.compare(later)?;
        let (old, new) = (&self.version, &later.version);
        let (old_track, _) = PackageName::version_compat_track(old);
        let (new_track, _) = PackageName::version_compat_track(new);
        match change {
            _ if new < old => Err(Error::Backwards { old: old.clone(), new: new.clone() }),
            Change::Breaking(reason) if old_track == new_track => Err(Error::Incompatible(old.clone(), reason)),
            Change::Addition if new == old => Err(Error::Unchanged(old.clone())),
            change => Ok(change),
        }
    }

    fn package_name(&self) -> &PackageName {
        &self.resolve.packages[self.package].name
    }

    /// What callers decide by, for each function: the last line of its comment, but for the limit, which is Memberspot's and
    /// not ours.
    fn facts(&self) -> BTreeMap<String, String> {
        let mut facts = BTreeMap::new();
        for (interface, id) in &self.resolve.packages[self.package].interfaces {
            for (name, function) in &self.resolve.interfaces[*id].functions {
                let last = function.docs.contents.as_deref().unwrap_or_default().lines().last().unwrap_or_default();
                if let Some((line, _)) = last.split_once(" Limit: ") {
                    facts.insert(format!("{interface}.{name}"), line.to_owned());
                }
            }
        }
        facts
    }

    /// Fails when an interface is in no world: worlds are what is compared.
    fn require_exports(&self) -> Result<(), Error> {
        let package = &self.resolve.packages[self.package];
        let worlds = package.worlds.values().map(|world| &self.resolve.worlds[*world]);
        let exports: Vec<_> = worlds.flat_map(|world| world.exports.values()).collect();
        let exported =
            |interface: InterfaceId| exports.iter().any(|it| matches!(it, WorldItem::Interface { id, .. } if *id == interface));
        match package.interfaces.iter().find(|(_, id)| !exported(**id)) {
            Some((name, _)) => Err(Error::Wit(format!("no world exports the interface {name}"))),
            None => Ok(()),
        }
    }

    /// All comments, by the names of what they are about.
    fn comments(&self) -> Result<serde_json::Value, Error> {
        let comments = serde_json::to_value(PackageMetadata::extract(&self.resolve, self.package));
        comments.map_err(|error| Error::Wit(error.to_string()))
    }
}

/// Two versions of a package side by side.
struct Both {
    resolve: Resolve,
    old: PackageId,
    new: PackageId,
}

impl Both {
    fn new(old: &Interface, new: &Interface) -> Result<Self, Error> {
        let mut resolve = new.resolve.clone();
        let mut other = old.resolve.clone();
        // Two packages of one name are taken for one, and the versions are often the same.
        let mut name = old.package_name().clone();
        other.package_names.shift_remove(&name);
        name.version = Some(Version::new(u64::MAX, u64::MAX, u64::MAX));
        other.package_names.insert(name.clone(), old.package);
        other.packages[old.package].name = name.clone();
        resolve.merge(other).map_err(|error| Error::Wit(format!("{error:#}")))?;
        let found = resolve.package_names.get(&name).copied();
        Ok(Self { old: found.ok_or_else(|| Error::Wit("the older package was lost".to_owned()))?, new: new.package, resolve })
    }

    fn worlds(&self, package: PackageId) -> impl Iterator<Item = &str> {
        self.resolve.packages[package].worlds.keys().map(String::as_str)
    }

    fn world(&self, package: PackageId, name: &str) -> Result<WorldId, String> {
        self.resolve.packages[package].worlds.get(name).copied().ok_or_else(|| format!("there is no world {name}"))
    }

    /// Whether a component for the world of one package can be used where one for that of the other is expected.
    fn replaces(&self, world: &str, substitute: PackageId, expected: PackageId) -> Result<(), String> {
        let (substitute, expected) = (self.world(substitute, world)?, self.world(expected, world)?);
        wit_component::semver_check(self.resolve.clone(), substitute, expected).map_err(|error| format!("{error:#}"))
    }
}
