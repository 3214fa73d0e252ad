//! An event: one entity used one IPv4 address.
//!
//! Entities are opaque bytes and are hashed as they are. The hash is part of a model's contract, so it has
//! a name and a version ([`ENTITY_HASH`]) that are written into prepared files and model folders.

use std::net::Ipv4Addr;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Name and version of the entity hash: XXH3-64 of the entity's bytes with seed 0
/// (<https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md>).
pub const ENTITY_HASH: &str = "xxh3_64:v1";

/// One (entity, IP) pair as the trainer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    /// [`hash_entity`] of the entity's bytes.
    pub entity: u64,
    /// The IPv4 address as an integer, first octet in the highest byte.
    pub ip: u32,
}

/// Hashes an entity's bytes; any bytes do, valid UTF-8 or not.
pub fn hash_entity(entity: &[u8]) -> u64 {
    xxh3_64_with_seed(entity, 0)
}

/// The row of the embedding table that an entity hash belongs to, in `0..num_entity_vectors`.
pub fn entity_row(entity: u64, num_entity_vectors: usize) -> u32 {
    (entity % num_entity_vectors as u64) as u32
}

/// Parses an IPv4 address exactly as [`Ipv4Addr`] does: four decimal octets, no leading zeros, nothing else.
pub fn parse_ipv4(text: &[u8]) -> Option<u32> {
    // The longest address has 15 bytes; this also keeps a huge field from being checked as UTF-8.
    if text.len() > 15 {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse::<Ipv4Addr>().ok().map(u32::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_is_taken_as_the_standard_library_takes_it() {
        assert_eq!(parse_ipv4(b"1.2.3.4"), Some(0x0102_0304));
        assert_eq!(parse_ipv4(b"255.255.255.255"), Some(u32::MAX));
        let refused = [
            "",
            "1.2.3",
            "1.2.3.4.5",
            "01.2.3.4",
            "1.2.3.256",
            "1.2.3.4:80",
            "1.2.3.0/24",
            "16909060",
            "::1",
            "::ffff:1.2.3.4",
            " 1.2.3.4",
            "1.2.3.4 ",
            "+1.2.3.4",
            "1.2.3.４",
        ];
        for text in refused {
            assert_eq!(parse_ipv4(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse_ipv4(b"1.2.3.\xff"), None);
    }

    /// Reference values of the published XXH3-64, seed 0.
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
