//! Lengths of time and other words for a person.

use std::time::{Duration, SystemTime};

/// `1.5 s`, `2 min 5 s`, `3 h 20 min`.
pub(super) fn length(duration: Duration) -> String {
    match duration.as_secs() {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// The same in whole seconds, for what changes while it is looked at.
pub(super) fn whole(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        _ => length(duration),
    }
}

/// How long until a time in RFC 3339; what has passed is now.
pub(super) fn from_now(time: &str) -> String {
    let until = humantime::parse_rfc3339(time).ok();
    let until = until.and_then(|time| time.duration_since(SystemTime::now()).ok());
    length(until.unwrap_or_default())
}

/// How long the rest will take if it goes on as before; `None` while that cannot be said.
pub(super) fn time_left(elapsed: Duration, ended: u32, left: u32) -> Option<Duration> {
    if ended == 0 || left == 0 {
        return None;
    }
    Some(elapsed.mul_f64(f64::from(left) / f64::from(ended)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_told_in_two_units() {
        for (milliseconds, told) in [
            (0, "0.0 s"),
            (1_540, "1.5 s"),
            (59_999, "60.0 s"),
            (125_000, "2 min 5 s"),
            (12_000_000, "3 h 20 min"),
        ] {
            assert_eq!(length(Duration::from_millis(milliseconds)), told);
        }
        assert_eq!(whole(Duration::from_millis(1_900)), "1 s");
    }

    #[test]
    fn the_rest_takes_as_long_as_what_was() {
        let minute = Duration::from_secs(60);
        assert_eq!(time_left(minute, 3, 9), Some(3 * minute));
        assert_eq!(time_left(minute, 0, 9), None);
        assert_eq!(time_left(minute, 3, 0), None);
    }
}
