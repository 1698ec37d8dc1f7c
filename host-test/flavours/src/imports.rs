//! What a component asks of an engine, read from its bytes: no engine here runs all flavours.

use wasmparser::{ComponentTypeRef, Parser, Payload};

use crate::Error;

/// The names of what a component imports, sorted.
///
/// # Errors
///
/// When the bytes are no component.
pub fn imports(component: &[u8]) -> Result<Vec<String>, Error> {
    let unreadable = |error: wasmparser::BinaryReaderError| Error::Component(error.to_string());
    let mut names = Vec::new();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(unreadable)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    let import = import.map_err(unreadable)?;
                    // A type has a name, but nobody has to provide it.
                    if !matches!(import.ty, ComponentTypeRef::Type(_)) {
                        names.push(import.name.name.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    names.sort();
    Ok(names)
}
