//! Times of events, and their days.

/// Seconds of a day.
pub(super) const DAY: i64 = 86_400;

/// How the times of a history's events are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    /// Whether events have times.
    pub(super) is_timed: bool,
    /// Unix seconds of time 0.
    pub(super) base: i64,
}

impl Clock {
    /// Days from 1970-01-01, in UTC, to that of a time.
    pub(super) fn day(self, time: u32) -> i64 {
        self.base.saturating_add(i64::from(time)).div_euclid(DAY)
    }
}
