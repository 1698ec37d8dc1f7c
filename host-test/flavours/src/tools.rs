//! For agents: functions of the world instead of interfaces, with short names, and descriptions in the component.

use crate::Error;

/// The connector as tools.
///
/// `wit` is what the component was made from: pairs of file name and content.
///
/// # Errors
///
/// When the component is not the connector, or the WIT is not its own.
pub fn tools(component: &[u8], wit: &[(&str, &str)]) -> Result<Vec<u8>, Error> {
    let _ = (component, wit);
    Err(Error::Encode("not yet".into()))
}
