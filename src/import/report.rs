//! What an import found.

use std::collections::BTreeMap;
use std::fmt;

/// What was imported. `Display` is a sentence for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Records: lines, or objects of JSON.
    pub num_records: u64,
    /// Records with a login that was wanted.
    pub num_used: u64,
    /// Logins, which are more where a record stands for several.
    pub num_rows: u64,
    /// Records that were not used, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
}

impl fmt::Display for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records read, {} used", self.num_records, self.num_used)?;
        if self.num_rows != self.num_used {
            write!(f, " for {} logins", self.num_rows)?;
        }
        let num_skipped: u64 = self.skipped.values().sum();
        if num_skipped == 0 {
            return Ok(());
        }
        write!(f, ", {num_skipped} skipped")?;
        let mut reasons: Vec<_> = self.skipped.iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (i, (reason, count)) in reasons.into_iter().enumerate() {
            write!(f, "{} {count} {reason}", if i == 0 { ":" } else { "," })?;
        }
        Ok(())
    }
}
