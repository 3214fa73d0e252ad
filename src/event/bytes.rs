//! Questions to eight bytes at a time, in a register.

/// The eight bytes of `window` that begin at `at`, the first lowest.
pub(super) fn eight_bytes<const N: usize>(window: &[u8; N], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| window[at + i]))
}

/// The four bytes of `window` that begin at `at`, the first lowest.
pub(super) fn four_bytes<const N: usize>(window: &[u8; N], at: usize) -> u32 {
    u32::from_le_bytes([window[at], window[at + 1], window[at + 2], window[at + 3]])
}

/// One in every byte.
const ONES: u64 = u64::MAX / 255;
const TOP_BITS: u64 = 0x80 * ONES;

/// The top bit of every byte that is `byte`; the others are zero.
pub(super) fn equal_to(word: u64, byte: u8) -> u64 {
    let differing = word ^ (u64::from(byte) * ONES);
    !(((differing & !TOP_BITS) + !TOP_BITS) | differing) & TOP_BITS
}

/// The top bit of every byte that is not a digit; the others are zero.
pub(super) fn not_digits(word: u64) -> u64 {
    // Digits become 0 to 9; adding 118 to what is larger sets the top bit.
    let digits = word ^ (u64::from(b'0') * ONES);
    (((digits & !TOP_BITS) + 118 * ONES) | digits) & TOP_BITS
}

/// The top bit of every byte that is a hexadecimal digit of either case; the others are zero.
pub(super) fn hex_digits(word: u64) -> u64 {
    let low = word & !TOP_BITS;
    let not_digits = (low ^ (u64::from(b'0') * ONES)) + 118 * ONES;
    // The letters become 1 to 6: adding 127 sets the top bit from 1, adding 121 from 7.
    let letters = (low | (0x20 * ONES)) ^ (0x60 * ONES);
    let are_letters = (letters + 127 * ONES) & !(letters + 121 * ONES);
    (!not_digits | are_letters) & !word & TOP_BITS
}

/// The eight top bits, the first byte's lowest.
pub(super) fn movemask(top_bits: u64) -> u32 {
    // The product moves bit 7 + 8i to bit 56 + i; no two terms meet.
    ((top_bits >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
}
