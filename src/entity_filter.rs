//! Which entities a model was trained on: a set that takes 28 bits an entity and is wrong about one stranger in ten
//! thousand.
//!
//! It is a split block Bloom filter (Putze, Sanders and Singler 2007; Apple 2022, arXiv 2101.01719), laid out as in
//! [Parquet](https://parquet.apache.org/docs/file-format/bloomfilter/): an entity has one block of 32 bytes, and in each
//! of its eight words one bit. An entity that was added is always found. With 256 / 28 entities a block on average,
//! one that was not is found with probability 7.3e-5:
//!
//! ```text
//! sum over n of Poisson(n; 256 / 28) · (1 - (31/32)^n)^8
//! ```
//!
//! An exact filter (binary fuse, Graf and Lemire 2022) would take 18 bits, but all distinct entities in memory to build.
//! This one takes entities as they come, in any order, and needs only their number, which is estimated.

use bytes::Bytes;

use crate::mixing::mix;

/// Bits an entity.
pub const BITS_PER_ENTITY: usize = 28;

/// Bytes of a block: eight words of 32 bits, little-endian.
pub const BLOCK_BYTES: usize = 32;

/// The odd multipliers of Parquet's format, one a word.
const SALTS: [u32; BLOCK_BYTES / 4] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// A set of entity hashes, built or mapped from a model folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityFilter {
    blocks: Bytes,
}

impl EntityFilter {
    /// The set of these hashes, in any order and as often as they come; they are asked for twice. Takes
    /// [`BITS_PER_ENTITY`] for each distinct one: 350 MB for 100 million.
    pub fn of<I: Iterator<Item = u64>>(entities: impl Fn() -> I) -> Self {
        let num_entities = estimate_distinct(entities());
        let num_blocks = (num_entities * BITS_PER_ENTITY).div_ceil(8 * BLOCK_BYTES).max(1);
        let mut blocks = vec![0; num_blocks * BLOCK_BYTES];
        for entity in entities() {
            let (block, bits) = place(entity, num_blocks);
            let block = &mut blocks[block * BLOCK_BYTES..][..BLOCK_BYTES];
            bits.for_each(|bit| block[bit / 8] |= 1 << (bit % 8));
        }
        Self { blocks: blocks.into() }
    }

    /// Takes the bytes of [`EntityFilter::bytes`]; `None` where they are no whole blocks.
    pub fn of_bytes(blocks: Bytes) -> Option<Self> {
        let is_whole = !blocks.is_empty() && blocks.len().is_multiple_of(BLOCK_BYTES);
        is_whole.then_some(Self { blocks })
    }

    /// `[num_blocks, 8]`, little-endian 32-bit words.
    pub fn bytes(&self) -> &Bytes {
        &self.blocks
    }

    /// Whether the hash was added; of those that were not, one in ten thousand is taken for such.
    pub fn contains(&self, entity: u64) -> bool {
        let (block, mut bits) = place(entity, self.blocks.len() / BLOCK_BYTES);
        let block = &self.blocks[block * BLOCK_BYTES..][..BLOCK_BYTES];
        bits.all(|bit| block[bit / 8] >> (bit % 8) & 1 == 1)
    }
}

/// An entity's block and its bits in it.
fn place(entity: u64, num_blocks: usize) -> (usize, impl Iterator<Item = usize>) {
    // Prepared files of others may hold hashes that are not as random as ours.
    let mixed = mix(entity);
    let block = ((mixed >> 32) as u128 * num_blocks as u128 >> 32) as usize;
    let bit =
        move |(word, salt): (usize, &u32)| 32 * word + ((mixed as u32).wrapping_mul(*salt) >> 27) as usize;
    (block, SALTS.iter().enumerate().map(bit))
}

/// About how many distinct hashes there are: HyperLogLog (Flajolet et al. 2007) with 2^14 registers, a standard error of
/// 0.8 %, and linear counting for few.
fn estimate_distinct(entities: impl Iterator<Item = u64>) -> usize {
    const INDEX_BITS: u32 = 14;
    const NUM: usize = 1 << INDEX_BITS;
    let mut registers = vec![0u8; NUM];
    for entity in entities {
        let mixed = mix(entity);
        let register = &mut registers[(mixed >> (64 - INDEX_BITS)) as usize];
        // A one below what is counted ends it.
        let rank = (mixed << INDEX_BITS | 1 << (INDEX_BITS - 1)).leading_zeros() as u8 + 1;
        *register = rank.max(*register);
    }
    let m = NUM as f64;
    let num_zeros = registers.iter().filter(|rank| **rank == 0).count();
    let sum: f64 = registers.iter().map(|rank| 0.5f64.powi(i32::from(*rank))).sum();
    let estimate = 0.7213 / (1.0 + 1.079 / m) * m * m / sum;
    let estimate = match num_zeros {
        1.. if estimate <= 2.5 * m => m * (m / num_zeros as f64).ln(),
        _ => estimate,
    };
    estimate.ceil() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes as random as ours, from counters.
    fn hash(number: u64) -> u64 {
        crate::event::hash_entity(&number.to_le_bytes())
    }

    #[test]
    fn the_number_of_distinct_hashes_is_estimated_within_three_percent() {
        for num in [0u64, 1, 100, 5_000, 40_000, 60_000, 100_000, 1_000_000] {
            let hashes = (0..num).chain(0..num / 2).map(hash);
            let error = (estimate_distinct(hashes) as f64 / num as f64 - 1.0).abs();
            assert!(num == 0 || error < 0.03 || num == 1, "{num}: {error}");
        }
        assert_eq!(estimate_distinct([7].into_iter()), 2); // rounded up
    }

    #[test]
    fn members_are_found_and_few_others_are_whatever_their_order_and_kind() {
        const NUM: u64 = 100_000;
        for hash in [hash as fn(u64) -> u64, |number| number] {
            let filter = EntityFilter::of(|| (0..NUM).map(hash));
            let again = EntityFilter::of(|| (0..NUM).rev().chain(0..NUM).map(hash));
            assert!(filter == again, "order and repetition make a difference");
            assert!((0..NUM).all(|number| filter.contains(hash(number))));
            let num_false = (NUM..NUM + 1_000_000).filter(|number| filter.contains(hash(*number))).count();
            assert!(num_false <= 100, "{num_false} of 1,000,000 strangers");
            assert!(num_false >= 20, "{num_false}: so few that a good filter would be smaller");
            let bits = 8.0 * filter.bytes().len() as f64 / NUM as f64;
            assert!((27.0..29.0).contains(&bits), "{bits} bits an entity");
        }
    }

    /// From an implementation in Python of Parquet's specification, behind SplitMix64.
    #[test]
    fn the_layout_is_that_of_the_specification() {
        let filter = EntityFilter::of(|| [0x20F9_09AB_6F54_D5A1, 1, u64::MAX].into_iter());
        assert_eq!(filter.bytes().len(), BLOCK_BYTES);
        let hex: String = filter.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "8001080080004000400010800100400101020002000828000040800804001000");
    }

    #[test]
    fn bytes_come_back_and_others_are_refused() {
        let filter = EntityFilter::of(|| (0..1000).map(hash));
        assert_eq!(EntityFilter::of_bytes(filter.bytes().clone()).unwrap(), filter);
        assert!(EntityFilter::of_bytes(Bytes::new()).is_none());
        assert!(EntityFilter::of_bytes(filter.bytes().slice(..33)).is_none());
    }
}
