//! The prefix chain of an address: which of the levels two addresses share.

use super::usage::{IPV4_LENGTHS, IPV6_LENGTHS, NUM_LEVELS};
use crate::event::Address;

/// The number of levels, from the widest, whose prefix two addresses have in common: 0 where they share none or are of
/// different families, [`NUM_LEVELS`] where they are the same address (of IPv6: the same /64).
///
/// Addresses that share a level lie next to each other in the order of [`Address::bits`], so the neighbours of an
/// address in sorted order share at least as many levels with it as any other.
#[inline]
pub fn shared_levels(a: Address, b: Address) -> usize {
    if a.is_ipv4() != b.is_ipv4() {
        return 0;
    }
    let differing = a.bits() ^ b.bits();
    match a.is_ipv4() {
        true => levels_within(&IPV4_LENGTHS, (differing as u32).leading_zeros()),
        false => levels_within(&IPV6_LENGTHS, differing.leading_zeros()),
    }
}

/// The levels whose length is at most `num_bits`.
#[inline]
fn levels_within(lengths: &[u32; NUM_LEVELS], num_bits: u32) -> usize {
    lengths.iter().map(|length| usize::from(*length <= num_bits)).sum()
}

/// The first and the last address of the prefix of `address` at `level` (0..[`NUM_LEVELS`]), both inclusive.
///
/// Level 0 of IPv6 is the whole family. Its range begins behind the last IPv4 address.
#[inline]
pub fn prefix_range(address: Address, level: usize) -> (u64, u64) {
    let (lengths, num_bits) = match address.is_ipv4() {
        true => (IPV4_LENGTHS, 32),
        false => (IPV6_LENGTHS, 64),
    };
    let host = match num_bits - lengths[level] {
        64 => u64::MAX,
        free => (1 << free) - 1,
    };
    let first = address.bits() & !host;
    let smallest = if num_bits == 64 { 1 << 32 } else { 0 };
    (first.max(smallest), first | host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(bits: u64) -> Address {
        Address::from_bits(bits)
    }

    #[test]
    fn addresses_share_the_levels_whose_prefixes_are_equal() {
        let ipv4 = address(0x0A01_0203);
        let others =
            [0x0B01_0203, 0x0A81_0203, 0x0A11_0203, 0x0A01_1203, 0x0A01_0303, 0x0A01_0213, 0x0A01_0204];
        let shared = others.map(|bits| shared_levels(ipv4, address(bits)));
        assert_eq!(shared, [0, 1, 1, 3, 4, 5, 6]);
        assert_eq!(shared_levels(ipv4, ipv4), 7);
        let ipv6 = address(0x2001_0db8_1122_3344);
        let others =
            [0x2002_0db8_1122_3344, 0x2001_0db9_1122_3344, 0x2001_0db8_1222_3344, 0x2001_0db8_1123_3344];
        assert_eq!(others.map(|bits| shared_levels(ipv6, address(bits))), [1, 2, 3, 4]);
        let others = [0x2001_0db8_1122_3444, 0x2001_0db8_1122_3345, 0x2001_0db8_1122_3344];
        assert_eq!(others.map(|bits| shared_levels(ipv6, address(bits))), [5, 6, 7]);
        assert_eq!(shared_levels(ipv4, ipv6), 0);
    }

    #[test]
    fn a_prefix_holds_the_addresses_that_share_its_level() {
        let pool = [0, 1, 0x0A01_0203, 0x0A01_02FF, 0x0AFF_0000, 0xFFFF_FFFF, 1 << 32, 0x2001_0db8_1122_3344];
        let pool = pool.into_iter().chain([0x2001_0db8_1122_3345, 0x2001_0db8_0000_0000, u64::MAX]);
        let pool: Vec<Address> = pool.map(address).collect();
        for a in &pool {
            for b in &pool {
                for level in 0..NUM_LEVELS {
                    let (first, last) = prefix_range(*a, level);
                    let is_inside = (first..=last).contains(&b.bits());
                    assert_eq!(is_inside, shared_levels(*a, *b) > level, "{a:?} {b:?} {level}");
                }
            }
        }
    }
}
