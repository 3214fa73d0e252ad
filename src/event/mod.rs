//! An event: one entity used one address.

mod address;
mod bytes;
mod entity;
mod families;
mod ipv4;
mod ipv6;
mod parse;

pub use address::{Address, ReservedAddress};
pub use entity::{ENTITY_HASH, entity_row, entity_tag, hash_entity};
pub(crate) use entity::{is_nobody, mix};
pub use families::AddressFamilies;
pub use ipv4::parse_ipv4;
pub use parse::parse_address;
pub(crate) use parse::{address_at, ipv6_of};

/// One (entity, address) pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    /// [`hash_entity`] of the entity's bytes.
    pub entity: u64,
    /// The address, of either family.
    pub address: Address,
}
