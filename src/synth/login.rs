//! One login, and its user's name.

/// One login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Login {
    /// The user's number, from 0; [`user_name`] is its entity.
    pub user: u32,
    /// The IPv4 address as an integer, first octet in the highest byte.
    pub ip: u32,
    /// Seconds since the beginning of the first day.
    pub seconds: u32,
}

/// The entity of a user: `user_123`.
pub fn user_name(user: u32) -> String {
    format!("{USER_PREFIX}{user}")
}

/// What the entities of users begin with; their number follows.
pub(super) const USER_PREFIX: &str = "user_";
