//! The example of the README: a platform that embeds the connector.

use memberspot_host::{Connection, Host, Outcome};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Once for each process: compiles the component. The simulator is on this machine, which is not reached unasked.
    let host = Host::builder().allow_internal("http://127.0.0.1:8800").build()?;
    // Once for each account: its key does not enter the component.
    let connection = Connection::new("demo-key").base_url("http://127.0.0.1:8800").scopes("read,write");
    let school = host.tenant("school-1", connection);
    let input = serde_json::json!({"email": "ada@example.com", "offerId": "offer-breath"});
    match host.call(&school, "grant-access", &input).await? {
        Outcome::Success(user) => println!("{}", user.to_json()),
        Outcome::Failure(error) => eprintln!("{}", error.to_json()),
    }
    Ok(())
}
