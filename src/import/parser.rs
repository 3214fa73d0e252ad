//! What every format of logs has.

use super::login::{Login, Skip};
use super::records::Records;

/// One format: what is in a record.
pub(super) trait Parser {
    /// What the records of this format are.
    fn records(&self) -> Records;

    /// The login that `record` tells of. No bytes make it panic. A time without a year is of the last in which it is
    /// not after `newest`, in seconds since 1970-01-01T00:00:00Z.
    fn parse<'a>(&self, record: &'a [u8], newest: i64) -> std::result::Result<Login<'a>, Skip>;
}
