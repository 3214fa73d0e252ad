//! What every format of logs has.

use std::borrow::Cow;

use super::login::{Login, Skip};
use super::records::Records;

/// One format: what is in a record.
pub(super) trait Parser {
    /// What the records of an input are that begins with `head`.
    fn records(&mut self, head: &[u8]) -> Records;

    /// The login that `record` tells of. No bytes make it panic. A time without a year is of the last in which it is
    /// not after `newest`, in seconds since 1970-01-01T00:00:00Z.
    fn parse<'a>(&mut self, record: &'a [u8], newest: i64) -> std::result::Result<Login<'a>, Skip>;

    /// The part of a record because of which it was skipped, where there is one to show.
    fn culprit<'a>(&self, _record: &'a [u8], _skip: Skip) -> Option<Cow<'a, [u8]>> {
        None
    }
}
