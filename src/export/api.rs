use super::{Connector, call};
use memberspot_core::{
    request::api,
    wit::{
        api::{ApiRequest, ApiResponse, Guest},
        types::Error,
    },
};

impl Guest for Connector {
    fn call_api(request: ApiRequest) -> Result<ApiResponse, Error> {
        call(|client| api::call_api(request, &client.config().origin))
    }
}
