//! The example of the README: a platform that embeds the connector.

use memberspot_host::{Connection, Host, Outcome};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let host = Host::new()?; // once for each process: compiles the component
    let connection = Connection::new("demo-key").base_url("http://127.0.0.1:8800").scopes("read,write");
    let input = serde_json::json!({"email": "ada@example.com", "offerId": "offer-breath"});
    match host.call(&connection, "grant-access", &input).await? {
        Outcome::Success(user) => println!("{}", user.to_json()),
        Outcome::Failure(error) => eprintln!("{}", error.to_json()),
    }
    Ok(())
}
