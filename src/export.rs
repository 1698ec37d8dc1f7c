//! The functions of the WIT, in a file for each interface: each says which request it is and nothing more.

mod access;
mod api;
mod chapters;
mod connection;
mod exams;
mod offers;
mod orders;
mod progress;
mod properties;
mod users;

use memberspot_core::{
    answer::Answer,
    client::Client,
    config::Config,
    request::{Call, Request},
    wit::types::Error,
};

use crate::wasi::Wasi;

/// What the bindings call.
struct Connector;

/// Begins a call of an exported function: reads the configuration, and starts the clock.
fn begin() -> Result<Client<Wasi>, Error> {
    let config = Config::from_environment(wasi::cli::environment::get_environment())?;
    Ok(Client::new(config, Wasi::default()))
}

/// Works on a function that is one request.
fn call<R>(build: impl FnOnce(&Client<Wasi>) -> Result<Call<R>, Error>) -> Result<R, Error> {
    let client = begin()?;
    let call = build(&client)?;
    let answer = wait(&client, &call.request)?;
    client.read(call, &answer)
}

/// Sends a request and waits for the answer. Almost all functions come through here; that it knows nothing of their results
/// keeps the component small.
fn wait(client: &Client<Wasi>, request: &Request) -> Result<Answer, Error> {
    client.transport().block_on(client.answer(request))
}

#[allow(unsafe_code, reason = "generated: the entry points of the component")]
mod entry {
    use super::Connector;
    memberspot_core::bindings::export!(Connector);
}
