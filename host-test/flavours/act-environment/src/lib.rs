//! The environment that the connector has in ACT. It holds the variables of the call that is under way, and of no other.

#![cfg(target_family = "wasm")]

use std::cell::RefCell;

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

type Variables = Vec<(String, String)>;

thread_local! {
    static VARIABLES: RefCell<Variables> = const { RefCell::new(Vec::new()) };
}

struct Environment;

impl bindings::exports::memberspot::act::variables::Guest for Environment {
    fn put(variables: Variables) {
        let earlier = VARIABLES.replace(variables);
        assert!(earlier.is_empty(), "another call is under way");
    }

    fn clear() {
        VARIABLES.take();
    }
}

impl bindings::exports::wasi::cli::environment::Guest for Environment {
    fn get_environment() -> Variables {
        VARIABLES.with_borrow(Clone::clone)
    }
}

#[allow(unsafe_code, missing_docs, clippy::all, clippy::pedantic, reason = "generated from the WIT")]
mod bindings {
    use super::Environment;

    wit_bindgen::generate!({
        path: [
            "../../../wit",
            "../act-adapter/wit/act-core.wit",
            "../act-adapter/wit/act-tools.wit",
            "../act-adapter/wit/act-sessions.wit",
            "../act-adapter/wit/act-credentials.wit",
            "../act-adapter/wit/wasi-cli.wit",
            "../act-adapter/wit/adapter.wit",
        ],
        world: "memberspot:act/environment",
    });

    export!(Environment);
}
