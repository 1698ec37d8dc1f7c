//! `connection`: testing the connection.

use crate::{
    function,
    request::{Call, Request},
    route,
};

/// `connection.check-connection`: any answer of status 2xx means that the key is good.
pub fn check_connection() -> Call<()> {
    Call::new(Request::new(&route::API_AUTH, &function::CHECK_CONNECTION, &[]), |answer| answer.acknowledgement().map(drop))
}
