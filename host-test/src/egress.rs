//! Where requests may go: to one origin, and nowhere else.
//!
//! The decision is a pure function of two origins. The component checks its own requests as well; this check holds for any
//! component, also for one that is broken or was exchanged.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

/// Scheme, host and port: what an address has in common with all others of the same server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    https: bool,
    /// In lower case; an IPv6 address is in brackets.
    host: String,
    port: u16,
}

impl Origin {
    /// The origin of an absolute `http` or `https` URL. `None` for anything else, for an address with a user name, and for
    /// one whose port is not a number from 1 to 65535.
    #[must_use]
    pub fn parse(url: &str) -> Option<Self> {
        Self::of(&url.parse().ok()?)
    }

    /// The origin that a request goes to.
    #[must_use]
    pub fn of(uri: &Uri) -> Option<Self> {
        let scheme = uri.scheme()?;
        let https = *scheme == Scheme::HTTPS;
        if !https && *scheme != Scheme::HTTP {
            return None;
        }
        let authority = uri.authority()?;
        let port = match port_text(authority)? {
            "" => default_port(https),
            digits => digits.parse().ok().filter(|port| *port != 0)?,
        };
        Some(Self { https, host: authority.host().to_ascii_lowercase(), port })
    }
}

/// What follows `host:`, or an empty text where nothing does. `None` when there is more than host and port.
///
/// [`Authority::port`] takes a port that is out of range for none at all, which would turn it into the default one.
fn port_text(authority: &Authority) -> Option<&str> {
    // With a user name, the authority does not start with the host.
    let rest = authority.as_str().strip_prefix(authority.host())?;
    if rest.is_empty() {
        return Some(rest);
    }
    let digits = rest.strip_prefix(':')?;
    // `u16::from_str` would take a leading `+`.
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(digits)
}

fn default_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}

/// As in a URL, without the port where it is the default one.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port != default_port(self.https) {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

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

/// Opens a connection for each request: HTTP/1.1, TLS with the root certificates of Mozilla.
#[derive(Debug, Clone, Copy, Default)]
pub struct DefaultSender;

impl HttpSender for DefaultSender {
    fn send(
        &self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Pin<Box<dyn Future<Output = Exchange> + Send>> {
        use http_body_util::BodyExt;

        Box::pin(async move {
            let (response, driver) = wasmtime_wasi_http::default_send_request(request, options).await?;
            Ok((response.map(BodyExt::boxed_unsync), Box::pin(driver) as Pin<Box<_>>))
        })
    }
}

/// The policy of one call, between the component and the sender.
pub(crate) struct Egress {
    /// `None`: nothing is allowed.
    pub(crate) allowed: Option<Origin>,
    pub(crate) sender: Arc<dyn HttpSender>,
}

impl Egress {
    fn permits(&self, uri: &Uri) -> bool {
        self.allowed.is_some() && self.allowed == Origin::of(uri)
    }
}

impl WasiHttpHooks for Egress {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        // Reports an error in the response's body to the component; only WASI 0.3 has use for it.
        _processed: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>> + Send>
    {
        if !self.permits(request.uri()) {
            return Box::new(async { Err(Error::HttpRequestDenied) });
        }
        let exchange = self.sender.send(request, options);
        Box::new(async move {
            let (response, driver) = exchange.await?;
            Ok((response, Box::new(driver) as Box<_>))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        for (url, origin) in [
            ("https://api.memberspot.de", "https://api.memberspot.de"),
            ("https://api.memberspot.de/", "https://api.memberspot.de"),
            ("https://api.memberspot.de/v1/offers?x=1#y", "https://api.memberspot.de"),
            ("https://api.memberspot.de:443", "https://api.memberspot.de"),
            ("http://api.memberspot.de:80", "http://api.memberspot.de"),
            ("https://api.memberspot.de:80", "https://api.memberspot.de:80"),
            ("HTTPS://API.Memberspot.DE", "https://api.memberspot.de"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]:8080/v1", "http://[::1]:8080"),
            ("http://[::1]", "http://[::1]"),
        ] {
            assert_eq!(Origin::parse(url).map(|origin| origin.to_string()).as_deref(), Some(origin), "{url}");
        }
    }

    #[test]
    fn what_is_no_origin_allows_nothing() {
        for url in [
            "",
            " ",
            "/",
            "/v1/offers",
            "api.memberspot.de",
            "api.memberspot.de:443",
            "https://",
            "https:///v1",
            "ftp://api.memberspot.de",
            "file:///etc/passwd",
            "https://user@api.memberspot.de",
            "https://user:word@api.memberspot.de",
            "https://api.memberspot.de@evil.example",
            "https://api.memberspot.de:0",
            "https://api.memberspot.de:",
            "https://api.memberspot.de:65536",
            "https://api.memberspot.de:+443",
            "https://api.memberspot.de:443:443",
            " https://api.memberspot.de",
            "https://api.memberspot.de\\@evil.example",
            "https://[::1",
        ] {
            assert_eq!(Origin::parse(url), None, "{url}");
        }
    }

    /// Answers nothing; counts.
    #[derive(Default)]
    struct Count(std::sync::atomic::AtomicUsize);

    impl HttpSender for Count {
        fn send(&self, _: Request<WasiBody>, _: Option<RequestOptions>) -> Pin<Box<dyn Future<Output = Exchange> + Send>> {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Box::pin(async { Err(Error::ConnectionRefused) })
        }
    }

    #[tokio::test]
    async fn what_is_not_permitted_does_not_reach_the_sender() {
        let sender = Arc::new(Count::default());
        let mut egress = Egress { allowed: Origin::parse("https://api.memberspot.de"), sender: sender.clone() };
        let mut send = async |url: &str| {
            let request = Request::get(url).body(WasiBody::default()).unwrap();
            Pin::from(egress.send_request(request, None, Box::new(async { Ok(()) }))).await.map(|_| ())
        };
        assert!(matches!(send("https://evil.example/").await, Err(Error::HttpRequestDenied)));
        assert_eq!(sender.0.load(std::sync::atomic::Ordering::Relaxed), 0);
        assert!(matches!(send("https://api.memberspot.de/").await, Err(Error::ConnectionRefused)));
        assert_eq!(sender.0.load(std::sync::atomic::Ordering::Relaxed), 1);
    }

    #[test]
    fn only_the_configured_origin_is_permitted() {
        let egress = |base: &str| Egress { allowed: Origin::parse(base), sender: Arc::new(DefaultSender) };
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
            assert_eq!(egress(base).permits(&url.parse().unwrap()), permitted, "{base} to {url}");
        }
    }
}
