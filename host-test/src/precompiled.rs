//! Components that were compiled before: files of machine code, and when one is loaded.
//!
//! A file begins with two hashes: of the component, so that it is not taken for another one, and of the code, so that a
//! damaged one is seen. They prove nothing about who wrote it. Version, processor and settings of the engine stand in the
//! code, where wasmtime compares them.

use std::fmt::Write as _;
use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

/// What a file begins with.
const MAGIC: &[u8; 16] = b"memberspot-code1";
const HASH: usize = 32;

/// Why a precompiled component is not loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrecompiledError {
    /// The file cannot be read.
    #[error("the file cannot be read")]
    Unreadable(#[source] io::Error),
    /// Others than the file's owner can write to it, so nobody can vouch for it.
    #[error("others can write to the file (mode {mode:03o}): chmod 600 it")]
    Exposed {
        /// The file's permissions.
        mode: u32,
    },
    /// The file is no precompiled component, or a damaged one.
    #[error("the file is no precompiled component, or is damaged")]
    Damaged,
    /// The code was made from another component.
    #[error("the file was made from another component")]
    OtherComponent,
    /// The code was made by another version of the engine, for another processor, or with other settings.
    #[error("the file does not fit this engine")]
    OtherEngine(#[source] wasmtime::Error),
}

/// What a file has to hold for a component.
pub(crate) fn compile(engine: &Engine, component: &[u8]) -> wasmtime::Result<Vec<u8>> {
    let code = engine.precompile_component(component)?;
    Ok([MAGIC, Sha256::digest(component).as_slice(), Sha256::digest(&code).as_slice(), &code].concat())
}

/// A name for a file: another one for each component and engine.
pub(crate) fn name(engine: &Engine, component: &[u8]) -> String {
    let mut settings = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut settings);
    let mut name = String::new();
    for byte in Sha256::digest(component).iter().take(8) {
        // To write to a text does not fail.
        let _ = write!(name, "{byte:02x}");
    }
    let _ = write!(name, "-{:016x}", settings.finish());
    name
}

/// Loads what [`compile`] has made of this component for this engine, from a file that the caller vouches for: see
/// [`HostBuilder::precompiled`](crate::HostBuilder::precompiled).
#[allow(unsafe_code, reason = "what is loaded is machine code")]
pub(crate) fn load(engine: &Engine, component: &[u8], file: &Path) -> Result<Component, PrecompiledError> {
    let bytes = read(file)?;
    let code = checked(&bytes, component)?;
    // SAFETY: wasmtime wants what `Engine::precompile_component` returned, unaltered. That is what `compile` wrote, the hash
    // says that it is unaltered by accident, and that nobody wrote something else on purpose is what the caller of
    // `HostBuilder::precompiled`, the only way to get here, vouches for. The bytes are copied, so that the file may
    // change after this.
    unsafe { Component::deserialize(engine, code) }.map_err(PrecompiledError::OtherEngine)
}

fn read(path: &Path) -> Result<Vec<u8>, PrecompiledError> {
    let mut file = File::open(path).map_err(PrecompiledError::Unreadable)?;
    // Of the file that was opened, not of what has its name by now.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = file.metadata().map_err(PrecompiledError::Unreadable)?.permissions().mode() & 0o777;
        if mode & 0o022 != 0 {
            return Err(PrecompiledError::Exposed { mode });
        }
    }
    let mut bytes = vec![];
    file.read_to_end(&mut bytes).map_err(PrecompiledError::Unreadable)?;
    Ok(bytes)
}

/// The code in a file, if it was made of this component.
fn checked<'a>(bytes: &'a [u8], component: &[u8]) -> Result<&'a [u8], PrecompiledError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(PrecompiledError::Damaged)?;
    let (made_of, rest) = rest.split_at_checked(HASH).ok_or(PrecompiledError::Damaged)?;
    let (hash, code) = rest.split_at_checked(HASH).ok_or(PrecompiledError::Damaged)?;
    if hash != Sha256::digest(code).as_slice() {
        return Err(PrecompiledError::Damaged);
    }
    if made_of == Sha256::digest(component).as_slice() { Ok(code) } else { Err(PrecompiledError::OtherComponent) }
}
