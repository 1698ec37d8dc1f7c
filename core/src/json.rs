//! Reading JSON that may drift: what is there is taken, what is not is absent, and the text stays as it was sent.
//!
//! Objects and lists are split into the texts of their members, one level at a time and only as deep as someone asks:
//! `serde_json` skips over a value without recursion, so nesting of any depth needs no stack.

use std::{borrow::Cow, str::FromStr};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// Entities have some dozen members, and maps of custom properties as many as the school defined.
const MOST_MEMBERS: usize = 10_000;

/// What JSON has between its values.
const WHITESPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// What was taken for a list of objects is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoObjects;

/// A JSON value, as the text that was sent.
#[derive(Clone, Copy, Debug)]
pub struct Json<'a>(&'a str);

impl<'a> Json<'a> {
    /// Checks that a text is JSON.
    pub fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok().map(Self::of)
    }

    /// Takes a text for JSON. Whether it is shows when it is read as an object or a list, which looks at all of it: to check
    /// it before would read it twice.
    pub fn presumed(text: &'a str) -> Self {
        Self(text.trim_matches(WHITESPACE))
    }

    fn of(raw: &'a RawValue) -> Self {
        Self(raw.get())
    }

    /// The value as something else; `None` when it does not have that form.
    fn read<T: Deserialize<'a>>(self) -> Option<T> {
        serde_json::from_str(self.raw()).ok()
    }

    /// The value's own text.
    pub fn raw(self) -> &'a str {
        self.0
    }

    /// The members of an object; none when there are too many to be an entity's.
    pub fn object(self) -> Option<Object<'a>> {
        let members = self.raw().starts_with('{').then(|| self.read()).flatten()?;
        Some(Object { members, raw: self.raw() })
    }

    /// Whether this is a list, if it is JSON.
    pub fn is_list(self) -> bool {
        self.raw().starts_with('[')
    }

    /// Reads the objects of a list, one after the other. Ends with the first item that is no object or cannot be read.
    ///
    /// # Errors
    /// This is no list, or that item.
    pub fn objects<T, E>(self, mut read: impl FnMut(Object<'a>) -> Result<T, E>) -> Result<Result<Vec<T>, E>, NoObjects> {
        let mut rest = self.raw().strip_prefix('[').ok_or(NoObjects)?;
        let mut items = Vec::new();
        if rest.trim_start_matches(WHITESPACE) == "]" {
            return Ok(Ok(items));
        }
        loop {
            // To split the list first would read each item twice.
            let mut values = serde_json::Deserializer::from_str(rest).into_iter();
            let Some(Ok(members)) = values.next() else { return Err(NoObjects) };
            let (raw, behind) = rest.split_at_checked(values.byte_offset()).ok_or(NoObjects)?;
            match read(Object { members, raw: raw.trim_start_matches(WHITESPACE) }) {
                Ok(item) => items.push(item),
                Err(error) => return Ok(Err(error)),
            }
            let behind = behind.trim_start_matches(WHITESPACE);
            rest = match behind.strip_prefix(',') {
                Some(rest) => rest,
                None if behind == "]" => return Ok(Ok(items)),
                None => return Err(NoObjects),
            };
        }
    }

    /// The items of a list.
    pub fn list(self) -> Option<Vec<Self>> {
        let items: Vec<&RawValue> = self.raw().starts_with('[').then(|| self.read()).flatten()?;
        Some(items.into_iter().map(Self::of).collect())
    }

    /// A text, and nothing else.
    pub fn string(self) -> Option<String> {
        let inner = self.raw().strip_prefix('"')?;
        match inner.strip_suffix('"') {
            // Without escapes, it is what stands there.
            Some(text) if text.bytes().all(|byte| byte != b'\\' && byte != b'"') => Some(text.to_owned()),
            _ => self.read(),
        }
    }

    /// A text; a number or a truth value counts as one, since ids are sometimes sent so.
    pub fn text(self) -> Option<String> {
        match self.raw().as_bytes().first()? {
            b'"' => self.string(),
            b'-' | b'0'..=b'9' | b't' | b'f' => Some(self.raw().to_owned()),
            _ => None,
        }
    }

    /// A whole number; a text that holds one counts.
    pub fn whole<T: FromStr>(self) -> Option<T> {
        self.raw().trim_matches('"').parse().ok()
    }

    /// A truth value; a text that holds one counts.
    pub fn flag(self) -> Option<bool> {
        self.raw().trim_matches('"').parse().ok()
    }

    /// Whether the value is `null`.
    pub fn is_null(self) -> bool {
        self.raw() == "null"
    }
}

/// A JSON object: its members, in order, and its text.
#[derive(Debug)]
pub struct Object<'a> {
    members: Members<'a>,
    raw: &'a str,
}

#[derive(Debug)]
struct Members<'a>(Vec<(Key<'a>, &'a RawValue)>);

#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Object<'a> {
    /// The object's own text.
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// The value of the first of these names that is there and not `null`. Where the object has a name twice, the last one
    /// counts, as in JavaScript.
    pub fn get(&self, names: &[&str]) -> Option<Json<'a>> {
        let last = |name: &&str| self.members.0.iter().rev().find(|(key, _)| key.0 == *name).map(|(_, value)| Json::of(value));
        names.iter().filter_map(last).find(|value| !value.is_null())
    }

    /// The members, in order.
    pub fn members(&self) -> impl Iterator<Item = (&str, Json<'a>)> {
        self.members.0.iter().map(|(key, value)| (key.0.as_ref(), Json::of(value)))
    }

    /// A text that is not empty.
    pub fn text(&self, names: &[&str]) -> Option<String> {
        self.get(names)?.text().filter(|text| !text.is_empty())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(8);
                while let Some(member) = map.next_entry()? {
                    if members.len() == MOST_MEMBERS {
                        return Err(Error::custom("too many members"));
                    }
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn object(text: &str) -> Object<'_> {
        Json::parse(text).and_then(Json::object).unwrap()
    }

    #[test]
    fn the_first_name_that_has_a_value_counts() {
        let object = object(r#"{"next_page": "b", "nextPage": null, "empty": "", "\u0061": 1, "a": 2}"#);
        assert_eq!(object.text(&["nextPage", "next_page"]).as_deref(), Some("b"));
        assert_eq!(object.text(&["empty"]), None);
        assert_eq!(object.text(&["missing"]), None);
        assert_eq!(object.text(&["a"]).as_deref(), Some("2"), "the last of two");
    }

    #[test]
    fn scalars_are_read_in_any_spelling() {
        let value = |text| Json::parse(text).unwrap();
        assert_eq!(value(r#""\u00e4\"""#).text().as_deref(), Some("ä\""));
        assert_eq!(value("12").text().as_deref(), Some("12"));
        assert_eq!(value("123456789012345678901234567890").text().as_deref(), Some("123456789012345678901234567890"));
        assert_eq!(value("[1]").text(), None);
        assert_eq!(value("null").text(), None);
        let whole = |text| value(text).whole::<u32>();
        assert_eq!((whole("3"), whole("\"3\""), whole("4294967295")), (Some(3), Some(3), Some(u32::MAX)));
        assert_eq!((whole("-1"), whole("1.5"), whole("1e3"), whole("4294967296"), whole("{}")), (None, None, None, None, None));
        assert_eq!(value("-7").whole::<i32>(), Some(-7));
        assert_eq!((value("true").flag(), value("\"false\"").flag(), value("1").flag()), (Some(true), Some(false), None));
    }

    #[test]
    fn the_objects_of_a_list_are_read_where_they_stand() {
        let raws = |text| {
            let read =
                |object: Object<'_>| if object.raw().contains("stop") { Err("stop") } else { Ok(object.raw().to_owned()) };
            Json::presumed(text).objects(read)
        };
        let texts = |texts: &[&str]| Ok(Ok(texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()));
        assert_eq!(raws("[]"), texts(&[]));
        assert_eq!(raws("\n[ ] "), texts(&[]));
        assert_eq!(raws(r#" [ {"a": "],["} ,{},{"b":{"c":[1]}}] "#), texts(&[r#"{"a": "],["}"#, "{}", r#"{"b":{"c":[1]}}"#]));
        assert_eq!(raws(r#"[{}, {"stop": 1}, 3"#), Ok(Err("stop")), "what is behind is not looked at");
        for text in
            ["", "{}", "[", "[{}", "[{},]", "[{}{}]", "[{}]]", "[{}] x", "[1]", "[{},null]", "[[]]", r#"[{"a":}]"#, "[,{}]"]
        {
            assert_eq!(raws(text), Err(NoObjects), "{text}");
        }
    }

    #[test]
    fn nesting_of_any_depth_needs_no_stack() {
        let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        let run = std::thread::Builder::new().stack_size(64 * 1024);
        let thread = run.spawn(move || {
            for text in [deep("[", "]"), deep("{\"a\":", "}")] {
                let json = Json::parse(&text).unwrap();
                assert!(json.list().is_some() || json.object().is_some());
            }
        });
        assert!(thread.unwrap().join().is_ok());
    }

    proptest! {
        #[test]
        fn objects_are_those_that_a_list_has(text in "[\\[\\]{},:\"a1 ]{0,12}") {
            let listed = Json::parse(&text).and_then(Json::list);
            let listed = listed.and_then(|items| items.into_iter().map(|item| Some(item.object()?.raw())).collect::<Option<Vec<_>>>());
            let read = Json::presumed(&text).objects(|object| Ok::<_, ()>(object.raw()));
            prop_assert_eq!(read.ok().and_then(Result::ok), listed);
        }

        #[test]
        fn no_text_makes_reading_panic(text in any::<String>()) {
            if let Some(json) = Json::parse(&text) {
                let _ = (json.object().is_some(), json.list(), json.text(), json.whole::<u32>(), json.flag());
            }
        }
    }
}
