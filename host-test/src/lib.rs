//! Runs the Memberspot connector in wasmtime: the component is embedded, and a call needs nothing but a connection.
//!
//! ```no_run
//! use memberspot_host::bindings::exports::memberspot::connector::access::GrantRequest;
//! use memberspot_host::{Connection, Host, Outcome};
//! use serde_json::json;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Once for each process: compiles the component.
//! let host = Host::new()?;
//! // Once for each account.
//! let connection = Connection::new(std::fs::read_to_string("key")?.trim_end()).scopes("read,write");
//!
//! // By name, with JSON.
//! let input = json!({"email": "ada@example.com", "offerId": "o1"});
//! match host.call(&connection, "grant-access", &input).await? {
//!     Outcome::Success(user) => println!("{}", user.to_json()["uid"]),
//!     Outcome::Failure(error) => eprintln!("{}", error.to_json()),
//! }
//!
//! // Or typed.
//! let request = GrantRequest {
//!     email: "ada@example.com".into(),
//!     offer_id: "o1".into(),
//!     first_name: None,
//!     last_name: None,
//!     order_id: None,
//! };
//! let user = host
//!     .with(&connection, async |connector, store| {
//!         connector.memberspot_connector_access().call_grant_access(store, &request).await
//!     })
//!     .await??;
//! println!("{}", user.uid);
//! # Ok(())
//! # }
//! ```
//!
//! What the component can reach is the environment of its [`Connection`], a clock, and the one [`Origin`] that the
//! connection names. What it may use is in [`Limits`]. Each call runs in an instance of its own.

#![warn(missing_docs, clippy::pedantic)]
#![forbid(unsafe_code)]

#[expect(missing_docs, reason = "made from the WIT; not every generated item carries its comment")]
pub mod bindings;
pub mod catalog;
pub mod connection;
mod dynamic;
pub mod egress;
mod handler;
mod host;
pub mod json;
mod limits;
#[allow(clippy::pedantic, reason = "written against the default lints")]
pub mod simulator;

pub use connection::{ApiKey, Connection};
pub use dynamic::{Function, Outcome};
pub use egress::Origin;
pub use host::{Host, HostBuilder, HostError, State};
pub use limits::Limits;

/// The component, as the build script made it.
pub const COMPONENT: &[u8] = include_bytes!(env!("MEMBERSPOT_COMPONENT"));

/// What makes the component one for ACT: its tools. See `memberspot_flavours::act`.
pub const ACT_ADAPTER: &[u8] = include_bytes!(env!("MEMBERSPOT_ACT_ADAPTER"));

/// What makes the component one for ACT: its environment. See `memberspot_flavours::act`.
pub const ACT_ENVIRONMENT: &[u8] = include_bytes!(env!("MEMBERSPOT_ACT_ENVIRONMENT"));
