//! For ACT: the connector between two parts, which are its environment and its tools, in one component.

use serde_json::{Value, json};
use wac_graph::{CompositionGraph, EncodeOptions, NodeId, types::Package};
use wasm_encoder::{ComponentSection, CustomSection};

use crate::{Error, imports};

/// Where ACT looks for what a component is and what it may ask for.
const MANIFEST: &str = "act:component";

/// The connector as a component for ACT.
///
/// `adapter` and `environment` are the two parts, `act-adapter` and `act-environment`.
///
/// # Errors
///
/// When one of the three is no component, or they do not fit together.
pub fn act(connector: &[u8], adapter: &[u8], environment: &[u8]) -> Result<Vec<u8>, Error> {
    let mut composition = Composition::default();
    composition.add("memberspot:environment", environment)?;
    composition.add("memberspot:connector", connector)?;
    let adapter = composition.add("memberspot:adapter", adapter)?;
    let mut component = composition.exporting(&adapter)?;
    complete(&component)?;
    let manifest = encoded(&manifest())?;
    CustomSection { name: MANIFEST.into(), data: manifest.into() }.append_to_component(&mut component);
    Ok(component)
}

/// ACT would have to give what none of the parts does: the connector's interfaces, and an environment with the key in it.
fn complete(component: &[u8]) -> Result<(), Error> {
    let missing = |it: &String| it.starts_with("memberspot:") || it.starts_with("wasi:cli/");
    match imports(component)?.into_iter().find(missing) {
        Some(name) => Err(Error::Component(format!("nothing exports {name}"))),
        None => Ok(()),
    }
}

/// Components, each of which imports from those before it.
#[derive(Default)]
struct Composition {
    graph: CompositionGraph,
    parts: Vec<Part>,
}

#[derive(Clone)]
struct Part {
    instance: NodeId,
    exports: Vec<String>,
}

impl Composition {
    fn add(&mut self, name: &str, bytes: &[u8]) -> Result<Part, Error> {
        let package = Package::from_bytes(name, None, bytes, self.graph.types_mut());
        let package = package.map_err(|error| Error::Component(format!("{name}: {error:#}")))?;
        let world = &self.graph.types()[package.ty()];
        let imports: Vec<_> = world.imports.keys().cloned().collect();
        let exports = world.exports.keys().cloned().collect();
        let package = self.graph.register_package(package).map_err(|error| unfit(&error))?;
        let instance = self.graph.instantiate(package);
        for import in imports {
            self.link(instance, &import)?;
        }
        let part = Part { instance, exports };
        self.parts.push(part.clone());
        Ok(part)
    }

    /// Gives an instance what an earlier one exports under the name of its import. What none has is left to the engine.
    fn link(&mut self, instance: NodeId, import: &str) -> Result<(), Error> {
        let Some(exporter) = self.parts.iter().find(|it| it.exports.iter().any(|export| export == import)) else {
            return Ok(());
        };
        let export = self.graph.alias_instance_export(exporter.instance, import).map_err(|error| unfit(&error))?;
        self.graph.set_instantiation_argument(instance, import, export).map_err(|error| unfit(&error))
    }

    /// The component that exports what one of its parts exports.
    fn exporting(mut self, part: &Part) -> Result<Vec<u8>, Error> {
        for name in &part.exports {
            let export = self.graph.alias_instance_export(part.instance, name).map_err(|error| unfit(&error))?;
            self.graph.export(export, name).map_err(|error| unfit(&error))?;
        }
        self.graph.encode(EncodeOptions::default()).map_err(|error| unfit(&error))
    }
}

fn unfit(error: &dyn std::error::Error) -> Error {
    Error::Encode(error.to_string())
}

/// What ACT is told. The addresses are the most that an operator can allow: Memberspot, and this machine for a simulator.
fn manifest() -> Value {
    let hosts = [("https", "api.memberspot.de"), ("http", "127.0.0.1"), ("http", "localhost"), ("http", "[::1]")];
    let hosts = hosts.map(|(scheme, host)| json!({"scheme": scheme, "host": host}));
    json!({"std": {
        "name": "memberspot",
        "version": env!("CARGO_PKG_VERSION"),
        "description": "Memberspot, the platform for online courses: grant, pause and delete access, keep member data, look \
            members up",
        "default-language": "en",
        "license": env!("CARGO_PKG_LICENSE"),
        "capabilities": {
            "wasi:http": {"description": "Reach Memberspot", "constraints": hosts},
            "act:credentials": {"description": "Read the API key and what it may be used for"},
        },
        "credentials": [{
            "key": "default",
            "description": "The API key of a school, and what it may be used for",
            "fields": [
                field("memberspot:api-key", "API key", true),
                field("memberspot:scopes", "What is allowed, of read,write,delete,login,raw; all without it", false),
                field("memberspot:base-url", "Where to find Memberspot, if not at https://api.memberspot.de", false),
            ],
        }],
    }})
}

/// A field of a credential. What is required is what is secret.
fn field(key: &str, label: &str, required: bool) -> Value {
    json!({"key": key, "label": label, "type": "std:string", "secret": required, "required": required})
}

fn encoded(value: &Value) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).map_err(|error| unfit(&error))?;
    Ok(bytes)
}
