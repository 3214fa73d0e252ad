//! The encoder takes IPv4 addresses only.

use crate::event::Address;
use crate::{Error, Result};

/// The 32 bits of an address that the encoder takes.
///
/// # Errors
///
/// [`Error::Config`] about `model.addresses` for an IPv6 address.
pub(crate) fn encodable(address: Address) -> Result<u32> {
    address.ipv4().ok_or_else(|| {
        let what = format!("the encoder takes IPv4 addresses only, not {address}");
        Error::config(
            "model.addresses",
            what,
            "set it to \"ipv4\": rows with IPv6 addresses are bad rows then",
        )
    })
}
