//! Values of any width, one after the other: bits fill each byte from the lowest up, as little-endian words
//! do.

use super::prefetch::{CACHE_LINE, prefetch};

/// Widest value that [`BitReader::narrow`] reads.
pub(super) const MAX_NARROW: u32 = 57;

/// Zero bytes that must follow the last value: [`BitReader`] reads whole words, and a bucket is read as if it
/// were full.
pub(super) const PADDING: usize = 256;

/// Bits that hold `value`; none for 0.
#[inline(always)]
pub(super) fn width(value: u64) -> u32 {
    u64::BITS - value.leading_zeros()
}

/// Bytes that hold `value`; none for 0.
pub(super) fn num_bytes(value: u64) -> u32 {
    width(value).div_ceil(8)
}

/// The lowest `width` bits.
#[inline(always)]
pub(super) fn mask(width: u32) -> u64 {
    MASKS[width as usize % MASKS.len()]
}

/// By number of bits, from 0 to 64.
static MASKS: [u64; 128] = {
    let mut masks = [u64::MAX; 128];
    let mut width = 0;
    while width < 64 {
        masks[width] = (1 << width) - 1;
        width += 1;
    }
    masks
};

/// Appends values to a buffer.
#[derive(Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    word: u64,
    num_bits: u32,
    origin: usize,
}

impl BitWriter {
    /// A buffer whose first byte will be the byte `origin` of what it is appended to.
    pub(super) fn starting_at(origin: usize) -> Self {
        Self { origin, ..Self::default() }
    }

    /// Appends the lowest `width` bits of `value`, 0 to 64; higher bits must be zero.
    #[inline]
    pub(super) fn push(&mut self, value: u64, width: u32) {
        debug_assert!(value & !mask(width) == 0, "{value} has more than {width} bits");
        self.word |= value << self.num_bits;
        let num_bits = self.num_bits + width;
        if num_bits < u64::BITS {
            self.num_bits = num_bits;
            return;
        }
        self.bytes.extend_from_slice(&self.word.to_le_bytes());
        let written = u64::BITS - self.num_bits;
        self.word = value.checked_shr(written).unwrap_or(0);
        self.num_bits = num_bits - u64::BITS;
    }

    /// Fills the last byte with zeros; the next value starts at the byte that is returned.
    pub(super) fn align(&mut self) -> usize {
        let num = self.num_bits.div_ceil(8) as usize;
        self.bytes.extend_from_slice(&self.word.to_le_bytes()[..num]);
        (self.word, self.num_bits) = (0, 0);
        self.origin + self.bytes.len()
    }

    /// All that was appended.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.align();
        self.bytes
    }
}

/// Reads values at any bit. What lies beyond the end is zero, so damaged positions and widths read something.
#[derive(Clone, Copy)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The word at a byte.
    #[inline(always)]
    pub(super) fn word_at(self, byte: usize) -> u64 {
        match self.bytes.get(byte..).and_then(|bytes| bytes.first_chunk()) {
            Some(bytes) => u64::from_le_bytes(*bytes),
            None => 0,
        }
    }

    /// The value of `num_bytes` bytes, 0 to 8, at a byte.
    #[inline(always)]
    pub(super) fn value_at(self, byte: usize, num_bytes: usize) -> u64 {
        self.word_at(byte) & mask(8 * num_bytes as u32)
    }

    /// `N` bytes at a byte.
    #[inline(always)]
    pub(super) fn array_at<const N: usize>(self, byte: usize) -> &'a [u8; N] {
        self.bytes.get(byte..).and_then(|bytes| bytes.first_chunk()).unwrap_or(&[0; N])
    }

    /// The bytes from a byte on.
    #[inline(always)]
    pub(super) fn window_at(self, byte: usize) -> Window<'a> {
        Window(self.array_at(byte))
    }

    /// At least [`MAX_NARROW`] bits from bit `at`; those above are not defined.
    #[inline(always)]
    pub(super) fn word(self, at: usize) -> u64 {
        self.word_at(at / 8) >> (at % 8)
    }

    /// The value of at most [`MAX_NARROW`] bits at bit `at`.
    #[inline(always)]
    pub(super) fn narrow(self, at: usize, width: u32) -> u64 {
        self.word(at) & mask(width)
    }

    /// The value of at most 64 bits at bit `at`.
    #[inline(always)]
    pub(super) fn read(self, at: usize, width: u32) -> u64 {
        if width <= MAX_NARROW {
            return self.narrow(at, width);
        }
        let low = self.narrow(at, 32);
        low | self.narrow(at.wrapping_add(32), width - 32) << 32
    }

    /// Has the CPU fetch the cache line of a byte and the next one.
    #[inline(always)]
    pub(super) fn prefetch(self, byte: usize) {
        prefetch(self.bytes, byte);
        prefetch(self.bytes, byte.wrapping_add(CACHE_LINE));
    }

    /// Bytes that can be read.
    pub(super) fn num_bytes(self) -> usize {
        self.bytes.len()
    }
}

/// Some bytes of a [`BitReader`], whose words are read without a check of the place.
#[derive(Clone, Copy)]
pub(super) struct Window<'a>(&'a [u8; Window::NUM_BYTES]);

impl Window<'_> {
    /// Places of words.
    const NUM_PLACES: usize = 64;
    const NUM_BYTES: usize = Self::NUM_PLACES + 8;

    /// The word at a byte below 64.
    #[inline(always)]
    pub(super) fn word(self, byte: usize) -> u64 {
        let byte = byte % Self::NUM_PLACES;
        u64::from_le_bytes(self.0[byte..byte + 8].try_into().expect("eight bytes"))
    }
}

/// A place in a [`BitReader`].
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    pub(super) reader: BitReader<'a>,
    /// The bit that is read next.
    pub(super) at: usize,
}

impl Cursor<'_> {
    /// The next value, of at most [`MAX_NARROW`] bits.
    #[inline(always)]
    pub(super) fn narrow(&mut self, width: u32) -> u64 {
        let value = self.reader.narrow(self.at, width);
        self.skip(width as usize);
        value
    }

    /// The next value, of at most 64 bits.
    #[inline(always)]
    pub(super) fn read(&mut self, width: u32) -> u64 {
        let value = self.reader.read(self.at, width);
        self.skip(width as usize);
        value
    }

    #[inline(always)]
    pub(super) fn skip(&mut self, num_bits: usize) {
        self.at = self.at.wrapping_add(num_bits);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn values_read_back(values in prop::collection::vec((any::<u64>(), 0_u32..=64, any::<bool>()), 0..200)) {
            let mut writer = BitWriter::default();
            for &(value, width, aligned) in &values {
                writer.push(value & mask(width), width);
                if aligned {
                    writer.align();
                }
            }
            let mut bytes = writer.finish();
            let num_bytes = bytes.len();
            bytes.extend([0; PADDING]);
            let mut cursor = Cursor { reader: BitReader::new(&bytes), at: 0 };
            for &(value, width, aligned) in &values {
                prop_assert_eq!(cursor.read(width), value & mask(width));
                if aligned {
                    cursor.at = cursor.at.next_multiple_of(8);
                }
            }
            prop_assert_eq!(cursor.at.div_ceil(8), num_bytes);
        }
    }

    #[test]
    fn beyond_the_end_everything_is_zero() {
        let reader = BitReader::new(&[255; 8]);
        assert_eq!((reader.word_at(0), reader.word_at(1), reader.value_at(0, 3)), (u64::MAX, 0, 0xff_ffff));
        assert_eq!(reader.read(0, 57), mask(57));
        assert_eq!(reader.read(8, 64), 0);
        assert_eq!(reader.read(usize::MAX, 64), 0);
        assert_eq!(reader.read(8 * 7, 64), 0);
    }
}
