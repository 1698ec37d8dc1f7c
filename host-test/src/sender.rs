//! What sends requests: over connections that are kept for the next one, or over whatever stands in for a network.

use std::error::Error as StdError;
use std::future::ready;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::time::{Sleep, sleep};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use crate::egress::{NotPublic, require_public};

/// What [`HttpSender::send`] gives: the response, and a future that drives its body and is dropped with it.
pub type Exchange = Result<(Response<WasiBody>, Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>), Error>;

/// Sends the requests that the policy let through: over the network, or to something that stands in for it.
pub trait HttpSender: Send + Sync {
    /// Sends one request. It is complete: scheme, authority and the `Host` header are set.
    fn send(
        &self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Pin<Box<dyn Future<Output = Exchange> + Send>>;
}

/// Opens a connection for each request: HTTP/1.1, TLS with the root certificates of Mozilla, to any address.
#[derive(Debug, Clone, Copy, Default)]
pub struct UnpooledSender;

impl HttpSender for UnpooledSender {
    fn send(
        &self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Pin<Box<dyn Future<Output = Exchange> + Send>> {
        Box::pin(async move {
            let (response, driver) = wasmtime_wasi_http::default_send_request(request, options).await?;
            Ok((response.map(WasiBody::new), Box::pin(driver) as Pin<Box<_>>))
        })
    }
}

/// How long a connection waits for its next request. Node.js, which Memberspot runs on as far as can be seen, closes one
/// after five seconds by default: to use it in that very moment would lose a request.
const IDLE: Duration = Duration::from_secs(4);
/// How many connections wait for their next request, where nothing is said of how many requests there are at a time.
const MOST_IDLE: usize = 64;
/// How long it may take to connect. The component cannot tell connecting from waiting, and gives both 30 seconds.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a request without options waits for its answer to begin, or to go on.
const LONGEST_WAIT: Duration = Duration::from_mins(10);

/// Which addresses a sender dials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Those of the public internet.
    Public,
    /// All, this machine and its network included.
    Internal,
}

/// Keeps connections for the next request: HTTP/1.1, or HTTP/2 where the server offers it; TLS with the certificates that
/// the system trusts. It follows no redirects and uses no proxy.
///
/// Clones share their connections. Each tenant has a sender of its own, so that none waits for the connections of another.
#[derive(Clone)]
pub struct PooledSender {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, WasiBody>,
    reach: Reach,
}

impl PooledSender {
    /// A sender without connections yet.
    #[must_use]
    pub fn new(reach: Reach) -> Self {
        Self::for_requests(reach, MOST_IDLE)
    }

    /// The same for so many requests at a time: no more connections than these are kept. With fewer, those that are too many
    /// would be closed after each burst, and opened in the next one.
    #[must_use]
    pub fn for_requests(reach: Reach, requests: usize) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(Resolver(reach));
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(ClientConfig::clone(&tls()))
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(requests)
            .build(connector);
        Self { client, reach }
    }
}

impl HttpSender for PooledSender {
    fn send(
        &self,
        mut request: Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Pin<Box<dyn Future<Output = Exchange> + Send>> {
        // Addresses are not resolved, so the resolver does not see them.
        if self.reach == Reach::Public && address(request.uri()).is_some_and(|address| require_public(address).is_err()) {
            return Box::pin(ready(Err(Error::DestinationIpProhibited)));
        }
        // What the connection speaks is not the component's matter, and a request for HTTP/1.0 would close it.
        *request.version_mut() = http::Version::HTTP_11;
        let first_byte = options.and_then(|options| options.first_byte_timeout).unwrap_or(LONGEST_WAIT);
        let between_bytes = options.and_then(|options| options.between_bytes_timeout).unwrap_or(LONGEST_WAIT);
        let response = self.client.request(request);
        Box::pin(async move {
            let response = tokio::time::timeout(first_byte, response).await;
            let response = response.map_err(|_| Error::ConnectionReadTimeout)?.map_err(|error| reported(&error))?;
            let response = response.map(|body| timed(body, between_bytes));
            // The pool drives its connections itself.
            Ok((response, Box::pin(ready(Ok(()))) as Pin<Box<_>>))
        })
    }
}

/// The settings of TLS, once for the process: they hold the certificates that the system trusts.
fn tls() -> Arc<ClientConfig> {
    static TLS: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let builder = || {
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS 1.2 and 1.3")
    };
    let config = || match builder().with_platform_verifier() {
        Ok(trusting) => Arc::new(trusting.with_no_client_auth()),
        // Where the system trusts nobody, such as in an empty container, neither do we: plain HTTP still works.
        Err(_) => Arc::new(builder().with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()),
    };
    TLS.get_or_init(config).clone()
}

/// The host of an address, where it is a number.
fn address(uri: &Uri) -> Option<IpAddr> {
    uri.host()?.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Asks the system for the addresses of a name, and checks them: what is dialled is what was checked.
#[derive(Debug, Clone, Copy)]
struct Resolver(Reach);

/// There is no address for a name.
#[derive(Debug, thiserror::Error)]
#[error("the name cannot be resolved")]
struct Unresolved(#[source] io::Error);

impl tower_service::Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Box<dyn StdError + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self(reach) = *self;
        Box::pin(async move {
            // The connector knows the port.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await.map_err(Unresolved)?;
            let found: Vec<_> = found.collect();
            Ok(permitted(found, reach)?.into_iter())
        })
    }
}

/// The addresses that may be dialled. One that may not spoils the others: a name that is both public and internal is
/// somebody's trick.
fn permitted(found: Vec<SocketAddr>, reach: Reach) -> Result<Vec<SocketAddr>, NotPublic> {
    if reach == Reach::Public {
        found.iter().try_for_each(|address| require_public(address.ip()))?;
    }
    Ok(found)
}

/// The error of the client in the words of `wasi:http`.
fn reported(error: &legacy::Error) -> Error {
    let causes = || std::iter::successors(Some(error as &(dyn StdError + 'static)), |cause| deeper(*cause));
    if causes().any(<dyn StdError>::is::<NotPublic>) {
        return Error::DestinationIpProhibited;
    }
    if causes().any(<dyn StdError>::is::<Unresolved>) {
        return Error::DnsError { rcode: None, info_code: None };
    }
    if let Some(problem) = causes().find_map(|cause| cause.downcast_ref::<rustls::Error>()) {
        return match problem {
            rustls::Error::AlertReceived(alert) => {
                Error::TlsAlertReceived { alert_id: Some(u8::from(*alert)), alert_message: None }
            }
            rustls::Error::InvalidCertificate(_) => Error::TlsCertificateError,
            _ => Error::TlsProtocolError,
        };
    }
    if error.is_connect() {
        let kind = causes().find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
        return match kind {
            Some(io::ErrorKind::TimedOut) => Error::ConnectionTimeout,
            Some(kind) => Error::Connect(kind.into()),
            None => Error::ConnectionTerminated,
        };
    }
    if let Some(Error::HttpRequestBodySize(size)) = causes().find_map(|cause| cause.downcast_ref::<Error>()) {
        return Error::HttpRequestBodySize(*size);
    }
    causes().find_map(|cause| cause.downcast_ref()).map_or(Error::HttpProtocolError, broken)
}

/// What went wrong on a connection: it says nothing about what became of the request.
pub(crate) fn broken(problem: &hyper::Error) -> Error {
    if problem.is_timeout() {
        Error::HttpResponseTimeout
    } else if problem.is_incomplete_message() {
        Error::HttpResponseIncomplete
    } else {
        Error::HttpProtocolError
    }
}

/// A body that fails when nothing of it comes for too long.
pub(crate) fn timed(body: Incoming, longest_gap: Duration) -> WasiBody {
    WasiBody::new(Timed { body, longest_gap, gap: None })
}

/// See [`timed`].
struct Timed {
    body: Incoming,
    longest_gap: Duration,
    /// The wait that is under way.
    gap: Option<Pin<Box<Sleep>>>,
}

impl Body for Timed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.gap = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Error::from)));
        }
        let longest_gap = self.longest_gap;
        let gap = self.gap.get_or_insert_with(|| Box::pin(sleep(longest_gap)));
        gap.as_mut().poll(cx).map(|()| Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What an error was caused by. An error of I/O says it of what it holds, but not that it holds it.
fn deeper<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(held) => Some(held),
        None => error.source(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_internal_address_spoils_a_name() {
        let addresses = |texts: &[&str]| texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0)).collect::<Vec<_>>();
        let public = addresses(&["1.1.1.1", "2606:4700:4700::1111"]);
        let mixed = addresses(&["1.1.1.1", "::ffff:10.0.0.1"]);
        assert_eq!(permitted(public.clone(), Reach::Public), Ok(public));
        assert!(permitted(mixed.clone(), Reach::Public).is_err());
        assert_eq!(permitted(mixed.clone(), Reach::Internal), Ok(mixed));
    }

    async fn verdict(reach: Reach, url: &str) -> String {
        let request = Request::get(url).body(WasiBody::default()).unwrap();
        let (response, _) = match PooledSender::new(reach).send(request, None).await {
            Ok(exchange) => exchange,
            Err(error) => return format!("{error:?}"),
        };
        response.status().to_string()
    }

    #[tokio::test]
    async fn what_is_internal_is_not_dialled() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"] {
            assert_eq!(verdict(Reach::Public, &format!("http://{host}:{port}/")).await, "DestinationIpProhibited", "{host}");
        }
        assert!(tokio::time::timeout(Duration::ZERO, listener.accept()).await.is_err(), "somebody connected");
    }
}
