//! The connector as a component for ACT: its modules as tools, and what ACT's operator has stored as its configuration.
//!
//! The rest of the component has its configuration from the operator alone. ACT has three ways to say something to a
//! component, and an agent has a hand in two of them: it may set the metadata of a call, and open sessions with arguments
//! of its choice. So the key, the address and the scopes are read from the store of credentials and from nowhere else, and
//! an argument of a session can choose between accounts, but not say what an account may do.
//!
//! Functions are bound without `async`, although ACT's are `async`: such a function lets no other call into the instance
//! until it is done. So the environment of the connector, which all sessions share, is that of one call at a time.

#![cfg(any(test, target_family = "wasm"))]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]
#![cfg_attr(not(target_family = "wasm"), allow(dead_code, reason = "what the component alone uses"))]

mod account;
mod cbor;
#[cfg(target_family = "wasm")]
mod component;
mod failure;
mod sessions;
mod tools;

#[cfg(target_family = "wasm")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

#[allow(unsafe_code, missing_docs, dead_code, clippy::all, clippy::pedantic, reason = "generated from the WIT")]
mod bindings {
    wit_bindgen::generate!({
        path: [
            "../../../wit",
            "wit/act-core.wit",
            "wit/act-tools.wit",
            "wit/act-sessions.wit",
            "wit/act-credentials.wit",
            "wit/wasi-cli.wit",
            "wit/adapter.wit",
        ],
        world: "memberspot:act/adapter",
        sync: true,
        generate_all,
        with: {
            // So that what the core knows of errors holds here.
            "memberspot:connector/types@0.1.0": memberspot_core::wit::types,
        },
        default_bindings_module: "crate::bindings",
    });

    #[cfg(target_family = "wasm")]
    export!(Adapter with_types_in self);
    #[cfg(target_family = "wasm")]
    use crate::component::Adapter;
}
