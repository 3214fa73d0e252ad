//! The kinds of attacks.

use std::str::FromStr;

use crate::{At, Error, Result, nearest};

/// Where the address of an attack comes from. The user is that of a test login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AttackKind {
    /// Each of the 2^32 IPv4 addresses is equally likely.
    UniformIpv4,
    /// Uniform in a row of the table, each row equally likely; or, as often as logins are over IPv6, of any IPv6 site.
    AddressRanges,
    /// That of a login of another user, each equally likely, who is not travelling: from around that user's
    /// home or work.
    OtherUsers,
    /// Uniform in a neighbour of the user's home row or work row (even odds), each neighbour equally likely.
    /// A row's neighbours are the rows next to it and those that share a /16 with it, without itself. As often as the
    /// user's logins are over IPv6, in the /40 of the user's site at home or at work (even odds).
    ///
    /// The user's own logins spread over some 30 rows around home and work, so many of these look like them
    /// to any detector.
    Neighbour,
}

/// Number of kinds of attacks.
pub const NUM_KINDS: usize = AttackKind::ALL.len();

/// The kind of an event that is no attack, as files name it.
pub const NORMAL: &str = "normal";

impl AttackKind {
    /// Every kind.
    pub const ALL: [AttackKind; 4] =
        [AttackKind::UniformIpv4, AttackKind::AddressRanges, AttackKind::OtherUsers, AttackKind::Neighbour];

    /// Its name in flags and files.
    pub fn name(self) -> &'static str {
        match self {
            AttackKind::UniformIpv4 => "uniform_ipv4",
            AttackKind::AddressRanges => "address_ranges",
            AttackKind::OtherUsers => "other_users",
            AttackKind::Neighbour => "neighbour",
        }
    }

    /// What it takes, for a kind that [`super::Population::allows`] not.
    pub(super) fn needs(self) -> &'static str {
        match self {
            AttackKind::UniformIpv4 | AttackKind::AddressRanges => "nothing",
            AttackKind::OtherUsers => "at least two users",
            AttackKind::Neighbour => "a table of at least two address ranges",
        }
    }
}

impl FromStr for AttackKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        AttackKind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let names = AttackKind::ALL.map(AttackKind::name);
            let help = match nearest(name, names) {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None => format!("the kinds are {}", names.join(", ")),
            };
            Error::config(At::option(OPTION), format!("unknown kind of attack `{name}`"), help)
        })
    }
}

/// The option that errors about attacks name.
pub(super) const OPTION: &str = "attacks";

/// Address ranges, the first kind that there was, have the first stream.
pub(super) fn stream_of(kind: AttackKind) -> u64 {
    match kind {
        AttackKind::AddressRanges => 0,
        AttackKind::UniformIpv4 => 1,
        AttackKind::OtherUsers => 2,
        AttackKind::Neighbour => 3,
    }
}
