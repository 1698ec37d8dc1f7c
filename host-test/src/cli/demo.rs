//! `memberspot demo`: a customer story, played through the component against a simulated Memberspot.

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;
use memberspot_host::simulator::{Clock, Member, Options, Simulator};
use memberspot_host::{Connection, Host, Limits, Outcome};
use serde_json::{Value, json};

use super::output::{self, BOLD, DIM, ERROR, Failure, HINT, NAME};
use super::simulate::KEY;
use super::{PERMANENT, SUCCESS};

/// Play a customer story, from purchase to erasure, against a simulated Memberspot.
///
/// Needs no account, no key and no network: the simulator runs in this process. Each step says which function is called,
/// what the component sent, what came back, and what the school knows of the customer afterwards.
#[derive(Debug, Args)]
pub struct Demo {}

/// The customer.
const EMAIL: &str = "mia@example.com";
/// What the customer buys.
const OFFER: &str = "offer-yoga-basic";
/// The shop's number for the purchase.
const ORDER: &str = "shop-4711";

/// One thing that happens to the customer, and the call that an automation makes then.
struct Step {
    what: &'static str,
    function: &'static str,
    input: Value,
    /// What the instance may do. `None`: everything.
    scopes: Option<&'static str>,
    /// The code of the error that the step is there to show.
    fails_with: Option<&'static str>,
    /// How long nothing happens before.
    days_before: u64,
    /// Lessons that the customer has completed before.
    lessons_before: u32,
}

impl Step {
    fn new(what: &'static str, function: &'static str, input: Value) -> Self {
        Self { what, function, input, scopes: None, fails_with: None, days_before: 0, lessons_before: 0 }
    }
}

fn story() -> Vec<Step> {
    let access = json!({"email": EMAIL, "offerId": OFFER});
    let order = json!({"email": EMAIL, "orderId": ORDER});
    let level = json!({"property": {"tag": "name", "val": "Level"}, "value": "beginner"});
    vec![
        Step::new("The shop sets up its connection", "check-connection", json!({})),
        Step {
            fails_with: Some("notFound"),
            ..Step::new(
                "A product is linked to an offer that does not exist",
                "grant-access",
                json!({"email": EMAIL, "offerId": "offer-typo"}),
            )
        },
        Step::new(
            "Mia buys a course",
            "grant-access",
            json!({"email": EMAIL, "offerId": OFFER, "firstName": "Mia", "lastName": "Muster", "orderId": ORDER}),
        ),
        Step::new("Her answer in the order form is kept", "set-properties", json!({"email": EMAIL, "values": [level]})),
        Step::new("She opens her first lesson with a link", "create-login-token", json!({"uid": "…"})),
        Step {
            lessons_before: 2,
            ..Step::new("Two lessons later, a coach looks in", "list-course-progress", json!({"email": EMAIL}))
        },
        Step::new("A payment fails: pause", "revoke-order-access", order.clone()),
        Step::new("The payment arrives: resume", "restore-order-access", order),
        Step::new(
            "She cancels for the end of February",
            "set-access-expiration",
            json!({"email": EMAIL, "offerId": OFFER, "expiresAt": "2026-02-28"}),
        ),
        Step { days_before: 60, ..Step::new("In March she comes back", "set-access-expiration", access) },
        Step {
            scopes: Some("read,write"),
            fails_with: Some("notPermitted"),
            ..Step::new("A workflow that may not delete tries to", "delete-order-access", json!({"orderId": ORDER}))
        },
        Step::new("Chargeback: access and progress end", "delete-order-access", json!({"orderId": ORDER})),
        Step::new("Mia asks for erasure", "delete-users", json!({"emails": [EMAIL]})),
        Step::new("Nobody knows her any more", "find-user", json!({"email": EMAIL})),
    ]
}

impl Demo {
    pub fn execute(&self, json: bool) -> Result<u8, Failure> {
        let host = super::run::host(&Limits::default())?;
        let runtime = tokio::runtime::Runtime::new().map_err(|error| Failure::host(&error))?;
        runtime.block_on(play(&host, json))
    }
}

async fn play(host: &Host, as_json: bool) -> Result<u8, Failure> {
    let options = Options { clock: Clock::manual(), rate_limit: None, ..Options::default() };
    let simulator = Simulator::start(options).await.map_err(|error| Failure::host(&error))?;
    let mut surprises = 0;
    for (index, mut step) in story().into_iter().enumerate() {
        simulator.clock().advance(Duration::from_secs(step.days_before * 24 * 60 * 60));
        learn(&simulator, step.lessons_before);
        if let Some(uid) = step.input.get_mut("uid") {
            *uid = member(&simulator).map_or_else(Value::default, |member| member.uid().into());
        }
        let connection = Connection::new(KEY).base_url(simulator.origin());
        let connection = if let Some(scopes) = step.scopes { connection.scopes(scopes) } else { connection };
        simulator.clear_journal();
        let outcome = host
            .call(&super::run::tenant(host, connection), step.function, &step.input)
            .await
            .map_err(|error| Failure::host(&error))?;
        let scene = Scene::new(index + 1, step, outcome, &simulator);
        surprises += usize::from(!scene.as_expected);
        if as_json {
            output::json(&scene.to_json())?;
        } else {
            output::stdout(|out| scene.print(out))?;
        }
    }
    if !as_json {
        output::stdout(|out| {
            writeln!(
                out,
                "Each call ran in a fresh sandbox that could reach one origin and saw nothing else of this machine."
            )?;
            writeln!(out, "Next: {NAME}memberspot functions{NAME:#}, {NAME}memberspot run --simulator list-offers{NAME:#}")
        })?;
    }
    Ok(if surprises == 0 { SUCCESS } else { PERMANENT })
}

/// Lets the customer complete some lessons of the first course.
fn learn(simulator: &Simulator, lessons: u32) {
    simulator.edit_school(KEY, |school| {
        let progress = school.member_mut(EMAIL).and_then(|member| member.progress.values_mut().next());
        if let Some(progress) = progress {
            progress.completed_posts += lessons.min(progress.active_posts);
        }
    });
}

fn member(simulator: &Simulator) -> Option<Member> {
    simulator.school(KEY)?.member(EMAIL).cloned()
}

/// One step, played.
struct Scene {
    number: usize,
    step: Step,
    /// Method, path and body of each request.
    sent: Vec<(String, Value)>,
    succeeded: bool,
    /// The result or the error.
    answer: Value,
    /// What the school knows of the customer.
    school: Vec<String>,
    as_expected: bool,
}

impl Scene {
    fn new(number: usize, step: Step, outcome: Outcome, simulator: &Simulator) -> Self {
        let sent = simulator.journal();
        let sent = sent.iter().map(|entry| (format!("{} {}", entry.method, entry.path), entry.json().unwrap_or_default()));
        let (succeeded, mut answer) = match outcome.into_json() {
            Ok(answer) => (true, answer),
            Err(error) => (false, error),
        };
        let as_expected = answer["val"]["code"].as_str() == step.fails_with && succeeded == step.fails_with.is_none();
        shorten(&mut answer);
        let school = describe(member(simulator).as_ref(), simulator);
        Self { number, step, sent: sent.collect(), succeeded, answer, school, as_expected }
    }

    fn to_json(&self) -> Value {
        let sent = self.sent.iter().map(|(request, body)| json!({"request": request, "body": body}));
        json!({
            "step": self.number,
            "what": self.step.what,
            "function": self.step.function,
            "input": self.step.input,
            "sent": sent.collect::<Vec<_>>(),
            if self.succeeded { "result" } else { "error" }: self.answer,
            "school": self.school,
        })
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{BOLD}{:>2}. {}{BOLD:#}", self.number, self.step.what)?;
        writeln!(out, "    call    {NAME}{}{NAME:#} {}", self.step.function, self.step.input)?;
        if let Some(scopes) = self.step.scopes {
            writeln!(out, "            {DIM}with MEMBERSPOT_SCOPES={scopes}{DIM:#}")?;
        }
        for (request, body) in &self.sent {
            let body = if body.is_null() { String::new() } else { format!(" {body}") };
            writeln!(out, "    sent    {request}{DIM}{body}{DIM:#}")?;
        }
        if self.sent.is_empty() {
            writeln!(out, "    sent    {DIM}nothing{DIM:#}")?;
        }
        let style = if self.succeeded { HINT } else { ERROR };
        let mark = if self.succeeded { "ok" } else { "error" };
        writeln!(out, "    answer  {style}{mark}{style:#} {}", self.answer)?;
        for line in &self.school {
            writeln!(out, "    school  {line}")?;
        }
        writeln!(out)
    }
}

/// Leaves out of an answer what nobody reads in a demo, and what nobody should see anywhere: login tokens.
fn shorten(answer: &mut Value) {
    match answer {
        Value::Object(fields) => {
            fields.retain(|name, value| name != "raw" && !matches!(value, Value::Array(items) if items.is_empty()));
            for (name, value) in fields {
                if name == "token" || name == "loginUrl" {
                    *value = "(a secret)".into();
                } else {
                    shorten(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(shorten),
        _ => {}
    }
}

/// What the school knows of the customer, in a few words.
fn describe(member: Option<&Member>, simulator: &Simulator) -> Vec<String> {
    let Some(member) = member else { return vec![format!("{EMAIL} is not a member")] };
    let now = simulator.clock().now();
    let mut lines: Vec<_> = member
        .grants
        .iter()
        .map(|(offer, grant)| {
            let state = if grant.in_effect(now) {
                "open"
            } else if grant.active {
                "expired"
            } else {
                "paused"
            };
            let expiry = grant.expires_at.map(|at| format!(", until {}", at.date())).unwrap_or_default();
            format!("{EMAIL} has {offer}: {state}{expiry}")
        })
        .collect();
    if lines.is_empty() {
        lines.push(format!("{EMAIL} is a member without access"));
    }
    lines.extend(member.progress.iter().map(|(course, progress)| {
        format!("{course}: {} of {} lessons completed", progress.completed_posts, progress.active_posts)
    }));
    lines
}
