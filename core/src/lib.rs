//! The pure part of the Memberspot connector: everything but the network.
//!
//! A call of an exported function goes one way through these layers:
//!
//! 1. the component's exports, a file for each interface of the WIT;
//! 2. [`request`]: checks the input and says what to send and how to read the answer (with [`check`], [`route`],
//!    [`function`]);
//! 3. [`client`]: asks the [`config`] and its [`scopes`] for permission, sends, judges the answer, and sends again when
//!    [`retry`] says so;
//! 4. [`transport`]: the boundary to the network, behind which the component has `wasi:http`;
//! 5. back through [`answer`], [`json`] and [`entity`], which turn answers into typed results, or [`error`]s.
//!
//! Nothing here touches WASI, so all of it runs natively: in tests, under a fuzzer, and in other components.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

pub mod answer;
pub mod bulk;
pub mod check;
pub mod client;
pub mod collect;
pub mod config;
pub mod cursor;
pub mod doubt;
pub mod entity;
pub mod error;
pub mod flow;
pub mod form;
pub mod function;
pub mod input;
pub mod json;
pub mod modules;
pub mod origin;
pub mod pace;
pub mod poll;
pub mod request;
pub mod retry;
pub mod route;
pub mod scopes;
pub mod secret;
pub mod transport;
pub mod webhook;

/// The types of the WIT, one module for each interface. They export nothing by themselves: that takes the macro
/// [`bindings::export`], which the component alone calls.
pub mod wit {
    pub use crate::bindings::exports::memberspot::connector::*;
}

#[allow(unsafe_code, missing_docs, clippy::all, clippy::pedantic, reason = "generated from the WIT")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../wit",
        world: "connector",
        additional_derives: [PartialEq],
        pub_export_macro: true,
        default_bindings_module: "memberspot_core::bindings",
    });
}
