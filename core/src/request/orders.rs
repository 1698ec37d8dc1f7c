//! `orders`: access by the order that granted it.

use serde::Serialize;

use crate::{
    answer::Malformed,
    check,
    entity::{self, State},
    function::{self, Function},
    request::{Call, Request},
    route,
    wit::{
        orders::{OrderDeletionRequest, OrderState},
        types::Error,
    },
};

/// `orders.revoke-order-access`
pub fn revoke_order_access(email: &str, order_id: &str) -> Result<Call<OrderState>, Error> {
    set_order_state(&function::REVOKE_ORDER_ACCESS, Some(email), order_id, Some(false))
}

/// `orders.restore-order-access`
pub fn restore_order_access(email: &str, order_id: &str) -> Result<Call<OrderState>, Error> {
    set_order_state(&function::RESTORE_ORDER_ACCESS, Some(email), order_id, Some(true))
}

/// `orders.delete-order-access`
pub fn delete_order_access(request: &OrderDeletionRequest) -> Result<Call<OrderState>, Error> {
    set_order_state(&function::DELETE_ORDER_ACCESS, request.email.as_deref(), &request.order_id, None)
}

/// One route for three functions: without `active`, it deletes.
fn set_order_state(
    function: &'static Function,
    email: Option<&str>,
    order_id: &str,
    active: Option<bool>,
) -> Result<Call<OrderState>, Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        email: Option<&'a str>,
        order_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        active: Option<bool>,
    }

    let email = email.map(|email| check::email("email", email)).transpose()?;
    let body = Body { email, order_id: check::id("order-id", order_id)?, active };
    let (email, order_id) = (body.email.map(str::to_owned), body.order_id.to_owned());
    let request = Request::new(&route::ORDER_STATE, function, &[]).json(&body)?;
    Ok(Call::new(request, move |answer| {
        let written = answer.acknowledgement()?;
        let state = written.object.map(|object| entity::state(&object, "orderId")).unwrap_or_default();
        let asked = State { email: email.clone(), id: Some(order_id.clone()), active };
        if state.contradicts(&asked) {
            return Err(Malformed("about what was asked for"));
        }
        Ok(OrderState { email: state.email.or(email), order_id, active, raw: written.raw.to_owned() })
    }))
}
