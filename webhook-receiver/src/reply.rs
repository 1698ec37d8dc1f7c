//! What the receiver answers. Nothing in it comes from a request, from the target or from a secret.

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// The handshake, or an event that the target accepted.
    Done,
    /// The body is no event.
    NoEvent,
    /// Not a request of Memberspot's, whatever else may be wrong with it.
    NotFound,
    /// The body did not come in time.
    TooSlow,
    /// The body is longer than any event.
    TooLong,
    /// The operator has to set something.
    Misconfigured(String),
    /// The target has not accepted the event; whoever sent it may send it again.
    NotForwarded,
}

impl Reply {
    /// The status.
    pub fn status(&self) -> u16 {
        match self {
            Self::Done => 200,
            Self::NoEvent => 400,
            Self::NotFound => 404,
            Self::TooSlow => 408,
            Self::TooLong => 413,
            Self::Misconfigured(_) => 500,
            Self::NotForwarded => 503,
        }
    }

    /// The body, as plain text.
    pub fn text(&self) -> &str {
        match self {
            Self::Done | Self::NotFound => "",
            Self::NoEvent => "the body is no event\n",
            Self::TooSlow => "the body did not arrive in time\n",
            Self::TooLong => "the body is longer than 256 KiB\n",
            Self::Misconfigured(problem) => problem,
            Self::NotForwarded => "the event was not accepted where it goes; send it again\n",
        }
    }
}
