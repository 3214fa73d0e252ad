//! The hash of an entity.
//!
//! Entities are opaque bytes and are hashed as they are. The hash is part of a model's contract, so it has
//! a name and a version ([`ENTITY_HASH`]) that are written into prepared files and model folders.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Name and version of the entity hash: XXH3-64 of the entity's bytes with seed 0
/// (<https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md>).
pub const ENTITY_HASH: &str = "xxh3_64:v1";

/// Hashes an entity's bytes; any bytes do, valid UTF-8 or not.
pub fn hash_entity(entity: &[u8]) -> u64 {
    xxh3_64_with_seed(entity, 0)
}

/// The row of the embedding table that an entity hash belongs to, in `0..num_entity_vectors`.
pub fn entity_row(entity: u64, num_entity_vectors: usize) -> u32 {
    (entity % num_entity_vectors as u64) as u32
}

/// What an entity's hash tells beside its row: entities that share a row have different tags, but for one pair in
/// 2^32.
pub fn entity_tag(entity: u64) -> u32 {
    (entity >> 32) as u32
}

/// A bijection of 64-bit integers that looks random: the finalizer of SplitMix64 (Steele, Lea and Flood, "Fast
/// Splittable Pseudorandom Number Generators", 2014).
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// Whether a name stands for nobody: what logs and tables write where there is no user. Case does not count.
pub(crate) fn is_nobody(entity: &[u8]) -> bool {
    const NAMES: [&[u8]; 9] = [b"", b"-", b"\"\"", b"\\N", b"null", b"(null)", b"none", b"nan", b"<na>"];
    entity.len() <= 6 && NAMES.iter().any(|name| entity.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reference values of the published XXH3-64, seed 0.
    #[test]
    fn some_names_stand_for_nobody() {
        for name in ["", "-", "\"\"", "\\N", "NULL", "null", "nan", "NaN", "None", "(null)", "<NA>"] {
            assert!(is_nobody(name.as_bytes()), "{name:?}");
        }
        for name in ["--", "n", "nil", "nobody", "nancy", "no", "0", " ", "none1"] {
            assert!(!is_nobody(name.as_bytes()), "{name:?}");
        }
    }

    #[test]
    fn the_entity_hash_is_the_published_one() {
        assert_eq!(hash_entity(b""), 0x2D06_8005_38D3_94C2);
        // From Python's xxhash: xxhash.xxh3_64_intdigest(…).
        assert_eq!(hash_entity(b"user_1"), 0x20F9_09AB_6F54_D5A1);
        assert_eq!(hash_entity(&[0xFF, 0x00, 0x41]), 0x488E_A76F_C147_DD30);
    }

    #[test]
    fn entity_rows_stay_in_the_table() {
        for size in [1, 2, 3, 100_000, 250_000_000] {
            for entity in [0, 1, u64::MAX, 0x2D06_8005_38D3_94C2] {
                assert!((entity_row(entity, size) as usize) < size);
            }
        }
    }
}
