use super::{Connector, begin, wait};
use memberspot_core::{
    request::connection,
    wit::{
        connection::{ConnectionInfo, Guest},
        types::Error,
    },
};

impl Guest for Connector {
    fn check_connection() -> Result<ConnectionInfo, Error> {
        let session = begin()?;
        let call = connection::check_connection();
        let client = session.client();
        let answer = wait(&session, &client, &call.request)?;
        client.read(call, &answer)?;
        Ok(ConnectionInfo {
            base_url: session.config().origin.to_string(),
            scopes: session.config().scopes.iter().collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }
}
