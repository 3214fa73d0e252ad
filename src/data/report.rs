//! What a reading found.

use std::collections::BTreeMap;
use std::fmt;

/// What was read. `Display` says which rows are bad, and is empty when there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadReport {
    /// Good rows.
    pub num_rows: u64,
    /// Bad rows, which were skipped or quarantined.
    pub num_bad: u64,
    /// Bad rows by reason.
    pub bad_by_reason: BTreeMap<&'static str, u64>,
    /// What people should know of how it was read, in whole sentences.
    pub notes: Vec<String>,
}

impl fmt::Display for ReadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.num_bad == 0 {
            return Ok(());
        }
        write!(f, "{} of {} rows are bad", self.num_bad, self.num_rows + self.num_bad)?;
        let mut reasons: Vec<_> = self.bad_by_reason.iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (i, (reason, count)) in reasons.into_iter().enumerate() {
            write!(f, "{} {count} {reason}", if i == 0 { ":" } else { "," })?;
        }
        Ok(())
    }
}
