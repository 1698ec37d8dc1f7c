//! Webhooks: what the simulator sends of its own accord.
//!
//! Documented is that Memberspot sends JSON by POST, that the name of an event is in `event`, that an address is checked with
//! `{"event":"auth_test"}`, and that it has to answer 200 or 201. **All else is a guess**: the names of the events and which there
//! are, every field beside the name, that nothing is sent to an address that failed the check, and whether and when something is
//! sent again. There is no signature.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode, Uri};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use wasmtime_wasi_http::WasiBody;

use super::clock::iso;
use super::school::Member;
use crate::sender::HttpSender;

/// The name of the check.
const HANDSHAKE: &str = "auth_test";
/// The most events that wait; more are dropped.
const MOST_WAITING: usize = 1000;
/// How long a request waits for its answer.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The pauses after requests that were not answered with 200 or 201; after the last one, the event is given up.
const PAUSES: [Duration; 4] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];

/// Where events are sent: a check at the start, then `user_added` and `offer_granted` as requests make them happen, one after
/// the other. Each is tried five times within half a minute, and at most 1,000 wait; what else is changed in a school, by
/// [`edit_school`](super::Simulator::edit_school) for instance, sends nothing.
#[derive(Clone)]
pub struct Webhook {
    /// The address. It may have a token in it, and is never shown.
    pub url: Uri,
    /// What sends the requests.
    pub sender: Arc<dyn HttpSender>,
    /// Is told of each request, and of what is dropped.
    pub on_delivery: Arc<dyn Fn(&Delivery) + Send + Sync>,
}

/// One attempt to deliver an event. `Display` is a line for people to read, without anything about a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The name of the event.
    pub event: &'static str,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// What came of it.
    pub delivered: Delivered,
}

/// What came of an attempt to deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// An answer with this status.
    Answered(StatusCode),
    /// No answer.
    Unanswered,
    /// It was not sent: too many wait, or the address has failed the check.
    Dropped,
}

impl Delivered {
    /// Whether it need not be sent again (documented).
    fn is_accepted(self) -> bool {
        matches!(self, Self::Answered(StatusCode::OK | StatusCode::CREATED))
    }
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "webhook {}", self.event)?;
        match self.delivered {
            Delivered::Answered(status) => write!(f, " {}", status.as_u16())?,
            Delivered::Unanswered => f.write_str(" no answer")?,
            Delivered::Dropped => return f.write_str(" dropped"),
        }
        if self.attempt > 1 { write!(f, " (attempt {})", self.attempt) } else { Ok(()) }
    }
}

/// Something that happened.
pub(super) struct Event {
    name: &'static str,
    body: Value,
}

impl Event {
    pub(super) fn of(name: &'static str, member: &Member, offer_id: Option<String>, now: OffsetDateTime) -> Self {
        let mut data = json!({"uid": member.uid(), "email": member.email()});
        if let Some(offer_id) = offer_id {
            data["offerId"] = offer_id.into();
        }
        Self { name, body: json!({"event": name, "occurredAt": iso(now), "data": data}) }
    }
}

/// The queue, and the task that empties it, which ends with it.
pub(super) struct Webhooks {
    queue: mpsc::Sender<(&'static str, Bytes)>,
    webhook: Webhook,
    task: AbortHandle,
}

impl Webhooks {
    /// Begins with the check, on the current tokio runtime.
    pub(super) fn start(webhook: Webhook) -> Self {
        let (queue, events) = mpsc::channel(MOST_WAITING);
        let task = tokio::spawn(webhook.clone().deliver(events)).abort_handle();
        Self { queue, webhook, task }
    }

    /// Has an event sent, as soon as those before it are.
    pub(super) fn fire(&self, event: &Event) {
        if self.queue.try_send((event.name, event.body.to_string().into())).is_err() {
            self.webhook.tell(event.name, 0, Delivered::Dropped);
        }
    }
}

impl Drop for Webhooks {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Webhook {
    async fn deliver(self, mut events: mpsc::Receiver<(&'static str, Bytes)>) {
        let check = json!({"event": HANDSHAKE}).to_string();
        if self.send(HANDSHAKE, check.into()).await {
            while let Some((name, body)) = events.recv().await {
                self.send(name, body).await;
            }
        }
        events.close();
        while let Some((name, _)) = events.recv().await {
            self.tell(name, 0, Delivered::Dropped);
        }
    }

    /// Sends until it is accepted or given up; whether it was accepted.
    async fn send(&self, name: &'static str, body: Bytes) -> bool {
        let pauses = PAUSES.into_iter().map(Some).chain([None]);
        for (attempt, pause) in (1..).zip(pauses) {
            let delivered = match timeout(LONGEST_WAIT, self.attempt(body.clone())).await {
                Ok(Some(status)) => Delivered::Answered(status),
                _ => Delivered::Unanswered,
            };
            self.tell(name, attempt, delivered);
            if delivered.is_accepted() {
                return true;
            }
            if let Some(pause) = pause {
                sleep(pause).await;
            }
        }
        false
    }

    async fn attempt(&self, body: Bytes) -> Option<StatusCode> {
        let request = Request::post(&self.url)
            .header(HOST, self.url.authority()?.as_str())
            .header(CONTENT_TYPE, "application/json")
            .body(WasiBody::new(Full::new(body).map_err(|never| match never {})))
            .ok()?;
        let (response, driver) = self.sender.send(request, None).await.ok()?;
        let status = response.status();
        drop((response, driver));
        Some(status)
    }

    fn tell(&self, event: &'static str, attempt: u32, delivered: Delivered) {
        (self.on_delivery)(&Delivery { event, attempt, delivered });
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::Instant;
    use wasmtime_wasi_http::{Error, RequestOptions};

    use super::*;
    use crate::sender::Exchange;

    /// Answers with these statuses, one after the other; 0 is no answer, and after the last there is none any more.
    struct Answers(&'static [u16], AtomicUsize);

    impl HttpSender for Answers {
        fn send(&self, _: Request<WasiBody>, _: Option<RequestOptions>) -> Pin<Box<dyn Future<Output = Exchange> + Send>> {
            let status = self.0.get(self.1.fetch_add(1, Ordering::Relaxed)).copied().unwrap_or(0);
            Box::pin(async move {
                let status = StatusCode::from_u16(status).map_err(|_| Error::ConnectionRefused)?;
                let mut response = hyper::Response::new(WasiBody::default());
                *response.status_mut() = status;
                Ok((response, Box::pin(async { Ok(()) }) as Pin<Box<_>>))
            })
        }
    }

    /// What is told of these events where the answers are these.
    async fn told(answers: &'static [u16], events: usize) -> Vec<String> {
        let told = Arc::<Mutex<Vec<_>>>::default();
        let webhook = Webhook {
            url: Uri::from_static("http://127.0.0.1:9/hooks/hush"),
            sender: Arc::new(Answers(answers, AtomicUsize::new(0))),
            on_delivery: Arc::new({
                let told = told.clone();
                move |delivery| told.lock().unwrap().push(delivery.to_string())
            }),
        };
        let webhooks = Webhooks::start(webhook);
        let member = Member::new("u1", "mia@example.com", OffsetDateTime::UNIX_EPOCH);
        for _ in 0..events {
            webhooks.fire(&Event::of("user_added", &member, None, OffsetDateTime::UNIX_EPOCH));
        }
        // Longer than all pauses; time passes at once here.
        sleep(Duration::from_secs(3600)).await;
        drop(webhooks);
        let told = told.lock().unwrap().clone();
        assert!(told.iter().all(|line| !line.contains("mia") && !line.contains("hush")), "{told:?}");
        told
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_accepted_is_sent_again() {
        let accepted = told(&[200, 503, 0, 201, 204, 302, 500, 404, 429, 200], 3).await;
        let expected = [
            "auth_test 200",
            "user_added 503",
            "user_added no answer (attempt 2)",
            "user_added 201 (attempt 3)",
            // Not one of the two that are documented.
            "user_added 204",
            "user_added 302 (attempt 2)",
            "user_added 500 (attempt 3)",
            "user_added 404 (attempt 4)",
            "user_added 429 (attempt 5)",
            "user_added 200",
        ];
        assert_eq!(accepted, expected.map(|line| format!("webhook {line}")));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_goes_to_an_address_that_fails_the_check() {
        let begin = Instant::now();
        let refused = told(&[404, 404, 404, 404, 404], 2).await;
        assert_eq!(refused.len(), 7);
        assert_eq!(
            refused[4..],
            ["webhook auth_test 404 (attempt 5)", "webhook user_added dropped", "webhook user_added dropped"]
        );
        assert_eq!(begin.elapsed(), Duration::from_secs(3600));
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_is_bounded() {
        let told = told(&[200; 5000], MOST_WAITING + 10).await;
        let dropped = told.iter().filter(|line| line.ends_with("dropped")).count();
        assert_eq!((dropped, told.len()), (10, 1 + MOST_WAITING + 10));
    }
}
