//! Tables in MaxMind's format, by their crate: of any type whose records have AS numbers or countries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use maxminddb::{Reader, WithinOptions};
use serde::Deserialize;

use super::table_builder::{OwnerData, TableBuilder};

/// What stands before the metadata, which are in the last 128 KiB.
const MARKER: &[u8] = b"\xAB\xCD\xEFMaxMind.com";
const METADATA_BYTES: usize = 128 << 10;

/// Whether bytes are of this format.
pub(super) fn is_mmdb(bytes: &[u8]) -> bool {
    let tail = &bytes[bytes.len().saturating_sub(METADATA_BYTES)..];
    memchr::memmem::find(tail, MARKER).is_some()
}

/// A table that was read.
pub(super) struct Mmdb {
    pub(super) builder: TableBuilder,
    /// `MaxMind DB` with its type.
    pub(super) kind: String,
    /// Unix seconds of its build.
    pub(super) time: i64,
}

/// What is read of a record; names differ between publishers.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Record<'a> {
    #[serde(borrow)]
    autonomous_system_organization: Option<&'a str>,
    autonomous_system_number: Option<u32>,
    /// `AS64500`.
    asn: Option<&'a str>,
    as_name: Option<&'a str>,
    country: Option<Country<'a>>,
    registered_country: Option<Country<'a>>,
    country_code: Option<&'a str>,
}

/// A map with a code, or the code or name itself.
#[derive(Deserialize)]
#[serde(untagged)]
enum Country<'a> {
    Map { iso_code: Option<&'a str> },
    Text(&'a str),
}

impl Record<'_> {
    fn owner(&self) -> OwnerData {
        let of_text = |text: &str| text.trim_start_matches("AS").parse().ok();
        let asn = self.autonomous_system_number.or_else(|| self.asn.and_then(of_text));
        let of_country = |country: &Option<Country<'_>>| match country {
            Some(Country::Map { iso_code }) => iso_code.map(OwnerData::country),
            Some(Country::Text(text)) => Some(OwnerData::country(text)),
            None => None,
        };
        let country = self.country_code.map(OwnerData::country);
        let is_known = |country: &[u8; 2]| *country != [0; 2];
        let country = country.filter(is_known).or_else(|| of_country(&self.country).filter(is_known));
        let country = country.or_else(|| of_country(&self.registered_country)).unwrap_or_default();
        let name = self.autonomous_system_organization.or(self.as_name).unwrap_or("").into();
        OwnerData { asn: asn.unwrap_or(0), country, name }
    }
}

/// Reads all networks.
///
/// # Errors
///
/// What is wrong with the file, as the end of a sentence about it.
pub(super) fn read(bytes: &[u8]) -> Result<Mmdb, String> {
    let damaged = |error: maxminddb::MaxMindDbError| format!("is damaged: {error}");
    let reader = Reader::from_source(bytes).map_err(damaged)?;
    let metadata = reader.metadata();
    let (time, kind) = (metadata.build_epoch as i64, format!("MaxMind DB {}", metadata.database_type));
    let mut builder = TableBuilder::default();
    for found in reader.networks(WithinOptions::default()).map_err(damaged)? {
        let found = found.map_err(damaged)?;
        let network = found.network().map_err(damaged)?;
        let record: Record<'_> = found.decode().map_err(damaged)?.unwrap_or_default();
        for (first, last) in parts(network.ip(), network.prefix()) {
            builder
                .add(first, last, record.owner())
                .map_err(|what| format!("has a network {network} that {what}"))?;
        }
    }
    Ok(Mmdb { builder, kind, time })
}

/// The ranges of a network. In an IPv6 tree the IPv4 addresses are ::/96, which a wider network has beside others.
fn parts(ip: IpAddr, prefix: u8) -> Vec<(IpAddr, IpAddr)> {
    match ip {
        IpAddr::V4(ip) => {
            let host = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
            let first = ip.to_bits() & !host;
            vec![(Ipv4Addr::from_bits(first).into(), Ipv4Addr::from_bits(first | host).into())]
        }
        IpAddr::V6(ip) => {
            let host = u128::MAX.checked_shr(prefix.into()).unwrap_or(0);
            let first = ip.to_bits() & !host;
            let last = first | host;
            let mut parts = vec![(Ipv6Addr::from_bits(first).into(), Ipv6Addr::from_bits(last).into())];
            if first >> 32 == 0 {
                let last = u32::try_from(last).unwrap_or(u32::MAX);
                parts.push((Ipv4Addr::from_bits(first as u32).into(), Ipv4Addr::from_bits(last).into()));
            }
            parts
        }
    }
}
