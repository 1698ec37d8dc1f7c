//! What is asked of Memberspot: one pure function for each function of the WIT, in a file for each interface, that checks
//! the input and says what to send and how to read the answer. Nothing here sends anything.

pub mod access;
pub mod api;
pub mod chapters;
pub mod connection;
pub mod exams;
pub mod offers;
pub mod orders;
pub mod progress;
pub mod properties;
pub mod users;

use serde::Serialize;

use crate::{
    answer::{Answer, Malformed},
    check::Segment,
    collect::Note,
    doubt::Doubt,
    error::{Nature, Trouble, invalid_input},
    function::{Function, Repeat},
    route::Route,
    scopes::Scopes,
    wit::types::Error,
};

/// The largest body that is sent.
pub const MOST_BODY_BYTES: usize = 4 << 20;

/// An HTTP method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// POST
    Post,
    /// PUT
    Put,
    /// PATCH
    Patch,
    /// DELETE
    Delete,
}

impl Method {
    /// What making a request of this method does, where nothing more is known of it (RFC 9110, section 9.2.2).
    fn nature(self) -> Nature {
        match self {
            Self::Get => Nature::Read,
            Self::Put | Self::Delete => Nature::Idempotent,
            Self::Post | Self::Patch => Nature::Once,
        }
    }
}

/// A request, but for what the client adds: origin, key, and the headers that every request has.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The function that it is made for.
    pub function: &'static Function,
    /// The scopes that it needs.
    pub scopes: Scopes,
    /// What making it once or twice does.
    pub nature: Nature,
    /// The method.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// Headers beyond those of every request.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Option<String>,
    /// Whether Memberspot may work for long before it answers, so that only the call's deadline ends the wait.
    pub slow: bool,
    /// Whether Memberspot limits how often the route is used.
    pub limited: bool,
    /// The same request in another form, where it is not certain which one Memberspot takes.
    pub other: Option<Box<Other>>,
}

/// Another form of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Other {
    /// What is not certain.
    pub doubt: Doubt,
    /// The request in the less likely form.
    pub request: Request,
}

impl Request {
    /// A request to a route, for a function.
    fn new(route: &Route, function: &'static Function, segments: &[Segment]) -> Self {
        let nature = match (route.method.nature(), function.repeat) {
            (Nature::Once, Repeat::Safe) => Nature::Idempotent,
            (nature, _) => nature,
        };
        Self {
            function,
            scopes: function.scopes,
            nature,
            method: route.method,
            target: route.path(segments),
            headers: vec![],
            body: None,
            slow: false,
            limited: function.limit.is_some(),
            other: None,
        }
    }

    /// The same with a query; entries without a value are left out.
    fn query(mut self, entries: &[(&str, Option<&str>)]) -> Self {
        let mut separator = '?';
        for (name, value) in entries {
            if let Some(value) = value {
                self.target.push(separator);
                self.target.push_str(name);
                self.target.push('=');
                self.target.push_str(&crate::check::encode(value));
                separator = '&';
            }
        }
        self
    }

    /// The same with a JSON body.
    fn json(mut self, body: &impl Serialize) -> Result<Self, Error> {
        // Bodies are structs of texts, which always have a JSON form; if one had not, this is the place to say so.
        let body = serde_json::to_string(body).map_err(|_| invalid_input("request", "has no JSON form"))?;
        self.headers.push(("content-type".into(), "application/json".into()));
        self.with_body(body)
    }

    /// The same, with another form of it to send when Memberspot turns out to want that.
    fn or(self, doubt: Doubt, request: Self) -> Self {
        Self { other: Some(Box::new(Other { doubt, request })), ..self }
    }

    fn with_body(mut self, body: String) -> Result<Self, Error> {
        if body.len() > MOST_BODY_BYTES {
            let message = format!("the request has a body of {} bytes; at most {MOST_BODY_BYTES} are sent", body.len());
            return Err(Trouble::refused(crate::wit::types::FailureCode::TooLarge, message).into_error(self.nature, 0));
        }
        self.body = Some(body);
        Ok(self)
    }
}

/// Reads an answer of status 2xx.
type Decode<T> = Box<dyn FnOnce(&Answer) -> Result<T, Malformed>>;

/// A request together with the way to read its answer.
pub struct Call<T> {
    /// What to send.
    pub request: Request,
    /// How to read an answer of status 2xx.
    pub decode: Decode<T>,
    /// The result that a JSON 404 from the route itself stands for, where it is not an error.
    pub when_missing: Option<fn() -> T>,
}

impl<T> Call<T> {
    fn new(request: Request, decode: impl FnOnce(&Answer) -> Result<T, Malformed> + 'static) -> Self {
        Self { request, decode: Box::new(decode), when_missing: None }
    }

    /// The same call as a part of another function: it needs that one's scopes, and speaks of it.
    #[must_use]
    pub fn within(self, function: &'static Function) -> Self {
        Self { request: Request { function, scopes: function.scopes, ..self.request }, ..self }
    }

    /// The same call, of which `note` is told when it was answered, as far as the answer says that; it may refuse the answer.
    #[must_use]
    pub(crate) fn noted(self, note: Note) -> Self
    where
        T: 'static,
    {
        let decode = self.decode;
        let decode = Box::new(move |answer: &Answer| {
            note(answer.date())?;
            decode(answer)
        });
        Self { decode, ..self }
    }

    /// The same call with its result in another form. For calls to which nothing missing is a result.
    pub fn map<U>(self, form: impl FnOnce(T) -> U + 'static) -> Call<U>
    where
        T: 'static,
    {
        let decode = self.decode;
        Call::new(self.request, |answer| decode(answer).map(form))
    }
}
