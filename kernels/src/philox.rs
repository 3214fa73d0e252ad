//! Philox4x32-10, the counter-based generator of Salmon et al., "Parallel Random Numbers: As Easy as
//! 1, 2, 3" (SC'11): ten rounds of
//!
//! ```text
//! c' = (hi(M1·c2) ^ c1 ^ k0, lo(M1·c2), hi(M0·c0) ^ c3 ^ k1, lo(M0·c0)),  k' = k + (W0, W1)
//! ```
//!
//! A draw is a function of its counter and key alone, so every backend makes the same integers in any
//! order, and a run can be resumed at any step. Checked against the Random123 known-answer vectors.

#[cfg(feature = "wgpu")]
use cubecl::prelude::*;

const M0: u32 = 0xD251_1F53;
const M1: u32 = 0xCD9E_8D57;
const W0: u32 = 0x9E37_79B9;
const W1: u32 = 0xBB67_AE85;

/// What a stream of random numbers is for. Streams of one seed never share a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Random IPv4 negatives of training.
    RandomNegatives = 1,
    /// Permutations of a mini-batch for shuffled negatives.
    ShuffledNegatives = 2,
    /// The order of events in an epoch.
    EpochOrder = 3,
    /// Initial weights.
    Init = 4,
    /// Random IPv4 negatives of evaluation.
    EvaluationNegatives = 5,
}

/// The key of one stream of `seed`.
pub fn stream_key(seed: u64, stream: Stream) -> [u32; 2] {
    let block = philox4x32_10([seed as u32, (seed >> 32) as u32, stream as u32, 0], [0, 0]);
    [block[0], block[1]]
}

/// One block: four random words for a 128-bit counter under a 64-bit key.
pub fn philox4x32_10(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let p0 = M0 as u64 * counter[0] as u64;
        let p1 = M1 as u64 * counter[2] as u64;
        counter = [
            (p1 >> 32) as u32 ^ counter[1] ^ key[0],
            p1 as u32,
            (p0 >> 32) as u32 ^ counter[3] ^ key[1],
            p0 as u32,
        ];
        key = [key[0].wrapping_add(W0), key[1].wrapping_add(W1)];
    }
    counter
}

/// A block on the device; word `i` is field `i`.
#[cfg(feature = "wgpu")]
#[derive(CubeType, Clone, Copy)]
pub(crate) struct Block {
    pub w0: u32,
    pub w1: u32,
    pub w2: u32,
    pub w3: u32,
}

/// [`philox4x32_10`] on the device.
#[cfg(feature = "wgpu")]
#[cube]
pub(crate) fn philox_block(
    counter0: u32,
    counter1: u32,
    counter2: u32,
    counter3: u32,
    key0: u32,
    key1: u32,
) -> Block {
    let mut c0 = counter0;
    let mut c1 = counter1;
    let mut c2 = counter2;
    let mut c3 = counter3;
    let mut k0 = key0;
    let mut k1 = key1;
    #[unroll]
    for _round in 0..10u32 {
        let hi0 = u32::mul_hi(c0, M0);
        let lo0 = c0 * M0;
        let hi1 = u32::mul_hi(c2, M1);
        let lo1 = c2 * M1;
        let n0 = hi1 ^ c1 ^ k0;
        let n2 = hi0 ^ c3 ^ k1;
        c0 = n0;
        c1 = lo1;
        c2 = n2;
        c3 = lo0;
        k0 += W0;
        k1 += W1;
    }
    Block { w0: c0, w1: c1, w2: c2, w3: c3 }
}

/// Word `index` (0..4) of a block on the device.
#[cfg(feature = "wgpu")]
#[cube]
pub(crate) fn word(block: Block, index: u32) -> u32 {
    let low = select(index == 0u32, block.w0, block.w1);
    let high = select(index == 2u32, block.w2, block.w3);
    select(index < 2u32, low, high)
}

/// Maps a random word to `0..bound` by the multiply-shift of Lemire (2019); the bias is below bound / 2^32.
pub fn below(word: u32, bound: u32) -> u32 {
    ((u64::from(word) * u64::from(bound)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random123 1.14, `tests/kat_vectors`, lines "philox4x32 10".
    #[test]
    fn known_answers_of_random123() {
        let vectors = [
            ([0; 4], [0; 2], [0x6627_E8D5, 0xE169_C58D, 0xBC57_AC4C, 0x9B00_DBD8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408F_276D, 0x41C8_3B0E, 0xA20B_C7C6, 0x6D54_51FD]),
            (
                [0x243F_6A88, 0x85A3_08D3, 0x1319_8A2E, 0x0370_7344],
                [0xA409_3822, 0x299F_31D0],
                [0xD16C_FE09, 0x94FD_CCEB, 0x5001_E420, 0x2412_6EA1],
            ),
        ];
        for (counter, key, expected) in vectors {
            assert_eq!(philox4x32_10(counter, key), expected);
        }
    }

    #[test]
    fn streams_and_seeds_have_keys_of_their_own() {
        use Stream::*;
        let streams = [RandomNegatives, ShuffledNegatives, EpochOrder, Init, EvaluationNegatives];
        let mut keys: Vec<_> = [0, 1, 1 << 32, u64::MAX]
            .into_iter()
            .flat_map(|seed| streams.map(|stream| stream_key(seed, stream)))
            .collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 20);
    }
}
