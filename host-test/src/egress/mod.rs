//! What leaves the host for the component, and what comes back: to one origin, and nowhere else; with the key, which the
//! component does not have; and not without end.
//!
//! Where a request may go is a pure function of two origins. The component checks its own requests as well; this check
//! holds for any component, also for one that is broken or was exchanged. Which addresses are dialled is decided in
//! [`require_public`], after names are resolved.

mod address;
mod origin;
mod traffic;
mod vault;

use std::fmt;
use std::sync::Arc;

use http::{Request, Response, Uri};
use memberspot_core::request::Method;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

pub use address::{NotPublic, require_public};
pub use origin::Origin;
pub use traffic::Excess;
pub(crate) use traffic::Traffic;
pub(crate) use vault::Vault;

use tracing::Instrument as _;

use crate::observe::Exchanging;
use crate::rate::{self, KeyId, Rate};
use crate::sender::HttpSender;

/// A request that the host's policy did not let through, and what would.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The component wanted to reach another origin than the tenant's.
    Origin {
        /// Where it wanted to go; `None` for what is no origin.
        wanted: Option<Origin>,
        /// Where it may go; `None` where the configured address has no origin.
        allowed: Option<Origin>,
    },
    /// The tenant's origin is at an address that is not public.
    Internal {
        /// The origin.
        origin: Origin,
    },
    /// The request could not be recorded, and has to be.
    Unrecorded {
        /// Why not.
        why: String,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Origin { wanted, allowed } => {
                match wanted {
                    Some(wanted) => write!(f, "a request to {wanted} was refused: ")?,
                    None => write!(f, "a request was refused: ")?,
                }
                match (wanted, allowed) {
                    (Some(wanted), Some(allowed)) => {
                        write!(f, "this tenant may reach {allowed}; Connection::base_url(\"{wanted}\") would allow it")
                    }
                    (None, Some(allowed)) => write!(f, "this tenant may reach {allowed}"),
                    (_, None) => write!(f, "this tenant's base URL is no http:// or https:// address"),
                }
            }
            Self::Internal { origin } => {
                write!(f, "{origin} is not on the public internet; HostBuilder::allow_internal(\"{origin}\") would allow it")
            }
            Self::Unrecorded { why } => {
                write!(f, "a request was refused: {why}; HostBuilder::audit_required(Required::Nothing) would allow it")
            }
        }
    }
}

/// The method of a request, as the routes have it; `None` for one that no route has.
pub(crate) fn method(method: &http::Method) -> Option<Method> {
    Some(match *method {
        http::Method::GET => Method::Get,
        http::Method::POST => Method::Post,
        http::Method::PUT => Method::Put,
        http::Method::PATCH => Method::Patch,
        http::Method::DELETE => Method::Delete,
        _ => return None,
    })
}

/// The policy of one call, between the component and the sender.
pub(crate) struct Egress {
    /// `None`: nothing is allowed.
    pub(crate) allowed: Option<Origin>,
    pub(crate) vault: Option<Vault>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) sender: Arc<dyn HttpSender>,
    /// `None`: no limits.
    pub(crate) rate: Option<Rate>,
}

impl Egress {
    fn permits(&self, uri: &Uri) -> bool {
        self.allowed.is_some() && self.allowed == Origin::of(uri)
    }
}

impl WasiHttpHooks for Egress {
    fn send_request(
        &mut self,
        mut request: Request<WasiBody>,
        options: Option<RequestOptions>,
        // Reports an error in the response's body to the component; only WASI 0.3 has use for it.
        _processed: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>> + Send>
    {
        let told = self.traffic.call().map(|call| call.request(&request));
        let refused = |by| told.as_ref().inspect(|told| told.refused(by));
        if !self.permits(request.uri()) {
            refused("origin");
            let wanted = Origin::of(request.uri());
            self.traffic.refuse(Refusal::Origin { wanted, allowed: self.allowed.clone() });
            return Box::new(async { Err(Error::HttpRequestDenied) });
        }
        if !self.traffic.request() {
            refused("requests");
            return Box::new(async { Err(Error::HttpRequestDenied) });
        }
        if let Some(vault) = &self.vault {
            vault.unlock(request.headers_mut());
        }
        let request = request.map(|body| self.traffic.outgoing(body));
        let request = request.map(|body| if let Some(told) = &told { told.outgoing(body) } else { body });
        let key = || KeyId::of(self.allowed.as_ref(), self.vault.as_ref().map(Vault::key));
        let turn = self.rate.as_ref().and_then(|rate| rate.turn(&request, options.as_ref(), &key));
        let (sender, vault, traffic, origin) =
            (self.sender.clone(), self.vault.clone(), self.traffic.clone(), self.allowed.clone());
        let span = told.as_ref().map_or_else(tracing::Span::none, Exchanging::span);
        let exchange = async move {
            if let Some(told) = &told
                && let Err(error) = told.leaves().await
            {
                told.unrecorded();
                traffic.refuse(Refusal::Unrecorded { why: error.to_string() });
                // Unlike what the policy denies, this may pass; and it says for certain that nothing was sent.
                return Err(Error::ConnectionRefused);
            }
            let open = traffic.open().await;
            let exchange = match turn {
                Some(turn) => rate::limited(turn, || sender.send(request, options)).await,
                None => sender.send(request, options).await,
            };
            let exchange = if let Some(told) = &told { told.answered(exchange) } else { exchange };
            if let (Err(Error::DestinationIpProhibited), Some(origin)) = (&exchange, origin) {
                traffic.refuse(Refusal::Internal { origin });
            }
            let (response, driver) = exchange?;
            let (mut head, body) = response.into_parts();
            let body = traffic.incoming(body, open);
            let body = match vault {
                Some(vault) => vault.lock(&mut head, body),
                None => body,
            };
            Ok((Response::from_parts(head, body), Box::new(driver) as Box<_>))
        };
        Box::new(exchange.instrument(span))
    }

    /// One more than by default: so a component that hands its body over before the request leaves sees that it was taken.
    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        2
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::Limits;
    use crate::sender::Exchange;

    /// Answers nothing; counts.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl HttpSender for Count {
        fn send(&self, _: Request<WasiBody>, _: Option<RequestOptions>) -> Pin<Box<dyn Future<Output = Exchange> + Send>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Box::pin(async { Err(Error::ConnectionRefused) })
        }
    }

    fn egress(base: &str, sender: Arc<dyn HttpSender>) -> Egress {
        let traffic = Arc::new(Traffic::new(&Limits { requests: 2, ..Limits::default() }));
        Egress { allowed: Origin::parse(base), vault: None, traffic, sender, rate: None }
    }

    #[tokio::test]
    async fn what_is_not_permitted_does_not_reach_the_sender() {
        let sender = Arc::new(Count::default());
        let mut egress = egress("https://api.memberspot.de", sender.clone());
        let mut send = async |url: &str| {
            let request = Request::get(url).body(WasiBody::default()).unwrap();
            Pin::from(egress.send_request(request, None, Box::new(async { Ok(()) }))).await.map(|_| ())
        };
        assert!(matches!(send("https://evil.example/").await, Err(Error::HttpRequestDenied)));
        assert_eq!(sender.0.load(Ordering::Relaxed), 0);
        for sent in 1..=2 {
            assert!(matches!(send("https://api.memberspot.de/").await, Err(Error::ConnectionRefused)));
            assert_eq!(sender.0.load(Ordering::Relaxed), sent);
        }
        assert!(matches!(send("https://api.memberspot.de/").await, Err(Error::HttpRequestDenied)));
        assert_eq!(sender.0.load(Ordering::Relaxed), 2, "one too many");
        assert_eq!(egress.traffic.excess(), Some((Excess::Requests, 2)));
        let refusal = egress.traffic.refusal().unwrap().to_string();
        assert!(refusal.contains("https://evil.example") && refusal.contains("https://api.memberspot.de"), "{refusal}");
    }

    #[test]
    fn only_the_configured_origin_is_permitted() {
        for (base, url, permitted) in [
            ("https://api.memberspot.de", "https://api.memberspot.de/v1/offers", true),
            ("https://api.memberspot.de", "https://API.memberspot.de:443/v1/offers", true),
            ("https://api.memberspot.de/", "https://api.memberspot.de/api-auth", true),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1/offers", true),
            ("https://api.memberspot.de", "http://api.memberspot.de/v1/offers", false),
            ("https://api.memberspot.de", "http://api.memberspot.de:443/v1/offers", false),
            ("https://api.memberspot.de", "https://api.memberspot.de:8443/v1/offers", false),
            ("https://api.memberspot.de", "https://memberspot.de/v1/offers", false),
            ("https://api.memberspot.de", "https://api.memberspot.de.evil.example/v1/offers", false),
            ("https://api.memberspot.de", "https://api.memberspot.de./v1/offers", false),
            ("https://api.memberspot.de", "https://evil.example/api.memberspot.de", false),
            ("https://api.memberspot.de", "https://key@api.memberspot.de/v1/offers", false),
            ("http://127.0.0.1:8080", "http://localhost:8080/v1/offers", false),
            ("http://127.0.0.1:8080", "http://169.254.169.254/latest/meta-data", false),
            ("nonsense", "https://api.memberspot.de/v1/offers", false),
            ("nonsense", "nonsense", false),
            ("", "/v1/offers", false),
        ] {
            assert_eq!(egress(base, Arc::new(Count::default())).permits(&url.parse().unwrap()), permitted, "{base} to {url}");
        }
    }
}
