//! Points in time, to the millisecond, and how files write them: RFC 3339, UTC.

use std::fmt;
use std::time::{Duration, SystemTime};

/// The last millisecond that RFC 3339 can write (the end of the year 9999).
const LAST: u64 = 253_402_300_799_999;

/// Milliseconds since 1970-01-01T00:00:00Z, at most to the end of the year 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The time `milliseconds` after 1970, at most the end of the year 9999.
    pub fn from_millis(milliseconds: u64) -> Self {
        Timestamp(milliseconds.min(LAST))
    }

    /// Milliseconds since 1970.
    pub fn as_millis(self) -> u64 {
        self.0
    }

    /// Parses RFC 3339 in UTC (`2026-01-24T06:30:00.000Z`).
    pub fn parse(text: &str) -> Option<Self> {
        let time = humantime::parse_rfc3339(text).ok()?;
        let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(Timestamp::from_millis(u64::try_from(since.as_millis()).ok()?))
    }

    /// The time this many milliseconds later.
    pub fn after(self, milliseconds: u64) -> Self {
        Timestamp::from_millis(self.0.saturating_add(milliseconds))
    }

    /// Milliseconds since `earlier`; 0 if it is later (a clock that jumped back).
    pub fn since(self, earlier: Timestamp) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Describes a duration for a person, in its two largest units: `2 d 3 h`, `5 min 20 s`.
pub fn describe_span(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(self.0);
        humantime::format_rfc3339_millis(time).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formatted_time_parses_to_itself() {
        for text in
            ["1970-01-01T00:00:00.000Z", "2026-01-24T06:30:00.007Z", "9999-12-31T23:59:59.999Z"]
        {
            assert_eq!(Timestamp::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_time_after_the_year_9999_is_formatted_as_its_end() {
        assert_eq!(Timestamp::from_millis(u64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn durations_are_described_in_their_two_largest_units() {
        for (seconds, words) in [
            (0, "0 s"),
            (59, "59 s"),
            (320, "5 min 20 s"),
            (7500, "2 h 5 min"),
            (183_600, "2 d 3 h"),
        ] {
            assert_eq!(describe_span(seconds * 1000 + 999), words);
        }
    }

    #[test]
    fn anything_but_rfc_3339_in_utc_is_refused() {
        for text in
            ["", "yesterday", "2026-13-01T00:00:00Z", "2026-01-24", "2026-01-24T06:30:00+02:00"]
        {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }
}
