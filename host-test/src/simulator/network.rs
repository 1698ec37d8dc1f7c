//! A network in memory: simulators that listen on it, and the sender that reaches them.
//!
//! Nothing in it is a socket, so where tokio's time is paused, everything is: deadlines, pauses and backoff pass in no
//! time, and to the millisecond.

use std::collections::HashMap;
use std::future::{pending, poll_fn};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use hyper::client::conn::http1;
use hyper::http::uri::{PathAndQuery, Scheme};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio::time::timeout;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::faults::ConnectFault;
use super::server::Shared;
use super::stream::MemoryStream;
use crate::sender::{Exchange, HttpSender, broken, timed};

/// The most connections that wait for a simulator to take them.
const BACKLOG: usize = 128;

/// How long a request without options waits at each step: as long as with the sender for the real network.
const LONGEST_WAIT: Duration = Duration::from_mins(10);

/// A network that has nothing on it but the simulators started with [`Simulator::in_memory`](super::Simulator::in_memory).
/// Clones are the same network.
///
/// As an [`HttpSender`] it opens a connection for each request and reports the errors that
/// [`PooledSender`](crate::sender::PooledSender) reports of sockets. It speaks no TLS: with `https`, the port is another
/// one and nothing else. Only IP addresses and `localhost` are known to it, any other host is an error of DNS; where
/// nobody listens, a connection is refused.
#[derive(Clone, Default)]
pub struct Network(Arc<Mutex<Listeners>>);

#[derive(Default)]
struct Listeners {
    open: HashMap<SocketAddr, Listener>,
    /// The port that was given last to one that wanted any.
    last_port: u16,
}

#[derive(Clone)]
struct Listener {
    queue: mpsc::Sender<MemoryStream>,
    shared: Arc<Shared>,
}

impl Network {
    /// Binds an address; port 0 takes any free one. What connects to it arrives in the receiver.
    pub(super) fn listen(
        &self,
        mut address: SocketAddr,
        shared: impl FnOnce(SocketAddr) -> Shared,
    ) -> io::Result<(SocketAddr, Arc<Shared>, mpsc::Receiver<MemoryStream>)> {
        let mut listeners = self.listeners();
        if address.port() == 0 {
            let port = listeners.free_port(address.ip()).ok_or(io::ErrorKind::AddrInUse)?;
            address.set_port(port);
        }
        if listeners.open.contains_key(&address) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let (queue, connections) = mpsc::channel(BACKLOG);
        let shared = Arc::new(shared(address));
        listeners.open.insert(address, Listener { queue, shared: Arc::clone(&shared) });
        Ok((address, shared, connections))
    }

    /// From now on, nobody listens at an address.
    pub(super) fn close(&self, address: SocketAddr) {
        self.listeners().open.remove(&address);
    }

    /// Opens a connection.
    ///
    /// # Errors
    ///
    /// As for a socket, when nobody listens at the address. [`Simulator::plan_connects`](super::Simulator::plan_connects)
    /// makes others.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<MemoryStream> {
        let listener = self.listeners().open.get(&address).cloned();
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let Listener { queue, shared } = listener.ok_or_else(refused)?;
        match shared.take_connect_fault() {
            Some(ConnectFault::Unresolved) => return Err(unresolved()),
            Some(ConnectFault::Refused) => return Err(refused()),
            Some(ConnectFault::Silent) => pending().await,
            None => {}
        }
        let (client, server) = MemoryStream::pair();
        queue.send(server).await.map_err(|_| refused())?;
        Ok(client)
    }

    fn listeners(&self) -> MutexGuard<'_, Listeners> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listeners {
    /// Ports are given in turn, so that a late request does not reach the next simulator.
    fn free_port(&mut self, ip: IpAddr) -> Option<u16> {
        let mut candidates = (0..u16::MAX).map(|step| self.last_port.wrapping_add(step).wrapping_add(1));
        let port = candidates.find(|&port| port != 0 && !self.open.contains_key(&SocketAddr::new(ip, port)))?;
        self.last_port = port;
        Some(port)
    }
}

/// What the resolver's error looks like; the engine knows it by its beginning.
fn unresolved() -> io::Error {
    io::Error::other("failed to lookup address information: there is no such host in this network")
}

/// Where a request goes.
fn address(uri: &Uri) -> Result<SocketAddr, Error> {
    let host = uri.host().ok_or(Error::HttpRequestUriInvalid)?;
    let port = uri.port_u16().unwrap_or(if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 });
    let ip = match host.trim_matches(['[', ']']) {
        "localhost" => Ok(Ipv4Addr::LOCALHOST.into()),
        host => host.parse::<IpAddr>(),
    };
    ip.map(|ip| SocketAddr::new(ip, port)).map_err(|_| Error::Connect(unresolved()))
}

impl HttpSender for Network {
    fn send(
        &self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Pin<Box<dyn Future<Output = Exchange> + Send>> {
        Box::pin(exchange(self.clone(), request, options.unwrap_or_default()))
    }
}

async fn exchange(network: Network, mut request: Request<WasiBody>, options: RequestOptions) -> Exchange {
    let connect = network.connect(address(request.uri())?);
    let connected = timeout(options.connect_timeout.unwrap_or(LONGEST_WAIT), connect).await;
    let stream = connected.map_err(|_| Error::ConnectionTimeout)?.map_err(Error::Connect)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Only a proxy is sent more than the path.
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.unwrap_or_else(|| PathAndQuery::from_static("/")).into();

    let mut connection = Box::pin(connection);
    let mut open = true;
    let response = {
        let head = timeout(options.first_byte_timeout.unwrap_or(LONGEST_WAIT), sender.send_request(request));
        let mut head = pin!(head);
        poll_fn(|cx| {
            if let Poll::Ready(head) = head.as_mut().poll(cx) {
                return Poll::Ready(head);
            }
            if open && let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                open = false;
                if let Err(error) = ended {
                    return Poll::Ready(Ok(Err(error)));
                }
            }
            // The connection may have brought the answer just now.
            head.as_mut().poll(cx)
        })
        .await
    };
    let response = response.map_err(|_| Error::ConnectionReadTimeout)?.map_err(|error| broken(&error))?;
    let longest_gap = options.between_bytes_timeout.unwrap_or(LONGEST_WAIT);
    let response = response.map(|body| timed(body, longest_gap));
    let rest = async move { if open { connection.await.map_err(Error::from) } else { Ok(()) } };
    Ok((response, Box::pin(rest)))
}
