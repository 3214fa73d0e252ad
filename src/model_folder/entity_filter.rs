//! Which entities a model was trained on: a set of their hashes that takes 36 bits an entity and can grow.
//!
//! Keys are the first bits of the mixed hashes. They lie sorted in buckets by their own first bits, so that of each only
//! the rest is kept, with an offset a bucket (the quotienting of Cleary 1984):
//!
//! ```text
//! key     = first key_bits bits of mix(hash)
//! bucket  = first bits of key, of which a bucket has 16 to 32 entities
//! rest    = the others, at most 32, ascending within a bucket
//! ```
//!
//! An entity that was added is always found. One that was not is found where it shares a key: with probability
//! `num_entities / 2^key_bits`, at most 7.5e-9 when the set is made. A set that grows keeps its key_bits, because the
//! others are forgotten: after it has grown a thousandfold the probability is 7.5e-6.
//!
//! A Bloom filter takes 28 bits for 1 in 10,000, but sets of two sizes have no union, which a model needs that is trained
//! on from another. This set is the same for the same entities, in whatever order they came.

use bytes::Bytes;
use rayon::prelude::*;

use crate::event::mix;

/// Bits of the rest of a key, at most.
const REST_BITS: u32 = 32;

/// Buckets have at least so many bits, so that a set that begins small can grow to 100 million.
const MIN_BUCKET_BITS: u32 = 8;

/// Keys that are collected before the same are dropped, at least.
const KEYS_AT_ONCE: usize = 1 << 22;

/// A set of entity hashes, built or mapped from a model folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityFilter {
    key_bits: u32,
    /// Where each bucket begins, and where the last ends: `[num_buckets + 1]` 64-bit words, little-endian.
    offsets: Bytes,
    /// `[num_entities]` 32-bit words, little-endian.
    rests: Bytes,
}

impl Default for EntityFilter {
    fn default() -> Self {
        Self::of([])
    }
}

impl EntityFilter {
    /// The bytes of a set of so many entities, at most.
    pub fn max_bytes(num_entities: u64) -> u64 {
        let buckets = (num_entities / 16).max(1 << MIN_BUCKET_BITS);
        (size_of::<u32>() as u64) * num_entities + (size_of::<u64>() as u64) * (buckets + 1)
    }

    /// Bytes that are taken beside the set while it is made of so many hashes, of which so many differ.
    pub fn making_bytes(num_hashes: u64, num_entities: u64) -> u64 {
        size_of::<u64>() as u64 * num_hashes.min(num_entities.saturating_mul(2).max(KEYS_AT_ONCE as u64))
    }

    /// The set of these hashes, in any order and as often as they come. While it is made, it takes 16 bytes for each
    /// distinct one, or 64 MB.
    pub fn of(entities: impl IntoIterator<Item = u64>) -> Self {
        Self::of_keys(distinct_keys(entities), u64::BITS)
    }

    /// The set of its hashes and of these.
    #[must_use]
    pub fn with(&self, entities: impl IntoIterator<Item = u64>) -> Self {
        let mut keys = distinct_keys(entities);
        keys.extend(self.keys());
        Self::of_keys(keys, if self.num_entities() == 0 { u64::BITS } else { self.key_bits })
    }

    /// Of keys of which only the first `known_bits` are known; they stand in the highest bits.
    fn of_keys(mut keys: Vec<u64>, known_bits: u32) -> Self {
        let bits_of = |num: usize| (num / 16).checked_ilog2().unwrap_or(0).max(MIN_BUCKET_BITS);
        let key_bits = known_bits.min(bits_of(keys.len()) + REST_BITS);
        keys.par_iter_mut().for_each(|key| *key >>= u64::BITS - key_bits);
        keys.par_sort_unstable();
        keys.dedup();
        // Where keys were the same, there may be too few for as many buckets, and yet the rests must not be longer.
        let bucket_bits = bits_of(keys.len()).max(key_bits.saturating_sub(REST_BITS));
        let rest_bits = key_bits - bucket_bits;
        let mut offsets = Vec::with_capacity(8 * ((1 << bucket_bits) + 1));
        let mut start = 0u64;
        for bucket in 0..1u64 << bucket_bits {
            offsets.extend(start.to_le_bytes());
            let rest = &keys[start as usize..];
            start += rest.partition_point(|key| key >> rest_bits <= bucket) as u64;
        }
        offsets.extend(start.to_le_bytes());
        let mask = (1u64 << rest_bits) - 1;
        let rests: Vec<u8> = keys.iter().flat_map(|key| ((key & mask) as u32).to_le_bytes()).collect();
        Self { key_bits, offsets: offsets.into(), rests: rests.into() }
    }

    /// Takes [`EntityFilter::parts`]; `None` where they are not such.
    pub fn of_parts(key_bits: u32, offsets: Bytes, rests: Bytes) -> Option<Self> {
        let filter = Self { key_bits, offsets, rests };
        let num_offsets = filter.offsets.len() / 8;
        let is_whole = filter.offsets.len().is_multiple_of(8) && filter.rests.len().is_multiple_of(4);
        let has_buckets = num_offsets >= 2 && (num_offsets - 1).is_power_of_two();
        if !is_whole || !has_buckets || !(1..=u64::BITS).contains(&key_bits) {
            return None;
        }
        let rest_bits = key_bits.checked_sub(filter.bucket_bits())?;
        let ends_with_the_last = filter.offset(num_offsets - 1) == filter.num_entities() as u64;
        (rest_bits <= REST_BITS && ends_with_the_last).then_some(filter)
    }

    /// `key_bits`, the offsets of the buckets, `[num_buckets + 1]` 64-bit words, and the rests of the keys,
    /// `[num_entities]` 32-bit words; little-endian.
    pub fn parts(&self) -> (u32, &Bytes, &Bytes) {
        (self.key_bits, &self.offsets, &self.rests)
    }

    /// Entities, but for those that share a key.
    pub fn num_entities(&self) -> usize {
        self.rests.len() / 4
    }

    /// Whether the hash was added.
    pub fn contains(&self, entity: u64) -> bool {
        let key = mix(entity) >> (u64::BITS - self.key_bits);
        let rest_bits = self.key_bits - self.bucket_bits();
        let rest = (key & ((1 << rest_bits) - 1)) as u32;
        let rests = self.bucket((key >> rest_bits) as usize);
        rests.binary_search_by(|found| u32::from_le_bytes(*found).cmp(&rest)).is_ok()
    }

    fn bucket_bits(&self) -> u32 {
        (self.offsets.len() / 8 - 1).ilog2()
    }

    fn offset(&self, index: usize) -> u64 {
        u64::from_le_bytes(self.offsets.as_chunks::<8>().0[index])
    }

    /// The rests of a bucket. Offsets that are not ascending are no set's: it has nothing then.
    fn bucket(&self, bucket: usize) -> &[[u8; 4]] {
        let range = self.offset(bucket) as usize..self.offset(bucket + 1) as usize;
        self.rests.as_chunks::<4>().0.get(range).unwrap_or_default()
    }

    /// Every key, in the highest bits.
    fn keys(&self) -> impl Iterator<Item = u64> {
        let rest_bits = self.key_bits - self.bucket_bits();
        let of_bucket = move |bucket: usize| {
            let key =
                move |rest: &[u8; 4]| (bucket as u64) << rest_bits | u64::from(u32::from_le_bytes(*rest));
            self.bucket(bucket).iter().map(move |rest| key(rest) << (u64::BITS - self.key_bits))
        };
        (0..1 << self.bucket_bits()).flat_map(of_bucket)
    }
}

/// How many of the hashes differ, in the memory of [`EntityFilter::making_bytes`].
pub(crate) fn num_distinct(entities: impl IntoIterator<Item = u64>) -> usize {
    // Mixed hashes differ where the hashes do.
    distinct_keys(entities).len()
}

/// The distinct mixed hashes, or some of them more than once.
fn distinct_keys(entities: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let mut keys = Vec::new();
    let mut max_len = KEYS_AT_ONCE;
    for entity in entities {
        keys.push(mix(entity));
        if keys.len() == max_len {
            keys.par_sort_unstable();
            keys.dedup();
            max_len = KEYS_AT_ONCE.max(2 * keys.len());
        }
    }
    keys.par_sort_unstable();
    keys.dedup();
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes as random as ours, from counters.
    fn hash(number: u64) -> u64 {
        crate::event::hash_entity(&number.to_le_bytes())
    }

    #[test]
    fn members_are_found_and_others_are_not_whatever_their_order_and_kind() {
        for num in [0, 1, 100, 5_000, 300_000] {
            for hash in [hash as fn(u64) -> u64, |number| number] {
                let filter = EntityFilter::of((0..num).map(hash));
                let again = EntityFilter::of((0..num).rev().chain(0..num).map(hash));
                assert!(filter == again, "order and repetition make a difference");
                assert_eq!(filter.num_entities(), num as usize);
                assert!((0..num).all(|number| filter.contains(hash(number))));
                assert!((num..num + 300_000).all(|number| !filter.contains(hash(number))));
            }
        }
        let filter = EntityFilter::of((0..300_000).map(hash));
        let (_, offsets, rests) = filter.parts();
        let bits = 8.0 * (offsets.len() + rests.len()) as f64 / 300_000.0;
        assert!((33.0..37.0).contains(&bits), "{bits} bits an entity");
    }

    #[test]
    fn a_set_that_grows_a_thousandfold_is_the_union_and_wrong_of_few() {
        let (first, all) = (1_000u64, 1_000_000u64);
        let mut grown = EntityFilter::of((0..first).map(hash));
        for end in [2_000, 30_000, all] {
            grown = grown.with((end / 2..end).chain(0..end / 2).map(hash));
        }
        assert!((0..all).all(|number| grown.contains(hash(number))));
        let num_false = (all..2 * all).filter(|number| grown.contains(hash(*number))).count();
        assert!(num_false <= 10, "{num_false} of 1,000,000 strangers");
        // Keys of 40 bits: two of a million share one half the time.
        assert!((all - 5..=all).contains(&(grown.num_entities() as u64)), "{}", grown.num_entities());
        // What is added again changes nothing, in whatever order sets were joined.
        assert!(grown == grown.with((0..all).map(hash)));
        let parts = EntityFilter::of((0..first).map(hash)).with((first..all).map(hash));
        assert!(grown == parts);
    }

    #[test]
    fn keys_that_few_bits_of_are_known_are_told_apart_as_far_as_those_go() {
        let filter = EntityFilter::of_keys([1u64 << 63, 1 << 63 | 1 << 40, 1 << 23].to_vec(), 40);
        assert_eq!(filter.num_entities(), 3);
        assert_eq!(filter.keys().collect::<Vec<_>>(), [0, 1 << 63, 1 << 63 | 1 << 40]);
    }

    #[test]
    fn keys_that_are_the_same_leave_a_set_that_is_one() {
        // 2^13 hashes would have 2^9 buckets, and one fewer 2^8.
        let mut keys: Vec<u64> = (1..1 << 13).map(|i| i << 50).collect();
        keys.push(keys[0] | 1);
        let filter = EntityFilter::of_keys(keys, u64::BITS);
        let (key_bits, offsets, rests) = filter.parts();
        assert_eq!(filter.num_entities(), (1 << 13) - 1);
        assert!(EntityFilter::of_parts(key_bits, offsets.clone(), rests.clone()).is_some());
    }

    #[test]
    fn parts_come_back_and_others_are_refused() {
        let filter = EntityFilter::of((0..1000).map(hash));
        let (key_bits, offsets, rests) = filter.parts();
        let of_parts = |key_bits, offsets: &Bytes, rests: &Bytes| {
            EntityFilter::of_parts(key_bits, offsets.clone(), rests.clone())
        };
        assert_eq!(of_parts(key_bits, offsets, rests).unwrap(), filter);
        assert!(of_parts(key_bits, &Bytes::new(), rests).is_none());
        assert!(of_parts(key_bits, &offsets.slice(..8), rests).is_none());
        assert!(of_parts(key_bits, &offsets.slice(..offsets.len() - 8), rests).is_none());
        assert!(of_parts(key_bits, offsets, &rests.slice(4..)).is_none());
        for key_bits in [0, 7, 41, 65, u32::MAX] {
            assert!(of_parts(key_bits, offsets, rests).is_none(), "{key_bits}");
        }
    }

    #[test]
    fn offsets_of_no_set_are_no_panic() {
        let offsets: Vec<u8> =
            [7u64, 3, u64::MAX, 2].iter().chain([&1]).flat_map(|o| o.to_le_bytes()).collect();
        let filter = EntityFilter::of_parts(34, offsets.into(), vec![0; 4].into()).unwrap();
        assert!((0..1000).all(|number| !filter.contains(number)));
        assert_eq!(filter.keys().count(), 0);
    }
}
