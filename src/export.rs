//! The functions of the WIT, in a file for each interface: each says which request it is and nothing more.

mod access;
mod api;
mod bulk;
mod chapters;
mod connection;
mod exams;
mod modules;
mod offers;
mod orders;
mod progress;
mod properties;
mod triggers;
mod users;

use memberspot_core::{
    answer::Answer,
    client::{Client, Session},
    config::Config,
    request::{Call, Request},
    wit::types::Error,
};

use crate::wasi::Wasi;

/// What the bindings call.
struct Connector;

/// Begins a call of an exported function: reads the configuration, and starts the clock.
fn begin() -> Result<Session<Wasi>, Error> {
    let config = Config::from_environment(wasi::cli::environment::get_environment())?;
    Ok(Session::new(config, Wasi::default()))
}

/// Works on a function that is one request.
fn call<R>(build: impl FnOnce(&Config) -> Result<Call<R>, Error>) -> Result<R, Error> {
    let session = begin()?;
    let call = build(session.config())?;
    let client = session.client();
    let answer = wait(&session, &client, &call.request)?;
    client.read(call, &answer)
}

/// Sends a request and waits for the answer. Almost all functions come through here; that it knows nothing of their results
/// keeps the component small.
fn wait(session: &Session<Wasi>, client: &Client<'_, Wasi>, request: &Request) -> Result<Answer, Error> {
    session.transport().block_on(client.answer(request))
}

#[allow(unsafe_code, reason = "generated: the entry points of the component")]
mod entry {
    use super::Connector;
    memberspot_core::bindings::export!(Connector);
}
