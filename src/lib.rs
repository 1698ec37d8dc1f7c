//! The component: the functions of the WIT, and the network that they work over.
//!
//! What they do is in the crate `memberspot-core`, which knows nothing of WASI; here are its two ends. `export` has a file
//! for each interface of the WIT and says which request a function is. `wasi` is the only file that touches `wasi:http`.
//!
//! Built for anything but WebAssembly, this crate is empty.

#![cfg(target_family = "wasm")]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod export;
mod wasi;

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;
