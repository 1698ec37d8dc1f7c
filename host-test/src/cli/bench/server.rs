//! The server of the measurements: a process of its own that does nothing but answer, and counts what that costs.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use cpu_time::ProcessTime;
use memchr::memmem;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// How many members a page has.
const MEMBERS: usize = 100;

/// What the server has done so far.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Usage {
    pub requests: u64,
    pub connections: u64,
    pub cpu_micros: u64,
}

/// The server in its own process. It ends when this is dropped, and when this process ends in any way.
pub struct Server {
    child: Child,
    /// Its end is the sign to stop.
    stdin: Option<ChildStdin>,
    pub address: SocketAddr,
}

impl Server {
    pub fn start() -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["bench", "--serve"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let mut line = String::new();
        stdout.map(|stdout| BufReader::new(stdout).read_line(&mut line)).transpose()?;
        let port = line.trim().parse().map_err(|_| io::Error::other("the server does not say its port"))?;
        Ok(Self { child, stdin, address: (Ipv4Addr::LOCALHOST, port).into() })
    }

    pub fn usage(&self) -> io::Result<Usage> {
        let mut stream = std::net::TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"GET /usage HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = vec![];
        stream.read_to_end(&mut answer)?;
        let body = memmem::find(&answer, b"\r\n\r\n").and_then(|end| answer.get(end + 4..)).unwrap_or_default();
        Ok(serde_json::from_slice(body)?)
    }

    /// Stops it, and says whether it ended well.
    pub fn stop(mut self) -> io::Result<bool> {
        self.stdin = None;
        Ok(self.child.wait()?.success())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stdin = None;
        // It ends by itself; this is for what could keep it from that.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the process of the server does: says its port, and answers until standard input ends.
pub fn serve() -> io::Result<()> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}", listener.local_addr()?.port())?;
    out.flush()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || runtime.block_on(accept(listener)));
    io::copy(&mut io::stdin().lock(), &mut io::sink()).map(|_| ())
}

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    connections: AtomicU64,
}

async fn accept(listener: std::net::TcpListener) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let answers = Arc::new(Answers::new());
    let counts = Arc::new(Counts::default());
    loop {
        let (stream, _) = listener.accept().await?;
        let (answers, counts) = (answers.clone(), counts.clone());
        tokio::spawn(async move { connection(stream, &answers, &counts).await });
    }
}

struct Answers {
    member: Vec<u8>,
    page: Vec<u8>,
}

impl Answers {
    fn new() -> Self {
        let page: Vec<_> = (0..MEMBERS).map(member).collect();
        Self { member: answer("201 Created", &member(0)), page: answer("200 OK", &page.into()) }
    }
}

fn answer(status: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

/// A member as Memberspot sends it.
fn member(number: usize) -> Value {
    json!({
        "uid": format!("uid-{number:06}"),
        "email": format!("member-{number}@example.com"),
        "firstname": "Ada",
        "name": "Lovelace",
        "active": true,
        "created": "2026-01-02T03:04:05.678Z",
        "customUserProperties": {"level": "advanced", "shoe-size": "39", "newsletter": "yes"},
        "progress": [
            {"courseId": "course-1", "activePosts": 12, "completedPosts": 7},
            {"courseId": "course-2", "activePosts": 4, "completedPosts": 0},
        ],
    })
}

async fn connection(mut stream: TcpStream, answers: &Answers, counts: &Counts) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = BytesMut::with_capacity(16 << 10);
    let mut first = true;
    loop {
        let end = loop {
            if let Some(at) = memmem::find(&buffer, b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let head = buffer.split_to(end);
        let length = content_length(&head);
        while buffer.len() < length {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        buffer.advance(length);
        if head.starts_with(b"GET /usage ") {
            let usage = Usage {
                requests: counts.requests.load(Ordering::Relaxed),
                connections: counts.connections.load(Ordering::Relaxed),
                cpu_micros: u64::try_from(ProcessTime::now().as_duration().as_micros()).unwrap_or(u64::MAX),
            };
            stream.write_all(&answer("200 OK", &json!(usage))).await?;
            return Ok(());
        }
        if std::mem::take(&mut first) {
            counts.connections.fetch_add(1, Ordering::Relaxed);
        }
        counts.requests.fetch_add(1, Ordering::Relaxed);
        stream.write_all(if head.starts_with(b"GET ") { &answers.page } else { &answers.member }).await?;
    }
}

fn content_length(head: &[u8]) -> usize {
    let head = head.to_ascii_lowercase();
    let value = memmem::find(&head, b"\r\ncontent-length:").and_then(|at| head.get(at + 17..));
    let value = value.and_then(|value| value.split(|byte| *byte == b'\r').next());
    value.and_then(|value| std::str::from_utf8(value).ok()?.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_body_is_found() {
        assert_eq!(content_length(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 42\r\n\r\n"), 42);
        assert_eq!(content_length(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"), 0);
    }
}
