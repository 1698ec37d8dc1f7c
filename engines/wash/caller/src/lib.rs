//! A web service that uses the connector: `GET /offers` lists what can be granted, `GET /grant?OFFER` grants it to Ada.
//!
//! It imports the functions of the connector, and `wash` links the two components. Answers are JSON; what the connector
//! refuses has the status 500.

use serde::Serialize;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

use bindings::memberspot::connector::{access, offers};

#[allow(clippy::pedantic, reason = "made from the WIT")]
mod bindings {
    wit_bindgen::generate!({
        path: "../../../wit",
        inline: "
            package memberspot:caller;

            world caller {
                import memberspot:connector/access@0.1.0;
                import memberspot:connector/offers@0.1.0;
            }
        ",
        world: "memberspot:caller/caller",
        additional_derives: [serde::Serialize],
        generate_all,
    });
}

struct Caller;

wasip2::http::proxy::export!(Caller);

impl Guest for Caller {
    fn handle(request: IncomingRequest, response: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let (status, body) = match path {
            "/offers" => answer(offers::list_offers()),
            "/grant" => answer(access::grant_access(&grant(query))),
            _ => (404, String::new()),
        };
        send(response, status, &body);
    }
}

fn grant(offer: &str) -> access::GrantRequest {
    access::GrantRequest {
        email: "ada@example.com".into(),
        offer_id: offer.into(),
        first_name: None,
        last_name: None,
        order_id: None,
    }
}

fn answer<T: Serialize, E: Serialize>(result: Result<T, E>) -> (u16, String) {
    let (status, body) = match result {
        Ok(value) => (200, serde_json::to_string(&value)),
        Err(error) => (500, serde_json::to_string(&error)),
    };
    (status, body.unwrap_or_default())
}

fn send(response: ResponseOutparam, status: u16, body: &str) {
    let answer = OutgoingResponse::new(Fields::new());
    let known = answer.set_status_code(status).and(answer.body());
    ResponseOutparam::set(response, Ok(answer));
    let Ok(outgoing) = known else { return };
    if let Ok(stream) = outgoing.write() {
        for piece in body.as_bytes().chunks(4096) {
            if stream.blocking_write_and_flush(piece).is_err() {
                return;
            }
        }
    }
    // Whoever has gone away does not miss the end.
    let _ = OutgoingBody::finish(outgoing, None);
}
