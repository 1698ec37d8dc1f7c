use super::{Connector, call};
use memberspot_core::{
    request::offers,
    wit::{
        offers::{Guest, Offer},
        types::Error,
    },
};

impl Guest for Connector {
    fn list_offers() -> Result<Vec<Offer>, Error> {
        call(|_| Ok(offers::list_offers()))
    }
}
