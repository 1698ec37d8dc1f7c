//! Validation of bodies and queries, with the complaints of class-validator's whitelisting pipe.
//!
//! A form takes its fields one after the other and collects what is wrong with them; only [`Form::finish`] tells. What a
//! taking method returns for a wrong field is a stand-in that nobody uses, because `finish` refuses the request.
//! `null` counts as a wrong value, not as an absent one: for `active` the difference is somebody's progress.

use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::clock::parse_iso;
use super::nest::Refusal;
use super::paths;

/// The fields of a JSON object, or the parameters of a query, that are not taken yet.
pub(super) struct Form {
    fields: Map<String, Value>,
    /// Where this form lies inside the body, `properties.0.` for example.
    place: String,
    complaints: Vec<String>,
}

impl Form {
    /// A body; anything but an object has no fields.
    pub(super) fn body(body: Value) -> Self {
        Self::inside(String::new(), body)
    }

    /// A raw query; each value is a string, or a list of strings when its name occurs more than once.
    pub(super) fn query(query: &str) -> Self {
        let mut fields = Map::new();
        for (name, value) in paths::pairs(query) {
            match fields.get_mut(&name) {
                None => drop(fields.insert(name, value.into())),
                Some(Value::Array(values)) => values.push(value.into()),
                Some(first) => *first = Value::Array(vec![first.take(), value.into()]),
            }
        }
        Self::inside(String::new(), Value::Object(fields))
    }

    fn inside(place: String, value: Value) -> Self {
        let fields = match value {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        Self { fields, place, complaints: Vec::new() }
    }

    /// A string that must be there and not be empty.
    pub(super) fn text(&mut self, name: &str) -> String {
        match self.fields.remove(name) {
            Some(Value::String(text)) if !text.is_empty() => text,
            Some(Value::String(_)) => self.complain(name, "should not be empty"),
            _ => self.complain(name, "must be a string"),
        }
    }

    pub(super) fn optional_text(&mut self, name: &str) -> Option<String> {
        match self.fields.remove(name)? {
            Value::String(text) => Some(text),
            _ => self.complain(name, "must be a string"),
        }
    }

    pub(super) fn email(&mut self, name: &str) -> String {
        match self.fields.remove(name) {
            Some(Value::String(email)) if is_email(&email) => email,
            _ => self.complain(name, "must be an email"),
        }
    }

    pub(super) fn optional_email(&mut self, name: &str) -> Option<String> {
        self.fields.contains_key(name).then(|| self.email(name))
    }

    pub(super) fn optional_boolean(&mut self, name: &str) -> Option<bool> {
        match self.fields.remove(name)? {
            Value::Bool(value) => Some(value),
            _ => self.complain(name, "must be a boolean value"),
        }
    }

    pub(super) fn optional_date(&mut self, name: &str) -> Option<OffsetDateTime> {
        let value = self.fields.remove(name)?;
        match value.as_str().and_then(parse_iso) {
            Some(date) => Some(date),
            None => self.complain(name, "must be a valid ISO 8601 date string"),
        }
    }

    /// Any scalar, which must be there.
    pub(super) fn scalar(&mut self, name: &str) -> Value {
        match self.fields.remove(name) {
            None => self.complain(name, "should not be empty"),
            Some(Value::Array(_) | Value::Object(_)) => self.complain(name, "must be a string, number, boolean or null"),
            Some(value) => value,
        }
    }

    /// A list of strings, which must be there. Whether they are addresses is not asked: unknown ones are ignored.
    pub(super) fn texts(&mut self, name: &str) -> Vec<String> {
        let Some(Value::Array(values)) = self.fields.remove(name) else {
            return self.complain(name, "must be an array");
        };
        let texts: Option<Vec<String>> = values
            .into_iter()
            .map(|value| match value {
                Value::String(text) => Some(text),
                _ => None,
            })
            .collect();
        texts.unwrap_or_else(|| {
            self.complaints.push(format!("each value in {}{name} must be a string", self.place));
            Vec::new()
        })
    }

    /// A list of objects, which must be there; `read` takes the fields of each.
    pub(super) fn forms<T>(&mut self, name: &str, read: impl Fn(&mut Self) -> T) -> Vec<T> {
        let Some(Value::Array(values)) = self.fields.remove(name) else {
            return self.complain(name, "must be an array");
        };
        let mut taken = Vec::with_capacity(values.len());
        for (nth, value) in values.into_iter().enumerate() {
            let mut form = Self::inside(format!("{}{name}.{nth}.", self.place), value);
            taken.push(read(&mut form));
            self.complaints.extend(form.all_complaints());
        }
        taken
    }

    /// A query parameter that is a whole number from 1 to `most`.
    pub(super) fn number_up_to(&mut self, name: &str, most: usize) -> Option<usize> {
        let value = self.fields.remove(name)?;
        match value.as_str().and_then(|text| text.parse::<i64>().ok()) {
            None => self.complain(name, "must be an integer number"),
            Some(number) => match usize::try_from(number) {
                Ok(number) if number > most => self.complain(name, &format!("must not be greater than {most}")),
                Ok(number) if number > 0 => Some(number),
                _ => self.complain(name, "must not be less than 1"),
            },
        }
    }

    /// A query parameter that is `true` or `false`.
    pub(super) fn query_boolean(&mut self, name: &str) -> Option<bool> {
        match self.fields.remove(name)?.as_str() {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => self.complain(name, "must be a boolean value"),
        }
    }

    /// A query parameter that is not empty; JavaScript takes an empty one for an absent one.
    pub(super) fn query_text(&mut self, name: &str) -> Option<String> {
        self.optional_text(name).filter(|text| !text.is_empty())
    }

    /// Refuses the request when a field was wrong, or when one is left that nobody asked for.
    pub(super) fn finish(self) -> Result<(), Refusal> {
        let complaints = self.all_complaints();
        if complaints.is_empty() { Ok(()) } else { Err(Refusal::invalid(complaints)) }
    }

    fn all_complaints(self) -> Vec<String> {
        let place = self.place;
        let unknown = self.fields.keys();
        unknown.map(|name| format!("{place}property {name} should not exist")).chain(self.complaints).collect()
    }

    fn complain<T: Default>(&mut self, name: &str, what: &str) -> T {
        self.complaints.push(format!("{}{name} {what}", self.place));
        T::default()
    }
}

/// Roughly what class-validator takes for an address: no display name, no quoting, a domain with a dot.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && !part.ends_with('.')
            && !part.contains("..")
            && !part.contains(|c: char| c.is_whitespace() || c.is_control() || "@<>()[],;:\\\"".contains(c))
    };
    plain(local) && local.len() <= 64 && plain(domain) && domain.contains('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_other_texts() {
        for good in ["a@b.de", "anna+yoga@example.com", "jörg@müller.example"] {
            assert!(is_email(good), "{good}");
        }
        for bad in ["", "a", "@b.de", "a@", "a@b", "a b@c.de", "a@@b.de", "a@b..de", "Anna <a@b.de>"] {
            assert!(!is_email(bad), "{bad}");
        }
    }

    #[test]
    fn a_repeated_parameter_becomes_a_list() {
        let mut form = Form::query("a=1&a=2&a=3&b=x");
        assert_eq!(form.fields["a"].as_array().map(Vec::len), Some(3));
        assert_eq!(form.optional_text("a"), None);
        assert_eq!(form.query_text("b").as_deref(), Some("x"));
        assert!(form.finish().is_err());
    }
}
