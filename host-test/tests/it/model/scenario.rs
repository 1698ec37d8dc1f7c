//! What is played: operations, how the component is configured for them, and what goes wrong meanwhile.
//!
//! There are few members, offers and orders, so that operations meet.

use std::{fmt, time::Duration};

use memberspot_host::simulator::{Fault, HeaderValue, StatusCode};
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Value, json};

/// The member whom the school does not let anybody delete.
pub const OWNER: &str = "owner@example.com";

/// Two of them are written in more than one way, one is new to the school, one is no address.
const ADDRESSES: [&str; 9] = [
    "anna@example.com",
    "ANNA@example.com",
    "anna@example.com",
    "ben@example.com",
    "Ben@Example.Com",
    "zoe@example.com",
    "Zoe@example.com",
    OWNER,
    "nobody",
];
const OFFERS: [&str; 8] = [
    "offer-breath",
    "offer-breath",
    "offer-breath",
    "offer-yoga-basic",
    "offer-yoga-basic",
    "offer-yoga-pro",
    "offer-that-is-none",
    "",
];
pub const ORDERS: [&str; 7] = ["order-1001", "order-1001", "order-1002", "order-a", "order-a", "order-of-nobody", ""];
const MOMENTS: [&str; 4] = ["2020-01-01T00:00:00+01:00", "2030-01-31", "2040-01-01T00:00:00Z", "soon"];
const CHAPTERS: [(&str, &str); 4] = [
    ("course-breathing", "chapter-breathing-1"),
    ("course-inversions", "chapter-inversions-2"),
    ("course-breathing", "chapter-inversions-2"),
    ("course-that-is-none", "chapter-breathing-1"),
];

/// An operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    Grant { email: Text, offer: Text, order: Option<Text>, name: Option<Text> },
    OnOffer(Change, Text, Text),
    Expire { email: Text, offer: Text, until: Option<Text> },
    OnOrder(Change, Option<Text>, Text),
    Set(Text, Vec<(Property, Text)>),
    Chapter(Text, Text, Text),
    DeleteUser(Text),
}

type Text = &'static str;

/// What is done to access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Revoke,
    Restore,
    Delete,
}

/// Which property is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property {
    Id(Text),
    Name(Text),
}

/// How the component is configured.
#[derive(Clone, Debug)]
pub struct Setup {
    pub concurrency: usize,
    pub max_attempts: u32,
    pub deadline: Duration,
    pub stop_on_error: bool,
}

/// What is unlikely about the server, and lasts.
#[derive(Clone, Copy, Debug)]
pub struct Oddities {
    /// It wants a property's id under its other name.
    pub property_id: bool,
    /// It wants no body with `DELETE`.
    pub no_body_of_delete: bool,
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub struct Strike {
    /// How many requests come before.
    pub after: u32,
    pub mishap: Mishap,
}

/// What goes wrong with one request.
#[derive(Clone, Debug)]
pub enum Mishap {
    /// This instead of an answer, or in it; the request takes effect all the same.
    WithEffect(Play),
    /// This instead of an answer; the request has no effect.
    WithoutEffect(Play),
    /// The host name has no address.
    Unresolved,
    /// Nobody listens.
    Refused,
    /// Nobody answers the connect.
    Silent,
    /// The connection is reset at once.
    ResetConnection,
}

/// What is seen of it.
#[derive(Clone, Debug)]
pub enum Play {
    Status(u16),
    /// A refusal that says how many seconds to wait.
    Busy(u16, u16),
    /// A refusal without a body.
    Mute(u16),
    /// A web page, labelled as success.
    WebPage,
    Elsewhere,
    Delay(u64),
    Hang,
    /// The body stands still, for so many seconds.
    Stall(Option<u64>),
    Trickle(u64),
    ResetBeforeHead,
    ResetInHead,
    ResetInBody(usize),
    CloseInBody(usize),
    CloseBetweenChunks(usize),
    CloseUnread,
    BusyUnread,
}

/// One call.
#[derive(Clone, Debug)]
pub struct Round {
    pub setup: Setup,
    pub strikes: Vec<Strike>,
}

/// Operations that are passed in one or more calls.
#[derive(Clone)]
pub struct Scenario {
    pub operations: Vec<Op>,
    pub oddities: Oddities,
    pub rounds: Vec<Round>,
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}", self.oddities)?;
        for (place, operation) in self.operations.iter().enumerate() {
            writeln!(f, "  {place}: {operation:?}")?;
        }
        for Round { setup, strikes } in &self.rounds {
            writeln!(f, "{setup:?}")?;
            for strike in strikes {
                writeln!(f, "  {strike:?}")?;
            }
        }
        Ok(())
    }
}

/// One call in which anything goes wrong.
pub fn any_scenario() -> impl Strategy<Value = Scenario> {
    scenario(1..=1, prop_oneof![2 => passing().boxed(), 1 => lasting().boxed()])
}

/// Calls in which nothing goes wrong that would fail an operation for good.
pub fn passing_scenario() -> impl Strategy<Value = Scenario> {
    scenario(1..=3, passing()).prop_map(|mut scenario| {
        // A refusal that asks for another name of the id, and breaks off before it, is a refusal and no more.
        let mut strikes = scenario.rounds.iter().flat_map(|round| &round.strikes);
        scenario.oddities.property_id &= !strikes.any(|strike| strike.mishap.spoils_body());
        scenario
    })
}

fn scenario(
    rounds: std::ops::RangeInclusive<usize>,
    mishap: impl Strategy<Value = Mishap> + Clone,
) -> impl Strategy<Value = Scenario> {
    let strike = (0..16_u32, mishap).prop_map(|(after, mishap)| Strike { after, mishap });
    let round = (setup(), vec(strike, 0..6)).prop_map(|(setup, strikes)| Round { setup, strikes });
    (operations(), oddities(), vec(round, rounds)).prop_map(|(operations, oddities, rounds)| Scenario {
        operations,
        oddities,
        rounds,
    })
}

fn oddities() -> impl Strategy<Value = Oddities> {
    let seldom = || proptest::bool::weighted(0.2);
    (seldom(), seldom()).prop_map(|(property_id, no_body_of_delete)| Oddities { property_id, no_body_of_delete })
}

fn setup() -> impl Strategy<Value = Setup> {
    let deadline = prop_oneof![3 => Just(60_000_u64), 1 => 1..60_000_u64];
    (1..=8_usize, 1..=4_u32, deadline, proptest::bool::weighted(0.2)).prop_map(
        |(concurrency, max_attempts, deadline, stop_on_error)| Setup {
            concurrency,
            max_attempts,
            deadline: Duration::from_millis(deadline),
            stop_on_error,
        },
    )
}

/// Some of them several times, next to each other but for what is about other members.
fn operations() -> impl Strategy<Value = Vec<Op>> {
    let repeated = (operation(), prop_oneof![5 => Just(1_usize), 1 => Just(2)]);
    vec(repeated, 1..14).prop_map(|operations| operations.into_iter().flat_map(|(op, times)| vec![op; times]).collect())
}

fn operation() -> impl Strategy<Value = Op> {
    let (email, offer, order) = (|| select(&ADDRESSES[..]), || select(&OFFERS[..]), || select(&ORDERS[..]));
    let change = || select(&[Change::Revoke, Change::Restore, Change::Delete][..]);
    let name = || option::weighted(0.2, select(&["Zoe", "Zoë"][..]));
    prop_oneof![
        5 => (email(), offer(), option::of(order()), name())
            .prop_map(|(email, offer, order, name)| Op::Grant { email, offer, order, name }),
        5 => (change(), email(), offer()).prop_map(|(change, email, offer)| Op::OnOffer(change, email, offer)),
        2 => (email(), offer(), option::of(select(&MOMENTS[..])))
            .prop_map(|(email, offer, until)| Op::Expire { email, offer, until }),
        3 => (change(), email(), order()).prop_map(|(change, email, order)| Op::OnOrder(change, Some(email), order)),
        1 => order().prop_map(|order| Op::OnOrder(Change::Delete, None, order)),
        2 => (email(), vec((property(), select(&["", "1", "2"][..])), 0..3)).prop_map(|(email, values)| Op::Set(email, values)),
        1 => (email(), select(&CHAPTERS[..])).prop_map(|(email, (course, chapter))| Op::Chapter(email, course, chapter)),
        4 => email().prop_map(Op::DeleteUser),
    ]
}

fn property() -> impl Strategy<Value = Property> {
    use Property::{Id, Name};
    select(&[Id("prop-level"), Id("prop-age"), Id("prop-that-is-none"), Name("Level"), Name("Age"), Name("Size")][..])
}

/// What may pass.
fn passing() -> impl Strategy<Value = Mishap> + Clone {
    let fault = select(&[500_u16, 502, 504, 408][..]).prop_map(Play::Status);
    let busy =
        (select(&[429_u16, 503][..]), select(&[0_u16, 1, 7, 600][..])).prop_map(|(status, wait)| Play::Busy(status, wait));
    let either = prop_oneof![fault, Just(Play::Hang), Just(Play::ResetBeforeHead),];
    let without = prop_oneof![
        4 => busy,
        1 => Just(Play::Status(429)),
        1 => Just(Play::CloseUnread),
        1 => Just(Play::BusyUnread),
    ];
    // These spoil the real answer, so there must be one.
    let with = prop_oneof![
        select(&[1_u64, 29, 31, 90][..]).prop_map(Play::Delay),
        option::of(select(&[14_u64, 16][..])).prop_map(Play::Stall),
        select(&[1_u64, 14, 16][..]).prop_map(Play::Trickle),
        Just(Play::ResetInHead),
        select(&[0_usize, 9][..]).prop_map(Play::ResetInBody),
        select(&[0_usize, 9][..]).prop_map(Play::CloseInBody),
        select(&[0_usize, 9][..]).prop_map(Play::CloseBetweenChunks),
    ];
    prop_oneof![
        3 => either.clone().prop_map(Mishap::WithEffect),
        3 => either.prop_map(Mishap::WithoutEffect),
        3 => without.prop_map(Mishap::WithoutEffect),
        4 => with.prop_map(Mishap::WithEffect),
        1 => Just(Mishap::Unresolved),
        1 => Just(Mishap::Refused),
        1 => Just(Mishap::Silent),
        1 => Just(Mishap::ResetConnection),
    ]
}

/// What fails an operation for good, or a look-up.
fn lasting() -> impl Strategy<Value = Mishap> + Clone {
    let strange = prop_oneof![Just(Play::WebPage), Just(Play::Elsewhere)];
    let refused = prop_oneof![
        4 => select(&[400_u16, 401, 403, 404, 405, 409, 413, 422][..]).prop_map(Play::Status),
        1 => select(&[400_u16, 405][..]).prop_map(Play::Mute),
    ];
    prop_oneof![
        1 => strange.clone().prop_map(Mishap::WithEffect),
        1 => strange.prop_map(Mishap::WithoutEffect),
        3 => refused.prop_map(Mishap::WithoutEffect),
    ]
}

impl Play {
    pub fn fault(&self) -> Fault {
        let status = |status: u16| StatusCode::from_u16(status).expect("a status");
        let seconds = Duration::from_secs;
        match *self {
            Self::Status(code) => Fault::status(status(code)),
            Self::Busy(code, wait) => Fault::retry_after(status(code), HeaderValue::from(wait)),
            Self::Mute(code) => Fault::canned(code, &[], ""),
            Self::WebPage => Fault::html_instead_of_json(),
            Self::Elsewhere => Fault::redirect(StatusCode::FOUND, "https://elsewhere.invalid/"),
            Self::Delay(late) => Fault::Delay(seconds(late)),
            Self::Hang => Fault::HangBeforeHeaders,
            Self::Stall(pause) => Fault::StallBody { after: 3, pause: pause.map(seconds) },
            Self::Trickle(every) => Fault::Trickle { bytes: 100, every: seconds(every) },
            Self::ResetBeforeHead => Fault::ResetBeforeHeaders,
            Self::ResetInHead => Fault::ResetInHeaders { after: 20 },
            Self::ResetInBody(after) => Fault::ResetInBody { after },
            Self::CloseInBody(after) => Fault::TruncateBody { after },
            Self::CloseBetweenChunks(after) => Fault::TruncateChunks { after },
            Self::CloseUnread => Fault::DropUnread,
            Self::BusyUnread => Fault::EarlyAnswer(StatusCode::SERVICE_UNAVAILABLE),
        }
    }
}

impl Mishap {
    /// Whether the body of the answer may not arrive as a whole.
    fn spoils_body(&self) -> bool {
        use Play::{CloseBetweenChunks, CloseInBody, ResetInBody, Stall, Trickle};
        let Self::WithEffect(play) = self else { return false };
        matches!(play, CloseBetweenChunks(_) | CloseInBody(_) | ResetInBody(_) | Stall(_) | Trickle(_))
    }

    /// Whether the simulator reads the request, so that its journal says what it was.
    pub fn is_read(&self) -> bool {
        match self {
            Self::WithEffect(play) | Self::WithoutEffect(play) => !matches!(play, Play::CloseUnread | Play::BusyUnread),
            Self::Unresolved | Self::Refused | Self::Silent | Self::ResetConnection => false,
        }
    }
}

impl Property {
    /// Its id, as far as the school has it under that name.
    pub fn id(self) -> Option<Text> {
        match self {
            Self::Id(id) => Some(id),
            Self::Name("Level") => Some("prop-level"),
            Self::Name("Age") => Some("prop-age"),
            Self::Name(_) => None,
        }
    }
}

impl Op {
    /// The address that it names.
    pub fn email(&self) -> Option<Text> {
        match self {
            Self::OnOrder(_, email, _) => *email,
            Self::Grant { email, .. }
            | Self::OnOffer(_, email, _)
            | Self::Expire { email, .. }
            | Self::Set(email, _)
            | Self::Chapter(email, ..)
            | Self::DeleteUser(email) => Some(email),
        }
    }

    /// The address, as whoever minds no case writes it.
    pub fn key(&self) -> Option<String> {
        self.email().map(str::to_lowercase)
    }

    /// Whether it names properties that have to be looked up before anything else.
    pub fn needs_look_up(&self) -> bool {
        matches!(self, Self::Set(email, values) if is_address(email) && values.iter().any(|(property, _)| matches!(property, Property::Name(_))))
    }

    /// Whether it can be sent at all.
    pub fn is_acceptable(&self) -> bool {
        self.email().is_none_or(is_address)
            && match self {
                Self::Grant { offer, order, .. } => !offer.is_empty() && order.is_none_or(|order| !order.is_empty()),
                Self::OnOffer(_, _, offer) => !offer.is_empty(),
                Self::Expire { offer, until, .. } => !offer.is_empty() && *until != Some("soon"),
                Self::OnOrder(_, _, order) => !order.is_empty(),
                Self::Set(_, values) => {
                    let ids: Vec<_> = values.iter().map(|(property, _)| property.id()).collect();
                    !ids.is_empty() && ids.iter().enumerate().all(|(nth, id)| id.is_some() && !ids[..nth].contains(id))
                }
                Self::Chapter(..) | Self::DeleteUser(_) => true,
            }
    }

    /// The request that it is, if it is one of its own: the path, and the body in each form that is thinkable.
    pub fn request(&self) -> Option<(Text, Vec<Value>)> {
        let one = |path, body| Some((path, vec![body]));
        let state = |change: Change, mut body: Value| {
            match change {
                Change::Revoke => body["active"] = false.into(),
                Change::Restore => body["active"] = true.into(),
                Change::Delete => {}
            }
            body
        };
        match self {
            Self::Grant { email, offer, order, name } => {
                let mut body = json!({"email": email, "grantOffer": offer});
                for (field, value) in [("orderId", order), ("firstname", name)] {
                    if let Some(value) = value {
                        body[field] = (*value).into();
                    }
                }
                one("/v1/users/grant-user-offer-by-mail", body)
            }
            Self::OnOffer(change, email, offer) => {
                one("/v1/users/set-offer-state", state(*change, json!({"email": email, "offerId": offer})))
            }
            Self::Expire { email, offer, until } => {
                let mut body = json!({"email": email, "offerId": offer});
                if let Some(until) = until {
                    body["expiresAt"] = sent_moment(until).into();
                }
                one("/v1/users/set-offer-expires", body)
            }
            Self::OnOrder(change, email, order) => {
                let mut body = json!({"orderId": order});
                if let Some(email) = email {
                    body["email"] = (*email).into();
                }
                one("/v1/users/set-order-state", state(*change, body))
            }
            Self::Set(email, values) => {
                let body = |key: &str| {
                    let values = values.iter().map(|(property, value)| json!({key: property.id(), "value": value}));
                    json!({"email": email, "properties": values.collect::<Vec<_>>()})
                };
                Some(("/v1/users/set-custom-user-properties", vec![body("id"), body("propertyId")]))
            }
            Self::Chapter(email, course, chapter) => {
                let body = json!({"email": email, "courseId": course, "chapterId": chapter});
                one("/v1/chapters/chapter-access/enable", body)
            }
            Self::DeleteUser(_) => None,
        }
    }

    /// What the component is passed.
    pub fn json(&self) -> Value {
        let operation = |tag: &str, val: Value| json!({"tag": tag, "val": val});
        match self {
            Self::Grant { email, offer, order, name } => {
                operation("grantAccess", json!({"email": email, "offerId": offer, "orderId": order, "firstName": name}))
            }
            Self::OnOffer(change, email, offer) => {
                let tag = match change {
                    Change::Revoke => "revokeAccess",
                    Change::Restore => "restoreAccess",
                    Change::Delete => "deleteAccess",
                };
                operation(tag, json!({"email": email, "offerId": offer}))
            }
            Self::Expire { email, offer, until } => {
                operation("setAccessExpiration", json!({"email": email, "offerId": offer, "expiresAt": until}))
            }
            Self::OnOrder(change, email, order) => {
                let tag = match change {
                    Change::Revoke => "revokeOrderAccess",
                    Change::Restore => "restoreOrderAccess",
                    Change::Delete => "deleteOrderAccess",
                };
                operation(tag, json!({"email": email, "orderId": order}))
            }
            Self::Set(email, values) => {
                let values = values.iter().map(|(property, value)| {
                    let (tag, val) = match property {
                        Property::Id(id) => ("id", id),
                        Property::Name(name) => ("name", name),
                    };
                    json!({"property": {"tag": tag, "val": val}, "value": value})
                });
                operation("setProperties", json!({"email": email, "values": values.collect::<Vec<_>>()}))
            }
            Self::Chapter(email, course, chapter) => {
                operation("enableChapterAccess", json!({"email": email, "courseId": course, "chapterId": chapter}))
            }
            Self::DeleteUser(email) => operation("deleteUser", json!(email)),
        }
    }
}

fn is_address(text: &str) -> bool {
    text.contains('@')
}

/// How a moment is sent; a day is meant to its end.
fn sent_moment(text: &str) -> &str {
    match text {
        "2020-01-01T00:00:00+01:00" => "2019-12-31T23:00:00.000Z",
        "2030-01-31" => "2030-01-31T23:59:59.999Z",
        "2040-01-01T00:00:00Z" => "2040-01-01T00:00:00.000Z",
        other => other,
    }
}
