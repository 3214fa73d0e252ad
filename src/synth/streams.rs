//! Independent streams of random numbers.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

// Streams below 2^32 belong to the users.
pub(super) const SHUFFLE_STREAM: u64 = 1 << 32;
pub(super) const ATTACK_STREAM: u64 = SHUFFLE_STREAM + 1;
/// The first of the users' streams for IPv6.
pub(super) const IPV6_STREAM: u64 = 1 << 33;

/// An independent generator for each purpose, so that neither threads nor the number of users matter.
pub(super) fn stream(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}
