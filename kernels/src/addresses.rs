//! Addresses as words of 32 bits, which every device has.
//!
//! ```text
//! IPv4 alone      address n = words[n]
//! both families   address n = words[2n] | words[2n + 1] << 32        IPv4 where that is below 2^32, else IPv6
//! ```
//!
//! An address of both families is 64 bits: an IPv4 address, or the upper half of an IPv6 address, none of which is
//! below 2^32 (::/32 holds no client's address). So a word tells the family, and no kernel needs a flag.

use crate::shape::Families;

/// Addresses as slices of words.
#[derive(Clone, Copy, Debug)]
pub struct Addresses<'a> {
    words: &'a [u32],
    families: Families,
}

impl<'a> Addresses<'a> {
    /// The addresses whose words these are.
    ///
    /// # Panics
    ///
    /// Where half an address is left over.
    pub fn new(words: &'a [u32], families: Families) -> Self {
        assert!(words.len().is_multiple_of(families.num_words()), "every address has all its words");
        Self { words, families }
    }

    /// The families that they may be of.
    pub fn families(self) -> Families {
        self.families
    }

    /// The words.
    pub fn words(self) -> &'a [u32] {
        self.words
    }

    /// How many addresses there are.
    #[inline(always)]
    pub fn len(self) -> usize {
        self.words.len() / self.families.num_words()
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.words.is_empty()
    }

    /// Address `n`.
    #[inline(always)]
    pub fn get(self, n: usize) -> u64 {
        match self.families {
            Families::Ipv4 => u64::from(self.words[n]),
            Families::Both => u64::from(self.words[2 * n + 1]) << 32 | u64::from(self.words[2 * n]),
        }
    }

    /// The addresses of a range.
    #[inline(always)]
    pub fn slice(self, range: std::ops::Range<usize>) -> Self {
        let num_words = self.families.num_words();
        Self { words: &self.words[range.start * num_words..range.end * num_words], ..self }
    }

    /// All of them in order.
    #[inline(always)]
    pub fn iter(self) -> impl Iterator<Item = u64> + 'a {
        (0..self.len()).map(move |n| self.get(n))
    }
}

/// Whether an address is of IPv6.
#[inline(always)]
pub fn is_ipv6(address: u64) -> bool {
    address >> 32 != 0
}

/// The words of addresses, for an encoder of these families.
///
/// # Panics
///
/// Where an address is of a family that is not among them.
pub fn words(addresses: impl ExactSizeIterator<Item = u64>, families: Families) -> Vec<u32> {
    match families {
        Families::Ipv4 => {
            addresses.map(|address| u32::try_from(address).expect("an IPv4 address has 32 bits")).collect()
        }
        Families::Both => {
            let mut words = Vec::with_capacity(2 * addresses.len());
            addresses.for_each(|address| words.extend([address as u32, (address >> 32) as u32]));
            words
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_addresses() {
        let ipv4 = [0, 1, u64::from(u32::MAX)];
        for families in [Families::Ipv4, Families::Both] {
            let words = words(ipv4.into_iter(), families);
            assert_eq!(words.len(), 3 * families.num_words());
            assert!(Addresses::new(&words, families).iter().eq(ipv4));
        }
        let both = [7, 0x2001_0DB8_0000_0001, 1 << 32, u64::MAX, 0];
        let words = words(both.into_iter(), Families::Both);
        let addresses = Addresses::new(&words, Families::Both);
        assert!(addresses.iter().eq(both) && addresses.len() == 5);
        assert!(addresses.slice(1..3).iter().eq(both[1..3].iter().copied()));
        assert_eq!(both.map(is_ipv6), [false, true, true, true, false]);
    }
}
