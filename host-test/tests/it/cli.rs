//! The command line, as a process: what it prints where, and its exit codes.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;

use memberspot_host::catalog::Catalog;
use memberspot_host::{COMPONENT, WEBHOOK_RECEIVER};
use serde_json::{Value, json};

pub const KEY: &str = "canary-4711";

pub fn memberspot(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_memberspot"));
    command.args(arguments).stdin(Stdio::null());
    // Code that is compiled in one test is loaded in the others.
    command.env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MEMBERSPOT_") {
            command.env_remove(name);
        }
    }
    command
}

pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

pub fn finish(output: Output) -> Ran {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let ran = Ran { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) };
    for text in [&ran.stdout, &ran.stderr] {
        assert!(!text.contains(KEY), "the key was printed: {text}");
        assert!(!text.contains('\u{1b}'), "colours without a terminal: {text}");
    }
    ran
}

pub fn run(command: &mut Command) -> Ran {
    finish(command.output().unwrap())
}

/// A server that gives one answer; the receiver has the head of the request.
fn server(answer: &'static str) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = String::new();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while reader.read_line(&mut head).unwrap() > 2 {}
        sender.send(head).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
    });
    (origin, receiver)
}

const OFFERS: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 13\r\nconnection: close\r\n\r\n[{\"id\":\"o1\"}]";
const REFUSED: &str = "HTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\ncontent-length: 56\r\nconnection: close\r\n\r\n{\"statusCode\":403,\"message\":\"no plan \u{9b}31m with the API\"}";

pub fn temporary(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()))
}

#[test]
fn a_result_goes_to_standard_output() {
    let (origin, request) = server(OFFERS);
    let ran = run(memberspot(&["run", "list-offers", "--base-url", &origin]).env("MEMBERSPOT_API_KEY", KEY));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(ran.json()[0]["id"], "o1");
    assert_eq!(ran.stdout.lines().count(), 1, "one line for programs");
    let request = request.recv().unwrap().to_lowercase();
    assert!(request.starts_with("get /v1/offers http/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("x-api-key: {KEY}\r\n")), "{request}");
}

#[test]
fn the_key_may_come_from_a_file() {
    let (origin, request) = server(OFFERS);
    let file = temporary("key");
    std::fs::write(&file, format!("{KEY}\r\n")).unwrap();
    let mut command = memberspot(&["run", "list-offers", "--key-file"]);
    let ran = run(command.arg(&file).env("MEMBERSPOT_BASE_URL", origin).env("MEMBERSPOT_API_KEY", "another"));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(request.recv().unwrap().to_lowercase().contains(&format!("x-api-key: {KEY}\r\n")));
    std::fs::remove_file(file).unwrap();
}

#[test]
fn a_permanent_error_is_1() {
    for json in [false, true] {
        let (origin, _request) = server(REFUSED);
        let mut command = memberspot(&["run", "list-offers", "--base-url", &origin]);
        if json {
            command.arg("--json");
        }
        let ran = run(command.env("MEMBERSPOT_API_KEY", KEY));
        assert_eq!(ran.code, 1);
        assert!(ran.stderr.starts_with("error[forbidden]: "), "{}", ran.stderr);
        assert!(ran.stderr.contains("HTTP status 403"), "{}", ran.stderr);
        assert!(!ran.stderr.contains('\u{9b}'), "a server commands the terminal");
        if json {
            assert_eq!(ran.json()["tag"], "permanent");
            assert_eq!(ran.json()["val"]["code"], "forbidden");
            assert_eq!(ran.json()["val"]["status"], 403);
        } else {
            assert_eq!(ran.stdout, "");
        }
    }
}

#[test]
fn a_transient_error_is_3() {
    // Nobody listens at the address of a listener that is gone.
    let origin = format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let arguments = ["run", "list-offers", "--json", "--deadline-ms", "2000", "--base-url", &origin];
    let ran = run(memberspot(&arguments).env("MEMBERSPOT_API_KEY", KEY));
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert_eq!(ran.json()["tag"], "transient");
    assert_eq!(ran.json()["val"]["code"], "unreachable");
    assert!(ran.stderr.contains("hint: "), "{}", ran.stderr);
}

#[test]
fn a_missing_key_is_explained() {
    let ran = run(&mut memberspot(&["run", "list-offers"]));
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.contains("MEMBERSPOT_API_KEY") && ran.stderr.contains("--key-file"), "{}", ran.stderr);
}

#[test]
fn the_environment_of_the_connector_is_handed_over() {
    let ran = run(memberspot(&["run", "list-offers", "--json"])
        .env("MEMBERSPOT_API_KEY", KEY)
        .env("MEMBERSPOT_MAX_RESPONSE_BYTES", "lots"));
    assert_eq!(ran.json()["val"]["code"], "notConfigured");
    assert!(ran.stderr.contains("MEMBERSPOT_MAX_RESPONSE_BYTES"), "{}", ran.stderr);
}

#[test]
fn usage_errors_are_2() {
    for (arguments, said) in [
        (vec![], "Usage: memberspot"),
        (vec!["no-such-command"], "unrecognized subcommand"),
        (vec!["run", "no-such-function"], "there is no function `no-such-function`"),
        (vec!["run", "grant-acces"], "did you mean `grant-access`?"),
        (vec!["run", "grant-access", "{"], "is not JSON"),
        (vec!["run", "grant-access", "{}"], "`email` is missing"),
        (vec!["run", "grant-access", r#"{"email":"a","offerid":"o"}"#], "did you mean `offerId`?"),
        (vec!["run", "grant-access", r#"{"email":1,"offerId":"o"}"#], "at /email: expected text, found 1"),
        (vec!["run", "grant-access", "@/no/such/file"], "/no/such/file"),
        (vec!["run", "grant-access", "--set", "email"], "expected field=value"),
        (vec!["run", "grant-access", "--set", "mail=a"], "--set mail: there is no such field"),
        (vec!["run", "grant-access", "--set", "email=a", "--set", "email=b"], "--set email: given twice"),
        (vec!["run", "list-users", "--set", "active=yes"], "--set active: expected true or false"),
        (vec!["run", "list-offers", "--set", "x=1"], "list-offers takes no input"),
        (vec!["run", "revoke-access", "[]", "--set", "email=a"], "the input is not one"),
        (vec!["run", "list-offers", "--key-file", "/no/such/file"], "/no/such/file"),
        (vec!["run", "list-offers", "--key", "secret"], "unexpected argument"),
        (vec!["simulate", "--fault-rate", "2"], "--fault"),
        (vec!["simulate", "--fault", "busy", "--fault-rate", "101"], "not from 0 to 100"),
        (vec!["functions", "grant-acces"], "did you mean `grant-access`?"),
    ] {
        let ran = run(&mut memberspot(&arguments));
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(said), "{arguments:?}: {}", ran.stderr);
    }
    let ran = run(&mut memberspot(&["run", "grant-access", "--json"]));
    assert_eq!((ran.code, ran.json()["tag"].as_str()), (2, Some("usage")));
}

#[test]
fn input_comes_from_argument_file_or_standard_input() {
    // Without a key, input that fits gets as far as the component, and that is 1.
    let input = r#"{"emails": ["ada@example.com"]}"#;
    assert_eq!(run(&mut memberspot(&["run", "delete-users", input])).code, 1);

    let file = temporary("input.json");
    std::fs::write(&file, input).unwrap();
    assert_eq!(run(&mut memberspot(&["run", "delete-users", &format!("@{}", file.display())])).code, 1);
    std::fs::remove_file(file).unwrap();

    let mut command = memberspot(&["run", "delete-users", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    assert_eq!(finish(child.wait_with_output().unwrap()).code, 1);
}

#[test]
fn set_builds_the_input() {
    for arguments in [
        vec!["run", "grant-access", "--set", "email=ada@example.com", "--set", "offerId=42"],
        vec!["run", "grant-access", r#"{"email": "a", "offerId": "o"}"#, "--set", "email=b"],
        vec!["run", "delete-users", "--set", "emails=a", "--set", r#"emails=["b", "c"]"#],
        vec!["run", "list-users", "--set", "active=true", "--set", "pageLength=7"],
        vec![
            "run",
            "set-properties",
            "--set",
            "email=a",
            "--set",
            r#"values={"property": {"tag": "id", "val": "p"}, "value": "1"}"#,
        ],
    ] {
        let ran = run(&mut memberspot(&arguments));
        assert_eq!(ran.code, 1, "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.starts_with("error[notConfigured]"), "{arguments:?}: {}", ran.stderr);
    }
}

#[test]
fn functions_are_listed_and_explained() {
    let catalog = Catalog::new().unwrap();
    let ran = run(&mut memberspot(&["functions"]));
    assert_eq!(ran.code, 0);
    assert_eq!(ran.stdout.lines().count(), catalog.functions().count());
    assert!(ran.stdout.contains("grant-access\taccess\twrite\tGrant an offer"), "{}", ran.stdout);
    assert!(ran.stdout.lines().all(|line| line.split('\t').count() == 4));

    assert_eq!(run(&mut memberspot(&["functions", "--json"])).json(), serde_json::to_value(&catalog).unwrap());

    for function in catalog.functions() {
        let ran = run(&mut memberspot(&["functions", &function.name]));
        assert_eq!(ran.code, 0);
        for parameter in &function.parameters {
            assert!(ran.stdout.contains(&parameter.name), "{}: {}", function.name, ran.stdout);
        }
    }
    let page = run(&mut memberspot(&["functions", "users.find-user", "--json"])).json();
    assert_eq!(page["facts"], json!({"scope": "read", "repeat": "safe", "limit": "4/s"}));
    assert_eq!(page["types"][0]["name"], "user");
}

#[test]
fn the_component_is_handed_out() {
    let file = temporary("memberspot.wasm");
    let mut command = memberspot(&["component", "--json", "--out"]);
    let ran = run(command.arg(&file));
    assert_eq!((ran.code, ran.json()["bytes"].as_u64()), (0, Some(COMPONENT.len() as u64)));
    assert!(std::fs::read(&file).unwrap() == COMPONENT);
    std::fs::remove_file(file).unwrap();

    let output = memberspot(&["component", "--out", "-"]).output().unwrap();
    assert!(output.status.success() && output.stdout == COMPONENT);

    let output = memberspot(&["component", "--flavour", "tools", "--out", "-"]).output().unwrap();
    assert!(output.status.success() && output.stdout == crate::flavours::tools());
    let described = run(&mut memberspot(&["component", "--json", "--flavour", "tools"])).json();
    assert_eq!(described["bytes"].as_u64(), Some(output.stdout.len() as u64));
    assert_eq!(described["imports"], run(&mut memberspot(&["component", "--json"])).json()["imports"]);

    let output = memberspot(&["component", "--receiver", "--out", "-"]).output().unwrap();
    assert!(output.status.success() && output.stdout == WEBHOOK_RECEIVER);
    let described = run(&mut memberspot(&["component", "--json", "--receiver"])).json();
    assert_eq!(described["bytes"].as_u64(), Some(WEBHOOK_RECEIVER.len() as u64));
    assert_eq!(run(&mut memberspot(&["component", "--receiver", "--flavour", "tools"])).code, 2);

    assert_eq!(run(&mut memberspot(&["component", "--flavour", "none"])).code, 2);
    assert_eq!(run(&mut memberspot(&["component", "--out", "/no/such/folder/x"])).code, 4);
}

#[test]
fn completions_and_help_are_there() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ran = run(&mut memberspot(&["completions", shell]));
        assert!(ran.code == 0 && ran.stdout.contains("functions"), "{shell}");
    }
    let help = run(&mut memberspot(&["--help"]));
    assert!(help.code == 0 && help.stdout.contains("Exit codes:"), "{}", help.stdout);
    for command in ["run", "bulk", "receive", "functions", "component", "completions"] {
        assert_eq!(run(&mut memberspot(&[command, "--help"])).code, 0);
    }
    assert_eq!(run(&mut memberspot(&["--version"])).stdout, format!("memberspot {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let mut command = memberspot(&["functions", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
}

#[test]
fn the_demo_plays() {
    let ran = run(&mut memberspot(&["demo"]));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let ran = run(&mut memberspot(&["demo", "--json"]));
    assert_eq!(ran.code, 0);
    let steps: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(steps.len(), 14);
    assert!(steps.iter().all(|step| step["function"].is_string() && step["school"].is_array()));
    let refused = steps.iter().find(|step| step["error"]["val"]["code"] == "notPermitted").unwrap();
    assert_eq!(refused["sent"], json!([]));
    let login = steps.iter().find(|step| step["function"] == "create-login-token").unwrap();
    let sent = login["sent"][0]["request"].as_str().unwrap();
    assert!(sent.starts_with("GET /v1/users/login-token/uid-") && !ran.stdout.contains("/login/"), "a login token is shown");
}

#[test]
fn a_call_can_have_a_simulator_of_its_own() {
    let ran = run(&mut memberspot(&["run", "--simulator", "find-user", "--set", "email=anna@example.com"]));
    assert_eq!((ran.code, &ran.json()["uid"]), (0, &json!("uid-anna")));
    let ran = run(&mut memberspot(&[
        "run",
        "--simulator",
        "--scopes",
        "read",
        "delete-users",
        "{\"emails\": [\"anna@example.com\"]}",
    ]));
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("delete"));
}

#[test]
fn the_simulator_can_be_run_alone() {
    let mut process = memberspot(&["simulate", "--port", "0", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(|line| line.unwrap());
    let hello: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
    let (origin, key) = (hello["origin"].as_str().unwrap(), hello["key"].as_str().unwrap());
    let mut find = memberspot(&["run", "find-user", "--base-url", origin, "--set", "email=anna@example.com"]);
    let ran = run(find.env("MEMBERSPOT_API_KEY", key));
    assert_eq!((ran.code, &ran.json()["uid"]), (0, &json!("uid-anna")));
    let seen: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    let line = seen["request"].as_str().unwrap();
    assert!(line.contains("GET /v1/users/find-by-mail/") && line.contains("200"), "{line}");
    assert!(!line.contains("anna") && !line.contains(key), "{line}");
}

#[test]
fn the_simulators_faults_share_the_requests() {
    let statuses = |rate: &str, seed: &str| {
        let arguments = ["simulate", "--port", "0", "--json", "--fault", "busy", "--fault", "broken", "--fault-rate", rate];
        let mut process = memberspot(&arguments).args(["--seed", seed]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(|line| line.unwrap());
        let hello: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
        let address = hello["origin"].as_str().unwrap().strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        let mut statuses = Vec::new();
        for _ in 0..40 {
            stream.write_all(b"GET /v1/offers HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            // The simulator tells of a request before its client can know.
            let said: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
            let said = said["request"].as_str().unwrap();
            statuses.push([" 401", " 500", " 503"].into_iter().find(|status| said.contains(status)).unwrap());
        }
        process.kill().unwrap();
        process.wait().unwrap();
        statuses
    };
    let kinds = |statuses: Vec<&'static str>| statuses.into_iter().collect::<BTreeSet<_>>();
    assert_eq!(kinds(statuses("0", "1")), BTreeSet::from([" 401"]));
    assert_eq!(kinds(statuses("100", "1")), BTreeSet::from([" 500", " 503"]));
    let half = statuses("50", "1");
    assert_eq!(kinds(half.clone()), BTreeSet::from([" 401", " 500", " 503"]));
    assert_eq!(statuses("50", "1"), half);
    assert_ne!(statuses("50", "2"), half);
}

#[test]
fn tools_are_listed_as_agents_need_them() {
    let catalog = Catalog::new().unwrap();
    let list = run(&mut memberspot(&["functions", "--mcp"])).json();
    let tools = list["tools"].as_array().unwrap();
    let names: BTreeSet<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    let functions = catalog.functions().filter(|function| function.interface != "modules");
    assert_eq!(names, functions.map(|function| function.name.as_str()).collect());
    for tool in tools {
        // What clients of the protocol ask of a name, and of schemas.
        let name = tool["name"].as_str().unwrap();
        assert!(name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{name}");
        assert_eq!((&tool["inputSchema"]["type"], &tool["outputSchema"]["type"]), (&json!("object"), &json!("object")));
        assert!(!tool["description"].as_str().unwrap().is_empty());
    }
    let annotations = |wanted: &str| &tools.iter().find(|tool| tool["name"] == wanted).unwrap()["annotations"];
    assert_eq!(*annotations("find-user"), json!({"readOnlyHint": true, "destructiveHint": false, "idempotentHint": true}));
    assert_eq!(*annotations("delete-users"), json!({"readOnlyHint": false, "destructiveHint": true, "idempotentHint": true}));
}

#[test]
fn the_reference_is_up_to_date() {
    let reference = run(&mut memberspot(&["docs"])).stdout;
    let kept = include_str!("../../../docs/functions.md").replace("\r\n", "\n");
    assert!(kept == reference, "docs/functions.md is stale; memberspot docs --out docs/functions.md writes it");
}
