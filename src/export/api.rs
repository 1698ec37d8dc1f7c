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
        call(|config| api::call_api(request, &config.origin))
    }
}
