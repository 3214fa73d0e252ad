//! The chain of prefixes of an address, for both families.

use super::usage::{IPV4_LENGTHS, IPV6_LENGTHS, NUM_LEVELS};
use crate::event::Address;

/// The prefix lengths of a family.
///
/// Two addresses of a family *share* as many levels as they have prefixes in common, counted from the widest:
/// `0..=NUM_LEVELS`. Sharing `n` levels, they share level `n - 1` and all wider ones.
pub(super) struct Chain {
    /// Bits of an address.
    pub(super) bits: u32,
    /// Bytes of the longest symbol: the bits by which one level continues the one before it.
    pub(super) symbol_bytes: usize,
    /// Bytes in which a node says which segments it has.
    pub(super) segments_bytes: usize,
    /// Bits that two addresses have in common at least where they share so many levels.
    pub(super) ends: [u32; NUM_LEVELS + 1],
    /// Levels that two addresses share, by the number of bits of the exclusive or of both.
    shared: [u8; u64::BITS as usize + 1],
}

impl Chain {
    const fn new(bits: u32, lengths: [u32; NUM_LEVELS]) -> Self {
        let mut ends = [0; NUM_LEVELS + 1];
        let mut level = 0;
        while level < NUM_LEVELS {
            ends[level + 1] = lengths[level];
            level += 1;
        }
        let mut shared = [0; u64::BITS as usize + 1];
        let mut differing = 0;
        while differing <= bits {
            let mut num = 0;
            while num < NUM_LEVELS && lengths[num] <= bits - differing {
                num += 1;
            }
            shared[differing as usize] = num as u8;
            differing += 1;
        }
        let (symbol_bytes, segments_bytes) = if bits == 32 { (1, 2) } else { (3, 3) };
        Self { bits, symbol_bytes, segments_bytes, ends, shared }
    }

    /// Levels that two addresses of the family share, from the exclusive or of both.
    #[inline(always)]
    pub(super) fn shared(&self, xor: u64) -> usize {
        usize::from(self.shared[(u64::BITS - xor.leading_zeros()) as usize])
    }

    /// Bits by which level `level` continues the one before it.
    #[inline(always)]
    pub(super) fn step(&self, level: usize) -> u32 {
        self.ends[level + 1] - self.ends[level]
    }

    /// Whether level `level` continues the one before it by so few bits that a node marks its segments with a bit for each
    /// symbol.
    #[inline(always)]
    pub(super) fn has_marks(&self, level: usize) -> bool {
        self.bits == 32 && level > 0
    }

    /// Bits of an address beyond those of `num_shared` levels.
    #[inline(always)]
    pub(super) fn rest(&self, num_shared: usize) -> u32 {
        self.bits - self.ends[num_shared]
    }

    /// Bytes in which a bucket has what of an address is beyond `num_shared` levels.
    #[inline(always)]
    pub(super) fn rest_bytes(&self, num_shared: usize) -> usize {
        self.rest(num_shared).div_ceil(8) as usize
    }

    /// The bits by which level `level` continues the one before it.
    #[inline(always)]
    pub(super) fn symbol(&self, address: u64, level: usize) -> u64 {
        self.prefix(address, level + 1) & super::bits::mask(self.step(level))
    }

    /// The bits of an address that `num_shared` levels have in common.
    #[inline(always)]
    pub(super) fn prefix(&self, address: u64, num_shared: usize) -> u64 {
        address.checked_shr(self.rest(num_shared)).unwrap_or(0)
    }
}

/// Address families.
pub(super) const NUM_FAMILIES: usize = 2;

/// IPv4, then IPv6.
pub(super) static CHAINS: [Chain; NUM_FAMILIES] =
    [Chain::new(32, IPV4_LENGTHS), Chain::new(64, IPV6_LENGTHS)];

/// Which of [`CHAINS`] an address has.
#[inline(always)]
pub(super) fn family(address: Address) -> usize {
    usize::from(!address.is_ipv4())
}

/// Levels that two addresses share; none where their families differ.
#[inline(always)]
pub(super) fn shared(a: Address, b: Address) -> usize {
    if family(a) == family(b) { CHAINS[family(a)].shared(a.bits() ^ b.bits()) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_symbol_has_room() {
        for chain in &CHAINS {
            let longest = (0..NUM_LEVELS).map(|level| chain.step(level)).max().unwrap();
            assert_eq!(chain.symbol_bytes, longest.div_ceil(8) as usize);
        }
    }

    #[test]
    fn a_mark_for_each_symbol_has_room() {
        for chain in &CHAINS {
            for level in 0..NUM_LEVELS {
                assert_eq!(chain.has_marks(level), (1..=4).contains(&chain.step(level)), "{level}");
            }
            assert!(8 * chain.segments_bytes >= 16);
        }
    }

    #[test]
    fn shared_levels_follow_from_the_lengths() {
        for (chain, lengths) in CHAINS.iter().zip([IPV4_LENGTHS, IPV6_LENGTHS]) {
            assert_eq!(chain.shared(0), NUM_LEVELS);
            for bit in 0..chain.bits {
                let in_common = chain.bits - 1 - bit;
                let expected = lengths.iter().filter(|length| **length <= in_common).count();
                assert_eq!(chain.shared(1 << bit), expected, "{bit}");
            }
        }
    }
}
