//! The connector for engines that ask for another world than its own: the same core module in another wrapping.

mod act;
mod core_module;
mod describe;
mod imports;
mod tools;

pub use act::act;
pub use imports::imports;
pub use tools::tools;

/// Why a flavour cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not the connector: no component, or one without its core module or its interfaces.
    #[error("this is not the connector: {0}")]
    Component(String),
    /// The WIT is not valid, or not that of the component.
    #[error("the WIT does not fit: {0}")]
    Wit(String),
    /// The core module does not fit the new world.
    #[error("the component cannot be wrapped anew: {0}")]
    Encode(String),
}
