//! What an import found.

use std::collections::BTreeMap;
use std::fmt;

use super::login::Skip;

/// What to do about addresses that are masked to nothing.
pub(super) const MASKED: &str =
    "was the log anonymised? import it as it was before, or have the anonymiser keep the bits of the network";

/// What was imported. `Display` is a sentence for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Records: lines, or objects of JSON.
    pub num_records: u64,
    /// Records with a login that was wanted.
    pub num_used: u64,
    /// Logins, which are more where a record stands for several.
    pub num_rows: u64,
    /// Logins from 0.0.0.0.
    pub num_unspecified: u64,
    /// Records that were not used, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
    /// What was wrong with the first record of a reason, where a part of it can be shown.
    pub examples: BTreeMap<&'static str, String>,
}

impl ImportReport {
    /// Counts a record that is not used; `example` is asked once a reason.
    pub(super) fn skip(&mut self, skip: Skip, example: impl FnOnce() -> Option<String>) {
        let count = self.skipped.entry(skip.name()).or_default();
        *count += 1;
        if *count == 1
            && let Some(example) = example()
        {
            self.examples.insert(skip.name(), example);
        }
    }
}

impl fmt::Display for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records read, {} used", self.num_records, self.num_used)?;
        if self.num_rows != self.num_used {
            write!(f, " for {} logins", self.num_rows)?;
        }
        let num_skipped: u64 = self.skipped.values().sum();
        if num_skipped > 0 {
            write!(f, ", {num_skipped} skipped")?;
        }
        let mut reasons: Vec<_> = self.skipped.iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (i, (reason, count)) in reasons.into_iter().enumerate() {
            write!(f, "{} {count} {reason}", if i == 0 { ":" } else { "," })?;
            if let Some(example) = self.examples.get(reason) {
                write!(f, " ({example})")?;
            }
        }
        if self.num_rows > 0 && self.num_unspecified == self.num_rows {
            write!(f, "; warning: every address is 0.0.0.0: {MASKED}")?;
        }
        Ok(())
    }
}
