//! How the records of a request are read, whatever their format is.

use super::limits::Limits;
use super::refusal::Refusal;
use crate::event::AddressFamilies;

/// How records are read.
pub struct Reading<'a> {
    pub limits: &'a Limits,
    /// The families of addresses that the model knows.
    pub addresses: AddressFamilies,
}

impl Reading<'_> {
    /// The refusal of a request with more records than [`Limits::max_records`].
    pub fn too_many_records(&self) -> Refusal {
        let max = self.limits.max_records;
        Refusal::too_large(format!("there are more than {max} records: send several requests"))
    }
}
