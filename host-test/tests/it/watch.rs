//! `memberspot watch`, as a process against the simulator: what it delivers, what it keeps, and how it ends.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use memberspot_host::simulator::{
    Clock, ExamResult, Fault, HeaderValue, Injection, Member, Options, School, Simulator, StatusCode,
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::cli::{self, KEY, Ran, memberspot, temporary};

/// A simulator, and a folder for the cursor.
struct Desk {
    simulator: Simulator,
    folder: PathBuf,
    /// The simulator's; last, so that it ends last.
    _runtime: Runtime,
}

impl Desk {
    fn new(name: &str) -> Self {
        Self::watched(name, || {})
    }

    /// `watch` is told of every request.
    fn watched(name: &str, watch: impl Fn() + Send + Sync + 'static) -> Self {
        let runtime = Runtime::new().unwrap();
        let mut school = School::demo();
        school.keys = vec![KEY.into()];
        let options = Options {
            clock: Clock::manual(),
            rate_limit: None,
            schools: vec![school],
            on_request: Some(std::sync::Arc::new(move |_| watch())),
            ..Options::default()
        };
        let simulator = runtime.block_on(Simulator::start(options)).unwrap();
        let folder = temporary(&format!("watch-{name}"));
        fs::create_dir(&folder).unwrap();
        Self { simulator, folder, _runtime: runtime }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = memberspot(&["watch"]);
        command.args(arguments).current_dir(&self.folder).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("MEMBERSPOT_API_KEY", KEY).env("MEMBERSPOT_BASE_URL", self.simulator.origin());
        command.env("MEMBERSPOT_MAX_ATTEMPTS", "1");
        command
    }

    /// One round of a watch for new members.
    #[track_caller]
    fn once(&self, arguments: &[&str]) -> Ran {
        cli::run(self.command(&["new-users", "--once"]).args(arguments))
    }

    fn come(&self, name: &str) {
        let now = self.simulator.clock().now();
        let member = Member::new(format!("uid-{name}"), format!("{name}@example.com"), now);
        self.simulator.edit_school(KEY, |school| school.insert(member)).unwrap();
        self.simulator.clock().advance(Duration::from_secs(60));
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn lines(text: &str, field: &str) -> Vec<String> {
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
    lines.map(|line| line[field].as_str().expect(field).to_owned()).collect()
}

#[test]
fn rounds_deliver_what_is_new() {
    let desk = Desk::new("rounds");
    let first = desk.once(&[]);
    assert_eq!((first.code, first.stdout.as_str(), first.stderr.as_str()), (0, "", ""));
    desk.come("nora");
    desk.come("nils");
    let second = desk.once(&[]);
    assert_eq!((second.code, lines(&second.stdout, "uid")), (0, vec!["uid-nora".into(), "uid-nils".into()]));
    let third = desk.once(&[]);
    assert_eq!((third.code, third.stdout.as_str()), (0, ""));
    let kept: Value = serde_json::from_str(&desk.read("memberspot-watch-new-users.json")).unwrap();
    assert_eq!((&kept["function"], &kept["origin"]), (&json!("poll-new-users"), &json!(desk.simulator.origin())));
    assert_eq!(lines(&desk.once(&["--cursor", "other", "--include-existing"]).stdout, "uid").len(), 14);
    #[cfg(unix)]
    for file in ["memberspot-watch-new-users.json", "memberspot-watch-new-users.json.lock"] {
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(desk.folder.join(file)).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[cfg(unix)]
#[test]
fn a_command_that_fails_has_not_delivered() {
    let desk = Desk::new("exec");
    assert_eq!(desk.once(&[]).code, 0);
    desk.come("nora");
    desk.come("nils");
    let before = desk.read("memberspot-watch-new-users.json");
    // Takes the first, and refuses the second.
    let picky = ["--exec", "cat > item; grep -q nora item && cat item >> taken"];
    let ran = desk.once(&picky);
    assert_eq!((ran.code, lines(&desk.read("taken"), "uid")), (3, vec!["uid-nora".to_owned()]));
    assert_eq!(desk.read("memberspot-watch-new-users.json"), before, "the cursor was moved");
    let slow = desk.once(&["--exec", "exec sleep 1000", "--exec-timeout", "1s"]);
    assert_eq!(slow.code, 3);
    assert_eq!(desk.read("memberspot-watch-new-users.json"), before, "the cursor was moved");
    // A command that reads nothing has delivered when it says so.
    assert_eq!(desk.once(&["--exec", "echo x >> ran"]).code, 0);
    assert_eq!((desk.read("ran").as_str(), desk.once(&["--exec", "false"]).code), ("x\nx\n", 0));
}

#[test]
fn trouble_that_passes_is_waited_for_and_other_trouble_ends_it() {
    let desk = Desk::new("trouble");
    assert_eq!(desk.once(&[]).code, 0);
    desk.come("nora");
    let busy = |seconds: &'static str| Fault::Status {
        status: StatusCode::TOO_MANY_REQUESTS,
        message: "busy".into(),
        headers: [("retry-after".parse().unwrap(), HeaderValue::from_static(seconds))].into_iter().collect(),
    };
    desk.simulator.inject(Injection::everywhere(busy("0")).times(3));
    let ran = desk.once(&[]);
    assert_eq!((ran.code, lines(&ran.stdout, "uid")), (0, vec!["uid-nora".to_owned()]), "{}", ran.stderr);
    // Not for ever, though.
    desk.simulator.inject(Injection::everywhere(busy("0")));
    desk.simulator.clear_journal();
    let ran = desk.once(&[]);
    assert_eq!((ran.code, desk.simulator.journal().len()), (3, 5), "{}", ran.stderr);
    desk.simulator.clear_faults();
    desk.simulator.inject(Injection::everywhere(Fault::status(StatusCode::UNAUTHORIZED)));
    let ran = cli::run(
        memberspot(&["--json", "watch", "new-users"])
            .current_dir(&desk.folder)
            .env("MEMBERSPOT_API_KEY", KEY)
            .env("MEMBERSPOT_BASE_URL", desk.simulator.origin()),
    );
    assert_eq!((ran.code, &ran.json()["val"]["code"]), (1, &json!("unauthorized")));
}

#[test]
fn a_cursor_file_is_for_one_watch() {
    let desk = Desk::new("file");
    assert_eq!(desk.once(&["--cursor", "c"]).code, 0);
    let exam = cli::run(&mut desk.command(&["exam-results", "--exam", "exam-basics", "--once", "--cursor", "c"]));
    assert_eq!(exam.code, 2);
    fs::write(desk.folder.join("junk"), "{}").unwrap();
    assert_eq!(desk.once(&["--cursor", "junk"]).code, 2);
    assert_eq!(desk.read("junk"), "{}", "somebody else's file was changed");
    // One that was altered is refused by the component.
    let altered = desk.read("c").replace("users1:", "users1:1");
    fs::write(desk.folder.join("c"), altered).unwrap();
    assert_eq!(desk.once(&["--cursor", "c"]).code, 1);
    for arguments in [
        ["exam-results", "--once"].as_slice(),
        &["course-completions", "--course", "c1", "--once"],
        &["new-users", "--exam", "e", "--once"],
        &["new-users", "--every", "5"],
        &["new-users", "--every", "5m", "--once"],
        &["new-users", "--exec-timeout", "5m", "--once"],
        &["everything"],
    ] {
        assert_eq!(cli::run(&mut desk.command(arguments)).code, 2, "{arguments:?}");
    }
}

#[test]
fn exams_and_courses_are_watched_too() {
    let desk = Desk::new("others");
    let exam = || cli::run(&mut desk.command(&["exam-results", "--exam", "exam-basics", "--once"]));
    assert_eq!((exam().code, exam().stdout.as_str()), (0, ""));
    desk.simulator.edit_school(KEY, |school| {
        let exam = school.exams.iter_mut().find(|exam| exam.id == "exam-basics").unwrap();
        exam.results.push(ExamResult { id: "result-new".into(), ..exam.results[0].clone() });
    });
    assert_eq!(lines(&exam().stdout, "id"), ["result-new"]);
    assert_eq!(exam().stdout, "");

    fs::write(desk.folder.join("class.txt"), "\u{feff}anna@example.com\r\n\r\nben@example.com\n").unwrap();
    let arguments = ["course-completions", "--course", "course-sun-salutation", "--emails", "class.txt", "--once"];
    let course = || cli::run(&mut desk.command(&arguments));
    assert_eq!((course().code, course().stdout.as_str()), (0, ""));
    desk.simulator.edit_school(KEY, |school| {
        let progress = &mut school.member_mut("anna@example.com").unwrap().progress;
        let progress = progress.get_mut("course-sun-salutation").unwrap();
        progress.completed_posts = progress.active_posts;
    });
    assert_eq!(lines(&course().stdout, "email"), ["anna@example.com"]);
    assert_eq!(course().stdout, "");
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_the_watch_and_only_one_has_the_file() {
    let (seen, requests) = mpsc::channel();
    let seen = std::sync::Mutex::new(seen);
    let desk = Desk::watched("interrupt", move || seen.lock().unwrap().send(()).unwrap_or_default());
    let child = desk.command(&["new-users", "--every", "1d"]).spawn().unwrap();
    requests.recv().unwrap();
    let other = desk.once(&[]);
    assert_eq!(other.code, 2);
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let ran = cli::finish(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""));
    assert_eq!(desk.once(&[]).code, 0, "the lock is gone with the process");
}
