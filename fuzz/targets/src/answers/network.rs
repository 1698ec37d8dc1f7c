//! A network that answers from a script, and a clock that goes on by a second with each exchange.

use std::{cell::Cell, time::Duration};

use memberspot_core::{
    config::DEFAULT_BASE_URL,
    transport::{Bounds, Fault, Incoming, Outgoing, Transport},
};

use super::script::Script;

/// What carries the requests of one call.
pub struct Network<'a> {
    script: &'a Script,
    exchanges: Cell<usize>,
    now: Cell<Duration>,
}

impl<'a> Network<'a> {
    /// Nothing has been sent yet.
    pub fn new(script: &'a Script) -> Self {
        Self { script, exchanges: Cell::new(0), now: Cell::new(Duration::ZERO) }
    }

    /// How often something was sent.
    pub fn exchanges(&self) -> usize {
        self.exchanges.get()
    }

    /// What came back last.
    pub fn last(&self) -> Option<Result<Incoming, Fault>> {
        self.exchanges().checked_sub(1).map(|number| self.script.answer(number))
    }

    fn check(&self, request: &Outgoing<'_>) {
        let key = self.script.key;
        let has_key = |value: &[u8]| String::from_utf8_lossy(value).contains(key);
        let with_key: Vec<_> = request.headers.iter().filter(|(_, value)| has_key(value)).collect();
        assert!(matches!(with_key.as_slice(), [(name, value)] if name == "x-api-key" && value == key.as_bytes()));
        assert_eq!(request.origin.to_string(), DEFAULT_BASE_URL);
        assert!(request.target.starts_with('/'));
    }
}

impl Transport for Network<'_> {
    fn now(&self) -> Duration {
        self.now.get()
    }

    async fn sleep_until(&self, moment: Duration) {
        self.now.set(self.now().max(moment));
    }

    async fn exchange(&self, request: Outgoing<'_>, bounds: Bounds) -> Result<Incoming, Fault> {
        assert!(self.now() < bounds.deadline, "nothing is sent after the deadline");
        self.check(&request);
        let number = self.exchanges();
        self.exchanges.set(number + 1);
        self.now.set(self.now() + Duration::from_secs(1));
        self.script.answer(number)
    }
}
