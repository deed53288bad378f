//! `wasi:clocks/wall-clock`: the time of day.

use std::time::{Duration, SystemTime};

use super::Imports;
use crate::wit::wall_clock::{Datetime, Host};

impl Host for Imports {
    fn now(&mut self) -> Datetime {
        // A clock before 1970 was never set.
        datetime(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
    }

    fn resolution(&mut self) -> Datetime {
        datetime(Duration::from_nanos(1))
    }
}

fn datetime(since: Duration) -> Datetime {
    Datetime { seconds: since.as_secs(), nanoseconds: since.subsec_nanos() }
}
