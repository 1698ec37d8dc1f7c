use super::{Connector, begin, call};
use memberspot_core::{
    flow,
    request::properties,
    wit::{
        properties::{Guest, Property, SetPropertiesRequest},
        types::Error,
    },
};

impl Guest for Connector {
    fn list_properties() -> Result<Vec<Property>, Error> {
        call(|_| Ok(properties::list_properties()))
    }

    fn set_properties(request: SetPropertiesRequest) -> Result<(), Error> {
        let session = begin()?;
        session.transport().block_on(flow::set_properties(&session.client(), &request))
    }
}
