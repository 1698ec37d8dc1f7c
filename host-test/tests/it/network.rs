//! The network in memory: that it fails as sockets do, and that no real time passes on it.

use std::time::Duration;

use http_body_util::BodyExt as _;
use memberspot_host::{
    sender::{HttpSender, PooledSender, Reach},
    simulator::{Clock, ConnectFault, Fault, Injection, Network, Options, Simulator, StatusCode},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::Instant,
};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use crate::stage::{Stage, network};

/// Sends one request and says what became of it: the status, and how much came of the body, or the error.
async fn send(sender: &impl HttpSender, url: &str) -> String {
    let request = http::Request::get(url).body(WasiBody::default()).unwrap();
    let options = RequestOptions {
        connect_timeout: Some(Duration::from_secs(2)),
        first_byte_timeout: Some(Duration::from_secs(3)),
        between_bytes_timeout: Some(Duration::from_secs(4)),
    };
    match sender.send(request, Some(options)).await {
        Ok((response, driver)) => {
            let driver = tokio::spawn(driver);
            let status = response.status();
            let body = response.into_body().collect().await;
            let body = body.map(|body| body.to_bytes().len()).map_err(|error| name(&error));
            driver.abort();
            format!("{status} {body:?}")
        }
        Err(error) => name(&error),
    }
}

/// The error, as exactly as the engine looks at it, and the error of the connection below it.
fn name(error: &Error) -> String {
    match error {
        Error::Connect(error) => format!("Connect({:?})", error.kind()),
        Error::Hyper(error) => {
            let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
            let io = cause.map(std::io::Error::kind);
            format!("Hyper(incomplete: {}, parse: {}, {io:?})", error.is_incomplete_message(), error.is_parse())
        }
        error => format!("{error:?}"),
    }
}

#[tokio::test]
async fn it_fails_as_sockets_do() {
    let socket = Simulator::start(Options::default()).await.unwrap();
    let memory = Simulator::in_memory(Options::default(), network()).unwrap();
    for fault in [
        None,
        Some(Fault::status(StatusCode::BAD_GATEWAY)),
        Some(Fault::Raw("HTTP/1.1 200".into())),
        Some(Fault::Raw("SSH-2.0-nobody\r\n".into())),
        Some(Fault::ResetBeforeHeaders),
        Some(Fault::ResetInHeaders { after: 20 }),
        Some(Fault::ResetInBody { after: 0 }),
        Some(Fault::ResetInBody { after: 9 }),
        Some(Fault::TruncateBody { after: 9 }),
        Some(Fault::TruncateChunks { after: 9 }),
        Some(Fault::DropUnread),
        Some(Fault::EarlyAnswer(StatusCode::PAYLOAD_TOO_LARGE)),
        Some(Fault::OversizedBody { bytes: 1 << 20, declared: true }),
        Some(Fault::OversizedBody { bytes: 1 << 20, declared: false }),
    ] {
        for simulator in [&socket, &memory] {
            simulator.clear_faults();
            if let Some(fault) = &fault {
                simulator.inject(Injection::everywhere(fault.clone()));
            }
        }
        let over_a_socket = send(&PooledSender::new(Reach::Internal), &format!("{}/v1/offers", socket.origin())).await;
        let in_memory = send(network(), &format!("{}/v1/offers", memory.origin())).await;
        assert_eq!(in_memory, over_a_socket, "{fault:?}");
    }
    for simulator in [&socket, &memory] {
        simulator.clear_faults();
        simulator.reset_connections(1);
    }
    let over_a_socket = send(&PooledSender::new(Reach::Internal), &socket.origin()).await;
    assert_eq!(send(network(), &memory.origin()).await, over_a_socket, "a reset connection");
}

#[tokio::test]
async fn nobody_listens_on_either() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{closed}/");
    assert_eq!(send(&PooledSender::new(Reach::Internal), &url).await, "Connect(ConnectionRefused)");
    assert_eq!(send(&Network::default(), &url).await, "Connect(ConnectionRefused)");
    let simulator = Simulator::in_memory(Options::default(), network()).unwrap();
    let gone = simulator.origin();
    assert!(send(network(), &gone).await.starts_with("404"));
    assert!(Simulator::in_memory(Options { port: simulator.address().port(), ..Options::default() }, network()).is_err());
    drop(simulator);
    assert_eq!(send(network(), &gone).await, "Connect(ConnectionRefused)");
    assert_eq!(send(network(), "https://api.invalid").await, "Connect(Other)", "no such host");
}

#[tokio::test(start_paused = true)]
async fn waits_end_to_the_millisecond() {
    let simulator = Simulator::in_memory(Options::default(), network()).unwrap();
    let url = format!("{}/v1/offers", simulator.origin());
    let timed = async || {
        let start = Instant::now();
        (send(network(), &url).await, start.elapsed().as_millis())
    };
    for (fault, answer, milliseconds) in [
        (Some(ConnectFault::Silent), "ConnectionTimeout", 2000),
        (None, "401", 0),
        (Some(ConnectFault::Refused), "Connect(ConnectionRefused)", 0),
        (Some(ConnectFault::Unresolved), "Connect(Other)", 0),
    ] {
        simulator.plan_connects(fault, 1);
        let (seen, elapsed) = timed().await;
        assert!(seen.starts_with(answer), "{seen}");
        assert_eq!(elapsed, milliseconds);
    }
    simulator.plan_connects(None, 1);
    simulator.plan_connects(Some(ConnectFault::Refused), u32::MAX);
    assert!(timed().await.0.starts_with("401"));
    assert_eq!(timed().await.0, "Connect(ConnectionRefused)");
    simulator.clear_faults();
    simulator.inject(Injection::everywhere(Fault::HangBeforeHeaders).once());
    assert_eq!(timed().await, ("ConnectionReadTimeout".into(), 3000));
    simulator.inject(Injection::everywhere(Fault::StallBody { after: 1, pause: None }).once());
    let (stalled, elapsed) = timed().await;
    assert!(stalled.contains("ConnectionReadTimeout"), "{stalled}");
    assert_eq!(elapsed, 4000);
    simulator.set_latency(Duration::from_millis(2999));
    let (answer, elapsed) = timed().await;
    assert!(answer.starts_with("401"), "{answer}");
    assert_eq!(elapsed, 2999);
}

#[tokio::test]
async fn a_connection_carries_any_bytes() {
    let simulator = Simulator::in_memory(Options::default(), network()).unwrap();
    let mut stream = network().connect(simulator.address()).await.unwrap();
    stream.write_all(b"GET /api-auth HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert_eq!(simulator.journal().len(), 1);
}

/// The simulator counts in the time that the component waits in: with two clocks, either would be wrong.
#[tokio::test(start_paused = true)]
async fn the_rate_limit_is_waited_out_in_virtual_time() {
    let stage = Stage::in_memory(Options { clock: Clock::tokio(), ..Options::default() });
    // Without a pace, so that neither the component nor the host waits before it has to.
    let stage = stage.configured("MEMBERSPOT_MAX_ATTEMPTS", "2").configured("MEMBERSPOT_REQUESTS_PER_SECOND", "0");
    let start = Instant::now();
    for _ in 0..20 {
        stage.call("list-users", json!({})).await.unwrap();
    }
    assert_eq!(stage.simulator.journal().len(), 24, "every fifth is one too many");
    assert_eq!(start.elapsed(), Duration::from_secs(4));
}
