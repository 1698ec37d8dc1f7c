use super::{Connector, call};
use memberspot_core::{
    request::orders,
    wit::{
        orders::{Guest, OrderDeletionRequest, OrderState},
        types::Error,
    },
};

impl Guest for Connector {
    fn revoke_order_access(email: String, order_id: String) -> Result<OrderState, Error> {
        call(|_| orders::revoke_order_access(&email, &order_id))
    }

    fn restore_order_access(email: String, order_id: String) -> Result<OrderState, Error> {
        call(|_| orders::restore_order_access(&email, &order_id))
    }

    fn delete_order_access(request: OrderDeletionRequest) -> Result<OrderState, Error> {
        call(|_| orders::delete_order_access(&request))
    }
}
