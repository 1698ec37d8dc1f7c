//! Functions that take one request after another.

use crate::{
    client::Client,
    request::properties,
    transport::Transport,
    wit::{
        properties::{Property, SetPropertiesRequest},
        types::Error,
    },
};

/// `properties.set-properties`: looks the names up, once for all of them, and sets the values.
pub async fn set_properties(client: &Client<'_, impl Transport>, request: &SetPropertiesRequest) -> Result<(), Error> {
    properties::check(request)?;
    let known = if properties::needs_look_up(request) { look_up_properties(client).await? } else { vec![] };
    let call = properties::set_properties(request, &known).map_err(|error| client.counted(error))?;
    client.call(call).await
}

/// The school's properties, for their names to be found. An error may list these, and JSON may have spelled the key with
/// escapes.
pub async fn look_up_properties(client: &Client<'_, impl Transport>) -> Result<Vec<Property>, Error> {
    let mut known = client.call(properties::look_up_properties()).await?;
    for property in &mut known {
        property.name = property.name.take().map(|name| client.redacted(name));
    }
    Ok(known)
}
