use super::{Connector, begin};
use memberspot_core::{
    modules,
    wit::{
        modules::{Choice, Guest, Module, OptionsRequest},
        types::Error,
    },
};

impl Guest for Connector {
    fn list_modules() -> Result<Vec<Module>, Error> {
        Ok(modules::list_modules())
    }

    fn run_module(id: String, input_json: String) -> Result<String, Error> {
        modules::run_module::<Self>(&id, &input_json)
    }

    fn list_options(request: OptionsRequest) -> Result<Vec<Choice>, Error> {
        let session = begin()?;
        session.transport().block_on(modules::list_options(&session, &request))
    }
}
