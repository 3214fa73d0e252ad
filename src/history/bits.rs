//! Values of any width, one after the other: bits fill each byte from the lowest up, as little-endian words do.

/// Widest value that [`BitReader::narrow`] reads.
pub(super) const MAX_NARROW: u32 = 57;

/// Zero bytes that must follow the last value for [`BitReader`] to read it with whole words.
pub(super) const PADDING: usize = 8;

/// Bits of the width in front of a value of [`BitWriter::push_sized`].
const SIZE_BITS: u32 = 6;

/// Bits that hold `value`; none for 0.
#[inline]
pub(super) fn width(value: u64) -> u32 {
    u64::BITS - value.leading_zeros()
}

/// The lowest `width` bits.
#[inline]
pub(super) fn mask(width: u32) -> u64 {
    if width >= u64::BITS { u64::MAX } else { (1 << width) - 1 }
}

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

    /// Appends a value below 2^63 with its width in front.
    pub(super) fn push_sized(&mut self, value: u64) {
        let width = width(value);
        self.push(u64::from(width), SIZE_BITS);
        self.push(value, width);
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

    /// At least [`MAX_NARROW`] bits from bit `at`; those above are not defined.
    #[inline(always)]
    pub(super) fn word(self, at: usize) -> u64 {
        let byte = at / 8;
        match self.bytes.get(byte..byte.wrapping_add(8)) {
            Some(bytes) => u64::from_le_bytes(bytes.try_into().expect("eight bytes")) >> (at % 8),
            None => 0,
        }
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

    /// Reads one value after the other from the byte `byte`.
    #[inline(always)]
    pub(super) fn cursor(self, byte: usize) -> Cursor<'a> {
        Cursor { reader: self, at: byte.wrapping_mul(8) }
    }

    /// Bytes that can be read.
    pub(super) fn num_bytes(self) -> usize {
        self.bytes.len()
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

    /// The next value, as [`BitWriter::push_sized`] wrote it.
    #[inline(always)]
    pub(super) fn sized(&mut self) -> u64 {
        let width = self.narrow(SIZE_BITS) as u32;
        self.read(width)
    }

    /// The next bit.
    #[inline(always)]
    pub(super) fn flag(&mut self) -> bool {
        self.narrow(1) != 0
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
                writer.push_sized(value >> 1);
                if aligned {
                    writer.align();
                }
            }
            let mut bytes = writer.finish();
            let num_bytes = bytes.len();
            bytes.extend([0; PADDING]);
            let mut cursor = BitReader::new(&bytes).cursor(0);
            for &(value, width, aligned) in &values {
                prop_assert_eq!(cursor.read(width), value & mask(width));
                prop_assert_eq!(cursor.sized(), value >> 1);
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
        assert_eq!(reader.read(0, 57), mask(57));
        assert_eq!(reader.read(8, 64), 0);
        assert_eq!(reader.read(usize::MAX, 64), 0);
        assert_eq!(reader.cursor(usize::MAX).sized(), 0);
    }
}
