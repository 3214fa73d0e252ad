//! The address of an event, of either family.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Serialize, Serializer};

/// The network of an IPv6 address, or an IPv4 address, in 64 bits.
///
/// An IPv4 address is its 32 bits. An IPv6 address is its upper 64 bits, the subnet: the lower 64 are chosen by the host
/// and change by themselves (RFC 8981), so they are dropped. No IPv6 address is below 2^32, because ::/32 holds none of
/// a client ([`ReservedAddress::Unspecified`]). `Ord` is that of the bits, so IPv4 comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Address(u64);

impl Address {
    /// The address of these bits, as [`Address::bits`] gave them.
    pub const fn from_bits(bits: u64) -> Self {
        Address(bits)
    }

    /// The IPv4 address with its first octet in the highest of 32 bits.
    pub const fn from_ipv4(ip: u32) -> Self {
        Address(ip as u64)
    }

    /// The 32 bits of an IPv4 address, or the upper 64 of an IPv6 address, the first octet highest.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether this is an IPv4 address.
    pub const fn is_ipv4(self) -> bool {
        self.0 >> 32 == 0
    }

    /// The 32 bits of an IPv4 address.
    pub const fn ipv4(self) -> Option<u32> {
        if self.is_ipv4() { Some(self.0 as u32) } else { None }
    }

    /// The address whose upper half is `upper`, where that alone decides: not for addresses that may hold an IPv4
    /// address, nor for those that are refused.
    pub(super) fn of_upper_half(upper: u64) -> Option<Self> {
        let is_decided = upper >> 32 != 0 && upper != NAT64 && !is_link_local(upper);
        is_decided.then_some(Address(upper))
    }
}

/// The upper half of 64:ff9b::/96 (RFC 6052), whose lower 32 bits are an IPv4 address.
const NAT64: u64 = 0x0064_ff9b_0000_0000;

/// Whether an address with this upper half is in fe80::/10 (RFC 4291, 2.5.6).
fn is_link_local(upper: u64) -> bool {
    upper >> 54 == 0xfe80 >> 6
}

impl From<Ipv4Addr> for Address {
    fn from(ip: Ipv4Addr) -> Self {
        Address::from_ipv4(ip.into())
    }
}

/// An IPv6 address that tells nothing of where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReservedAddress {
    /// In ::/32: the unspecified address, the loopback address, IPv4-compatible addresses (RFC 4291, 2.5.2 to 2.5.5.1).
    #[error("IPv6 address in ::/32")]
    Unspecified,
    /// In fe80::/10: all of them would be one network, which every link has.
    #[error("link-local IPv6 address")]
    LinkLocal,
}

impl TryFrom<Ipv6Addr> for Address {
    type Error = ReservedAddress;

    /// IPv4-mapped addresses (RFC 4291, 2.5.5.2) and those of the well-known NAT64 prefix 64:ff9b::/96 (RFC 6052) are the
    /// IPv4 addresses that they hold. 6to4 and local NAT64 prefixes are IPv6 networks as any other.
    fn try_from(ip: Ipv6Addr) -> Result<Self, ReservedAddress> {
        let (upper, lower) = ((ip.to_bits() >> 64) as u64, ip.to_bits() as u64);
        if let Some(ipv4) = ip.to_ipv4_mapped() {
            return Ok(ipv4.into());
        }
        match upper {
            NAT64 if lower >> 32 == 0 => Ok(Address::from_ipv4(lower as u32)),
            _ if upper >> 32 == 0 => Err(ReservedAddress::Unspecified),
            _ if is_link_local(upper) => Err(ReservedAddress::LinkLocal),
            _ => Ok(Address(upper)),
        }
    }
}

/// As RFC 5952 writes it: `203.0.113.7`, or the first address of the /64, `2001:db8:1:2::`. Of 64:ff9b::/64 it is the
/// first that holds no IPv4 address, so that the text is read back as the same address.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ipv4() {
            Some(ip) => Ipv4Addr::from(ip).fmt(f),
            None => {
                let lower = if self.0 == NAT64 { 1 << 48 } else { 0 };
                Ipv6Addr::from(u128::from(self.0) << 64 | lower).fmt(f)
            }
        }
    }
}

impl Serialize for Address {
    /// The text that `Display` gives.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Address, ReservedAddress> {
        Address::try_from(text.parse::<Ipv6Addr>().unwrap())
    }

    /// Each address beside the text of its /64; in RFC 5952 the tail is the longest run of zeros then.
    #[test]
    fn addresses_are_written_as_rfc_5952_says() {
        let cases = [
            // RFC 5952, 1: one address in several forms.
            ("2001:db8:0:0:1:0:0:1", "2001:db8::"),
            ("2001:0db8:0:0:1:0:0:1", "2001:db8::"),
            ("2001:db8::1:0:0:1", "2001:db8::"),
            ("2001:db8::0:1:0:0:1", "2001:db8::"),
            ("2001:0db8::1:0:0:1", "2001:db8::"),
            ("2001:db8:0:0:1::1", "2001:db8::"),
            ("2001:db8:0000:0:1::1", "2001:db8::"),
            ("2001:DB8:0:0:1::1", "2001:db8::"),
            // 4.1: no leading zeros; 4.3: lower case.
            ("2001:0db8::0001", "2001:db8::"),
            ("2001:db8:aaaa:BBBB:cccc:dddd:eeee:0001", "2001:db8:aaaa:bbbb::"),
            ("2001:DB8:00A:0:0:0:0:1", "2001:db8:a::"),
            // 4.2.2 and 4.2.3: the tail is the longest run of zeros, a shorter one before it is written out.
            ("2001:0:0:1:0:0:0:1", "2001:0:0:1::"),
            ("2001:0:0:7::", "2001:0:0:7::"),
            ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1::"),
        ];
        for (text, written) in cases {
            assert_eq!(of(text).unwrap().to_string(), written, "{text}");
        }
        assert_eq!(Address::from_ipv4(0xCB00_7107).to_string(), "203.0.113.7");
        assert_eq!(Address::from(Ipv4Addr::new(0, 0, 0, 1)).to_string(), "0.0.0.1");
        assert_eq!(format!("[{:>15}]", Address::from_ipv4(1)), "[        0.0.0.1]");
    }

    #[test]
    fn addresses_of_rfc_4291_are_ipv4_ipv6_or_reserved() {
        // 2.2
        for (text, bits) in [
            ("ABCD:EF01:2345:6789:ABCD:EF01:2345:6789", 0xABCD_EF01_2345_6789),
            ("2001:DB8:0:0:8:800:200C:417A", 0x2001_0DB8_0000_0000),
            ("2001:DB8::8:800:200C:417A", 0x2001_0DB8_0000_0000),
            ("FF01::101", 0xFF01_0000_0000_0000),
            ("12AB:0:0:CD30::", 0x12AB_0000_0000_CD30),
        ] {
            assert_eq!(of(text), Ok(Address(bits)), "{text}");
            assert!(!of(text).unwrap().is_ipv4() && of(text).unwrap().ipv4().is_none());
        }
        // 2.2.3 and 2.5.5.2: IPv4-mapped.
        for text in ["0:0:0:0:0:FFFF:129.144.52.38", "::FFFF:129.144.52.38", "::ffff:8190:3426"] {
            assert_eq!(of(text), Ok(Address::from_ipv4(0x8190_3426)), "{text}");
        }
        // 2.5.2, 2.5.3, 2.5.5.1, and the rest of their block.
        for text in
            ["::", "::1", "0:0:0:0:0:0:13.1.68.3", "::13.1.68.3", "::fffe:1.2.3.4", "0:0:ffff:ffff::1"]
        {
            assert_eq!(of(text), Err(ReservedAddress::Unspecified), "{text}");
        }
        // 2.5.6
        for text in ["fe80::1", "febf:ffff::1"] {
            assert_eq!(of(text), Err(ReservedAddress::LinkLocal), "{text}");
        }
        for text in ["fec0::1", "fe7f::1", "0:1::", "fc00::1", "ff02::1"] {
            assert!(of(text).is_ok_and(|address| !address.is_ipv4()), "{text}");
        }
    }

    #[test]
    fn the_well_known_nat64_prefix_is_ipv4_and_others_are_not() {
        // RFC 6052, 2.4.
        assert_eq!(of("64:ff9b::192.0.2.33"), Ok(Address::from_ipv4(0xC000_0221)));
        assert_eq!(of("64:ff9b::c000:221"), Ok(Address::from_ipv4(0xC000_0221)));
        for text in
            ["64:ff9b::1:0:0", "64:ff9b:1::192.0.2.33", "2002:c000:221::1", "2001:db8:122:344::192.0.2.33"]
        {
            assert!(of(text).is_ok_and(|address| !address.is_ipv4()), "{text}");
        }
        assert_eq!(Address::of_upper_half(NAT64), None);
        // What stands beside the /96 in its /64 is written so that it is not taken for an IPv4 address.
        let beside = of("64:ff9b::1:0:0").unwrap();
        assert_eq!(beside.to_string(), "64:ff9b:0:0:1::");
        assert_eq!(of(&beside.to_string()), Ok(beside));
        assert_eq!(Address::of_upper_half(NAT64 + 1), Some(Address(NAT64 + 1)));
    }

    #[test]
    fn ipv4_comes_before_ipv6_and_bits_are_kept() {
        let [low, high] = [Address::from_ipv4(u32::MAX), of("0:1::").unwrap()];
        assert!(low < high);
        assert_eq!((low.bits(), high.bits()), ((1 << 32) - 1, 1 << 32));
        assert_eq!(Address::from_bits(high.bits()), high);
        assert_eq!(serde_json::to_string(&[low, high]).unwrap(), r#"["255.255.255.255","0:1::"]"#);
    }
}
