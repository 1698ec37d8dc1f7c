//! A durable workflow: `rent` grants an offer, waits, and takes the access away.
//!
//! It reads like a program that runs for weeks. Obelisk records the result of each step and runs the program anew wherever
//! it was interrupted, with the recorded results: so nothing here may depend on anything but parameters and results.

use bindings::exports::shop::workflow::purchase::Guest;
use bindings::memberspot::connector::access::{self, AccessState, GrantRequest};
use bindings::memberspot::connector::types::Error;
use bindings::obelisk::types::time::{Duration, ScheduleAt};
use bindings::obelisk::workflow::workflow_support::sleep;

#[allow(clippy::pedantic, reason = "made from the WIT")]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "wit"],
        world: "shop:workflow/workflow",
        generate_all,
    });
}

struct Purchase;

bindings::export!(Purchase with_types_in bindings);

impl Guest for Purchase {
    fn rent(email: String, offer_id: String, seconds: u64) -> Result<AccessState, Error> {
        access::grant_access(&GrantRequest {
            email: email.clone(),
            offer_id: offer_id.clone(),
            first_name: None,
            last_name: None,
            order_id: None,
        })?;
        wait(Duration::Seconds(seconds));
        loop {
            match access::revoke_access(&email, &offer_id) {
                // Tried again for minutes by then: there is an outage.
                Err(Error::Transient(_)) => wait(Duration::Hours(1)),
                done => return done,
            }
        }
    }
}

fn wait(duration: Duration) {
    // Whoever cancels it ends it early.
    let _ = sleep(ScheduleAt::In(duration));
}
