//! The record of calls: what is in it and what is not, that it cannot be changed unseen, and what happens when it cannot be
//! written.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use memberspot_host::audit::verify::{self, BreakKind, Expected, Report};
use memberspot_host::audit::{
    AuditError, AuditKey, AuditSink, Event, FileAudit, FileOptions, OpenError, Outcome, Receipt, Required, What,
};
use memberspot_host::bindings::exports::memberspot::connector::types::{Error, FailureCode};
use memberspot_host::simulator::{Clock, Fault, Injection, Options, School, Simulator};
use memberspot_host::{Connection, Host, HostError, Isolation, Limits, Metrics, Tenant};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli;
use crate::stage::{KEY, network};

const AUDIT_KEY: &str = "canary of the audit log";

/// Keeps events in memory, or takes none.
#[derive(Clone, Default)]
struct Memory {
    events: Arc<Mutex<Vec<Event>>>,
    closed: Arc<AtomicBool>,
}

impl AuditSink for Memory {
    fn record(&self, event: Event) -> Receipt {
        let closed = self.closed.load(Ordering::Relaxed);
        self.events.lock().unwrap().push(event);
        Box::pin(async move { if closed { Err(AuditError::Closed) } else { Ok(()) } })
    }
}

impl Memory {
    fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.events.lock().unwrap())
    }

    /// Only what calls came to.
    fn ends(&self) -> Vec<(Outcome, Option<String>)> {
        let end = |event: Event| match event.what {
            What::CallEnds(ended) => Some((ended.outcome, ended.code)),
            _ => None,
        };
        self.take().into_iter().filter_map(end).collect()
    }
}

/// A host in memory with a sink.
fn host(sink: impl AuditSink + 'static) -> Host {
    Host::builder().sender(network().clone()).audit(sink).build().unwrap()
}

fn simulator() -> Simulator {
    let options = Options { clock: Clock::manual(), rate_limit: None, ..Options::default() };
    Simulator::in_memory(options, network()).unwrap()
}

fn tenant(host: &Host, simulator: &Simulator) -> Tenant {
    host.tenant("school-1", connection(simulator))
}

fn connection(simulator: &Simulator) -> Connection {
    Connection::new(KEY).base_url(simulator.origin()).variable("MEMBERSPOT_MAX_ATTEMPTS", "1")
}

#[tokio::test]
async fn a_call_is_recorded_before_it_sends_and_after_it_ends() {
    let memory = Memory::default();
    let (host, simulator) = (host(memory.clone()), simulator());
    let tenant = tenant(&host, &simulator).on_behalf_of("alice@example.com");
    let input = json!({"email": "ada@example.com", "offerId": "offer-breath"});
    assert!(host.call(&tenant, "grant-access", &input).await.unwrap().into_json().is_ok());
    let events = memory.take();
    let call = &events[0].call;
    assert!(events.iter().all(|event| event.call == *call && event.tenant.expose() == "school-1"));
    assert!(events.iter().all(|event| event.actor.as_ref().unwrap().expose() == "alice@example.com"));
    let [begin, leaves, answered, end] = &events[..] else { panic!("{events:?}") };
    assert!(matches!(&begin.what, What::CallBegins { function: Some(name) } if &**name == "access.grant-access"));
    let What::RequestBegins { request: 1, method: "POST", path, .. } = &leaves.what else { panic!("{leaves:?}") };
    assert_eq!(path.template(), "/v1/users/grant-user-offer-by-mail");
    let What::RequestEnds(request) = &answered.what else { panic!("{answered:?}") };
    let sent = simulator.journal()[0].body.len() as u64;
    assert_eq!((request.status, request.fault.as_deref(), request.bytes_out), (Some(201), None, sent));
    assert!(request.announced && request.bytes_in > 0);
    let What::CallEnds(end) = &end.what else { panic!("{end:?}") };
    assert_eq!((end.outcome, end.requests, end.refused), (Outcome::Success, 1, 0));
    assert_eq!((end.bytes_out, end.bytes_in), (sent, request.bytes_in));
    assert!(end.computing <= end.duration && end.computing > Duration::ZERO);

    // Another call has another name; what only reads has no intent for its request.
    let again = host.call(&tenant, "find-user", &json!({"email": "nobody@example.com"})).await;
    assert!(again.unwrap().into_json().is_ok());
    let events = memory.take();
    assert_ne!(events[0].call, *call);
    assert_eq!(events.iter().filter(|event| event.what.begins()).count(), 1);
    assert!(!format!("{events:?}").contains("nobody@"), "personal texts are not printed by chance");
}

#[tokio::test]
async fn every_end_has_its_name() {
    let memory = Memory::default();
    let (host, simulator) = (host(memory.clone()), simulator());
    let tenant = tenant(&host, &simulator);
    let ended = |outcome, code: &str| vec![(outcome, Some(code.to_owned()).filter(|code| !code.is_empty()))];

    simulator.inject(Injection::everywhere(Fault::status(memberspot_host::simulator::StatusCode::FORBIDDEN)));
    host.call(&tenant, "list-offers", &json!({})).await.unwrap();
    assert_eq!(memory.ends(), ended(Outcome::Failure, "forbidden"));
    simulator.clear_faults();

    host.call(&tenant, "list-ofers", &json!({})).await.unwrap_err();
    assert_eq!(memory.ends(), ended(Outcome::Error, "unknownFunction"));
    host.call(&tenant, "find-user", &json!({"mail": 1})).await.unwrap_err();
    assert_eq!(memory.ends(), ended(Outcome::Error, "input"));
    host.with(&tenant, async |_, _| Ok(())).await.unwrap();
    assert_eq!(memory.ends(), ended(Outcome::Completed, ""));
    host.with(&tenant, async |_, _| Err::<(), _>(wasmtime::format_err!("broke off"))).await.unwrap_err();
    assert_eq!(memory.ends(), ended(Outcome::Error, "trap"));

    simulator.inject(Injection::everywhere(Fault::HangBeforeHeaders));
    let mut limits = Limits::default();
    limits.time = Duration::from_millis(300);
    (limits.calls, limits.waiting) = (1, 0);
    let hasty = host.tenant_within("hasty", connection(&simulator), limits);
    let call = async || host.call(&hasty, "list-offers", &json!({})).await;
    let (first, second) = tokio::join!(call(), call());
    assert!(matches!((first, second), (Err(HostError::TimedOut { .. }), Err(HostError::Busy { .. }))));
    let mut ends = memory.ends();
    ends.sort_by_key(|(_, code)| code.clone());
    assert_eq!(ends, [ended(Outcome::Error, "busy"), ended(Outcome::Error, "timedOut")].concat());

    // A call that is given up: when its request is under way.
    let before = simulator.journal().len();
    let under_way = async {
        while simulator.journal().len() == before {
            tokio::task::yield_now().await;
        }
    };
    let nothing = json!({});
    tokio::select! {
        _ = host.call(&tenant, "list-offers", &nothing) => panic!("nobody answers"),
        () = under_way => {}
    }
    assert_eq!(memory.ends(), ended(Outcome::Cancelled, ""));
}

#[tokio::test]
async fn what_the_policy_refuses_is_recorded() {
    let memory = Memory::default();
    let strict = Host::builder().audit(memory.clone()).build().unwrap();
    let simulator = Simulator::start(Options { clock: Clock::manual(), ..Options::default() }).await.unwrap();
    let error = strict.call(&tenant(&strict, &simulator), "list-offers", &json!({})).await.unwrap_err();
    assert!(matches!(error, HostError::Refused(_)), "{error:?}");
    let events = memory.take();
    let fault = events.iter().find_map(|event| match &event.what {
        What::RequestEnds(ended) => ended.fault.clone(),
        _ => None,
    });
    assert_eq!(fault.as_deref(), Some("DestinationIpProhibited"));
    assert!(matches!(&events.last().unwrap().what, What::CallEnds(end) if end.code.as_deref() == Some("refused")));
}

#[tokio::test]
async fn what_must_be_recorded_and_cannot_be_is_not_sent() {
    let memory = Memory::default();
    memory.closed.store(true, Ordering::Relaxed);
    let (host, simulator) = (host(memory.clone()), simulator());
    let tenant = tenant(&host, &simulator);
    let grant = json!({"email": "ada@example.com", "offerId": "offer-breath"});
    let error = host.call(&tenant, "grant-access", &grant).await.unwrap_err();
    assert!(matches!(error, HostError::Unrecorded(AuditError::Closed)), "{error:?}");
    let error = host.call(&tenant, "create-login-token", &json!({"uid": "uid-anna"})).await.unwrap_err();
    assert!(matches!(error, HostError::Unrecorded(_)), "{error:?}");
    assert!(simulator.journal().is_empty());
    assert_eq!(memory.ends().len(), 2, "that they were refused is told as well");
    assert!(host.call(&tenant, "list-offers", &json!({})).await.unwrap().into_json().is_ok(), "reading goes on");

    // The log fails within a call.
    memory.closed.store(false, Ordering::Relaxed);
    let sink = memory.clone();
    let error = host
        .with(&tenant, async move |connector, store| {
            sink.closed.store(true, Ordering::Relaxed);
            connector.memberspot_connector_users().call_delete_users(store, &["anna@example.com".to_owned()]).await
        })
        .await
        .unwrap()
        .unwrap_err();
    assert!(matches!(&error, Error::Transient(failure) if failure.code == FailureCode::Unreachable), "{error:?}");
    assert_eq!(simulator.journal().len(), 1, "that of the reading call");
    let fault = |event: Event| match event.what {
        What::RequestEnds(ended) => ended.fault,
        _ => None,
    };
    let faults: Vec<_> = memory.take().into_iter().filter_map(fault).collect();
    assert_eq!(faults.last().map(String::as_str), Some("unrecorded"));

    let lenient = Host::builder().sender(network().clone()).audit(memory).audit_required(Required::Nothing).build().unwrap();
    assert!(lenient.call(&tenant, "grant-access", &grant).await.unwrap().into_json().is_ok());
}

fn options(key: bool) -> FileOptions {
    let mut options = FileOptions::default();
    options.key = key.then(|| AuditKey::new(AUDIT_KEY).unwrap());
    options.max_bytes = 4000;
    options.max_files = 100;
    options
}

fn checked(log: &Path, key: bool) -> Report {
    let mut expected = Expected::default();
    expected.key = options(key).key;
    verify::verify(&verify::files(log).unwrap(), &expected).unwrap()
}

/// Some calls, each run with a log that is opened anew.
async fn write_log(log: &Path, options: &FileOptions, runs: usize) {
    let simulator = simulator();
    for _ in 0..runs {
        let host = host(FileAudit::open(log, options).unwrap());
        let tenant = tenant(&host, &simulator).on_behalf_of("alice@example.com");
        for email in ["anna@example.com", "ben@example.com"] {
            host.call(&tenant, "find-user", &json!({"email": email})).await.unwrap();
            host.call(&tenant, "grant-access", &json!({"email": email, "offerId": "offer-breath"})).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_log_goes_on_over_files_and_processes() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("audit.jsonl");
    write_log(&log, &options(true), 3).await;
    let files = verify::files(&log).unwrap();
    assert!(files.len() > 3, "{files:?}");
    #[cfg(unix)]
    for file in &files {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let report = checked(&log, true);
    assert_eq!(report.broken, None);
    assert_eq!((report.calls, report.unfinished.len(), report.lost, report.torn), (12, 0, 0, 0));
    assert_eq!(report.lines, report.last.unwrap().seq);
    assert_eq!(checked(&log, false).broken.unwrap().kind, BreakKind::KeyNeeded);
    assert!(matches!(FileAudit::open(&log, &options(false)), Err(OpenError::Continuation { .. })));

    // Those that are too many go, and the log says so.
    let mut few = options(true);
    few.max_files = 3;
    write_log(&log, &few, 1).await;
    let files = verify::files(&log).unwrap();
    assert_eq!(files.len(), 3);
    let report = checked(&log, true);
    assert_eq!(report.broken, None);
    assert!(report.first.unwrap() > 1);
    // What somebody else removed is missed.
    fs::remove_file(&files[0]).unwrap();
    assert!(matches!(checked(&log, true).broken.unwrap().kind, BreakKind::Beginning { .. }));
}

#[tokio::test]
async fn one_process_writes_and_what_broke_off_shows() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("audit.jsonl");
    let open = || FileAudit::open(&log, &FileOptions::default());
    let first = open().unwrap();
    assert!(matches!(open(), Err(OpenError::InUse { .. })));
    let report = checked(&log, false);
    assert!(report.in_use && report.broken.is_none());
    assert_eq!(report.last, Some(first.head()));
    drop(first);
    assert!(checked(&log, false).broken.is_none());
    // A machine that fails leaves half a line, and no word of farewell.
    let text = fs::read_to_string(&log).unwrap();
    let (kept, closing) = text.trim_end().rsplit_once('\n').unwrap();
    fs::write(&log, format!("{kept}\n{}", &closing[..closing.len() / 2])).unwrap();
    assert_eq!(checked(&log, false).broken.unwrap().kind, BreakKind::Torn);
    drop(open().unwrap());
    let report = checked(&log, false);
    assert_eq!((report.broken, report.torn), (None, 1));
    fs::write(&log, format!("{kept}\n")).unwrap();
    assert_eq!(checked(&log, false).broken.unwrap().kind, BreakKind::Open);
}

#[tokio::test]
async fn a_disk_that_fails_stops_what_writes_until_it_works_again() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("audit.jsonl");
    let (host, simulator) = (host(FileAudit::open(&log, &options(true)).unwrap()), simulator());
    let tenant = tenant(&host, &simulator);
    // The full file cannot be put aside.
    let in_the_way = folder.path().join("audit.jsonl.000001");
    fs::create_dir(&in_the_way).unwrap();
    let grant = json!({"email": "anna@example.com", "offerId": "offer-breath"});
    let mut granted = 0;
    let error = loop {
        match host.call(&tenant, "grant-access", &grant).await {
            Ok(_) => granted += 1,
            Err(error) => break error,
        }
        assert!(granted < 100, "the log takes everything");
    };
    // Where it failed within a call, the request was refused, and else the call.
    assert!(matches!(error, HostError::Unrecorded(AuditError::Write { .. }) | HostError::Refused(_)), "{error:?}");
    assert_eq!(simulator.journal().len(), granted);
    fs::remove_dir(&in_the_way).unwrap();
    assert!(host.call(&tenant, "grant-access", &grant).await.unwrap().into_json().is_ok());
    drop((host, tenant));
    let report = checked(&log, true);
    assert_eq!(report.broken, None);
    assert!(report.lost > 0);
}

#[tokio::test]
async fn no_place_is_taken_that_what_ends_would_need() {
    let folder = TempDir::new().unwrap();
    let mut options = options(true);
    options.capacity = 2;
    let (host, simulator) = (host(FileAudit::open(folder.path().join("a"), &options).unwrap()), simulator());
    let tenant = tenant(&host, &simulator);
    // One place is kept for the end of the call; the request would need two.
    let grant = json!({"email": "anna@example.com", "offerId": "offer-breath"});
    assert!(matches!(host.call(&tenant, "grant-access", &grant).await, Err(HostError::Refused(_))));
    assert!(simulator.journal().is_empty());
    for _ in 0..5 {
        assert!(host.call(&tenant, "list-offers", &json!({})).await.unwrap().into_json().is_ok());
    }
}

#[tokio::test]
async fn a_log_has_no_secrets_and_names_nobody() {
    const CANARY: &str = "canary/4711-key-of-the-school";
    let school = School::demo();
    for plain in [false, true] {
        let folder = TempDir::new().unwrap();
        let log = folder.path().join("audit.jsonl");
        let mut options = options(true);
        options.plain = plain;
        let host = host(FileAudit::open(&log, &options).unwrap());
        let options = Options { clock: Clock::manual(), rate_limit: None, schools: vec![school.clone()], ..Options::default() };
        let simulator = Simulator::in_memory(options, network()).unwrap();
        let tenant = tenant(&host, &simulator).on_behalf_of("alice@example.com");
        let token = host.call(&tenant, "create-login-token", &json!({"uid": "uid-anna"})).await.unwrap().into_json().unwrap();
        let token = token["token"].as_str().expect("a token").to_owned();
        host.call(&tenant, "find-user", &json!({"email": "Anna@example.com"})).await.unwrap();
        let secretive = tenant_with(&host, &simulator, CANARY);
        for fault in [Fault::Echo, Fault::canned(400, &[("x-a", CANARY)], CANARY)] {
            simulator.clear_faults();
            simulator.inject(Injection::everywhere(fault));
            for (function, input) in [
                ("call-api", json!({"method": "get", "path": "/v1/new?email=anna@example.com", "headers": []})),
                ("list-users", json!({})),
                ("find-user", json!({"email": "anna@example.com"})),
            ] {
                drop(host.call(&secretive, function, &input).await);
            }
        }
        drop((host, tenant, secretive));
        assert_eq!(checked(&log, true).broken, None);
        let text: String = verify::files(&log).unwrap().iter().map(|file| fs::read_to_string(file).unwrap()).collect();
        for secret in [CANARY, KEY, &token, AUDIT_KEY] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        for personal in ["alice@", "Anna@", "uid-anna"] {
            assert_eq!(text.contains(personal), plain, "{personal} in {text}");
        }
        // Queries, never.
        assert!(!text.contains("email=") && text.contains("/v1/new\""), "{text}");
        let stands_for = |who: &str| {
            let key = AuditKey::new(AUDIT_KEY).unwrap().pseudonyms();
            key.of("school-1", &memberspot_host::audit::Personal::new(who))
        };
        assert_eq!(text.contains(&format!("/v1/users/find-by-mail/{}\"", stands_for("anna@example.com"))), !plain);
        assert_eq!(text.contains(&format!("\"actor\":\"{}\"", stands_for("alice@example.com"))), !plain);
    }
}

fn tenant_with(host: &Host, simulator: &Simulator, key: &str) -> Tenant {
    host.tenant("school-1", connection(simulator).key(key))
}

/// A log of several files, written once: the text of each.
fn original(key: bool) -> &'static [String] {
    static LOGS: OnceLock<[Vec<String>; 2]> = OnceLock::new();
    let logs = LOGS.get_or_init(|| {
        [false, true].map(|key| {
            let folder = TempDir::new().unwrap();
            let log = folder.path().join("audit.jsonl");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(write_log(&log, &options(key), 2));
            verify::files(&log).unwrap().iter().map(|file| fs::read_to_string(file).unwrap()).collect()
        })
    });
    &logs[usize::from(key)]
}

/// What somebody does to a log.
#[derive(Debug, Clone)]
enum Tampering {
    /// Changes a byte to another one.
    Byte {
        at: prop::sample::Index,
        to: u8,
    },
    Remove(prop::sample::Index),
    Duplicate(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    /// Puts a copy of a line somewhere else.
    Copy(prop::sample::Index, prop::sample::Index),
    Insert(prop::sample::Index, String),
    SwapFiles(prop::sample::Index, prop::sample::Index),
    RemoveFile(prop::sample::Index),
    /// Cuts off some lines at the end of the last file.
    CutLines(prop::sample::Index),
    /// Cuts off some bytes at the end.
    CutBytes(prop::sample::Index),
    /// Puts the line breaks of files elsewhere: all in one.
    Join,
}

fn tampering() -> impl Strategy<Value = Tampering> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (index(), any::<u8>()).prop_map(|(at, to)| Tampering::Byte { at, to }),
        2 => index().prop_map(Tampering::Remove),
        1 => index().prop_map(Tampering::Duplicate),
        1 => (index(), index()).prop_map(|(a, b)| Tampering::Swap(a, b)),
        1 => (index(), index()).prop_map(|(a, b)| Tampering::Copy(a, b)),
        1 => (index(), ".{0,40}").prop_map(|(at, text)| Tampering::Insert(at, text)),
        1 => (index(), index()).prop_map(|(a, b)| Tampering::SwapFiles(a, b)),
        1 => index().prop_map(Tampering::RemoveFile),
        2 => index().prop_map(Tampering::CutLines),
        2 => index().prop_map(Tampering::CutBytes),
        1 => Just(Tampering::Join),
    ]
}

impl Tampering {
    /// Of the files, each a list of bytes.
    fn apply(&self, files: &mut Vec<Vec<u8>>) {
        // All lines, each with the file that it is in.
        let mut lines: Vec<(usize, Vec<u8>)> = Vec::new();
        for (number, file) in files.iter().enumerate() {
            lines.extend(file.split_inclusive(|byte| *byte == b'\n').map(|line| (number, line.to_vec())));
        }
        let count = lines.len();
        match self {
            Self::Byte { at, to } => {
                let line = at.index(count);
                let byte = at.index(lines[line].1.len());
                lines[line].1[byte] = *to;
            }
            Self::Remove(at) => drop(lines.remove(at.index(count))),
            Self::Duplicate(at) => lines.insert(at.index(count), lines[at.index(count)].clone()),
            Self::Swap(a, b) => {
                let (a, b) = (a.index(count), b.index(count));
                let (left, right) = (lines[a].1.clone(), lines[b].1.clone());
                (lines[a].1, lines[b].1) = (right, left);
            }
            Self::Copy(from, to) => {
                let (number, _) = lines[to.index(count)];
                let line = lines[from.index(count)].1.clone();
                lines.insert(to.index(count), (number, line));
            }
            Self::Insert(at, text) => {
                let (number, _) = lines[at.index(count)];
                lines.insert(at.index(count), (number, format!("{text}\n").into_bytes()));
            }
            Self::SwapFiles(a, b) => {
                let count = files.len();
                return files.swap(a.index(count), b.index(count));
            }
            Self::RemoveFile(at) => {
                let at = at.index(files.len());
                return drop(files.remove(at));
            }
            Self::CutLines(keep) => lines.truncate(keep.index(count)),
            Self::CutBytes(keep) => {
                let last = files.last_mut().unwrap();
                return last.truncate(keep.index(last.len()));
            }
            Self::Join => {
                let all = files.concat();
                return *files = vec![all];
            }
        }
        for (number, file) in files.iter_mut().enumerate() {
            *file = lines.iter().filter(|(of, _)| *of == number).flat_map(|(_, line)| line.clone()).collect();
        }
    }
}

fn verify_bytes(files: &[Vec<u8>], expected: &Expected) -> Report {
    let folder = TempDir::new().unwrap();
    let paths: Vec<PathBuf> = (0..files.len()).map(|number| folder.path().join(number.to_string())).collect();
    for (path, bytes) in paths.iter().zip(files) {
        fs::write(path, bytes).unwrap();
    }
    verify::verify(&paths, expected).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_was_done_to_a_log_is_found(tampering in tampering(), key in any::<bool>()) {
        let before: Vec<_> = original(key).iter().map(|file| file.clone().into_bytes()).collect();
        let mut expected = Expected::default();
        expected.key = options(key).key;
        let untouched = verify_bytes(&before, &expected);
        prop_assert_eq!(&untouched.broken, &None);
        expected.line = untouched.last.map(|last| last.hash);

        let mut after = before.clone();
        tampering.apply(&mut after);
        prop_assume!(before != after);
        // Without a key, one can still say what a file holds.
        prop_assert!(verify_bytes(&after, &expected).broken.is_some());
        // Where nothing says what the last line was, the end of a run is the only place where it can be cut off unseen.
        expected.line = None;
        if verify_bytes(&after, &expected).broken.is_none() {
            let whole: Vec<u8> = after.concat();
            prop_assert!(before.concat().starts_with(&whole));
            let last = whole[..whole.len() - 1].rsplit(|byte| *byte == b'\n').next().unwrap();
            let last: Value = serde_json::from_slice(last).unwrap();
            prop_assert_eq!(&last["event"], "log.closed");
        }
    }
}

#[test]
fn who_has_no_key_cannot_pass_off_a_log() {
    let files = |key| original(key).iter().map(|file| file.clone().into_bytes()).collect::<Vec<_>>();
    let mut expected = Expected::default();
    expected.key = AuditKey::new("another key of some length");
    assert_eq!(verify_bytes(&files(true), &expected).broken.unwrap().kind, BreakKind::Altered);
    assert_eq!(verify_bytes(&files(false), &expected).broken.unwrap().kind, BreakKind::KeyUnused);
}

#[test]
fn the_command_line_records_and_verifies() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("audit.jsonl");
    let log = log.to_str().unwrap();
    let run = |arguments: &[&str]| cli::run(cli::memberspot(arguments).env("MEMBERSPOT_AUDIT_KEY", AUDIT_KEY));
    let find = ["run", "--simulator", "--audit", log, "--actor", "nightly", "find-user", "--set", "email=anna@example.com"];
    assert_eq!(run(&find).code, 0);
    assert_eq!(run(&find).code, 0);
    let verified = run(&["audit", "verify", log, "--json"]);
    assert_eq!(verified.code, 0, "{}", verified.stderr);
    let report = verified.json();
    assert_eq!((&report["break"], &report["calls"], &report["chain"]), (&Value::Null, &json!(2), &json!("hmac-sha256")));
    let head = report["last"]["hash"].as_str().unwrap();
    let found = run(&["audit", "hash", "anna@example.com"]).stdout;
    let text = fs::read_to_string(log).unwrap();
    assert!(text.contains(found.trim()) && text.contains("\"actor\":\"nightly\"") && !text.contains(AUDIT_KEY));

    assert_eq!(run(&find).code, 0);
    assert_eq!(run(&["audit", "verify", log, "--expect", head]).code, 0);
    let changed: Vec<_> = text.lines().map(|line| line.replace("nightly", "someone")).collect();
    fs::write(log, changed.join("\n") + "\n").unwrap();
    let verified = run(&["audit", "verify", log, "--json"]);
    assert_eq!((verified.code, &verified.json()["break"]["kind"]), (1, &json!("altered")));
    assert_eq!(verified.json()["break"]["line"], 3);
    assert_eq!(run(&find).code, 0, "altered before its end");
    // Without the key, or with one that everybody can read.
    assert_eq!(cli::run(&mut cli::memberspot(&["audit", "verify", log])).code, 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let file = folder.path().join("key");
        fs::write(&file, AUDIT_KEY).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let key = ["audit", "verify", log, "--audit-key-file", file.to_str().unwrap()];
        assert_eq!(cli::run(&mut cli::memberspot(&key)).code, 2);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(cli::run(&mut cli::memberspot(&key)).code, 1);
    }
}

#[test]
fn bulk_writes_metrics() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (rows, log, metrics) = (path("rows.csv"), path("audit.jsonl"), path("metrics.prom"));
    fs::write(&rows, "operation,email,offer-id\ngrant-access,ada@example.com,offer-breath\n").unwrap();
    let ran = cli::run(&mut cli::memberspot(&["bulk", "--simulator", &rows, "--audit", &log, "--metrics", &metrics]));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let text = fs::read_to_string(metrics).unwrap();
    let calls = r#"memberspot_calls_total{function="bulk.apply-operations",outcome="success",code=""} 1"#;
    assert!(text.lines().any(|line| line == calls), "{text}");
    assert!(text.lines().any(|line| line == r#"memberspot_requests_total{method="POST",status="201"} 1"#), "{text}");
    assert!(text.lines().any(|line| line == "memberspot_calls_running 0"), "{text}");
    assert!(text.lines().any(|line| line == "memberspot_calls_waiting 0"), "{text}");
    assert_eq!(cli::run(&mut cli::memberspot(&["audit", "verify", &log])).code, 0);
}

#[tokio::test]
async fn metrics_count_what_ends_in_any_way() {
    let metrics = Metrics::by_tenant();
    let host = Host::builder().sender(network().clone()).metrics(metrics.clone()).build().unwrap();
    let simulator = simulator();
    let tenant = tenant(&host, &simulator);
    simulator.inject(Injection::everywhere(Fault::HangBeforeHeaders));
    let given_up = tokio::time::timeout(Duration::from_millis(50), host.call(&tenant, "list-offers", &json!({}))).await;
    assert!(given_up.is_err());
    simulator.clear_faults();
    host.call(&tenant, "no-such-function", &json!({})).await.unwrap_err();
    host.call(&tenant, "list-offers", &json!({})).await.unwrap();
    let text = metrics.to_text();
    for line in [
        r#"memberspot_calls_total{function="offers.list-offers",outcome="cancelled",code="",tenant="school-1"} 1"#,
        r#"memberspot_calls_total{function="unknown",outcome="error",code="unknownFunction",tenant="school-1"} 1"#,
        r#"memberspot_calls_total{function="offers.list-offers",outcome="success",code="",tenant="school-1"} 1"#,
        "memberspot_calls_running 0",
        "memberspot_calls_waiting 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
}

/// Notes the fields of spans, and how many hold them open.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<Span>>>);

#[derive(Clone, Debug)]
struct Span {
    name: &'static str,
    fields: Fields,
    open: usize,
}

impl Spans {
    fn with<T>(&self, id: &tracing::span::Id, work: impl FnOnce(&mut Span) -> T) -> T {
        let index = usize::try_from(id.into_u64()).unwrap() - 1;
        work(&mut self.0.lock().unwrap()[index])
    }

    /// The host's own, without those that the engine has for what the component calls.
    fn of_the_host(&self) -> Vec<Span> {
        let mut spans = self.0.lock().unwrap().clone();
        spans.retain(|span| span.name != "wit-bindgen import");
        spans
    }
}

#[derive(Clone, Default, Debug)]
struct Fields(BTreeMap<String, String>);

impl tracing::field::Visit for Fields {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name().into(), format!("{value:?}"));
    }
}

impl tracing::Subscriber for Spans {
    fn enabled(&self, metadata: &tracing::Metadata) -> bool {
        metadata.is_span() && metadata.target().starts_with("memberspot")
    }

    fn new_span(&self, span: &tracing::span::Attributes) -> tracing::span::Id {
        let mut fields = Fields::default();
        span.record(&mut fields);
        let mut spans = self.0.lock().unwrap();
        spans.push(Span { name: span.metadata().name(), fields, open: 1 });
        tracing::span::Id::from_u64(spans.len() as u64)
    }

    fn clone_span(&self, id: &tracing::span::Id) -> tracing::span::Id {
        self.with(id, |span| span.open += 1);
        id.clone()
    }

    fn try_close(&self, id: tracing::span::Id) -> bool {
        self.with(&id, |span| {
            span.open -= 1;
            span.open == 0
        })
    }

    fn record(&self, id: &tracing::span::Id, values: &tracing::span::Record) {
        self.with(id, |span| values.record(&mut span.fields));
    }

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn spans_have_the_names_of_opentelemetry_and_no_addresses() {
    let spans = Spans::default();
    let _subscribed = tracing::subscriber::set_default(spans.clone());
    let host = Host::builder().sender(network().clone()).build().unwrap();
    let simulator = simulator();
    let tenant = tenant(&host, &simulator).on_behalf_of("alice@example.com");
    host.call(&tenant, "find-user", &json!({"email": "anna@example.com"})).await.unwrap();
    let spans = spans.of_the_host();
    let [call, request] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((call.name, request.name), ("memberspot call", "HTTP request"));
    let (of_call, of_request) = (&call.fields, &request.fields);
    let field = |fields: &Fields, name: &str| fields.0.get(name).cloned().unwrap_or_default();
    assert_eq!(field(of_call, "otel.name"), r#""users.find-user""#);
    assert_eq!(field(of_call, "memberspot.tenant"), r#""school-1""#);
    assert_eq!(field(of_request, "otel.name"), "GET /v1/users/find-by-mail/{}");
    assert_eq!(field(of_request, "otel.kind"), r#""client""#);
    assert_eq!(field(of_request, "http.request.method"), r#""GET""#);
    assert_eq!(field(of_request, "http.response.status_code"), "200");
    assert!(!field(of_request, "server.address").is_empty());
    let all = format!("{spans:?}");
    assert!(!all.contains("anna@") && !all.contains("alice@") && !all.contains(KEY), "{all}");
}
#[tokio::test]
async fn spans_end_with_their_call_also_where_the_instance_is_kept() {
    let spans = Spans::default();
    let _subscribed = tracing::subscriber::set_default(spans.clone());
    let host = Host::builder().sender(network().clone()).build().unwrap();
    let simulator = simulator();
    let mut limits = Limits::default();
    limits.isolation = Isolation::Reuse { calls: 10 };
    let tenant = host.tenant_within("school-1", tenant(&host, &simulator).connection().clone(), limits);
    let mut batch = host.batch(&tenant);
    for calls in 1..=3 {
        host.call(&tenant, "find-user", &json!({"email": "anna@example.com"})).await.unwrap();
        batch.call("find-user", &json!({"email": "anna@example.com"})).await.unwrap();
        let spans = spans.of_the_host();
        assert_eq!(spans.len(), calls * 4);
        assert!(spans.iter().all(|span| span.open == 0), "{spans:?}");
    }
}
