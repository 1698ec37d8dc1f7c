//! Instants in requests, and `Retry-After` in answers.

use std::time::SystemTime;

use memberspot_core::{
    answer::Answer,
    check::instant,
    wit::types::{Error, FailureCode},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::text::fields;

/// Input: three lines, an instant as a caller passes it, `Retry-After`, and `Date`.
pub fn run(input: &[u8]) {
    let fields = fields(input);
    let field = |index: usize| fields.get(index).map_or("", String::as_str);
    expiry(field(0));
    retry_after(field(1), field(2));
}

fn expiry(text: &str) {
    let canonical = match instant("field", text) {
        Ok(canonical) => canonical,
        Err(Error::Permanent(failure)) if failure.code == FailureCode::InvalidInput => {
            assert!(!is_plain_date(text), "{text} is a date");
            return;
        }
        Err(error) => panic!("{error:?}"),
    };
    assert_eq!(canonical.len(), "2027-01-31T18:00:00.000Z".len(), "{canonical}");
    assert_eq!(instant("field", &canonical).as_ref(), Ok(&canonical), "it stays what it is");
    let moment = OffsetDateTime::parse(&canonical, &Rfc3339).expect("what goes out is RFC 3339");
    if let Ok(meant) = OffsetDateTime::parse(text, &Rfc3339) {
        let lost = (meant - moment).whole_microseconds();
        assert!((0..1000).contains(&lost), "{text} became {canonical}");
    } else {
        assert_eq!(canonical, format!("{text}T23:59:59.999Z"), "a date means its end");
    }
}

/// Whether a text is a date that every month has, in its plainest spelling.
fn is_plain_date(text: &str) -> bool {
    let number = |part: Option<&str>, length: usize| {
        part.filter(|part| part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit()))?.parse::<u32>().ok()
    };
    let mut parts = text.split('-');
    let date = (number(parts.next(), 4), number(parts.next(), 2), number(parts.next(), 2), parts.next());
    matches!(date, (Some(_), Some(1..=12), Some(1..=28), None))
}

fn retry_after(value: &str, date: &str) {
    let headers = vec![("retry-after".to_owned(), value.to_owned()), ("date".to_owned(), date.to_owned())];
    let wait = Answer { status: 429, headers, body: String::new() }.trouble().retry_after_ms;
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        let asked = value.parse::<u128>().unwrap_or(u128::MAX).saturating_mul(1000);
        assert_eq!(wait, Some(u32::try_from(asked).unwrap_or(u32::MAX)), "{value:?} seconds");
        return;
    }
    let (Some(until), Some(now)) = (http_date(value), http_date(date)) else { return };
    let asked = until.duration_since(now).ok().map(|wait| u32::try_from(wait.as_millis()).unwrap_or(u32::MAX));
    assert_eq!(wait, asked, "{value:?} at {date:?}");
}

/// A date in the one form that servers may send.
fn http_date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok().filter(|moment| httpdate::fmt_http_date(*moment) == text)
}
