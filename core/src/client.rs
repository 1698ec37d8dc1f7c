//! One call from its beginning to its end: permission, waiting for its turn, sending, judging the answer, sending again.

use std::{
    cell::{Cell, RefCell},
    string::FromUtf8Error,
    time::Duration,
};

use crate::{
    answer::{Answer, Malformed, TOO_MANY, shortened},
    config::{Config, SCOPES},
    doubt::{self, Findings, Form},
    error::{Effect, Nature, Trouble, counted, listed},
    pace::Pace,
    request::{Call, Request},
    retry::{self, Budget, Decision},
    scopes,
    transport::{Bounds, Fault, Incoming, Outgoing, Transport, is_success},
    wit::types::{Error, FailureCode},
};

/// Memberspot answers in well under a second; an answer that has not begun after this long will not come.
const FIRST_BYTE: Duration = Duration::from_secs(30);
/// A connection that stands still for this long is dead.
const BETWEEN_BYTES: Duration = Duration::from_secs(15);

const USER_AGENT: &str = concat!("memberspot-connector/", env!("CARGO_PKG_VERSION"));

/// What one call of an exported function works with: shared by all requests that are made for it.
pub struct Session<T> {
    config: Config,
    transport: T,
    deadline: Duration,
    pace: RefCell<Pace>,
    /// Nothing is sent before: Memberspot asked for it.
    quiet_until: Cell<Duration>,
    findings: Findings,
    /// How long the body of an answer may be.
    most_bytes: Cell<usize>,
    sent: Cell<u32>,
}

impl<T: Transport> Session<T> {
    /// Begins a call: its deadline counts from now.
    pub fn new(config: Config, transport: T) -> Self {
        Self {
            deadline: transport.now().saturating_add(config.deadline),
            pace: RefCell::new(Pace::new(config.requests_per_second)),
            quiet_until: Cell::new(Duration::ZERO),
            findings: Findings::default(),
            most_bytes: Cell::new(config.max_response_bytes),
            sent: Cell::new(0),
            config,
            transport,
        }
    }

    /// The configuration of the instance.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What carries the requests.
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// From now on so many requests are under way at once, and answers share the size that one may have.
    pub fn share(&self, requests: usize) {
        self.most_bytes.set(self.config.max_response_bytes.checked_div(requests).unwrap_or_default());
    }

    /// Something to do in this call: counts its requests apart from others'.
    pub fn client(&self) -> Client<'_, T> {
        Client { session: self, attempts: Cell::new(0), effect: Cell::new(Effect::None) }
    }

    /// How many requests were sent in this call.
    pub fn sent(&self) -> u32 {
        self.sent.get()
    }

    /// Whether a request could still be sent before the deadline.
    pub fn is_open(&self) -> bool {
        self.transport.now().max(self.quiet_until.get()) < self.deadline
    }

    /// How much longer Memberspot asked to send nothing.
    pub fn quiet(&self) -> Duration {
        self.quiet_until.get().saturating_sub(self.transport.now())
    }

    /// Waits until a request may be sent: as long as Memberspot asked for, and for its turn on a limited route.
    ///
    /// # Errors
    /// How long the wait would be, if it would not end before the deadline. Nobody waits for nothing.
    async fn turn(&self, limited: bool) -> Result<(), Duration> {
        loop {
            let now = self.transport.now();
            let turn = if limited { self.pace.borrow().next() } else { Duration::ZERO };
            let moment = self.quiet_until.get().max(turn).max(now);
            if moment >= self.deadline {
                return Err(moment.saturating_sub(now));
            }
            if moment == now {
                return Ok(());
            }
            self.transport.sleep_until(moment).await;
        }
    }
}

/// One thing to do, such as a single operation of many: its permission, its requests, its error.
pub struct Client<'a, T> {
    session: &'a Session<T>,
    attempts: Cell<u32>,
    /// What the requests so far may have done. How the next one fails does not undo it.
    effect: Cell<Effect>,
}

impl<T: Transport> Client<'_, T> {
    /// How many requests were sent.
    pub fn attempts(&self) -> u32 {
        self.attempts.get()
    }

    /// Makes a call: sends its request, if the scopes allow it, and reads the answer.
    ///
    /// # Errors
    /// Whatever keeps the call from succeeding, as the WIT describes it.
    pub async fn call<R>(&self, call: Call<R>) -> Result<R, Error> {
        let answer = self.answer(&call.request).await?;
        self.read(call, &answer)
    }

    /// Reads the answer to a call.
    ///
    /// # Errors
    /// What the answer's status means, or that its body is not what was promised.
    pub fn read<R>(&self, call: Call<R>, answer: &Answer) -> Result<R, Error> {
        let Call { request, decode, when_missing } = call;
        match when_missing {
            Some(missing) if answer.is_missing() => Ok(missing()),
            _ if !answer.is_success() => Err(self.error(answer.trouble(), request.nature)),
            _ if answer.is_error_in_disguise() => {
                Err(self.error(malformed(answer, Malformed("an answer but an error")), request.nature))
            }
            _ => decode(answer).map_err(|promised| self.error(malformed(answer, promised), request.nature)),
        }
    }

    /// An error that was found after requests were sent, such as a name that turned out to be unknown: counts them.
    pub fn counted(&self, error: Error) -> Error {
        counted(error, self.attempts.get())
    }

    /// The error that trouble means for a request of this nature.
    fn error(&self, mut trouble: Trouble, nature: Nature) -> Error {
        // The body was searched for the key as it came; a message can still have spelled it with escapes.
        trouble.details = trouble.details.into_iter().map(|detail| shortened(self.redacted(detail))).collect();
        if self.effect.get() == Effect::Possible {
            trouble.effect = Effect::Possible;
        }
        trouble.into_error(nature, self.attempts.get())
    }

    /// A text from outside, without the key.
    pub fn redacted(&self, text: String) -> String {
        self.session.config.api_key.redact(text)
    }

    /// Refuses a request that the scopes of the instance do not allow.
    ///
    /// # Errors
    /// `not-permitted`, naming the scopes that are missing.
    pub fn permit(&self, request: &Request) -> Result<(), Error> {
        let missing = request.scopes.iter().filter(|scope| !self.session.config.scopes.contains(*scope));
        let missing = listed(missing.map(scopes::name));
        if missing.is_empty() {
            return Ok(());
        }
        let message = format!(
            "{}.{} needs the scope {missing}, which this instance was not given; add it to {SCOPES} if the workflow may do this",
            request.function.interface, request.function.name,
        );
        Err(self.error(Trouble::refused(FailureCode::NotPermitted, message), request.nature))
    }

    /// Sends a request, if the scopes allow it, and waits for the complete answer: one of status 2xx, or one that says that
    /// what was to be read does not exist. Where two forms of the request are thinkable, it is sent in the likelier one, and
    /// in the other when Memberspot asks for that.
    ///
    /// # Errors
    /// Whatever keeps such an answer from arriving.
    pub async fn answer(&self, request: &Request) -> Result<Answer, Error> {
        self.permit(request)?;
        let Some(other) = request.other.as_deref() else { return self.deliver(request).await };
        let findings = &self.session.findings;
        let known = findings.form(other.doubt);
        if known == Some(Form::Other) {
            return self.deliver(&other.request).await;
        }
        match self.deliver(request).await {
            Err(Error::Permanent(refusal)) if known.is_none() && other.doubt.is_raised_by(&refusal) => {
                let outcome = self.deliver(&other.request).await;
                match &outcome {
                    Ok(_) => findings.took(other.doubt, Form::Other),
                    Err(Error::Permanent(again)) if doubt::is_same_refusal(&refusal, again) => {
                        findings.took(other.doubt, Form::Likely);
                    }
                    Err(_) => {}
                }
                outcome
            }
            outcome => {
                if outcome.is_ok() {
                    findings.took(other.doubt, Form::Likely);
                }
                outcome
            }
        }
    }

    /// Sends a request until there is an answer to it: what may pass is tried again, as [`retry`] decides.
    async fn deliver(&self, request: &Request) -> Result<Answer, Error> {
        let Session { config, transport, deadline, quiet_until, .. } = self.session;
        let mut attempts = 0;
        let mut last: Option<Trouble> = None;
        loop {
            if let Err(wait) = self.session.turn(request.limited).await {
                let trouble = last.unwrap_or_else(|| self.trouble(Fault::DeadlineBeforeSending));
                let trouble = if wait.is_zero() { trouble } else { trouble.asking_for(wait) };
                return Err(self.error(trouble, request.nature));
            }
            let trouble = match self.attempt(request).await {
                Ok(answer) if answer.is_success() || (answer.is_missing() && request.nature == Nature::Read) => {
                    return Ok(answer);
                }
                Ok(answer) => answer.trouble(),
                Err(trouble) => trouble,
            };
            attempts += 1;
            if trouble.effect == Effect::Possible && request.nature != Nature::Read {
                self.effect.set(Effect::Possible);
            }
            let now = transport.now();
            if let (true, Some(ms)) = (trouble.passing, trouble.retry_after_ms) {
                let moment = now.saturating_add(Duration::from_millis(ms.into()));
                quiet_until.set(quiet_until.get().max(moment));
            }
            let budget = Budget { max_attempts: config.max_attempts, attempts, time: deadline.saturating_sub(now) };
            match retry::decide(request.nature, &trouble, budget, self.random()) {
                Decision::Repeat(wait) => transport.sleep_until(now.saturating_add(wait)).await,
                Decision::ReportWith(wait) => {
                    return Err(self.error(trouble.asking_for(wait), request.nature));
                }
                Decision::Report => return Err(self.error(trouble, request.nature)),
            }
            last = Some(trouble);
        }
    }

    /// A number that jitter can be made of: neither the moment nor the count of requests has been the same before.
    fn random(&self) -> u64 {
        let now = u64::try_from(self.session.transport.now().as_nanos()).unwrap_or(u64::MAX);
        retry::scatter(now ^ u64::from(self.session.sent.get()).rotate_right(16))
    }

    fn trouble(&self, fault: Fault) -> Trouble {
        fault.trouble(&self.session.config.origin, self.session.most_bytes.get())
    }

    /// Sends a request once.
    async fn attempt(&self, request: &Request) -> Result<Answer, Trouble> {
        let Session { config, transport, deadline, sent, .. } = self.session;
        let bounds = Bounds {
            deadline: *deadline,
            first_byte: if request.slow { deadline.saturating_sub(transport.now()) } else { FIRST_BYTE },
            between_bytes: BETWEEN_BYTES,
            most_bytes: self.session.most_bytes.get(),
        };
        let outgoing = Outgoing {
            origin: &config.origin,
            method: request.method,
            target: &request.target,
            headers: self.headers(request),
            body: request.body.as_deref(),
        };
        self.attempts.set(self.attempts.get().saturating_add(1));
        sent.set(sent.get().saturating_add(1));
        let incoming = transport.exchange(outgoing, bounds).await;
        if request.limited {
            self.session.pace.borrow_mut().answered(transport.now());
        }
        self.complete(incoming.map_err(|fault| self.trouble(fault))?)
    }

    /// All headers of a request.
    fn headers(&self, request: &Request) -> Vec<(String, Vec<u8>)> {
        let header = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        let mut headers = Vec::with_capacity(request.headers.len().saturating_add(5));
        headers.push(header("x-api-key", self.session.config.api_key.expose()));
        headers.push(header("user-agent", USER_AGENT));
        headers.push(header("accept-encoding", "identity"));
        if !request.headers.iter().any(|(name, _)| name == "accept") {
            headers.push(header("accept", "application/json"));
        }
        if let Some(body) = &request.body {
            headers.push(header("content-length", &body.len().to_string()));
        }
        headers.extend(request.headers.iter().map(|(name, value)| header(name, value)));
        headers
    }

    /// Turns what came back into an answer, or says why it is none. The status of an error counts even when its body is
    /// broken; the body of a success must be whole, and text.
    fn complete(&self, incoming: Incoming) -> Result<Answer, Trouble> {
        let config = &self.session.config;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(FromUtf8Error::into_bytes);
        let lossy = |bytes: Vec<u8>| text(bytes).unwrap_or_else(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let lower = |mut name: String| {
            name.make_ascii_lowercase();
            name
        };
        let headers = incoming.headers.into_iter();
        let headers = headers.map(|(name, value)| (lower(name), config.api_key.redact(lossy(value)))).collect();
        let mut answer = Answer { status: incoming.status, headers, body: String::new() };
        if !is_success(incoming.status) {
            answer.body = config.api_key.redact(lossy(incoming.body));
            return Ok(answer);
        }
        if let Some(fault) = incoming.fault {
            return Err(Trouble { status: Some(answer.status), ..self.trouble(fault) });
        }
        let size = incoming.body.len();
        let encoding = answer.header("content-encoding").unwrap_or_default();
        if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity") {
            return Err(unexpected(&answer, Malformed("an uncompressed answer"), size));
        }
        match text(incoming.body) {
            Ok(body) => answer.body = config.api_key.redact(body),
            Err(_) => return Err(unexpected(&answer, Malformed("text in UTF-8"), size)),
        }
        Ok(answer)
    }
}

fn malformed(answer: &Answer, promised: Malformed) -> Trouble {
    unexpected(answer, promised, answer.body.len())
}

/// The trouble with an answer of status 2xx that is not what was promised. Its body is never quoted: it may be anybody's.
fn unexpected(answer: &Answer, promised: Malformed, size: usize) -> Trouble {
    // A content type is quoted only as far as it looks like one. What does not leaves a mark: without it, what stands around
    // could join into the key.
    let kind = answer.header("content-type").unwrap_or("no content type");
    let quotable = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { char::REPLACEMENT_CHARACTER };
    let kind: String = kind.chars().map(quotable).take(100).collect();
    let message = format!(
        "Memberspot answered {} with {size} bytes of {kind}, which is not {}; check the base URL",
        answer.status, promised.0
    );
    let code = if promised == TOO_MANY { FailureCode::TooLarge } else { FailureCode::InvalidResponse };
    Trouble { effect: Effect::Possible, status: Some(answer.status), ..Trouble::refused(code, message) }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::RefCell,
        future::Future,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;
    use crate::{
        flow,
        request::{access, offers, users},
        wit::{
            access::GrantRequest,
            properties::{PropertyAssignment, PropertyReference, SetPropertiesRequest},
            types::Failure,
        },
    };

    /// What was handed to the network: method, origin and target, headers, body, bounds.
    type Sent = (String, Vec<(String, String)>, Option<String>, Bounds);

    /// A network that answers from a list, and a clock that goes on by a second with each answer.
    #[derive(Default)]
    struct Script {
        answers: RefCell<Vec<Result<Incoming, Fault>>>,
        sent: RefCell<Vec<Sent>>,
        slept: RefCell<Vec<Duration>>,
        seconds: Cell<u64>,
    }

    impl Script {
        fn answering(answers: impl IntoIterator<Item = Result<Incoming, Fault>>) -> Self {
            let mut answers: Vec<_> = answers.into_iter().collect();
            answers.reverse();
            Self { answers: RefCell::new(answers), ..Self::default() }
        }
    }

    impl Transport for Script {
        fn now(&self) -> Duration {
            Duration::from_secs(self.seconds.get())
        }

        async fn sleep_until(&self, moment: Duration) {
            self.slept.borrow_mut().push(moment.saturating_sub(self.now()));
            self.seconds.set(moment.as_secs());
        }

        async fn exchange(&self, request: Outgoing<'_>, bounds: Bounds) -> Result<Incoming, Fault> {
            self.seconds.set(self.seconds.get() + 1);
            let line = format!("{:?} {}{}", request.method, request.origin, request.target);
            let text = |(name, value)| (name, String::from_utf8(value).expect("text"));
            let headers = request.headers.into_iter().map(text).collect();
            self.sent.borrow_mut().push((line, headers, request.body.map(str::to_owned), bounds));
            self.answers.borrow_mut().pop().expect("one request too many")
        }
    }

    #[allow(clippy::unnecessary_wraps, reason = "the form in which a script has it")]
    fn answer(status: u16, body: &str) -> Result<Incoming, Fault> {
        let headers = vec![("Content-Type".to_owned(), b"application/json".to_vec())];
        Ok(Incoming { status, headers, body: body.as_bytes().to_vec(), fault: None })
    }

    fn session(script: Script, variables: &[(&str, &str)]) -> Session<Script> {
        let all = [("MEMBERSPOT_API_KEY", "s3cret")].iter().chain(variables);
        let config = Config::from_environment(all.map(|(name, value)| ((*name).into(), (*value).into())).collect());
        Session::new(config.unwrap_or_else(|error| panic!("{error:?}")), script)
    }

    fn run<R>(future: impl Future<Output = R>) -> R {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result,
            Poll::Pending => panic!("the script always answers at once"),
        }
    }

    fn failure<R>(result: Result<R, Error>) -> (bool, Failure) {
        match result {
            Ok(_) => panic!("an error was expected"),
            Err(Error::Transient(failure)) => (true, failure),
            Err(Error::Permanent(failure)) => (false, failure),
            Err(Error::ExecutionFailed) => panic!("never returned"),
        }
    }

    #[test]
    fn a_request_is_complete() {
        let session = session(Script::answering([answer(201, r#"{"uid":"u1","email":"a@b.de"}"#)]), &[]);
        let client = session.client();
        let request = GrantRequest {
            email: "a@b.de".into(),
            offer_id: "o\"1".into(),
            first_name: Some("Ann".into()),
            last_name: Some(" ".into()),
            order_id: None,
        };
        let user = run(client.call(access::grant_access(&request).unwrap())).unwrap();
        assert_eq!(user.uid, "u1");
        let (line, headers, body, _) = session.transport.sent.borrow()[0].clone();
        assert_eq!(line, "Post https://api.memberspot.de/v1/users/grant-user-offer-by-mail");
        assert_eq!(body.as_deref(), Some(r#"{"email":"a@b.de","firstname":"Ann","grantOffer":"o\"1"}"#));
        let header = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        assert_eq!(header("x-api-key"), Some("s3cret"));
        assert_eq!(header("content-length"), Some(body.unwrap().len().to_string().as_str()));
        assert_eq!(header("accept-encoding"), Some("identity"));
    }

    #[test]
    fn a_missing_scope_is_named_and_nothing_is_sent() {
        let session = session(Script::default(), &[("MEMBERSPOT_SCOPES", "write")]);
        let client = session.client();
        let (transient, failure) = failure(run(client.call(access::delete_access("a@b.de", "o").unwrap())));
        assert_eq!((transient, failure.code, failure.attempts), (false, FailureCode::NotPermitted, 0));
        assert!(failure.message.contains("delete"));
        assert!(session.transport.sent.borrow().is_empty());
    }

    #[test]
    fn time_is_bounded_and_deletions_may_take_all_of_it() {
        let session =
            session(Script::answering([answer(200, "[]"), answer(200, "ok")]), &[("MEMBERSPOT_DEADLINE_MS", "90000")]);
        let client = session.client();
        run(client.call(offers::list_offers())).unwrap();
        run(client.call(users::delete_users(&["a@b.de".into()]).unwrap())).unwrap();
        let sent = session.transport.sent.borrow();
        let seconds =
            |bounds: &Bounds| (bounds.deadline.as_secs(), bounds.first_byte.as_secs(), bounds.between_bytes.as_secs());
        assert_eq!(seconds(&sent[0].3), (90, 30, 15));
        assert_eq!(seconds(&sent[1].3), (90, 89, 15));
    }

    #[test]
    fn after_the_deadline_nothing_is_sent() {
        let properties = answer(200, r#"[{"id":"p1","name":"City"}]"#);
        let session = session(Script::answering([properties]), &[("MEMBERSPOT_DEADLINE_MS", "1000")]);
        let client = session.client();
        let value = PropertyAssignment { property: PropertyReference::Name("City".into()), value: "Ulm".into() };
        let request = SetPropertiesRequest { email: "a@b.de".into(), values: vec![value] };
        let (transient, failure) = failure(run(flow::set_properties(&client, &request)));
        assert_eq!((transient, failure.code, failure.attempts), (true, FailureCode::TimedOut, 1));
        assert!(!failure.outcome_unknown, "only the look-up was sent");
    }

    #[test]
    fn a_broken_body_spoils_a_success_and_not_an_error() {
        let broken = |status| Ok(Incoming { fault: Some(Fault::Broken), ..answer(status, r#"[{"id"#).ok().unwrap() });
        let session = session(Script::answering([broken(200), broken(401)]), &[("MEMBERSPOT_MAX_ATTEMPTS", "1")]);
        let client = session.client();
        let (transient, broken) = failure(run(client.call(offers::list_offers())));
        assert_eq!((transient, broken.code, broken.status), (true, FailureCode::Unreachable, Some(200)));
        let (transient, unauthorized) = failure(run(client.call(offers::list_offers())));
        assert_eq!((transient, unauthorized.code, unauthorized.attempts), (false, FailureCode::Unauthorized, 2));
    }

    #[test]
    fn a_body_is_never_quoted_and_the_key_never_repeated() {
        let page = "<html>s3cret and private</html>";
        let echo = r#"{"message":["x-api-key: s3cret","\u0073\u0033cret"]}"#;
        let session = session(Script::answering([answer(200, page), answer(400, echo)]), &[]);
        let client = session.client();
        let (_, invalid) = failure(run(client.call(offers::list_offers())));
        assert_eq!((invalid.code, invalid.status), (FailureCode::InvalidResponse, Some(200)));
        assert!(!invalid.message.contains("private") && invalid.message.contains("application/json"));
        let (_, rejected) = failure(run(client.call(offers::list_offers())));
        assert_eq!(rejected.details, ["x-api-key: [redacted]", "[redacted]"]);
    }

    #[test]
    fn a_key_that_only_the_message_puts_together_is_not_in_it() {
        let headers = vec![("content-type".to_owned(), b"s3c\tr\xffet".to_vec())];
        let page = Incoming { status: 200, headers, body: b"<html>".to_vec(), fault: None };
        let session = session(Script::answering([Ok(page)]), &[]);
        let (_, invalid) = failure(run(session.client().call(offers::list_offers())));
        assert!(invalid.code == FailureCode::InvalidResponse && !invalid.message.contains("s3cret"), "{}", invalid.message);
    }

    #[test]
    fn a_key_among_the_names_of_properties_is_not_listed() {
        let names = r#"[{"id":"p1","name":"\u0073\u0033cret"}]"#;
        let property = PropertyReference::Name("City".into());
        let values = vec![PropertyAssignment { property, value: "Ulm".into() }];
        let request = SetPropertiesRequest { email: "a@b.de".into(), values };
        let session = session(Script::answering([answer(200, names)]), &[]);
        let (_, unknown) = failure(run(flow::set_properties(&session.client(), &request)));
        assert!(unknown.code == FailureCode::InvalidInput && !unknown.message.contains("s3cret"), "{}", unknown.message);
    }

    #[test]
    fn every_fault_has_its_meaning() {
        use FailureCode::*;
        // (fault, code, transient for what may be repeated, transient for what may not, outcome unknown)
        for (fault, code, repeatable, once, unknown) in [
            (Fault::Dns, Unreachable, true, true, false),
            (Fault::Refused, Unreachable, true, true, false),
            (Fault::Denied, NotPermitted, false, false, false),
            (Fault::Certificate, Unreachable, false, false, true),
            (Fault::TimedOut, TimedOut, true, false, true),
            (Fault::DeadlineBeforeSending, TimedOut, true, true, false),
            (Fault::Broken, Unreachable, true, false, true),
            (Fault::TooLarge, TooLarge, false, false, true),
            (Fault::Unsendable, InvalidInput, false, false, false),
        ] {
            let origin = crate::origin::Origin::parse("https://api.memberspot.de").unwrap();
            for (nature, transient, unknown) in
                [(Nature::Read, repeatable, false), (Nature::Idempotent, repeatable, unknown), (Nature::Once, once, unknown)]
            {
                let (case, failure) = failure::<()>(Err(fault.trouble(&origin, 1).into_error(nature, 1)));
                assert_eq!((failure.code, case, failure.outcome_unknown), (code, transient, unknown), "{fault:?} {nature:?}");
            }
        }
    }

    #[allow(clippy::unnecessary_wraps, reason = "the form in which a script has it")]
    fn asking(status: u16, retry_after: &str) -> Result<Incoming, Fault> {
        let headers = vec![("retry-after".to_owned(), retry_after.as_bytes().to_vec())];
        Ok(Incoming { status, headers, body: vec![], fault: None })
    }

    #[test]
    fn what_passes_is_tried_again_with_the_same_request() {
        let script = Script::answering([Err(Fault::Broken), asking(503, "4"), answer(201, "{}")]);
        let session = session(script, &[]);
        let client = session.client();
        let state = run(client.call(access::revoke_access("a@b.de", "o").unwrap())).unwrap();
        assert_eq!(state.active, Some(false));
        let sent = session.transport.sent.borrow();
        assert_eq!(sent.len(), 3);
        assert!(sent.iter().all(|(line, headers, body, bounds)| {
            (line, headers, body) == (&sent[0].0, &sent[0].1, &sent[0].2) && bounds.deadline == sent[0].3.deadline
        }));
        let slept = session.transport.slept.borrow();
        assert!(slept[0] <= Duration::from_millis(500), "backoff");
        assert_eq!(slept[1], Duration::from_secs(4), "what Memberspot asked for");
    }

    #[test]
    fn without_time_for_it_the_caller_is_told_when() {
        let session = session(Script::answering([asking(429, "120")]), &[]);
        let client = session.client();
        let (transient, failure) = failure(run(client.call(offers::list_offers())));
        assert_eq!((transient, failure.code, failure.attempts), (true, FailureCode::RateLimited, 1));
        assert_eq!(failure.retry_after_ms, Some(120_000));
        assert!(session.transport.slept.borrow().is_empty(), "nobody waits for nothing");
    }

    #[test]
    fn an_effect_of_an_earlier_attempt_stays_possible() {
        let session = session(Script::answering([Err(Fault::Broken), Err(Fault::Refused), Err(Fault::Refused)]), &[]);
        let client = session.client();
        let (transient, failure) = failure(run(client.call(access::revoke_access("a@b.de", "o").unwrap())));
        assert_eq!((transient, failure.code, failure.attempts), (true, FailureCode::Unreachable, 3));
        assert!(failure.outcome_unknown, "the first one may have arrived");
    }

    #[test]
    fn one_attempt_means_one() {
        for first in [Err(Fault::Refused), asking(429, "0"), asking(503, "0"), answer(500, "")] {
            let session = session(Script::answering([first]), &[("MEMBERSPOT_MAX_ATTEMPTS", "1")]);
            let client = session.client();
            let (transient, failure) = failure(run(client.call(offers::list_offers())));
            assert_eq!((transient, failure.attempts), (true, 1));
        }
    }

    fn list() -> Call<crate::wit::users::UserPage> {
        let request = crate::wit::users::ListUsersRequest {
            offer_id: None,
            course_id: None,
            active: None,
            page_token: None,
            page_length: None,
        };
        users::list_users(&request).unwrap()
    }

    #[test]
    fn limited_routes_are_paced_and_no_others() {
        let answers = || (0..8).map(|_| answer(200, "[]"));
        let session = session(Script::answering(answers().chain(answers())), &[("MEMBERSPOT_REQUESTS_PER_SECOND", "1")]);
        for _ in 0..8 {
            run(session.client().call(offers::list_offers())).unwrap();
        }
        assert!(session.transport.slept.borrow().is_empty());
        for _ in 0..8 {
            run(session.client().call(list())).unwrap();
        }
        assert_eq!(session.transport.slept.borrow().as_slice(), [Duration::from_secs(1); 7]);
    }

    #[test]
    fn a_turn_that_never_comes_is_not_waited_for() {
        let variables = [("MEMBERSPOT_REQUESTS_PER_SECOND", "1"), ("MEMBERSPOT_DEADLINE_MS", "2500")];
        let session = session(Script::answering([answer(200, "[]"), answer(200, "[]")]), &variables);
        run(session.client().call(list())).unwrap();
        let (transient, failure) = failure({
            // Answered after one second, so the next turn is after two, and its answer after three.
            run(session.client().call(list())).unwrap();
            run(session.client().call(list()))
        });
        assert_eq!((transient, failure.code, failure.attempts), (true, FailureCode::TimedOut, 0));
        assert_eq!(session.transport.slept.borrow().len(), 1);
    }

    #[test]
    fn when_memberspot_asks_to_wait_everything_waits() {
        let session = session(Script::answering([asking(429, "7"), answer(200, "[]")]), &[("MEMBERSPOT_MAX_ATTEMPTS", "1")]);
        let (_, failure) = failure(run(session.client().call(offers::list_offers())));
        assert_eq!((failure.code, failure.attempts), (FailureCode::RateLimited, 1));
        assert!(session.is_open() && session.quiet() == Duration::from_secs(7));
        run(session.client().call(offers::list_offers())).unwrap();
        assert_eq!(session.transport.slept.borrow().as_slice(), [Duration::from_secs(7)]);
    }
}
