//! Functions that take one request after another.

use crate::{
    client::Client,
    request::properties,
    transport::Transport,
    wit::{properties::SetPropertiesRequest, types::Error},
};

/// `properties.set-properties`: looks the names up, once for all of them, and sets the values.
pub async fn set_properties(client: &Client<'_, impl Transport>, request: &SetPropertiesRequest) -> Result<(), Error> {
    properties::check(request)?;
    let known = if properties::needs_look_up(request) { client.call(properties::look_up_properties()).await? } else { vec![] };
    let call = properties::set_properties(request, &known).map_err(|error| client.counted(error))?;
    client.call(call).await
}
