//! `memberspot bulk`, as a process against the simulator: what it sends, what it keeps, and how it goes on.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use memberspot_host::simulator::{
    Clock, Entry, Fault, HeaderValue, Injection, Options, Outcome, School, Simulator, StatusCode,
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::cli::{self, KEY, Ran, memberspot, temporary};

const OFFER: &str = "offer-breath";
const REVOKE: &str = "/v1/users/set-offer-state";

/// A simulator, and a file with its results in a folder of their own.
struct Desk {
    simulator: Simulator,
    folder: PathBuf,
    /// The simulator's; last, so that it ends last.
    _runtime: Runtime,
}

impl Desk {
    fn new(name: &str) -> Self {
        Self::watched(name, |_| {})
    }

    /// `watch` is told of every request.
    fn watched(name: &str, watch: impl Fn(&Entry) + Send + Sync + 'static) -> Self {
        let runtime = Runtime::new().unwrap();
        let mut school = School::demo();
        school.keys = vec![KEY.into()];
        let options = Options {
            clock: Clock::manual(),
            rate_limit: None,
            schools: vec![school],
            on_request: Some(Arc::new(watch)),
            ..Options::default()
        };
        let simulator = runtime.block_on(Simulator::start(options)).unwrap();
        let folder = temporary(&format!("bulk-{name}"));
        fs::create_dir(&folder).unwrap();
        Self { simulator, folder, _runtime: runtime }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    /// The command, with one attempt for each request, so that it is this command that repeats.
    fn command(&self, file: &str, arguments: &[&str]) -> Command {
        let mut command = memberspot(&["--json", "bulk"]);
        command.current_dir(&self.folder).arg(file).args(arguments);
        command.env("MEMBERSPOT_API_KEY", KEY).env("MEMBERSPOT_BASE_URL", self.simulator.origin());
        command.env("MEMBERSPOT_MAX_ATTEMPTS", "1");
        command
    }

    #[track_caller]
    fn bulk(&self, file: &str, arguments: &[&str]) -> Ran {
        finish(self.command(file, arguments).spawn_piped())
    }

    /// The lines of the results file of `name` that speak of rows.
    fn results(&self, name: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(&format!("{name}.results.jsonl"))).unwrap();
        text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The last outcome of each row.
    fn outcomes(&self, name: &str) -> BTreeMap<u64, String> {
        let lines = self.results(name);
        lines.iter().map(|line| (line["row"].as_u64().unwrap(), line["outcome"].as_str().unwrap().to_owned())).collect()
    }

    fn school(&self) -> School {
        self.simulator.school(KEY).unwrap()
    }

    /// How often a grant took effect for each address.
    fn grants(&self) -> BTreeMap<String, u32> {
        let mut grants = BTreeMap::new();
        for entry in self.simulator.journal() {
            let status = match entry.outcome {
                Outcome::Answered(status) => Some(status),
                Outcome::Faulted { effect, .. } => effect,
                Outcome::Unfinished => None,
            };
            if status == Some(201) {
                *grants.entry(entry.json().unwrap()["email"].as_str().unwrap().to_owned()).or_default() += 1;
            }
        }
        grants
    }

    fn assert_nothing_happened(&self) {
        assert!(self.simulator.journal().is_empty());
        assert!(!self.path("x.csv.results.jsonl").exists());
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // A test that failed leaves its files to be looked at.
        if !std::thread::panicking() {
            fs::remove_dir_all(&self.folder).unwrap();
        }
    }
}

trait SpawnPiped {
    fn spawn_piped(&mut self) -> Child;
}

impl SpawnPiped for Command {
    fn spawn_piped(&mut self) -> Child {
        self.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

/// What a run printed, which never is an address.
#[track_caller]
fn finish(child: Child) -> Ran {
    let ran = cli::finish(child.wait_with_output().unwrap());
    // The one that the component gives as an example is nobody's.
    let printed = format!("{}{}", ran.stdout, ran.stderr).replace("name@example.com", "");
    assert!(!printed.contains('@'), "{printed}");
    ran
}

fn address(row: usize) -> String {
    format!("user-{row}@example.com")
}

/// Grants for the rows 2, 3, …, each for another member.
fn grants(count: usize) -> String {
    let rows = (2..count + 2).map(|row| format!("grant-access,{},{OFFER}\n", address(row)));
    format!("operation,email,offer-id\n{}", rows.collect::<String>())
}

/// What `grants` does, done once.
fn each_once(count: usize) -> BTreeMap<String, u32> {
    (2..count + 2).map(|row| (address(row), 1)).collect()
}

#[test]
fn a_table_is_worked_off() {
    let desk = Desk::new("table");
    desk.write(
        "x.csv",
        "\u{feff}operation;email;offer-id;first-name;order-id;expires-at;property:Level\r\n\
         grant-access;Neu@Example.com;offer-breath;Zoë;o-1;;\r\n\
         set-access-expiration;neu@example.com;offer-breath;;;2027-01-31;\r\n\
         set-properties;neu@example.com;;;;;\"a;b\"\r\n\
         revoke-access;anna@example.com;offer-yoga-basic;;;;\r\n\
         revoke-access;nobody@example.com;offer-yoga-basic;;;;\r\n\
         delete-user;ben@example.com;;;;;\r\n",
    );
    let ran = desk.bulk("x.csv", &["--yes"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let mut summary = ran.json();
    assert!(summary["milliseconds"].take().is_u64());
    assert_eq!(
        summary,
        json!({
            "rows": 6, "alreadyDone": 0, "done": 5, "failed": {"notFound": 1}, "left": {}, "calls": 1,
            "milliseconds": null, "results": "x.csv.results.jsonl",
        })
    );
    let school = desk.school();
    let member = school.member("neu@example.com").unwrap();
    assert_eq!(member.firstname.as_deref(), Some("Zoë"));
    assert_eq!(member.grants[OFFER].order_id.as_deref(), Some("o-1"));
    assert!(member.grants[OFFER].expires_at.is_some());
    assert!(member.properties.values().any(|value| value == "a;b"), "{:?}", member.properties);
    assert!(!school.member("anna@example.com").unwrap().grants["offer-yoga-basic"].active);
    assert!(school.member("ben@example.com").is_none());

    let results = desk.results("x.csv");
    assert_eq!(results.len(), 6);
    assert_eq!(results[0]["operation"]["val"]["email"], "Neu@Example.com");
    assert_eq!(results[0]["result"]["email"], "Neu@Example.com", "{}", results[0]);
    let failed = results.iter().find(|line| line["outcome"] == "failed").unwrap();
    assert_eq!((&failed["row"], &failed["error"]["val"]["code"]), (&json!(6), &json!("notFound")));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(desk.path("x.csv.results.jsonl")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    // What failed is sent again, and nothing else.
    desk.simulator.clear_journal();
    let ran = desk.bulk("x.csv", &["--resume"]);
    assert_eq!((ran.code, &ran.json()["alreadyDone"]), (1, &json!(5)));
    assert_eq!(desk.simulator.journal().len(), 1);
}

#[test]
fn lines_of_json_are_worked_off() {
    let desk = Desk::new("lines");
    let lines = [
        json!({"tag": "grantAccess", "val": {"email": "a@example.com", "offerId": OFFER}}),
        json!({"operation": "grant-access", "email": "b@example.com", "offerId": OFFER}),
        json!({"tag": "deleteUser", "val": "ben@example.com"}),
        json!({"email": "c@example.com"}),
    ];
    desk.write("x.jsonl", lines.map(|line| line.to_string()).join("\n"));
    let ran = desk.bulk("x.jsonl", &["--yes", "--operation", "grant-access", "--set", &format!("offer-id={OFFER}")]);
    assert_eq!((ran.code, &ran.json()["done"]), (0, &json!(4)), "{}", ran.stderr);
    let school = desk.school();
    for email in ["a@example.com", "b@example.com", "c@example.com"] {
        assert!(school.member(email).unwrap().grants[OFFER].active);
    }
    assert!(school.member("ben@example.com").is_none());
}

#[test]
fn people_read_a_summary() {
    let desk = Desk::new("people");
    desk.write("x.csv", format!("{}revoke-access,nobody@example.com,{OFFER}\n", grants(2)));
    let mut command = memberspot(&["bulk", "x.csv"]);
    command.current_dir(&desk.folder).env("MEMBERSPOT_API_KEY", KEY).env("MEMBERSPOT_BASE_URL", desk.simulator.origin());
    let ran = finish(command.spawn_piped());
    assert_eq!(ran.code, 1);
    for part in ["done            2\n", "notFound: row 4\n", "x.csv.results.jsonl"] {
        assert!(ran.stdout.contains(part), "{}", ran.stdout);
    }
}

/// The table of the guide, which is that of the README.
#[test]
fn the_example_runs() {
    let guide = include_str!("../../../docs/bulk.md");
    let table = guide.split("```csv\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(include_str!("../../../README.md").contains(table), "the README has another table");
    let desk = Desk::new("example");
    desk.write("x.csv", table);
    let rows = table.lines().count() - 1;
    let run = |arguments: &[&str]| {
        let mut command = memberspot(&["bulk", "--simulator", "--json", "x.csv"]);
        finish(command.args(arguments).current_dir(&desk.folder).spawn_piped())
    };
    // A demo school leaves nothing that a second run would find.
    for _ in 0..2 {
        let ran = run(&[]);
        assert_eq!((ran.code, &ran.json()["done"]), (0, &json!(rows)), "{}", ran.stderr);
        assert!(!desk.path("x.csv.results.jsonl").exists());
    }
    assert_eq!(run(&["--resume"]).code, 2);
    assert_eq!(run(&["--results", "x.csv.results.jsonl"]).code, 0);
    assert_eq!(desk.outcomes("x.csv").len(), rows);
    assert_eq!(run(&["--results", "x.csv.results.jsonl", "--resume"]).code, 2, "the school is another one");
}

#[test]
fn results_are_of_one_server() {
    let (desk, other) = (Desk::new("server"), Desk::new("other-server"));
    desk.write("x.csv", grants(2));
    assert_eq!(desk.bulk("x.csv", &[]).code, 0);
    let before = fs::read(desk.path("x.csv.results.jsonl")).unwrap();
    let ran = desk.bulk("x.csv", &["--resume", "--base-url", &other.simulator.origin()]);
    assert_eq!(ran.code, 2);
    for origin in [desk.simulator.origin(), other.simulator.origin()] {
        assert!(ran.stderr.contains(&origin), "{}", ran.stderr);
    }
    assert!(other.simulator.journal().is_empty());
    assert_eq!(fs::read(desk.path("x.csv.results.jsonl")).unwrap(), before);
}

#[test]
fn what_was_overtaken_is_not_sent_again() {
    let desk = Desk::new("overtaken");
    desk.write(
        "x.csv",
        format!(
            "operation,email,offer-id\nrevoke-access,neu@example.com,{OFFER}\ngrant-access,Neu@Example.com,{OFFER}\n\
             revoke-access,nobody@example.com,{OFFER}\n"
        ),
    );
    let ran = desk.bulk("x.csv", &[]);
    assert_eq!((ran.code, &ran.json()["failed"]), (1, &json!({"notFound": 2})), "{}", ran.stderr);
    desk.simulator.clear_journal();
    let ran = desk.bulk("x.csv", &["--resume"]);
    let summary = ran.json();
    assert_eq!((ran.code, &summary["failed"]), (1, &json!({"overtaken": 1, "notFound": 1})), "{}", ran.stderr);
    assert_eq!(desk.simulator.journal().len(), 1, "only the row on the other member");
    assert!(desk.school().member("neu@example.com").unwrap().grants[OFFER].active);
}

#[test]
fn what_may_still_take_effect_is_not_overtaken() {
    let desk = Desk::new("unknown");
    let mut rows = format!("{}revoke-access,USER-2@example.com,{OFFER}\n", grants(1));
    rows += &format!("grant-access,other@example.com,{OFFER}\n");
    desk.write("x.csv", rows);
    desk.simulator.inject(Injection::everywhere(Fault::malformed_json()).with_effect().once());
    let ran = finish(desk.command("x.csv", &[]).env("MEMBERSPOT_CONCURRENCY", "1").spawn_piped());
    let summary = ran.json();
    assert_eq!((ran.code, &summary["stopped"], &summary["done"]), (3, &json!("outcomeUnknown"), &json!(1)), "{}", ran.stderr);
    let failed = &desk.results("x.csv")[0]["error"];
    assert_eq!((&failed["tag"], &failed["val"]["outcomeUnknown"]), (&json!("permanent"), &json!(true)), "{failed}");
    assert_eq!(summary["left"]["notStarted"], 1, "{summary}");
    assert_eq!(desk.simulator.journal().len(), 2);
    let ran = desk.bulk("x.csv", &["--resume"]);
    assert_eq!((ran.code, &ran.json()["done"]), (0, &json!(2)), "{}", ran.stderr);
    assert!(!desk.school().member("user-2@example.com").unwrap().grants[OFFER].active);
}

#[test]
fn a_row_that_always_fails_holds_up_its_member_alone() {
    const ROWS: usize = 600;
    let desk = Desk::new("aside");
    // More rows on one member than fit into a call, and others behind them.
    let mut rows = "operation,email,offer-id\n".to_owned();
    for row in 0..ROWS {
        let operation = if row % 2 == 0 { "revoke-access" } else { "grant-access" };
        rows += &format!("{operation},anna@example.com,offer-yoga-basic\n");
    }
    rows += grants(ROWS).split_once('\n').unwrap().1;
    desk.write("x.csv", rows);
    desk.simulator.inject(Injection::new(REVOKE, Fault::status(StatusCode::SERVICE_UNAVAILABLE)));
    let ran = desk.bulk("x.csv", &[]);
    let summary = ran.json();
    assert_eq!((ran.code, &summary["stopped"], &summary["done"]), (3, &json!("tooManyTries"), &json!(ROWS)), "{}", ran.stderr);
    assert_eq!(summary["left"], json!({"unavailable": 1, "notStarted": ROWS - 1}));
    assert!(desk.grants() == each_once(ROWS));
    desk.simulator.clear_faults();
    let ran = desk.bulk("x.csv", &["--resume"]);
    assert_eq!((ran.code, &ran.json()["done"]), (0, &json!(ROWS)), "{}", ran.stderr);
}

#[test]
fn trouble_with_every_row_ends_the_run() {
    let desk = Desk::new("outage");
    desk.write("x.csv", grants(1600));
    desk.simulator.inject(Injection::everywhere(Fault::status(StatusCode::SERVICE_UNAVAILABLE)));
    let ran = desk.bulk("x.csv", &[]);
    let summary = ran.json();
    assert_eq!((ran.code, &summary["stopped"], &summary["calls"]), (3, &json!("tooManyTries"), &json!(10)), "{}", ran.stderr);
    assert_eq!(summary["left"], json!({"unavailable": 1000, "notStarted": 600}));
}

#[test]
fn standard_input_needs_a_place_for_results() {
    let desk = Desk::new("stdin");
    let send = |arguments: &[&str]| {
        let mut child = desk.command("-", arguments).stdin(Stdio::piped()).spawn_piped();
        // A command that refuses its arguments may be gone before it has read anything.
        let _ = child.stdin.take().unwrap().write_all(grants(2).as_bytes());
        finish(child)
    };
    assert_eq!(send(&[]).code, 2);
    assert_eq!(send(&["--format", "csv"]).code, 2);
    desk.assert_nothing_happened();
    let ran = send(&["--format", "csv", "--results", "x.csv.results.jsonl"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(desk.outcomes("x.csv").len(), 2);
}

#[test]
fn a_dry_run_sends_nothing() {
    let desk = Desk::new("dry");
    desk.write("x.csv", grants(3));
    let ran = desk.bulk("x.csv", &["--dry-run"]);
    assert_eq!((ran.code, ran.json()), (0, json!({"dryRun": true, "rows": 3, "failed": {}, "bad": []})), "{}", ran.stderr);

    // Deleting is not asked about, since nothing is deleted.
    let rows = "grant-access,no address,o\n".repeat(25);
    desk.write("x.csv", format!("{}delete-user,ben@example.com,\n{rows}", grants(3)));
    let ran = desk.bulk("x.csv", &["--dry-run"]);
    let summary = ran.json();
    assert_eq!((ran.code, &summary["rows"], &summary["failed"]), (1, &json!(29), &json!({"invalidInput": 25})));
    let bad = summary["bad"].as_array().unwrap();
    assert_eq!((bad.len(), &bad[0]["row"], &bad[0]["code"]), (20, &json!(6), &json!("invalidInput")));

    let ran = desk.bulk("x.csv", &["--dry-run", "--scopes", "read"]);
    assert_eq!((ran.code, &ran.json()["failed"]["notPermitted"]), (1, &json!(4)), "{}", ran.stdout);
    assert_eq!(desk.bulk("x.csv", &["--dry-run", "--resume"]).code, 2);
    desk.assert_nothing_happened();
}

#[test]
fn a_file_with_mistakes_is_refused_as_a_whole() {
    let desk = Desk::new("mistakes");
    desk.write("x.csv", format!("{}grant-acces,a@example.com,o\ngrant-access,,o\n", grants(3)));
    let ran = desk.bulk("x.csv", &[]);
    assert_eq!(ran.code, 2);
    for part in ["row 5, `operation`", "did you mean `grant-access`?", "row 6, `email`"] {
        assert!(ran.stderr.contains(part), "{}", ran.stderr);
    }
    desk.write("x.csv", grants(3));
    for arguments in [
        vec!["--operation", "grant-acces"],
        vec!["--set", "offerid=o"],
        vec!["--set", "course-id=c"],
        vec!["--delimiter", "ab"],
        vec!["--format", "jsonl"],
        vec!["--results", "no-such-folder/x"],
    ] {
        let ran = desk.bulk("x.csv", &arguments);
        let expected = if arguments[0] == "--results" { 4 } else { 2 };
        assert_eq!(ran.code, expected, "{arguments:?}: {}", ran.stderr);
    }
    assert_eq!(desk.bulk("no-such-file.csv", &[]).code, 2);
    desk.assert_nothing_happened();
}

#[test]
fn deleting_needs_consent() {
    let desk = Desk::new("consent");
    for operation in ["delete-user,ben@example.com,", "delete-access,ben@example.com,offer-yoga-basic"] {
        desk.write("x.csv", format!("{}{operation}\n", grants(1)));
        let ran = desk.bulk("x.csv", &[]);
        assert_eq!(ran.code, 2);
        assert!(ran.stderr.contains("--yes"), "{}", ran.stderr);
        desk.assert_nothing_happened();
    }
    assert_eq!(desk.bulk("x.csv", &["--yes"]).code, 0);
    assert!(!desk.school().member("ben@example.com").unwrap().grants.contains_key("offer-yoga-basic"));
    // What is done already is not asked about again.
    assert_eq!(desk.bulk("x.csv", &["--resume"]).code, 0);
}

#[test]
fn results_are_not_overwritten() {
    let desk = Desk::new("overwrite");
    desk.write("x.csv", grants(1));
    desk.write("x.csv.results.jsonl", "{\"row\":");
    assert_eq!(desk.bulk("x.csv", &[]).code, 2);

    // No other file is taken for one of results, and none is changed.
    for foreign in [grants(1), "{\"a\":1}\n".into(), "{\"row\":1}\n{\"row\":2}\n".into(), "\0\0\0".into()] {
        desk.write("x.csv.results.jsonl", &foreign);
        let ran = desk.bulk("x.csv", &["--resume"]);
        assert_eq!(ran.code, 2, "{foreign:?}");
        assert_eq!(fs::read_to_string(desk.path("x.csv.results.jsonl")).unwrap(), foreign);
    }
    assert_eq!(desk.bulk("x.csv", &["--results", "x.csv"]).code, 2);
    assert_eq!(desk.bulk("x.csv", &["--results", "x.csv", "--resume"]).code, 2);

    // Only what is torn off behind a good beginning is taken away.
    let header = format!("{{\"memberspotBulk\":1,\"origin\":\"{}\"}}\n", desk.simulator.origin());
    for foreign in [&header[..20], header.trim_end(), &format!("{header}notes"), &format!("{header}{{\"row\":\n")] {
        desk.write("x.csv.results.jsonl", foreign);
        assert_eq!(desk.bulk("x.csv", &["--resume"]).code, 2, "{foreign:?}");
        assert_eq!(fs::read_to_string(desk.path("x.csv.results.jsonl")).unwrap(), foreign);
    }
    // What keeps nothing is no place for results.
    #[cfg(unix)]
    assert_eq!(desk.bulk("x.csv", &["--results", "/dev/null"]).code, 2);

    // Nor are two runs let into one file.
    desk.write("x.csv.results.jsonl", "");
    let file = fs::File::open(desk.path("x.csv.results.jsonl")).unwrap();
    file.lock().unwrap();
    assert_eq!(desk.bulk("x.csv", &["--resume"]).code, 2);
    assert!(desk.simulator.journal().is_empty());
    file.unlock().unwrap();
    // An empty file holds no results, and neither does one that only says where they would be from.
    for empty in ["", &header] {
        fs::remove_file(desk.path("x.csv.results.jsonl")).unwrap();
        desk.write("x.csv.results.jsonl", empty);
        assert_eq!(desk.bulk("x.csv", &[]).code, 0);
        assert_eq!(desk.outcomes("x.csv").len(), 1);
        #[cfg(unix)]
        if empty.is_empty() {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(desk.path("x.csv.results.jsonl")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}

#[cfg(unix)]
#[test]
fn results_that_cannot_be_written_end_the_run() {
    let desk = Desk::new("full");
    desk.write("x.csv", grants(700));
    // A file may have 32 MiB, which leaves room for the component and not for the results of a call.
    let header = format!("{{\"memberspotBulk\":1,\"origin\":\"{}\"}}\n", desk.simulator.origin());
    let filling = "x".repeat((32 << 20) - 4096);
    let long = format!("{{\"row\":2,\"operation\":\"{filling}\",\"outcome\":\"notStarted\"}}\n");
    desk.write("x.csv.results.jsonl", header + &long);
    let command = desk.command("x.csv", &["--resume"]);
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 65536; exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    let ran = finish(limited.current_dir(&desk.folder).stdin(Stdio::null()).spawn_piped());
    let summary = ran.json();
    assert_eq!((ran.code, &summary["stopped"], &summary["calls"]), (4, &json!("results"), &json!(1)), "{}", ran.stderr);
    assert_eq!(summary["left"], json!({"outcomeUnknown": 500, "notStarted": 200}));
    assert_eq!(desk.bulk("x.csv", &["--resume"]).code, 0);
    assert_eq!(desk.outcomes("x.csv").len(), 700);
}

#[test]
fn a_run_goes_on_after_what_is_left_of_the_results() {
    let desk = Desk::new("torn");
    desk.write("x.csv", grants(10));
    assert_eq!(desk.bulk("x.csv", &[]).code, 0);
    let whole = fs::read_to_string(desk.path("x.csv.results.jsonl")).unwrap();
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    for (torn, sent) in [(0, 7), (1, 7), (20, 7), (lines[4].len() - 1, 7), (lines[4].len(), 6)] {
        desk.write("x.csv.results.jsonl", lines[..4].concat() + &lines[4][..torn]);
        desk.simulator.clear_journal();
        let ran = desk.bulk("x.csv", &["--resume"]);
        assert_eq!((ran.code, &ran.json()["done"]), (0, &json!(sent)), "{torn}: {}", ran.stderr);
        assert_eq!(desk.simulator.journal().len(), sent, "{torn}");
        let outcomes = desk.outcomes("x.csv");
        assert!(outcomes.len() == 10 && outcomes.values().all(|outcome| outcome == "done"), "{torn}: {outcomes:?}");
    }
    // Without results, --resume begins.
    fs::remove_file(desk.path("x.csv.results.jsonl")).unwrap();
    assert_eq!(desk.bulk("x.csv", &["--resume"]).json()["done"], 10);
}

#[test]
fn what_is_done_cannot_be_changed() {
    let desk = Desk::new("changed");
    let input = grants(3);
    desk.write("x.csv", format!("{input}revoke-access,nobody@example.com,{OFFER}\n"));
    assert_eq!(desk.bulk("x.csv", &[]).json()["done"], 3);
    desk.simulator.clear_journal();
    for (changed, row) in [
        (input.replace("user-3@", "user-x@"), "row 3"),
        (input.replacen("grant-access", "revoke-access", 1), "row 2"),
        (grants(2), "row 4"),
        (input.replacen('\n', "\n\n", 1), "row 2"),
    ] {
        desk.write("x.csv", &changed);
        let ran = desk.bulk("x.csv", &["--resume"]);
        assert_eq!(ran.code, 2, "{changed}");
        assert!(ran.stderr.contains(row), "{}", ran.stderr);
    }
    assert!(desk.simulator.journal().is_empty());

    // What failed may be corrected, and columns may move.
    let moved = "email,operation,offerId,first-name\n".to_owned()
        + &(2..5).map(|row| format!("{},grant-access,{OFFER},\n", address(row))).collect::<String>();
    desk.write("x.csv", format!("{moved}anna@example.com,revoke-access,{OFFER},\n"));
    let ran = desk.bulk("x.csv", &["--resume"]);
    assert_eq!((ran.code, &ran.json()["done"]), (0, &json!(1)), "{}", ran.stderr);
    assert_eq!(desk.simulator.journal().len(), 1);
}

#[test]
fn faults_now_and_then_cost_no_row() {
    const ROWS: usize = 1200;
    let desk = Desk::new("faults");
    desk.write("x.csv", grants(ROWS));
    desk.simulator.inject(Injection::everywhere(Fault::status(StatusCode::SERVICE_UNAVAILABLE)).by_chance(0.01, 1));
    desk.simulator.inject(Injection::everywhere(Fault::ResetBeforeHeaders).by_chance(0.01, 2));
    let ran = desk.bulk("x.csv", &[]);
    let summary = ran.json();
    assert_eq!((ran.code, &summary["done"]), (0, &json!(ROWS)), "{}", ran.stderr);
    assert!(desk.simulator.journal().len() > ROWS, "no fault struck");
    assert!(desk.grants() == each_once(ROWS));
    let outcomes = desk.outcomes("x.csv");
    assert!(outcomes.len() == ROWS && outcomes.values().all(|outcome| outcome == "done"));
}

#[test]
fn a_kill_loses_the_call_under_way_at_the_most() {
    const ROWS: usize = 1400;
    let (seen, enough) = mpsc::sync_channel(1);
    let count = AtomicUsize::new(0);
    let desk = Desk::watched("kill", move |_| {
        if count.fetch_add(1, Ordering::Relaxed) == ROWS / 2 {
            seen.send(()).unwrap();
        }
    });
    desk.write("x.csv", grants(ROWS));
    let mut child = desk.command("x.csv", &[]).spawn_piped();
    enough.recv().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let before = desk.outcomes("x.csv").len();
    assert!(before > 0, "nothing was kept");

    desk.simulator.clear_journal();
    let ran = desk.bulk("x.csv", &["--resume"]);
    let summary = ran.json();
    assert_eq!((ran.code, summary["alreadyDone"].as_u64()), (0, Some(before as u64)), "{}", ran.stderr);
    assert_eq!(desk.simulator.journal().len(), ROWS - before);
    let outcomes = desk.outcomes("x.csv");
    assert!(outcomes.len() == ROWS && outcomes.values().all(|outcome| outcome == "done"));
    let school = desk.school();
    assert!((2..ROWS + 2).all(|row| school.member(&address(row)).unwrap().grants.contains_key(OFFER)));
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_the_run_after_the_call() {
    const ROWS: usize = 3000;
    let (seen, first) = mpsc::sync_channel(1);
    let (go_on, may_go_on) = mpsc::sync_channel(1);
    let (count, may_go_on) = (AtomicUsize::new(0), std::sync::Mutex::new(may_go_on));
    let desk = Desk::watched("interrupt", move |_| {
        if count.fetch_add(1, Ordering::Relaxed) == 0 {
            seen.send(()).unwrap();
            // The first answer waits until the signal is sent.
            may_go_on.lock().unwrap().recv().unwrap();
        }
    });
    desk.write("x.csv", grants(ROWS));
    let child = desk.command("x.csv", &[]).spawn_piped();
    first.recv().unwrap();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    go_on.send(()).unwrap();
    let ran = finish(child);
    let summary = ran.json();
    assert_eq!((ran.code, &summary["stopped"]), (3, &json!("interrupted")), "{}", ran.stderr);
    let done = summary["done"].as_u64().unwrap();
    assert!(done > 0 && done < ROWS as u64, "{summary}");
    assert_eq!(desk.outcomes("x.csv").len() as u64, done);
    assert_eq!(summary["left"], json!({"notStarted": ROWS as u64 - done}));
    assert_eq!(desk.bulk("x.csv", &["--resume"]).code, 0);
    assert!(desk.grants() == each_once(ROWS));
}

#[cfg(unix)]
#[test]
fn a_second_interrupt_leaves_the_outcome_unknown() {
    let (seen, first) = mpsc::sync_channel(1);
    let (end, is_over) = mpsc::sync_channel::<()>(0);
    let is_over = std::sync::Mutex::new(is_over);
    let desk = Desk::watched("twice", move |_| {
        let _ = seen.try_send(());
        // No answer before the end.
        let _ = is_over.lock().unwrap().recv();
    });
    desk.write("x.csv", grants(600));
    let mut child = desk.command("x.csv", &[]).spawn_piped();
    first.recv().unwrap();
    let kill = |child: &Child| {
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    };
    kill(&child);
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("Ctrl-C")));
    kill(&child);
    let ran = finish(child);
    drop(end);
    let summary = ran.json();
    assert_eq!((ran.code, &summary["stopped"]), (3, &json!("interrupted")));
    assert_eq!(summary["left"], json!({"outcomeUnknown": 500, "notStarted": 100}));
}

#[test]
fn a_key_that_is_not_accepted_ends_the_run() {
    let desk = Desk::new("key");
    desk.write("x.csv", grants(1100));
    let ran = finish(desk.command("x.csv", &[]).env("MEMBERSPOT_API_KEY", "another").spawn_piped());
    let summary = ran.json();
    assert_eq!((ran.code, &summary["stopped"], &summary["calls"]), (1, &json!("unauthorized"), &json!(1)), "{}", ran.stderr);
    assert!(desk.simulator.journal().len() < 100);
    let ran = desk.bulk("x.csv", &["--resume"]);
    assert_eq!((ran.code, &ran.json()["done"]), (0, &json!(1100)));
}

#[test]
fn a_call_that_is_refused_ends_the_run() {
    let desk = Desk::new("refused");
    desk.write("x.csv", grants(1));
    let ran = finish(desk.command("x.csv", &[]).env("MEMBERSPOT_MAX_ATTEMPTS", "many").spawn_piped());
    let summary = ran.json();
    assert_eq!((ran.code, &summary["stopped"]), (1, &json!("refused")), "{}", ran.stderr);
    assert_eq!(summary["error"]["val"]["code"], "notConfigured");
    assert_eq!(summary["left"], json!({"notStarted": 1}));
    assert_eq!(desk.bulk("x.csv", &["--resume"]).code, 0);
}

#[test]
fn a_row_is_not_tried_for_ever() {
    let desk = Desk::new("tries");
    desk.write("x.csv", grants(3));
    desk.simulator.inject(Injection::everywhere(Fault::status(StatusCode::SERVICE_UNAVAILABLE)));
    let ran = desk.bulk("x.csv", &[]);
    let summary = ran.json();
    assert_eq!((ran.code, &summary["stopped"], &summary["calls"]), (3, &json!("tooManyTries"), &json!(5)), "{}", ran.stderr);
    assert_eq!((&summary["left"], &summary["failed"]), (&json!({"unavailable": 3}), &json!({})));
    desk.simulator.clear_faults();
    assert_eq!(desk.bulk("x.csv", &["--resume"]).code, 0);
    assert!(desk.grants() == each_once(3));
}

#[test]
fn the_wait_that_memberspot_asks_for_is_kept_or_left_to_the_caller() {
    let desk = Desk::new("wait");
    desk.write("x.csv", grants(3));
    let busy = |seconds| Fault::retry_after(StatusCode::SERVICE_UNAVAILABLE, HeaderValue::from_static(seconds));
    desk.simulator.inject(Injection::everywhere(busy("3600")));
    let ran = desk.bulk("x.csv", &[]);
    let summary = ran.json();
    assert_eq!((ran.code, &summary["stopped"], &summary["calls"]), (3, &json!("longWait"), &json!(1)), "{}", ran.stderr);

    desk.simulator.clear_faults();
    desk.simulator.inject(Injection::everywhere(busy("1")).once());
    let ran = desk.bulk("x.csv", &["--resume"]);
    assert_eq!((ran.code, &ran.json()["calls"]), (0, &json!(2)), "{}", ran.stderr);
    assert!(desk.grants() == each_once(3));
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_a_wait() {
    let desk = Desk::new("wait-interrupt");
    desk.write("x.csv", grants(1));
    let busy = Fault::retry_after(StatusCode::SERVICE_UNAVAILABLE, HeaderValue::from_static("500"));
    desk.simulator.inject(Injection::everywhere(busy));
    let mut child = desk.command("x.csv", &[]).spawn_piped();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    // The wait is announced with its length.
    assert!(said.any(|line| line.unwrap().contains(" 500 ")));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let ran = finish(child);
    assert_eq!((ran.code, &ran.json()["stopped"]), (3, &json!("interrupted")));
}

#[test]
fn a_run_can_end_with_the_first_failure() {
    let desk = Desk::new("first");
    let rows = grants(1300);
    let (before, after) = rows.split_at(rows.find("grant-access,user-700@").unwrap());
    desk.write("x.csv", format!("{before}revoke-access,nobody@example.com,{OFFER}\n{after}"));
    let ran = desk.bulk("x.csv", &["--stop-on-error"]);
    let summary = ran.json();
    assert_eq!((ran.code, &summary["stopped"], &summary["calls"]), (1, &json!("failed"), &json!(2)), "{}", ran.stderr);
    assert_eq!(summary["failed"], json!({"notFound": 1}));
    assert!(summary["left"]["notStarted"].as_u64().unwrap() >= 300, "{summary}");
}
