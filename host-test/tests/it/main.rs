//! One binary for all integration tests: each one would link the engine again.

mod bulk;
mod bulk_file;
mod cli;
mod collect;
mod contract;
mod dynamic;
mod errors;
mod fuel;
mod functions;
mod isolation;
mod matrix;
mod model;
mod modules;
mod network;
mod precompiled;
mod refusals;
mod retries;
mod secrets;
mod speed;
mod stage;
mod story;
mod tenants;
