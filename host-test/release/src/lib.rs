//! Assembles a release: what is published of the connector, as the content of one folder.
//!
//! Everything is made in memory first, from nothing but what is passed in, so the same source gives the same bytes. The
//! folder appears as a whole, or not at all.

mod folder;
mod interface;
mod oci;
mod sbom;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use semver::Version;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

pub use folder::write;
pub use interface::{Change, Interface};
pub use sbom::Inventory;

/// The file with the checksums of all others, for `sha256sum --check`.
pub const CHECKSUMS: &str = "SHA256SUMS";

/// The content of a folder: paths with `/`, and what is there.
pub type Files = BTreeMap<String, Vec<u8>>;

/// What a release is made of.
#[derive(Debug)]
pub struct Release<'a> {
    /// The version of the components. That of the interface stands in the WIT.
    pub version: &'a str,
    /// The licence of the components, as an SPDX expression.
    pub license: &'a str,
    /// The components.
    pub components: Vec<Component>,
    /// Their interface.
    pub interface: &'a Interface,
    /// Further files, such as licences: names and content.
    pub texts: &'a [(&'a str, &'a str)],
    /// The moment that the release bears, if any: no clock is read.
    pub created: Option<OffsetDateTime>,
}

/// A component of a release.
#[derive(Debug)]
pub struct Component {
    /// Its name, such as `memberspot-tools`: that of its files, without their endings.
    pub name: String,
    /// What it is, in a line.
    pub description: String,
    /// The component.
    pub bytes: Vec<u8>,
    /// What was compiled into it, for each part that was compiled on its own.
    pub parts: Vec<Inventory>,
}

/// Why a release cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The WIT is not valid, or cannot be written as a package.
    #[error("the WIT cannot be read: {0}")]
    Wit(String),
    /// The newer interface has the lower version.
    #[error("version {new} of the interface comes after {old}")]
    Backwards {
        /// The version of the older one.
        old: Version,
        /// The version of the newer one.
        new: Version,
    },
    /// The newer interface has more, under the same version.
    #[error("the interface has more than that of {0}, which needs a higher version")]
    Unchanged(Version),
    /// The newer interface is not compatible, and its version says that it is.
    #[error("what was written for version {0} of the interface may fail, which needs an incompatible version: {1}")]
    Incompatible(Version, String),
    /// A component is none.
    #[error("{0} is no component: {1}")]
    Component(String, String),
    /// The list of what is in a component is not what the build script writes.
    #[error("the list of packages cannot be read: {0}")]
    Inventory(#[from] serde_json::Error),
    /// The moment of the release has no form as a date.
    #[error("the release has no valid date: {0}")]
    Date(#[from] time::error::Format),
    /// The folder is there already, and not empty.
    #[error("{} is there already; a release goes into a folder that is new or empty", .0.display())]
    NotEmpty(PathBuf),
    /// A run was interrupted, or another one is at it.
    #[error("{} is there: another run is at work, or was interrupted; if so, remove it", .0.display())]
    Unfinished(PathBuf),
    /// A file cannot be written.
    #[error("cannot write {}", .0.display())]
    Write(PathBuf, #[source] std::io::Error),
}

impl Release<'_> {
    /// Everything that belongs into the folder, the checksums included.
    ///
    /// # Errors
    ///
    /// When a component or the WIT is not valid.
    pub fn files(&self) -> Result<Files, Error> {
        let mut files = Files::new();
        let mut layout = oci::Layout::new(self);
        for component in &self.components {
            layout.add_component(component)?;
            files.insert(format!("{}.cdx.json", component.name), sbom::cyclonedx(self, component)?);
            files.insert(format!("{}.wasm", component.name), component.bytes.clone());
        }
        let (name, package) = (self.interface.file_name(), self.interface.to_binary()?);
        layout.add_interface(self.interface, &package)?;
        files.insert(format!("{name}.wit"), self.interface.to_text()?.into_bytes());
        files.insert(format!("{name}.wasm"), package);
        files.extend(self.texts.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())));
        files.extend(layout.files()?);
        let checksums = checksums(&files);
        files.insert(CHECKSUMS.to_owned(), checksums.into_bytes());
        Ok(files)
    }
}

/// The checksum of each file, in the format of `sha256sum`.
fn checksums(files: &Files) -> String {
    files.iter().fold(String::new(), |mut text, (name, content)| {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{}  {name}", sha256(content));
        text
    })
}

/// The SHA-256 of some bytes, in hexadecimal.
fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}
