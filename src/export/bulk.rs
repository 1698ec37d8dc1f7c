use super::{Connector, begin};
use memberspot_core::{
    bulk,
    wit::{
        bulk::{BulkReport, BulkRequest, Guest},
        types::Error,
    },
};

impl Guest for Connector {
    fn apply_operations(request: BulkRequest) -> Result<BulkReport, Error> {
        let session = begin()?;
        session.transport().block_on(bulk::apply(&session, request))
    }
}
