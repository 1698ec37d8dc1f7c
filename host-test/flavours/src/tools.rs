//! For agents: functions of the world instead of interfaces, with short names, and descriptions in the component.
//!
//! Names, types and comments are all that differs. So the core module stays, its exports get the names of the new world,
//! and the component around it is made anew.

use std::borrow::Cow;

use memberspot_comments::MODULES;
use wasm_encoder::{ComponentSection as _, CustomSection};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::decoding::{DecodedWasm, decode};
use wit_parser::{LiveTypes, PackageMetadata, Resolve, TypeDefKind, TypeOwner, WorldId, WorldItem, WorldKey};

use crate::Error;
use crate::core_module::{self, Names};
use crate::describe::Descriptions;

/// The connector as tools.
///
/// `wit` is what the component was made from: pairs of file name and content. The same input gives the same bytes.
///
/// # Errors
///
/// When the component is not the connector, or the WIT is not its own.
pub fn tools(component: &[u8], wit: &[(&str, &str)]) -> Result<Vec<u8>, Error> {
    let descriptions = Descriptions::read(wit)?;
    let (mut resolve, world) = world_of(component)?;
    let names = flatten(&mut resolve, world);
    if names.is_empty() {
        return Err(Error::Component("no interface of it has functions".into()));
    }
    let mut module = core_module::renamed(component, &names)?;
    let encode = |error: &dyn std::fmt::Display| Error::Encode(format!("{error:#}"));
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).map_err(|error| encode(&error))?;
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true).module(&module).map_err(|error| encode(&error))?;
    let mut tools = encoder.encode().map_err(|error| encode(&error))?;
    let section = described(&tools, &descriptions)?;
    CustomSection { name: PackageMetadata::SECTION_NAME.into(), data: Cow::Owned(section) }.append_to_component(&mut tools);
    Ok(tools)
}

fn world_of(component: &[u8]) -> Result<(Resolve, WorldId), Error> {
    match decode(component) {
        Ok(DecodedWasm::Component(resolve, world)) => Ok((resolve, world)),
        Ok(DecodedWasm::WitPackage(..)) => Err(Error::Component("it is a package of WIT".into())),
        Err(error) => Err(Error::Component(format!("{error:#}"))),
    }
}

/// Makes the functions of the exported interfaces functions of the world; the imports stay. The result is how the core
/// module calls them.
///
/// The types become the world's own. For WIT, whatever types a world's function has are imported: either by `use`, and
/// then their interfaces are imported, as if somebody had to provide them, or declared in the world, which asks
/// nothing of anybody.
fn flatten(resolve: &mut Resolve, world: WorldId) -> Names {
    let mut names = Names::new();
    let mut types = LiveTypes::default();
    for (key, item) in std::mem::take(&mut resolve.worlds[world].exports) {
        let WorldItem::Interface { id, .. } = item else { continue };
        // It would offer each of the tools a second time.
        if resolve.interfaces[id].name.as_deref() == Some(MODULES) {
            continue;
        }
        let prefix = resolve.name_world_key(&key);
        for (name, function) in resolve.interfaces[id].functions.clone() {
            types.add_func(resolve, &function);
            names.insert(format!("{prefix}#{name}"), name.clone());
            resolve.worlds[world].exports.insert(WorldKey::Name(name), WorldItem::Function(function));
        }
    }
    for id in types.iter() {
        let ty = &mut resolve.types[id];
        let Some(name) = ty.name.clone() else { continue };
        if let TypeDefKind::Type(_) = ty.kind {
            // What an interface took from another one is a second name for a type of the same world.
            (ty.name, ty.owner) = (None, TypeOwner::None);
        } else {
            ty.owner = TypeOwner::World(world);
            let item = WorldItem::Type { id, span: ty.span };
            resolve.worlds[world].imports.insert(WorldKey::Name(name), item);
        }
    }
    names
}

/// The section that has the comments of a component, for this one.
///
/// Made from the component itself: a comment on something that it does not have would make it unreadable.
fn described(tools: &[u8], descriptions: &Descriptions) -> Result<Vec<u8>, Error> {
    let (mut resolve, world) = world_of(tools)?;
    let root = &mut resolve.worlds[world];
    root.docs.contents = Some(descriptions.all.clone());
    for item in root.exports.values_mut() {
        let WorldItem::Function(function) = item else { continue };
        let description = descriptions.of.get(&function.name);
        let description = description.ok_or_else(|| Error::Wit(format!("it has no function {}", function.name)))?;
        function.docs.contents = Some(description.clone());
    }
    // The world that a component is decoded as is always in a package.
    let package = root.package.ok_or_else(|| Error::Encode("the world has no package".into()))?;
    PackageMetadata::extract(&resolve, package).encode().map_err(|error| Error::Encode(format!("{error:#}")))
}
