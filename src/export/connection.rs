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
        let client = begin()?;
        let call = connection::check_connection();
        let answer = wait(&client, &call.request)?;
        client.read(call, &answer)?;
        Ok(ConnectionInfo {
            base_url: client.config().origin.to_string(),
            scopes: client.config().scopes.iter().collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }
}
