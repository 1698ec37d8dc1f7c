//! What the component is compared with: the same requests and the same typed answers, without a sandbox.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use memberspot_host::bindings::exports::memberspot::connector::access::GrantRequest;
use memberspot_host::bindings::exports::memberspot::connector::types::{CourseProgress, PropertyValue, User};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// A client with connections that are kept, as the host has it.
pub struct Native {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
    key: String,
}

impl Native {
    pub fn new(server: SocketAddr, key: &str) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(4))
            .pool_max_idle_per_host(64)
            .build(tcp);
        Self { client, base: format!("http://{server}"), key: key.to_owned() }
    }

    pub async fn grant(&self, request: &GrantRequest) -> Result<User, Error> {
        let GrantRequest { email, offer_id, first_name, last_name, order_id } = request;
        let body = Grant {
            email,
            firstname: first_name.as_deref(),
            name: last_name.as_deref(),
            offer: offer_id,
            order_id: order_id.as_deref(),
        };
        let answer = self.exchange(Method::POST, "/v1/users/grant-user-offer-by-mail", serde_json::to_vec(&body)?).await?;
        user(std::str::from_utf8(&answer)?)
    }

    pub async fn page(&self) -> Result<Vec<User>, Error> {
        let answer = self.exchange(Method::GET, "/v1/users/list?pageLength=100", vec![]).await?;
        let members: Vec<&RawValue> = serde_json::from_slice(&answer)?;
        members.into_iter().map(|member| user(member.get())).collect()
    }

    async fn exchange(&self, method: Method, target: &str, body: Vec<u8>) -> Result<Bytes, Error> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{target}", self.base))
            .header("x-api-key", &self.key)
            .header("user-agent", "memberspot-connector/0.1.0")
            .header("accept-encoding", "identity")
            .header("accept", "application/json")
            .header("content-type", "application/json")
            .body(Full::from(body))?;
        let response = tokio::time::timeout(Duration::from_secs(30), self.client.request(request)).await??;
        if !response.status().is_success() {
            return Err(response.status().to_string().into());
        }
        Ok(response.into_body().collect().await?.to_bytes())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Grant<'a> {
    email: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    firstname: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(rename = "grantOffer")]
    offer: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_id: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Member<'a> {
    uid: String,
    email: String,
    firstname: Option<String>,
    name: Option<String>,
    active: Option<bool>,
    created: Option<String>,
    #[serde(default)]
    custom_user_properties: std::collections::BTreeMap<String, String>,
    #[serde(borrow, default)]
    progress: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Progress {
    course_id: String,
    active_posts: Option<u32>,
    completed_posts: Option<u32>,
}

fn user(text: &str) -> Result<User, Error> {
    let member: Member<'_> = serde_json::from_str(text)?;
    let properties = member.custom_user_properties.into_iter();
    let progress = |raw: &RawValue| -> Result<CourseProgress, Error> {
        let Progress { course_id, active_posts, completed_posts } = serde_json::from_str(raw.get())?;
        Ok(CourseProgress { course_id, active_posts, completed_posts, raw: raw.get().to_owned() })
    };
    Ok(User {
        uid: member.uid,
        email: member.email,
        first_name: member.firstname,
        last_name: member.name,
        active: member.active,
        created: member.created,
        custom_properties: properties.map(|(property, value)| PropertyValue { property, value }).collect(),
        progress: member.progress.into_iter().map(progress).collect::<Result<_, _>>()?,
        raw: text.to_owned(),
    })
}
