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
//! let school = host.tenant("school-1", connection);
//!
//! // By name, with JSON.
//! let input = json!({"email": "ada@example.com", "offerId": "o1"});
//! match host.call(&school, "grant-access", &input).await? {
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
//!     .with(&school, async |connector, store| {
//!         connector.memberspot_connector_access().call_grant_access(store, &request).await
//!     })
//!     .await??;
//! println!("{}", user.uid);
//! # Ok(())
//! # }
//! ```
//!
//! What the component can reach is the environment of its [`Connection`] without the key, a clock, and the one [`Origin`]
//! that the connection names: on the public internet, where the host does not [allow](HostBuilder::allow_internal) another
//! address by name. The key is put into requests when they have left the component. What a call may use is in [`Limits`].
//! Each call runs in an instance of its own, where [`Isolation`] does not say otherwise.

#![warn(missing_docs, clippy::pedantic)]
#![deny(unsafe_code)]

pub mod audit;
#[expect(missing_docs, reason = "made from the WIT; not every generated item carries its comment")]
pub mod bindings;
pub mod catalog;
#[doc(hidden)]
pub mod census;
pub mod connection;
mod dynamic;
pub mod egress;
mod handler;
mod host;
mod isolation;
pub mod json;
pub mod keys;
mod limits;
mod metrics;
mod observe;
mod precompiled;
pub mod rate;
pub mod receiver;
pub mod sender;
#[allow(clippy::pedantic, reason = "written against the default lints")]
pub mod simulator;
mod tenant;
mod turns;

pub use connection::Connection;
pub use dynamic::{Function, Outcome};
pub use egress::Origin;
pub use host::{Batch, Host, HostBuilder, HostError, State};
pub use isolation::Isolation;
pub use keys::ApiKey;
pub use limits::Limits;
pub use metrics::Metrics;
pub use precompiled::PrecompiledError;
pub use tenant::Tenant;

/// The component, as the build script made it.
pub const COMPONENT: &[u8] = include_bytes!(env!("MEMBERSPOT_COMPONENT"));

/// What was compiled into the component: the packages with their licences and checksums, as JSON.
pub const INVENTORY: &str = include_str!(env!("MEMBERSPOT_COMPONENT_INVENTORY"));

/// What makes the component one for ACT: its tools. See `memberspot_flavours::act`.
pub const ACT_ADAPTER: &[u8] = include_bytes!(env!("MEMBERSPOT_ACT_ADAPTER"));

/// As [`INVENTORY`], of [`ACT_ADAPTER`].
pub const ACT_ADAPTER_INVENTORY: &str = include_str!(env!("MEMBERSPOT_ACT_ADAPTER_INVENTORY"));

/// What makes the component one for ACT: its environment. See `memberspot_flavours::act`.
pub const ACT_ENVIRONMENT: &[u8] = include_bytes!(env!("MEMBERSPOT_ACT_ENVIRONMENT"));

/// As [`INVENTORY`], of [`ACT_ENVIRONMENT`].
pub const ACT_ENVIRONMENT_INVENTORY: &str = include_str!(env!("MEMBERSPOT_ACT_ENVIRONMENT_INVENTORY"));

/// The other component: it takes Memberspot's webhooks, and passes them on signed. [`receiver`] serves it.
pub const WEBHOOK_RECEIVER: &[u8] = include_bytes!(env!("MEMBERSPOT_WEBHOOK_RECEIVER"));

/// As [`INVENTORY`], of [`WEBHOOK_RECEIVER`].
pub const WEBHOOK_RECEIVER_INVENTORY: &str = include_str!(env!("MEMBERSPOT_WEBHOOK_RECEIVER_INVENTORY"));
