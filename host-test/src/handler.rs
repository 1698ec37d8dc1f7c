//! `wasi:http/outgoing-handler`, as wasmtime has it but for one thing: the options of a request go with it.
//!
//! wasmtime 48 takes them out of the component's hands and leaves them in the table of handles, so that an instance that
//! makes many requests would run out of handles that it does not hold.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler::Host as _;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, RequestOptions};
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostOutgoingRequest};

use crate::host::State;

type Parameters = (Resource<HostOutgoingRequest>, Option<Resource<RequestOptions>>);
type Results = (Result<Resource<HostFutureIncomingResponse>, ErrorCode>,);

/// Adds the interface.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut interface = linker.instance("wasi:http/outgoing-handler@0.2.12")?;
    interface.func_wrap("handle", |mut store: StoreContextMut<'_, State>, (request, options): Parameters| {
        let _span = tracing::trace_span!("wit-bindgen import", module = "outgoing-handler", function = "handle").entered();
        let mut http = store.data_mut().http();
        let left_behind = options.as_ref().map(|options| Resource::<RequestOptions>::new_own(options.rep()));
        let response = http.handle(request, options);
        // A version that takes them out itself may have put something else in their place.
        if let Some(options) = left_behind.filter(|options| http.table.get(options).is_ok()) {
            http.table.delete(options)?;
        }
        let results: Results = match response {
            Ok(response) => (Ok(response),),
            Err(error) => (Err(error.downcast()?),),
        };
        Ok(results)
    })
}
