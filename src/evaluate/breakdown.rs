//! What events are told apart by, beside their kind.

/// How many past events an entity has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HistoryBucket {
    None,
    Below10,
    Below100,
    Many,
}

impl HistoryBucket {
    pub(super) const ALL: [Self; 4] = [Self::None, Self::Below10, Self::Below100, Self::Many];

    pub(super) fn of(num_events: u64) -> Self {
        match num_events {
            0 => Self::None,
            1..10 => Self::Below10,
            10..100 => Self::Below100,
            _ => Self::Many,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "0",
            Self::Below10 => "1-9",
            Self::Below100 => "10-99",
            Self::Many => "100+",
        }
    }
}

/// How many days an entity's last past event is ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DaysBucket {
    /// It has none, or times are not known.
    Unknown,
    Below1,
    Below7,
    Below30,
    Below180,
    Many,
}

impl DaysBucket {
    /// Those that figures are reported of.
    pub(super) const ALL: [Self; 5] = [Self::Below1, Self::Below7, Self::Below30, Self::Below180, Self::Many];

    /// `days` is negative where it is unknown.
    pub(super) fn of(days: f32) -> Self {
        match days {
            ..0.0 => Self::Unknown,
            ..1.0 => Self::Below1,
            ..7.0 => Self::Below7,
            ..30.0 => Self::Below30,
            ..180.0 => Self::Below180,
            _ => Self::Many,
        }
    }

    /// From so many days on, and below so many.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Below1 => "0-1",
            Self::Below7 => "1-7",
            Self::Below30 => "7-30",
            Self::Below180 => "30-180",
            Self::Many => "180+",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_of_history_have_their_limits() {
        let names = [0, 1, 9, 10, 99, 100, u64::MAX].map(|count| HistoryBucket::of(count).name());
        assert_eq!(names, ["0", "1-9", "1-9", "10-99", "10-99", "100+", "100+"]);
    }

    #[test]
    fn buckets_of_days_have_their_limits() {
        let names =
            [-1.0, 0.0, 0.99, 1.0, 7.0, 30.0, 179.9, 180.0, 9e9].map(|days| DaysBucket::of(days).name());
        assert_eq!(names, ["unknown", "0-1", "0-1", "1-7", "7-30", "30-180", "30-180", "180+", "180+"]);
    }
}
