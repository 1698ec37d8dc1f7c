//! Names and types of the WIT in Rust and in JSON.

use wit_parser::{Resolve, Type, TypeDefKind};

/// The type in Rust.
pub fn rust_path(interface: &str, name: &str) -> String {
    format!("crate::wit::{}::{}", snake(interface), upper_camel(name))
}

/// `grant_access`
pub fn snake(name: &str) -> String {
    name.replace('-', "_")
}

/// `GrantAccess`
pub fn upper_camel(name: &str) -> String {
    name.split('-').map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

/// `grantAccess`
pub fn lower_camel(name: &str) -> String {
    let camel = upper_camel(name);
    camel[..1].to_lowercase() + &camel[1..]
}

/// Whether a field may be absent.
pub fn is_option(resolve: &Resolve, ty: Type) -> bool {
    matches!(ty, Type::Id(id) if matches!(resolve.types[id].kind, TypeDefKind::Option(_)))
}
