//! What the fuzzers run: for each target a plain function that takes any bytes and panics when something does not hold.
//!
//! Fuzzers call them through `fuzz/fuzz_targets/`, and a test replays the corpus through [`TARGETS`]. Inputs are text where
//! they can be, so that seeds can be written and findings read. What is compared against is written independently of the
//! component, or comes from a library that the component does not use.

#![allow(clippy::missing_panics_doc, reason = "panicking is what a target is for")]

pub mod answers;
pub mod bulk_file;
pub mod configuration;
pub mod cursors;
pub mod inputs;
pub mod moments;
pub mod raw_call;
pub mod repetition;
pub mod webhooks;

mod decoding;
mod text;

/// A target takes any input and panics on a finding.
pub type Target = fn(&[u8]);

/// Every target, by the name that its fuzzer, its corpus and its dictionary have.
pub static TARGETS: [(&str, Target); 9] = [
    ("answers", answers::run),
    ("bulk_file", bulk_file::run),
    ("configuration", configuration::run),
    ("cursors", cursors::run),
    ("inputs", inputs::run),
    ("moments", moments::run),
    ("raw_call", raw_call::run),
    ("repetition", repetition::run),
    ("webhooks", webhooks::run),
];
