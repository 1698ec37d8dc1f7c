//! What the WIT says of each function: the scope it needs, whether it may be repeated, and its rate limit.
//!
//! The table is made by the build script from the last line of each function's comment in `wit/`.

use crate::{scopes::Scopes, wit::types::Scope};

/// Whether the same call may be made twice without further effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// It may.
    Safe,
    /// The HTTP method decides: GET, PUT and DELETE may, POST and PATCH may not.
    ByMethod,
}

/// The facts of one function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Function {
    /// The interface it belongs to, such as `access`.
    pub interface: &'static str,
    /// Its name, such as `grant-access`.
    pub name: &'static str,
    /// The scopes it needs; none for one that works on operations, each of which needs its own.
    pub scopes: Scopes,
    /// Whether it may be repeated.
    pub repeat: Repeat,
    /// Memberspot's limit for the route behind it, in requests a second.
    pub limit: Option<u32>,
}

include!(concat!(env!("OUT_DIR"), "/functions.rs"));
