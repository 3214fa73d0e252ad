//! One login, and its user's name.

use crate::event::Address;

/// One login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Login {
    /// The user's number, from 0; [`user_name`] is its entity.
    pub user: u32,
    /// The address, of either family.
    pub address: Address,
    /// Seconds since the beginning of the first day.
    pub seconds: u32,
}

/// The entity of a user: `user_123`.
pub fn user_name(user: u32) -> String {
    format!("{USER_PREFIX}{user}")
}

/// What the entities of users begin with; their number follows.
pub(super) const USER_PREFIX: &str = "user_";
