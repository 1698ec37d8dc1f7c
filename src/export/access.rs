use super::{Connector, call};
use memberspot_core::{
    request::access,
    wit::{
        access::{AccessState, ExpirationRequest, GrantRequest, Guest},
        types::{Error, User},
    },
};

impl Guest for Connector {
    fn grant_access(request: GrantRequest) -> Result<User, Error> {
        call(|_| access::grant_access(&request))
    }

    fn revoke_access(email: String, offer_id: String) -> Result<AccessState, Error> {
        call(|_| access::revoke_access(&email, &offer_id))
    }

    fn restore_access(email: String, offer_id: String) -> Result<AccessState, Error> {
        call(|_| access::restore_access(&email, &offer_id))
    }

    fn delete_access(email: String, offer_id: String) -> Result<AccessState, Error> {
        call(|_| access::delete_access(&email, &offer_id))
    }

    fn set_access_expiration(request: ExpirationRequest) -> Result<(), Error> {
        call(|_| access::set_access_expiration(&request))
    }
}
