//! One binary for all integration tests: each one would link the engine again.

mod act;
mod bulk;
mod bulk_file;
mod cli;
mod collect;
mod contract;
mod dynamic;
mod errors;
mod flavours;
mod functions;
mod interface;
mod matrix;
mod model;
mod modules;
mod network;
mod receiver;
mod refusals;
mod release;
mod retries;
mod secrets;
mod stage;
mod story;
mod tenants;
mod triggers;
mod watch;
