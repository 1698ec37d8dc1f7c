//! TLS: whom the system trusts is trusted, and nobody else; HTTP/2 is spoken where the server offers it.

use std::{
    convert::Infallible,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
};

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::cli::{KEY, Ran, memberspot, run};

/// A server that answers everything with one offer, over TLS.
struct Server {
    origin: String,
    certificate: tempfile::NamedTempFile,
    /// Of the requests that came.
    versions: Arc<Mutex<Vec<Version>>>,
}

impl Server {
    /// Its certificate is good for `localhost`. Of these protocols, it offers the client the choice.
    fn offering(protocols: &[&[u8]]) -> Self {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = tempfile::NamedTempFile::new().unwrap();
        fs::write(certificate.path(), cert.pem()).unwrap();
        let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();

        let versions = Arc::new(Mutex::new(vec![]));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let (acceptor, seen) = (TlsAcceptor::from(Arc::new(config)), versions.clone());
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(listener, acceptor, seen));
        });
        Self { origin, certificate, versions }
    }

    /// Asks for offers, where the system trusts these certificates.
    fn asked(&self, trusted: &Path) -> Ran {
        let mut command = memberspot(&["run", "--json", "--base-url", &self.origin, "list-offers"]);
        let command = command.env("MEMBERSPOT_API_KEY", KEY).env("MEMBERSPOT_MAX_ATTEMPTS", "1");
        run(command.env("SSL_CERT_FILE", trusted).env_remove("SSL_CERT_DIR"))
    }

    fn versions(&self) -> Vec<Version> {
        self.versions.lock().unwrap().clone()
    }
}

async fn serve(listener: std::net::TcpListener, acceptor: TlsAcceptor, versions: Arc<Mutex<Vec<Version>>>) {
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        // A client that does not trust it goes away.
        let Ok(stream) = acceptor.accept(stream).await else { continue };
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let versions = versions.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            versions.lock().unwrap().push(request.version());
            assert_eq!(request.headers()["x-api-key"], KEY);
            let response = Response::builder().header("content-type", "application/json");
            let response = response.body(Full::new(Bytes::from_static(br#"[{"id":"o1"}]"#))).unwrap();
            async { Ok::<_, Infallible>(response) }
        });
        let stream = TokioIo::new(stream);
        // How the client ends the connection is its own business.
        tokio::spawn(async move {
            if is_http2 {
                let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service).await;
            } else {
                let _ = http1::Builder::new().serve_connection(stream, service).await;
            }
        });
    }
}

#[test]
fn http_2_is_spoken_where_it_is_offered() {
    for (protocols, version) in
        [(&[b"h2".as_slice(), b"http/1.1"][..], Version::HTTP_2), (&[b"http/1.1"], Version::HTTP_11), (&[], Version::HTTP_11)]
    {
        let server = Server::offering(protocols);
        let ran = server.asked(server.certificate.path());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert_eq!(ran.json()[0]["id"], "o1");
        assert_eq!(server.versions(), [version]);
    }
}

#[test]
fn whom_the_system_does_not_trust_gets_no_request() {
    let (server, other) = (Server::offering(&[b"h2"]), Server::offering(&[]));
    for trusted in [other.certificate.path().to_owned(), PathBuf::from("/dev/null")] {
        let ran = server.asked(&trusted);
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        assert_eq!(ran.json()["val"]["code"], "unreachable");
        assert_eq!(ran.json()["val"]["outcomeUnknown"], false);
    }
    assert_eq!(server.versions(), []);
}
