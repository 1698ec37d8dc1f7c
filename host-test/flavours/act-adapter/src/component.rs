//! What ACT calls.

use std::cell::RefCell;

use memberspot_core::error::invalid_input;

use crate::{
    account,
    bindings::{
        act::{
            core::types::{Cbor, Error, Metadata},
            credentials::store::get_secret,
            sessions::types::Session,
            tools::types::{ContentPart, ListToolsResponse, ToolEvent},
        },
        exports::act::{
            sessions::session_provider,
            tools::tool_provider::{self, ToolResult},
        },
        memberspot::{
            act::variables,
            connector::modules::{list_modules, run_module},
        },
    },
    cbor, failure,
    sessions::{SCHEMA, Sessions},
    tools,
};

thread_local! {
    static SESSIONS: RefCell<Sessions> = RefCell::default();
}

/// What the bindings call.
pub struct Adapter;

impl tool_provider::Guest for Adapter {
    fn list_tools(_: Metadata) -> Result<ListToolsResponse, Error> {
        let modules = list_modules().map_err(|error| failure::of_connector(&error))?;
        Ok(ListToolsResponse { metadata: Vec::new(), tools: modules.into_iter().map(tools::definition).collect() })
    }

    fn call_tool(name: String, arguments: Cbor, metadata: Metadata) -> ToolResult {
        let event = call(&name, &arguments, &metadata).map_or_else(ToolEvent::Error, ToolEvent::Content);
        ToolResult::Immediate(vec![event])
    }
}

impl session_provider::Guest for Adapter {
    fn get_open_session_args_schema(_: Metadata) -> Result<String, Error> {
        Ok(SCHEMA.to_owned())
    }

    fn open_session(args: Metadata, _: Metadata) -> Result<Session, Error> {
        let id = SESSIONS.with_borrow_mut(|sessions| sessions.open(&args))?;
        Ok(Session { id, metadata: Vec::new() })
    }

    fn close_session(id: String) {
        SESSIONS.with_borrow_mut(|sessions| sessions.close(&id));
    }
}

fn call(name: &str, arguments: &[u8], metadata: &Metadata) -> Result<ContentPart, Error> {
    let (session, account) = SESSIONS.with_borrow(|sessions| sessions.find(metadata))?;
    let id = module(name)?;
    let input = cbor::arguments(arguments).ok_or_else(|| invalid_input("arguments", "not a value that JSON can say"));
    let input = input.map_err(|error| failure::of_connector(&error))?;
    let variables = variables(&session, &account).map_err(|error| failure::of_connector(&error))?;
    run(&id, &input, &variables)
}

/// The id of the module behind a tool.
fn module(name: &str) -> Result<String, Error> {
    let modules = list_modules().map_err(|error| failure::of_connector(&error))?;
    let found = modules.into_iter().find(|it| tools::name(it) == name);
    found.map(|it| it.id).ok_or_else(|| failure::new(failure::NOT_FOUND, "there is no such tool"))
}

/// What the operator has stored for a session's account, as of now.
fn variables(session: &str, account: &str) -> Result<Vec<(String, String)>, memberspot_core::wit::types::Error> {
    let secret = get_secret(session, &account::request(account)).map_err(|error| account::refusal(account, &error))?;
    account::variables(account, secret)
}

fn run(id: &str, input: &str, variables: &[(String, String)]) -> Result<ContentPart, Error> {
    variables::put(variables);
    let outcome = run_module(id, input);
    variables::clear();
    outcome.map(tools::content).map_err(|error| failure::of_connector(&error))
}
