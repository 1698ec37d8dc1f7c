//! The release as an OCI image layout, which tools for registries can push as it is.
//!
//! Each component is an artifact as the Wasm working group of the CNCF lays it down: a configuration that says what the
//! component exports and imports, and one layer, which is the component itself.

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use wit_component::DecodedWasm;
use wit_parser::{Resolve, WorldId};

use crate::{Component, Error, Files, Interface, Release, sha256};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const LAYER: &str = "application/wasm";

/// Where the layout is in the release.
const FOLDER: &str = "oci";

/// An image layout, as it grows.
pub struct Layout<'a> {
    release: &'a Release<'a>,
    blobs: Files,
    manifests: Vec<Value>,
}

/// What is the content of one artifact.
struct Artifact<'a> {
    name: &'a str,
    /// The name of its file in the release.
    file: String,
    version: &'a str,
    description: &'a str,
    wasm: &'a [u8],
    exports: Vec<String>,
    imports: Vec<String>,
}

impl<'a> Layout<'a> {
    pub fn new(release: &'a Release<'a>) -> Self {
        Self { release, blobs: Files::new(), manifests: Vec::new() }
    }

    /// Adds a component, under its name and the version of the release.
    pub fn add_component(&mut self, component: &Component) -> Result<(), Error> {
        let invalid = |problem: String| Error::Component(component.name.clone(), problem);
        let decoded = wit_component::decode(&component.bytes).map_err(|error| invalid(format!("{error:#}")))?;
        let DecodedWasm::Component(resolve, world) = decoded else { return Err(invalid("it is a WIT package".to_owned())) };
        let (exports, imports) = names(&resolve, world);
        let Component { name, description, bytes, .. } = component;
        let file = format!("{name}.wasm");
        self.add(&Artifact { name, file, version: self.release.version, description, wasm: bytes, exports, imports })
    }

    /// Adds the WIT package, under its name and its own version. It exports what can be found in it.
    pub fn add_interface(&mut self, interface: &Interface, package: &[u8]) -> Result<(), Error> {
        self.add(&Artifact {
            name: &interface.name(),
            file: format!("{}.wasm", interface.file_name()),
            version: &interface.version().to_string(),
            description: "The interface, as a WIT package",
            wasm: package,
            exports: interface.contents(),
            imports: Vec::new(),
        })
    }

    fn add(&mut self, artifact: &Artifact<'_>) -> Result<(), Error> {
        let mut layer = self.blob(LAYER, artifact.wasm.to_vec());
        let config = json!({
            "created": moment(self.release.created)?,
            "architecture": "wasm",
            "os": "wasip2",
            "layerDigests": [layer["digest"]],
            "component": {"exports": artifact.exports, "imports": artifact.imports},
        });
        let config = self.blob(CONFIG, serde_json::to_vec(&config)?);
        // Tools that unpack an artifact into files take their names from here.
        layer["annotations"] = json!({"org.opencontainers.image.title": artifact.file});
        let mut annotations = json!({
            "org.opencontainers.image.title": artifact.name,
            "org.opencontainers.image.description": artifact.description,
            "org.opencontainers.image.version": artifact.version,
            "org.opencontainers.image.licenses": self.release.license,
        });
        if self.release.created.is_some() {
            annotations["org.opencontainers.image.created"] = moment(self.release.created)?.into();
        }
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config,
            "layers": [layer],
            "annotations": annotations,
        });
        let mut manifest = self.blob(MANIFEST, serde_json::to_vec(&manifest)?);
        let tag = format!("{}-{}", artifact.name, artifact.version);
        manifest["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        self.manifests.push(manifest);
        Ok(())
    }

    /// Keeps some bytes; the result is their descriptor.
    fn blob(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let (digest, size) = (sha256(&bytes), bytes.len());
        self.blobs.insert(format!("{FOLDER}/blobs/sha256/{digest}"), bytes);
        json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size})
    }

    /// The files of the layout.
    pub fn files(self) -> Result<Files, Error> {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": self.manifests});
        let mut files = self.blobs;
        files.insert(format!("{FOLDER}/index.json"), serde_json::to_vec(&index)?);
        files.insert(format!("{FOLDER}/oci-layout"), serde_json::to_vec(&json!({"imageLayoutVersion": "1.0.0"}))?);
        Ok(files)
    }
}

/// What a component exports and imports.
fn names(resolve: &Resolve, world: WorldId) -> (Vec<String>, Vec<String>) {
    let world = &resolve.worlds[world];
    let exports = world.exports.keys().map(|key| resolve.name_world_key(key));
    (exports.collect(), world.imports.keys().map(|key| resolve.name_world_key(key)).collect())
}

/// The moment of the release as a text. A configuration has to have one: without it, that from which Unix counts.
fn moment(created: Option<OffsetDateTime>) -> Result<String, Error> {
    Ok(created.unwrap_or(OffsetDateTime::UNIX_EPOCH).format(&Rfc3339)?)
}
