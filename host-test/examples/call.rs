//! A platform that takes the component from a file and the connection from its environment: makes one call.
//!
//! `call COMPONENT FUNCTION [JSON]` prints the answer as JSON, and ends with 1 when the call did not succeed.

use std::process::ExitCode;

use memberspot_host::{Connection, Host, Outcome};
use serde_json::Value;

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(component), Some(function)) = (arguments.next(), arguments.next()) else {
        return Err("usage: call COMPONENT FUNCTION [JSON]".into());
    };
    let input: Value = arguments.next().map_or(Ok(Value::Null), |text| serde_json::from_str(&text))?;

    // Once for each process: compiles the component. Whose environment it is may reach what stands there, wherever it is.
    let host = Host::builder().component(std::fs::read(component)?).allow_all_internal().build()?;
    // Once for each account. The one origin that the host lets the component reach is the connection's.
    let school = host.tenant("school-1", Connection::from_vars(std::env::vars_os())?);

    Ok(match host.call(&school, &function, &input).await? {
        Outcome::Success(answer) => {
            println!("{}", answer.to_json());
            ExitCode::SUCCESS
        }
        Outcome::Failure(error) => {
            println!("{}", error.to_json());
            ExitCode::FAILURE
        }
    })
}
