use std::collections::HashSet;

/// When the ordinary events were, and whose.
#[derive(Debug, Default)]
pub(super) struct Times {
    /// The first second and the last.
    range: Option<(i64, i64)>,
    users: HashSet<u64>,
}

impl Times {
    /// Adds an ordinary event.
    pub(super) fn add(&mut self, entity: u64, seconds: Option<i64>) {
        let Some(seconds) = seconds else { return };
        let (first, last) = self.range.unwrap_or((seconds, seconds));
        self.range = Some((first.min(seconds), last.max(seconds)));
        self.users.insert(entity);
    }

    /// Entities with ordinary events; `None` without times.
    pub(super) fn num_users(&self) -> Option<u64> {
        self.range.map(|_| self.users.len() as u64)
    }

    /// Days from the first ordinary event to the last; `None` without times.
    pub(super) fn num_days(&self) -> Option<f64> {
        self.num_seconds().map(|seconds| seconds as f64 / 86_400.0)
    }

    /// Seconds from the first ordinary event to the last; `None` without times.
    pub(super) fn num_seconds(&self) -> Option<u64> {
        // The last second counts too, so that it is never zero.
        self.range.map(|(first, last)| last.abs_diff(first).saturating_add(1))
    }
}
