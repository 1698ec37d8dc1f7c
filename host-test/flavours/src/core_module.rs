//! The core module in a component, with other names for what it exports.

use std::collections::BTreeMap;
use std::ops::Range;

use wasm_encoder::{ExportSection, Module, RawSection};
use wasmparser::{ExportSectionReader, Parser, Payload};

use crate::Error;

/// How functions are called in the core module, such as `memberspot:connector/offers@0.1.0#list-offers`, and how they are
/// to be called.
pub type Names = BTreeMap<String, String>;

/// What goes before the name of a function where the core module cleans up after it.
const CLEAN_UP: &str = "cabi_post_";

/// The first core module of a component, which is the one with the code, byte by byte as it is, but for its exports: functions
/// get their new names, and those without one are left out.
pub fn renamed(component: &[u8], names: &Names) -> Result<Vec<u8>, Error> {
    let original = first(component)?;
    let mut module = Module::new();
    for payload in Parser::new(0).parse_all(original) {
        let payload = payload.map_err(|error| Error::Component(error.to_string()))?;
        if let Payload::ExportSection(section) = payload {
            module.section(&exports(section, names)?);
        } else if let Some((id, range)) = payload.as_section() {
            module.section(&RawSection { id, data: slice(original, range)? });
        }
    }
    Ok(module.finish())
}

fn first(component: &[u8]) -> Result<&[u8], Error> {
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload.map_err(|error| Error::Component(error.to_string()))?;
        if let Payload::ModuleSection { unchecked_range, .. } = payload {
            return slice(component, unchecked_range);
        }
    }
    Err(Error::Component("there is no core module in it".into()))
}

fn slice(bytes: &[u8], range: Range<u64>) -> Result<&[u8], Error> {
    let range = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
    let bytes = range.and_then(|(start, end)| bytes.get(start..end));
    bytes.ok_or_else(|| Error::Component("a section ends behind it".into()))
}

fn exports(section: ExportSectionReader<'_>, names: &Names) -> Result<ExportSection, Error> {
    let mut exports = ExportSection::new();
    for export in section {
        let export = export.map_err(|error| Error::Component(error.to_string()))?;
        let Some(name) = name(export.name, names) else { continue };
        exports.export(&name, export.kind.into(), export.index);
    }
    Ok(exports)
}

/// The new name, if there is to be one. What belongs to no interface keeps its own, such as the memory.
fn name(old: &str, names: &Names) -> Option<String> {
    if !old.contains('#') {
        return Some(old.to_owned());
    }
    match old.strip_prefix(CLEAN_UP) {
        Some(function) => names.get(function).map(|new| format!("{CLEAN_UP}{new}")),
        None => names.get(old).cloned(),
    }
}
