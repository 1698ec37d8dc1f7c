//! `offers`: what can be granted.

use crate::{
    entity, function,
    request::{Call, Request},
    route,
    wit::offers::Offer,
};

/// `offers.list-offers`
pub fn list_offers() -> Call<Vec<Offer>> {
    let request = Request::new(&route::LIST_OFFERS, &function::LIST_OFFERS, &[]);
    Call::new(request, |answer| Ok(answer.list("a list of offers", entity::offer)?.items))
}
