//! The time that the simulator believes in, so that tests move it instead of sleeping.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use time::macros::{datetime, format_description};
use tokio::time::Instant;

/// A clock that follows the machine's or tokio's, or stands still until it is moved.
///
/// It decides the rate limit, the life of login tokens, whether access has expired, and every date in an answer.
/// Latency and the pauses of faults are tokio's time, whatever the clock: they exist to be waited for. Clones share one
/// time.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pace: Pace,
    moved: Mutex<Duration>,
}

/// What moves a clock by itself.
#[derive(Debug)]
enum Pace {
    /// The machine's clock.
    Machine,
    /// Tokio's: this moment was at that instant.
    Tokio(OffsetDateTime, Instant),
    /// Nothing: it stands at this moment.
    Still(OffsetDateTime),
}

/// Where clocks start that do not show the machine's time.
const START: OffsetDateTime = datetime!(2026-01-15 12:00:00 UTC);

impl Clock {
    /// Follows the machine's clock.
    #[must_use]
    pub fn real() -> Self {
        Self::new(Pace::Machine)
    }

    /// Starts at 2026-01-15 12:00:00 UTC and goes on with tokio's time, which is virtual where a test has paused it.
    #[must_use]
    pub fn tokio() -> Self {
        Self::new(Pace::Tokio(START, Instant::now()))
    }

    /// Stands at 2026-01-15 12:00:00 UTC until it is advanced.
    #[must_use]
    pub fn manual() -> Self {
        Self::manual_at(START)
    }

    /// Stands at `start` until it is advanced.
    #[must_use]
    pub fn manual_at(start: OffsetDateTime) -> Self {
        Self::new(Pace::Still(start.to_offset(time::UtcOffset::UTC)))
    }

    fn new(pace: Pace) -> Self {
        Self(Arc::new(Inner { pace, moved: Mutex::new(Duration::ZERO) }))
    }

    /// Moves the time forward; a clock that follows another one runs ahead of it from then on.
    pub fn advance(&self, by: Duration) {
        let mut moved = self.0.moved.lock().unwrap_or_else(PoisonError::into_inner);
        *moved = moved.saturating_add(by);
    }

    /// The current time, in UTC.
    #[must_use]
    pub fn now(&self) -> OffsetDateTime {
        let moved = *self.0.moved.lock().unwrap_or_else(PoisonError::into_inner);
        let unmoved = match self.0.pace {
            Pace::Machine => OffsetDateTime::now_utc(),
            Pace::Tokio(start, since) => later(start, since.elapsed()),
            Pace::Still(start) => start,
        };
        later(unmoved, moved)
    }
}

/// `time` plus `by`, or the last representable moment.
pub(super) fn later(time: OffsetDateTime, by: Duration) -> OffsetDateTime {
    let by = time::Duration::try_from(by).unwrap_or(time::Duration::MAX);
    time.saturating_add(by)
}

/// `2026-01-15T12:00:00.000Z`, as a JavaScript server writes a date.
pub(super) fn iso(time: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    write(time, format)
}

/// `Thu, 15 Jan 2026 12:00:00 GMT`, the date form of HTTP headers (RFC 9110, section 5.6.7).
pub(super) fn http_date(time: OffsetDateTime) -> String {
    let format = format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    write(time, format)
}

/// Reads an ISO 8601 date, or date and time; without an offset it is taken as UTC.
pub(super) fn parse_iso(text: &str) -> Option<OffsetDateTime> {
    use time::format_description::well_known::{Iso8601, Rfc3339};
    use time::{Date, PrimitiveDateTime};
    OffsetDateTime::parse(text, &Rfc3339)
        .or_else(|_| OffsetDateTime::parse(text, &Iso8601::DEFAULT))
        .or_else(|_| PrimitiveDateTime::parse(text, &Iso8601::DEFAULT).map(PrimitiveDateTime::assume_utc))
        .or_else(|_| Date::parse(text, &Iso8601::DEFAULT).map(|date| date.midnight().assume_utc()))
        .ok()
}

fn write(time: OffsetDateTime, format: &[time::format_description::BorrowedFormatItem]) -> String {
    // Every component in the two formats above exists in every date, so writing cannot fail; should that ever change,
    // an empty text is a better answer than a panic.
    time.to_offset(time::UtcOffset::UTC).format(format).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_servers_write_them() {
        let time = datetime!(2026-01-05 07:08:09.012 +2);
        assert_eq!(iso(time), "2026-01-05T05:08:09.012Z");
        assert_eq!(http_date(time), "Mon, 05 Jan 2026 05:08:09 GMT");
    }

    #[test]
    fn iso_dates_are_read_in_each_common_form() {
        let expected = Some(datetime!(2026-02-03 00:00 UTC));
        for text in [
            "2026-02-03",
            "2026-02-03T00:00:00",
            "2026-02-03T00:00:00Z",
            "2026-02-03T00:00:00.000Z",
            "2026-02-03T01:00:00+01:00",
        ] {
            assert_eq!(parse_iso(text), expected, "{text}");
        }
        for text in ["", "soon", "2026-13-01", "03.02.2026", "2026-02-30T00:00:00Z"] {
            assert_eq!(parse_iso(text), None, "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn tokios_time_moves_a_clock() {
        let clock = Clock::tokio();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        clock.advance(Duration::from_secs(60));
        assert_eq!(clock.now(), datetime!(2026-01-15 13:01:00 UTC));
    }

    #[test]
    fn no_advance_overflows() {
        let clock = Clock::manual();
        clock.advance(Duration::MAX);
        clock.advance(Duration::MAX);
        assert!(clock.now() > datetime!(9999-01-01 00:00 UTC));
    }
}
