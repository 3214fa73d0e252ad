//! Addresses as the encoder takes them.

use burn::tensor::{Device, Int, Tensor};
use ipsight_kernels::addresses::words;
use ipsight_kernels::shape::Families;

use crate::event::{Address, AddressFamilies};
use crate::tensors::ip_tensor;
use crate::{Error, Result};

/// The families of an encoder, as the kernels name them.
pub fn families(addresses: AddressFamilies) -> Families {
    match addresses {
        AddressFamilies::Ipv4 => Families::Ipv4,
        AddressFamilies::Both => Families::Both,
    }
}

/// Refuses an address of a family that an encoder does not know.
///
/// # Errors
///
/// [`Error::Config`] about `model.addresses` for an IPv6 address where the families are IPv4 alone.
pub(crate) fn check_family(address: Address, families: Families) -> Result<()> {
    if families == Families::Both || address.is_ipv4() {
        return Ok(());
    }
    Err(Error::config(
        "model.addresses",
        format!("a model with addresses = \"ipv4\" has no vector for {address}"),
        "leave out events with IPv6 addresses, or train a model with addresses = \"both\"",
    ))
}

/// The words of addresses, `[n · words]`, as in [`ipsight_kernels::addresses`].
///
/// # Errors
///
/// As [`check_family`].
pub(crate) fn address_words(
    addresses: impl ExactSizeIterator<Item = Address> + Clone,
    families: Families,
) -> Result<Vec<u32>> {
    addresses.clone().try_for_each(|address| check_family(address, families))?;
    Ok(words(addresses.map(Address::bits), families))
}

/// Uploads the words of addresses, `[n · words]`.
///
/// # Panics
///
/// Where one is of a family that the encoder does not know.
pub fn address_tensor(
    addresses: impl ExactSizeIterator<Item = Address>,
    families: Families,
    device: &Device,
) -> Tensor<1, Int> {
    ip_tensor(words(addresses.map(Address::bits), families), device)
}
