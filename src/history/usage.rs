//! What a usage history knows of one (account, address) pair at one moment: the raw counts from which the closed
//! form and the inputs of the head are computed.

use crate::networks::NUM_OWNER_LEVELS;

/// Levels of a pair's prefix chain, from the widest network to the address itself.
///
/// IPv4 has its seven lengths ([`IPV4_LENGTHS`]). IPv6 has six ([`IPV6_LENGTHS`]); level 0 is the family as a whole, so
/// that both families reach the head through the same inputs: level 6 is always what one subscriber line has.
pub const NUM_LEVELS: usize = 7;

/// Prefix lengths of the levels of an IPv4 address, in bits of its 32.
pub const IPV4_LENGTHS: [u32; NUM_LEVELS] = [8, 12, 16, 20, 24, 28, 32];

/// Prefix lengths of the levels of an IPv6 address, in bits of its upper 64; level 0 is the whole family.
pub const IPV6_LENGTHS: [u32; NUM_LEVELS] = [0, 24, 32, 40, 48, 56, 64];

/// The counts of one (account, address) pair at one moment, before the event itself is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Events of the account, of both families.
    pub num_events: u32,
    /// Days since the account's last event; negative where it has none or events have no time.
    pub days_since_last: f32,
    /// Days since the account's first event; negative where it has none or events have no time.
    pub days_since_first: f32,
    /// Per level, the account's distinct prefixes of that level, of both families.
    pub distinct: [u32; NUM_LEVELS],
    /// Per level, what is known of the address's prefix.
    pub levels: [LevelUsage; NUM_LEVELS],
    /// All events, of both families.
    pub total_events: u64,
    /// All accounts.
    pub total_accounts: u64,
    /// Distinct prefixes of level 0 in use by any account.
    pub total_top_prefixes: u64,
    /// Per level of owners, what is known of that of the address; zeros without a table of networks.
    pub owners: [OwnerUsage; NUM_OWNER_LEVELS],
}

/// The counts of the group of addresses that have their owner of one level (the AS, the country) in common with a pair's
/// address. Groups are not nested in prefixes; events and accounts of all groups are those of [`Usage`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OwnerUsage {
    /// The group's share of the address space; 0 where there is no table or it has no such level, and then all else is 0.
    pub share: f32,
    /// Events of the account in the group.
    pub own_events: u32,
    /// Distinct groups that the account used.
    pub own_groups: u32,
    /// Events of any account in the group.
    pub all_events: u64,
    /// Accounts with an event in the group.
    pub all_accounts: u64,
    /// Distinct groups in use by any account.
    pub all_groups: u64,
}

/// The counts of one level of a pair's prefix chain.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LevelUsage {
    /// Events of the account in the prefix.
    pub own_events: u32,
    /// Distinct prefixes of the next level inside the prefix that the account used.
    pub own_children: u32,
    /// Days since the account's last event in the prefix; negative where it has none or events have no time.
    pub days_since_use: f32,
    /// Events of the account since its last event in the prefix; negative where it has none.
    pub events_since_use: f32,
    /// Events of any account in the prefix.
    pub all_events: u64,
    /// Accounts with an event in the prefix.
    pub all_accounts: u64,
    /// Distinct prefixes of the next level inside the prefix that any account used.
    pub all_children: u64,
}
