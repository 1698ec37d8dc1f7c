//! Reading the input of a module from JSON, strictly: a caller learns which place does not fit, by JSON Pointer (RFC 6901),
//! and what is unknown is refused. The build script writes how each type of the WIT is read.

use std::fmt;

use crate::{
    error::{Nature, Trouble, listed},
    json::{Json, Object},
    wit::types::{Error, FailureCode},
};

/// A value of the WIT that can be read from JSON.
pub trait Decode: Sized {
    /// Reads a value.
    fn decode(json: Json<'_>, place: &Place<'_>) -> Result<Self, Error>;

    /// What stands for a field that is not there.
    fn absent(place: &Place<'_>) -> Result<Self, Error> {
        Err(refused(place, "is missing"))
    }
}

/// A place within the input.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    above: Option<&'a Place<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    All,
    Field(&'a str),
    Item(usize),
}

impl Place<'_> {
    /// The whole input.
    pub const ALL: Place<'static> = Place { above: None, step: Step::All };

    fn below<'a>(&'a self, step: Step<'a>) -> Place<'a> {
        Place { above: Some(self), step }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(above) = self.above {
            above.fmt(f)?;
        }
        match self.step {
            Step::All => Ok(()),
            Step::Field(name) => write!(f, "/{name}"),
            Step::Item(index) => write!(f, "/{index}"),
        }
    }
}

/// The error for a place that does not fit.
pub fn refused(place: &Place<'_>, problem: impl fmt::Display) -> Error {
    let place = if place.above.is_some() { place.to_string() } else { "input".to_owned() };
    Trouble::refused(FailureCode::InvalidInput, format!("{place}: {problem}")).into_error(Nature::Read, 0)
}

/// The fields of a record, in the order of the WIT.
pub struct Fields<'a> {
    object: Object<'a>,
    place: &'a Place<'a>,
    names: std::slice::Iter<'a, &'static str>,
}

impl<'a> Fields<'a> {
    /// Reads an object that has no other fields than these.
    pub fn of(json: Json<'a>, place: &'a Place<'a>, names: &'a [&'static str]) -> Result<Self, Error> {
        let object = json.object().ok_or_else(|| refused(place, "must be an object"))?;
        for (name, _) in object.members() {
            if !names.contains(&name) {
                return Err(unknown(place, name, names));
            }
        }
        Ok(Self { object, place, names: names.iter() })
    }

    /// The next field.
    pub fn take<T: Decode>(&mut self) -> Result<T, Error> {
        // The build script asks as often as it gave names.
        let name = self.names.next().copied().unwrap_or_default();
        let place = self.place.below(Step::Field(name));
        self.object.get(&[name]).map_or_else(|| T::absent(&place), |json| T::decode(json, &place))
    }
}

/// The case of a variant.
pub struct Case<'a> {
    /// Its name.
    pub tag: Json<'a>,
    /// Where the name stands.
    pub place: Place<'a>,
    payload: Option<Json<'a>>,
    above: &'a Place<'a>,
}

impl<'a> Case<'a> {
    /// Reads `{"tag": …, "val": …}`.
    pub fn of(json: Json<'a>, place: &'a Place<'a>) -> Result<Self, Error> {
        let fields = Fields::of(json, place, &["tag", "val"])?;
        let tag = place.below(Step::Field("tag"));
        let json = fields.object.get(&["tag"]).ok_or_else(|| refused(&tag, "is missing"))?;
        Ok(Self { tag: json, place: tag, payload: fields.object.get(&["val"]), above: place })
    }

    /// What the case carries.
    pub fn payload<T: Decode>(&self) -> Result<T, Error> {
        let place = self.above.below(Step::Field("val"));
        self.payload.map_or_else(|| T::absent(&place), |json| T::decode(json, &place))
    }
}

/// Which of these names a text is.
pub fn choice(json: Json<'_>, names: &[&str]) -> Option<usize> {
    let text = json.string()?;
    names.iter().position(|name| **name == *text)
}

/// The error for a text that is none of these names.
pub fn no_choice(place: &Place<'_>, names: &[&str]) -> Error {
    refused(place, format_args!("must be one of {}", listed(names.iter().copied())))
}

fn unknown(place: &Place<'_>, name: &str, names: &[&str]) -> Error {
    match nearest(name, names.iter().copied()) {
        Some(nearest) => refused(place, format_args!("has a field that is not known; did you mean {nearest}?")),
        None if names.is_empty() => refused(place, "has a field, but takes none"),
        None => refused(place, format_args!("has a field that is not known; there are {}", listed(names.iter().copied()))),
    }
}

/// The name that was probably meant: the one that most can be kept of, if that is more than half.
pub fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.bytes().filter(u8::is_ascii_alphanumeric).map(|byte| byte.to_ascii_lowercase()).collect();
    let wanted: Vec<u8> = plain(wanted);
    // Longer than any name, and too long to be compared with all.
    if wanted.len() > 64 {
        return None;
    }
    let kept = |name: &'a str| {
        let name_bytes: Vec<u8> = plain(name);
        let kept = longest_common(&wanted, &name_bytes);
        (kept * 2 > wanted.len().max(name_bytes.len())).then_some((kept, name))
    };
    names.filter_map(kept).max_by_key(|(kept, _)| *kept).map(|(_, name)| name)
}

/// The length of the longest sequence of bytes that both have in this order.
fn longest_common(one: &[u8], other: &[u8]) -> usize {
    let mut lengths = vec![0; other.len()];
    for byte in one {
        let mut diagonal = 0;
        let mut left = 0;
        for (length, candidate) in lengths.iter_mut().zip(other) {
            let above = *length;
            *length = if byte == candidate { diagonal + 1 } else { above.max(left) };
            (diagonal, left) = (above, *length);
        }
    }
    lengths.last().copied().unwrap_or_default()
}

impl Decode for String {
    fn decode(json: Json<'_>, place: &Place<'_>) -> Result<Self, Error> {
        json.string().ok_or_else(|| refused(place, "must be a text"))
    }
}

impl Decode for bool {
    fn decode(json: Json<'_>, place: &Place<'_>) -> Result<Self, Error> {
        json.raw().parse().map_err(|_| refused(place, "must be true or false"))
    }
}

impl Decode for u16 {
    fn decode(json: Json<'_>, place: &Place<'_>) -> Result<Self, Error> {
        json.raw().parse().map_err(|_| refused(place, "must be a whole number from 0 to 65535"))
    }
}

impl Decode for u32 {
    fn decode(json: Json<'_>, place: &Place<'_>) -> Result<Self, Error> {
        json.raw().parse().map_err(|_| refused(place, "must be a whole number from 0 to 4294967295"))
    }
}

impl Decode for i32 {
    fn decode(json: Json<'_>, place: &Place<'_>) -> Result<Self, Error> {
        json.raw().parse().map_err(|_| refused(place, "must be a whole number from -2147483648 to 2147483647"))
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(json: Json<'_>, place: &Place<'_>) -> Result<Self, Error> {
        if json.is_null() { Ok(None) } else { T::decode(json, place).map(Some) }
    }

    fn absent(_: &Place<'_>) -> Result<Self, Error> {
        Ok(None)
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(json: Json<'_>, place: &Place<'_>) -> Result<Self, Error> {
        let items = json.list().ok_or_else(|| refused(place, "must be a list"))?;
        items.into_iter().enumerate().map(|(index, item)| T::decode(item, &place.below(Step::Item(index)))).collect()
    }
}

include!(concat!(env!("OUT_DIR"), "/inputs.rs"));
