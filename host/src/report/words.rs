//! Durations, times and other words for a person.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::wit::filesystem::{Error as FileError, Kind};
use crate::wit::session::StorageFailure;

/// Returns a duration in two units: `1.5 s`, `2 min 5 s`, `3 h 20 min`.
pub(super) fn length(duration: Duration) -> String {
    match duration.as_secs() {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        _ => whole(duration),
    }
}

/// Returns a duration in whole seconds, for a value that changes while it is read.
pub(super) fn whole(duration: Duration) -> String {
    let (first, second, units) = match duration.as_secs() {
        seconds @ 0..60 => return format!("{seconds} s"),
        seconds @ 60..3600 => (seconds / 60, seconds % 60, ["min", "s"]),
        seconds => (seconds / 3600, seconds % 3600 / 60, ["h", "min"]),
    };
    match second {
        0 => format!("{first} {}", units[0]),
        second => format!("{first} {} {second} {}", units[0], units[1]),
    }
}

/// Returns how long until a time in milliseconds since 1970, rounded up to whole seconds.
pub(super) fn from_now(until: u64) -> String {
    let until = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(until));
    let wait = until.and_then(|until| until.duration_since(SystemTime::now()).ok());
    whole(rounded_up(wait.unwrap_or_default()))
}

fn rounded_up(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs() + u64::from(duration.subsec_nanos() > 0))
}

/// Returns a time in milliseconds since 1970 as a local time of day, with the date if it is not today's:
/// `07:04`, `2026-11-24 07:04`.
pub(super) fn clock(time: u64) -> String {
    let zone = TimeZone::system();
    let Some(time) = i64::try_from(time).ok().and_then(|it| Timestamp::from_millisecond(it).ok())
    else {
        return "an unknown time".to_owned();
    };
    clock_at(zone.to_datetime(time), zone.to_datetime(Timestamp::now()))
}

fn clock_at(time: DateTime, now: DateTime) -> String {
    let format = if time.date() == now.date() { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    time.strftime(format).to_string()
}

/// Returns how long the remaining items will take at the same pace; `None` while that is not known.
pub(super) fn time_left(elapsed: Duration, ended: u32, remaining: u32) -> Option<Duration> {
    if ended == 0 || remaining == 0 {
        return None;
    }
    Some(elapsed.mul_f64(f64::from(remaining) / f64::from(ended)))
}

/// Describes a file operation that failed. `root` is the root of the instance, relative to the root of the
/// repository.
pub(crate) fn storage_failure(root: &str, failure: &StorageFailure) -> String {
    let why = match &failure.error {
        FileError::NotFound => "no such file or directory".to_owned(),
        FileError::Exists => "it exists already".to_owned(),
        FileError::Outside => "the path leads out of the directory".to_owned(),
        FileError::WrongKind(Kind::Directory) => "it is a directory".to_owned(),
        FileError::WrongKind(_) => "it is not a regular file".to_owned(),
        FileError::TooLarge(size) => format!("it has {size} bytes, which is too much"),
        FileError::CrossesDevices => {
            "it is on another file system, or in a lower layer of overlayfs; move it by hand (`cp -a`, then `rm -r`)".to_owned()
        }
        FileError::Full(message) | FileError::Failed(message) => message.clone(),
    };
    format!("cannot {} {root}/{}: {why}", failure.operation, failure.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_at_most_two_units() {
        for (milliseconds, expected) in [
            (0, "0.0 s"),
            (1_540, "1.5 s"),
            (59_999, "60.0 s"),
            (60_000, "1 min"),
            (125_000, "2 min 5 s"),
            (3_600_000, "1 h"),
            (12_000_000, "3 h 20 min"),
        ] {
            assert_eq!(length(Duration::from_millis(milliseconds)), expected);
        }
        assert_eq!(whole(Duration::from_millis(1_900)), "1 s");
    }

    #[test]
    fn a_wait_is_rounded_up() {
        for (milliseconds, expected) in [(0, "0 s"), (1, "1 s"), (1_000, "1 s"), (59_001, "1 min")]
        {
            assert_eq!(whole(rounded_up(Duration::from_millis(milliseconds))), expected);
        }
        assert_eq!(from_now(0), "0 s", "a time in the past");
        assert_eq!(from_now(u64::MAX).split(' ').nth(1), Some("h"));
    }

    #[test]
    fn a_time_of_another_day_has_its_date() {
        let at = |text: &str| text.parse::<DateTime>().unwrap();
        let now = at("2026-11-24T06:59:00");
        assert_eq!(clock_at(at("2026-11-24T07:04:00.686"), now), "07:04");
        assert_eq!(clock_at(at("2026-11-25T00:04:00"), now), "2026-11-25 00:04");
        assert_eq!(clock(u64::MAX), "an unknown time");
    }

    #[test]
    fn the_rest_is_estimated_at_the_same_pace() {
        let minute = Duration::from_secs(60);
        assert_eq!(time_left(minute, 3, 9), Some(3 * minute));
        assert_eq!(time_left(minute, 0, 9), None);
        assert_eq!(time_left(minute, 3, 0), None);
    }
}
