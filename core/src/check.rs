//! Checks of what a caller passes in, before anything is sent. Each names the field and says what to do.
//!
//! No check quotes the value: an address is personal data, and errors end up in logs.

use email_address::{EmailAddress, Options};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

use crate::{error::invalid_input, wit::types::Error};

/// Ids are opaque. Memberspot's are short; this is far above them and far below what a URL can hold.
const LONGEST_ID: usize = 512;
/// Page tokens are opaque too, and may be longer.
const LONGEST_PAGE_TOKEN: usize = 4096;
/// The largest list of addresses for a deletion: Memberspot deletes one member after the other while the caller waits.
pub const MOST_EMAILS: usize = 100;
/// The largest list of property values in one call.
const MOST_VALUES: usize = 100;

/// Everything but RFC 3986's unreserved characters is percent-encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Text for one segment of a path or one value of a query, percent-encoded.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// One segment of a path: percent-encoded, never empty, never `.` or `..`, and without a slash in any spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment(String);

impl Segment {
    fn new(field: &str, text: &str) -> Result<Self, Error> {
        if text.contains(['/', '\\']) {
            return Err(invalid_input(field, "must not contain a slash or a backslash"));
        }
        if text == "." || text == ".." {
            return Err(invalid_input(field, "must not be a dot segment; pass the id as Memberspot shows it"));
        }
        Ok(Self(encode(text)))
    }

    /// The segment as it stands in the path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An e-mail address.
pub fn email<'a>(field: &str, text: &'a str) -> Result<&'a str, Error> {
    if text.is_empty() {
        return Err(invalid_input(field, "is empty; pass the member's e-mail address"));
    }
    if text.trim() != text {
        return Err(invalid_input(field, "begins or ends with white space; remove it"));
    }
    let options = Options::default().with_required_tld().without_domain_literal().without_display_text();
    // The parser allows what RFC 5321 does; control characters in a quoted local part are allowed by no mail server.
    match EmailAddress::parse_with_options(text, options) {
        Ok(_) if !text.chars().any(char::is_control) => Ok(text),
        _ => Err(invalid_input(field, "is not an e-mail address; pass one such as name@example.com")),
    }
}

/// An e-mail address that becomes part of a path.
pub fn email_segment(field: &str, text: &str) -> Result<Segment, Error> {
    Segment::new(field, email(field, text)?)
}

/// A list of e-mail addresses for a deletion: 1 to 100.
pub fn emails<'a>(field: &str, list: &'a [String]) -> Result<Vec<&'a str>, Error> {
    count(field, "address", list.len(), MOST_EMAILS)?;
    list.iter().enumerate().map(|(index, text)| email(&format!("{field}[{index}]"), text)).collect()
}

/// The number of values to set: 1 to 100.
pub fn value_count(field: &str, number: usize) -> Result<(), Error> {
    count(field, "value", number, MOST_VALUES)
}

fn count(field: &str, what: &str, number: usize, most: usize) -> Result<(), Error> {
    match number {
        0 => Err(invalid_input(field, format_args!("is empty; pass at least one {what}"))),
        _ if number > most => {
            Err(invalid_input(field, format_args!("has {number} entries; at most {most} are allowed, so split the list")))
        }
        _ => Ok(()),
    }
}

/// An id: opaque, but there.
pub fn id<'a>(field: &str, text: &'a str) -> Result<&'a str, Error> {
    opaque(field, text, LONGEST_ID)
}

/// An id that becomes part of a path.
pub fn id_segment(field: &str, text: &str) -> Result<Segment, Error> {
    Segment::new(field, id(field, text)?)
}

/// An id that may be left out. An empty one is refused: left out and empty mean different things, and for a deletion the
/// difference is what gets deleted.
pub fn optional_id<'a>(field: &str, text: Option<&'a str>) -> Result<Option<&'a str>, Error> {
    text.map(|text| id(field, text)).transpose()
}

/// A page token, as an earlier page gave it.
pub fn page_token<'a>(field: &str, text: Option<&'a str>) -> Result<Option<&'a str>, Error> {
    text.map(|text| opaque(field, text, LONGEST_PAGE_TOKEN)).transpose()
}

/// The length of a page: 1 or more.
pub fn page_length(field: &str, length: Option<u32>) -> Result<Option<u32>, Error> {
    if length == Some(0) {
        return Err(invalid_input(field, "is 0; pass 1 or more, or leave it out"));
    }
    Ok(length)
}

/// A name that may be left out; forms send an empty text for that.
pub fn optional_name(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.trim().is_empty())
}

fn opaque<'a>(field: &str, text: &'a str, longest: usize) -> Result<&'a str, Error> {
    if text.trim().is_empty() {
        return Err(invalid_input(field, "is empty; pass a value, or leave the field out where it is optional"));
    }
    if text.len() > longest {
        return Err(invalid_input(field, format_args!("is {} bytes long; at most {longest} are allowed", text.len())));
    }
    if text.chars().any(char::is_control) {
        return Err(invalid_input(field, "contains a line break or another control character; remove it"));
    }
    Ok(text)
}

/// A moment: an RFC 3339 instant, or a date that means its last millisecond in UTC. Comes back as an instant in UTC with
/// milliseconds, the form in which JavaScript servers write theirs.
pub fn instant(field: &str, text: &str) -> Result<String, Error> {
    let moment = moment(field, text)?;
    let (year, month, day) = moment.to_calendar_date();
    let (hour, minute, second, millisecond) = moment.to_hms_milli();
    let month = u8::from(month);
    Ok(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z"))
}

/// The moment of an RFC 3339 instant, or the end of a day in UTC; in UTC.
pub fn moment(field: &str, text: &str) -> Result<OffsetDateTime, Error> {
    let refused =
        || invalid_input(field, "is neither an RFC 3339 instant such as 2027-01-31T18:00:00Z nor a date such as 2027-01-31");
    let is_date = text.len() == "2027-01-31".len();
    let end_of_day = is_date.then(|| format!("{text}T23:59:59.999Z"));
    let moment = OffsetDateTime::parse(end_of_day.as_deref().unwrap_or(text), &Rfc3339).map_err(|_| refused())?;
    let moment = moment.checked_to_offset(UtcOffset::UTC);
    moment.filter(|moment| (0..=9999).contains(&moment.year())).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wit::types::FailureCode;

    fn names_the_field<T>(result: Result<T, Error>) -> bool {
        let Err(Error::Permanent(failure)) = result else { return false };
        failure.code == FailureCode::InvalidInput && failure.attempts == 0 && failure.message.starts_with("field: ")
    }

    #[test]
    fn addresses() {
        for good in
            ["a@b.de", "Anna.Müller+kurs@example.co.uk", "o'hara@example.com", "a@xn--bcher-kva.example", "a@bücher.example"]
        {
            assert_eq!(email("field", good), Ok(good));
        }
        let long = format!("{}@example.com", "a".repeat(250));
        let bad = [
            "",
            " ",
            "a",
            "a@",
            "@b.de",
            "a@b",
            "a b@c.de",
            " a@b.de",
            "a@b.de\n",
            "a@b.de, c@d.de",
            "A <a@b.de>",
            "a@b@c.de",
            "a@[127.0.0.1]",
            "a@b.de\0",
            "\"a\r\nb\"@c.de",
            &long,
        ];
        for bad in bad {
            assert!(names_the_field(email("field", bad)), "{bad:?}");
        }
    }

    #[test]
    fn lists_of_addresses() {
        let many = |number| vec!["a@b.de".to_owned(); number];
        assert!(emails("field", &many(100)).is_ok());
        assert!(names_the_field(emails("field", &many(101))));
        assert!(names_the_field(emails("field", &[])));
        let Err(Error::Permanent(failure)) = emails("emails", &["a@b.de".into(), "nobody".into()]) else { panic!("taken") };
        assert!(failure.message.starts_with("emails[1]: "));
    }

    #[test]
    fn ids() {
        for good in ["o1", "64f-ab_c", "a b", "Größe", "50%", &"x".repeat(512)] {
            assert_eq!(id("field", good), Ok(good));
        }
        for bad in ["", " ", "a\nb", "\u{0}", &"x".repeat(513)] {
            assert!(names_the_field(id("field", bad)), "{bad:?}");
        }
        for bad in ["a/b", "..", ".", "a\\b", "../x"] {
            assert!(names_the_field(id_segment("field", bad)), "{bad:?}");
        }
        assert_eq!(id_segment("field", "a b%ü?#").map(|segment| segment.0), Ok("a%20b%25%C3%BC%3F%23".into()));
        assert!(names_the_field(optional_id("field", Some(""))));
        assert_eq!(optional_id("field", None), Ok(None));
        assert!(names_the_field(email_segment("field", "a/b@c.de")));
    }

    #[test]
    fn instants() {
        let good = [
            ("2027-01-31", "2027-01-31T23:59:59.999Z"),
            ("2028-02-29", "2028-02-29T23:59:59.999Z"),
            ("2027-01-31T18:00:00Z", "2027-01-31T18:00:00.000Z"),
            ("2027-01-31T18:00:00.123456+01:00", "2027-01-31T17:00:00.123Z"),
            ("2027-01-01t00:30:00+01:00", "2026-12-31T23:30:00.000Z"),
            ("9999-12-31", "9999-12-31T23:59:59.999Z"),
        ];
        for (text, expected) in good {
            assert_eq!(instant("field", text), Ok(expected.to_owned()), "{text}");
        }
        let bad = [
            "",
            "tomorrow",
            "2027",
            "2027-1-3",
            "2027-02-29",
            "2027-13-01",
            "31.01.2027",
            "2027-01-31T25:00:00Z",
            "2027-01-31T18:00",
            "2027-01-31T18:00:00",
            "+2027-01-31",
            "-2027-01-31",
            "2027-01-31 ",
            "1769900000",
            "9999-12-31T23:59:59-01:00",
            "0000-01-01T00:00:00+01:00",
            "2027-01-31T18:00:00Z\n",
        ];
        for text in bad {
            assert!(names_the_field(instant("field", text)), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_segment_stays_one_segment(text in any::<String>()) {
            if let Ok(segment) = id_segment("field", &text) {
                let segment = segment.as_str();
                prop_assert!(!segment.is_empty() && segment != "." && segment != "..");
                prop_assert!(segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)), "{segment}");
                let decoded = percent_encoding::percent_decode_str(segment).decode_utf8().unwrap();
                prop_assert_eq!(decoded.as_ref(), text.as_str());
            }
        }

        #[test]
        fn no_text_makes_a_check_panic(text in any::<String>()) {
            let _ = email("field", &text);
            let _ = instant("field", &text);
            let _ = page_token("field", Some(&text));
        }

        #[test]
        fn every_instant_comes_back_as_the_same_moment(seconds in -62_135_596_800_i64..253_402_300_799) {
            let moment = OffsetDateTime::from_unix_timestamp(seconds).unwrap();
            let text = instant("field", &moment.format(&Rfc3339).unwrap()).unwrap();
            prop_assert_eq!(OffsetDateTime::parse(&text, &Rfc3339).unwrap(), moment);
        }
    }
}
