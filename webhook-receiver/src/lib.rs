//! The receiver of Memberspot's webhooks: a component that serves `wasi:http`, and forwards each event, signed, to one
//! address.
//!
//! It reads events with the code of `triggers.parse-webhook` and sends with the transport of the connector, the same source
//! file, and exports none of the connector's interfaces. What is decided is decided in pure modules; `component` alone
//! touches WASI.

#![cfg(any(test, target_family = "wasm"))]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]
#![cfg_attr(not(target_family = "wasm"), allow(dead_code, reason = "what the component alone uses"))]

#[cfg(target_family = "wasm")]
mod component;
mod config;
mod reply;
mod signature;
mod target;
mod token;
#[cfg(target_family = "wasm")]
#[path = "../../src/wasi.rs"]
mod transport;

#[cfg(target_family = "wasm")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;
