//! `memberspot receive`, as a process: what it prints, and what it does not.

use std::io::{BufRead as _, BufReader, Lines, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::cli::{memberspot, run, temporary};

const TOKEN: &str = "Zk3-_9aBcDeFgHiJkLmNoP";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A receiver that runs, and what it said first.
struct Running {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    hello: Value,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut process =
            command.args(["--port", "0", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let hello = lines.next().map(|line| serde_json::from_str(&line.unwrap()).unwrap());
        Self { process, lines, hello: hello.expect("it started") }
    }

    /// Posts a body, and gives the status.
    fn post(&self, path: &str, body: &str) -> String {
        let address = self.hello["origin"].as_str().unwrap().strip_prefix("http://").unwrap();
        let mut connection = TcpStream::connect(address).unwrap();
        let length = body.len();
        write!(connection, "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    }

    fn line(&mut self) -> Value {
        let mut line: Value = serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap();
        assert!(line["ms"].take().is_u64());
        line
    }

    /// Ends it with Ctrl-C, and gives whatever else it has said.
    #[cfg(unix)]
    fn interrupt(mut self) -> String {
        assert!(Command::new("kill").args(["-INT", &self.process.id().to_string()]).status().unwrap().success());
        assert_eq!(self.process.wait().unwrap().code(), Some(0));
        let mut said: String = self.lines.by_ref().map(|line| line.unwrap()).collect();
        self.process.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An address where nobody listens.
fn nobody() -> String {
    format!("http://{}/", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
}

#[cfg(unix)]
#[test]
fn what_it_makes_is_told_and_works() {
    let mut running = Running::start(&mut memberspot(&["receive", "--forward", &nobody()]));
    let origin = running.hello["origin"].as_str().unwrap();
    let path = running.hello["hook"].as_str().unwrap().strip_prefix(origin).unwrap().to_owned();
    assert!(path.strip_prefix("/hooks/").unwrap().len() >= 32 && running.hello["secret"].as_str().unwrap().len() > 40);
    assert_eq!(running.post(&path, r#"{"event":"auth_test"}"#), "200");
    let line = |request: u64, status: u16, outcome: &str| {
        let nothing = Value::Null;
        json!({"request": request, "status": status, "outcome": outcome, "targetStatus": nothing, "error": nothing, "ms": nothing})
    };
    assert_eq!(running.line(), line(1, 200, "handshake"));
    assert_eq!(running.post(&path, r#"{"event":"user_added","email":"mia@example.com"}"#), "503");
    assert_eq!(running.line(), line(2, 503, "not forwarded"));
    assert_eq!(running.post(&path, "mia@example.com"), "400");
    assert_eq!(running.line(), line(3, 400, "no event"));
    assert_eq!(running.post("/hooks/mia@example.com", "{}"), "404");
    assert_eq!(running.line(), line(4, 404, "not found"));
    let other = Running::start(&mut memberspot(&["receive", "--forward", &nobody()]));
    assert!(["hook", "secret"].iter().all(|name| other.hello[name] != running.hello[name]), "the same again");
    assert_eq!(running.interrupt(), "");
}

#[cfg(unix)]
#[test]
fn what_is_given_is_not_told() {
    use std::os::unix::fs::PermissionsExt as _;

    let file = temporary("webhook-secret");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let mode = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    let command = || {
        let mut command = memberspot(&["receive", "--forward", &nobody(), "--secret-file"]);
        command.arg(&file).env("MEMBERSPOT_WEBHOOK_TOKEN", TOKEN);
        command
    };
    mode(0o600);
    let mut running = Running::start(&mut command());
    assert_eq!((&running.hello["hook"], &running.hello["secret"]), (&Value::Null, &Value::Null));
    assert_eq!(running.post(&format!("/hooks/{TOKEN}"), r#"{"event":"auth_test"}"#), "200");
    assert_eq!(running.line()["outcome"], "handshake");
    let said = running.hello.to_string() + &running.interrupt();
    assert!(!said.contains(TOKEN) && !said.contains(SECRET), "{said}");

    mode(0o644);
    assert_eq!(run(&mut command()).code, 2);
    std::fs::remove_file(file).unwrap();
}

#[test]
fn what_cannot_work_does_not_start() {
    let local = "http://127.0.0.1:9/";
    for (forward, variable, value) in [
        ("http://engine.example.com/hush", "MEMBERSPOT_WEBHOOK_TOKEN", TOKEN),
        ("nonsense", "MEMBERSPOT_WEBHOOK_TOKEN", TOKEN),
        (local, "MEMBERSPOT_WEBHOOK_TOKEN", "hush"),
        (local, "MEMBERSPOT_WEBHOOK_TOKEN", "hush hush hush hush hush hush hush"),
        (local, "MEMBERSPOT_FORWARD_SECRET", "hush"),
        (local, "MEMBERSPOT_FORWARD_TIMEOUT_MS", "60001"),
    ] {
        let ran = run(memberspot(&["receive", "--port", "0", "--forward", forward]).env(variable, value));
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{forward} {variable}: {}", ran.stderr);
        assert!(!ran.stderr.contains("hush"), "{}", ran.stderr);
    }
    assert_eq!(run(&mut memberspot(&["receive"])).code, 2);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    assert_eq!(run(&mut memberspot(&["receive", "--forward", local, "--port", &port])).code, 2);
}

#[test]
fn a_simulated_memberspot_sends_to_it() {
    let mut running = Running::start(&mut memberspot(&["receive", "--forward", &nobody()]));
    let mut simulate = memberspot(&["simulate", "--port", "0", "--json"]);
    simulate.env("MEMBERSPOT_WEBHOOK_URL", running.hello["hook"].as_str().unwrap());
    let mut simulate = simulate.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(simulate.stdout.take().unwrap()).lines().map(|line| line.unwrap());
    let hello: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
    assert_eq!(running.line()["outcome"], "handshake");
    assert_eq!(lines.next().unwrap(), json!({"webhook": "webhook auth_test 200"}).to_string());
    let (origin, key) = (hello["origin"].as_str().unwrap(), hello["key"].as_str().unwrap());
    let input = r#"{"email": "mia@example.com", "offerId": "offer-breath"}"#;
    let mut grant = memberspot(&["run", "grant-access", input, "--base-url", origin]);
    assert_eq!(run(grant.env("MEMBERSPOT_API_KEY", key)).code, 0);
    assert!(lines.next().unwrap().contains("grant-user-offer-by-mail 201"));
    assert_eq!(running.line()["outcome"], "not forwarded");
    assert_eq!(lines.next().unwrap(), json!({"webhook": "webhook user_added 503"}).to_string());
    // Again, as one that was not accepted.
    assert_eq!(running.line()["outcome"], "not forwarded");
    simulate.kill().unwrap();
    simulate.wait().unwrap();
    assert_eq!(run(&mut memberspot(&["simulate", "--webhook", "ftp://x"])).code, 2);
}
