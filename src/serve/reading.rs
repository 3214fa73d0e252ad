//! How the records of a request are read, whatever their format is.

use super::limits::Limits;
use super::refusal::Refusal;
use crate::event::IpSyntax;

/// How records are read.
pub struct Reading<'a> {
    pub limits: &'a Limits,
    /// What is an address.
    pub ip_syntax: IpSyntax,
}

impl Reading<'_> {
    /// The refusal of a request with more records than [`Limits::max_records`].
    pub fn too_many_records(&self) -> Refusal {
        let max = self.limits.max_records;
        Refusal::too_large(format!("there are more than {max} records: send several requests"))
    }
}
