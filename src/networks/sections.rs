//! Arrays of numbers in bytes, little-endian, as they lie in a file.

use bytes::Bytes;

/// Numbers of `WIDTH` bytes each.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Numbers<const WIDTH: usize>(Bytes);

impl<const WIDTH: usize> Numbers<WIDTH> {
    /// Takes bytes; `name` says in errors which.
    ///
    /// # Errors
    ///
    /// That their number is no multiple of the width, as the end of a sentence about the file.
    pub(crate) fn new(bytes: Bytes, name: &str) -> Result<Self, String> {
        match bytes.len().is_multiple_of(WIDTH) {
            true => Ok(Self(bytes)),
            false => Err(format!("has {} bytes of \"{name}\", no multiple of {WIDTH}", bytes.len())),
        }
    }

    /// Writes numbers; of each its lowest bytes.
    pub(crate) fn of(numbers: impl Iterator<Item = u64>) -> Self {
        let bytes: Vec<u8> =
            numbers.flat_map(|number| number.to_le_bytes().into_iter().take(WIDTH)).collect();
        Self(bytes.into())
    }

    pub(crate) fn bytes(&self) -> Bytes {
        self.0.clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len() / WIDTH
    }

    /// The number at an index; 0 beyond the end.
    #[inline(always)]
    pub(crate) fn get(&self, index: usize) -> u64 {
        let mut word = [0; 8];
        if let Some(bytes) = self.0.get(WIDTH * index..WIDTH * index + WIDTH) {
            word[..WIDTH].copy_from_slice(bytes);
        }
        u64::from_le_bytes(word)
    }

    /// The first index in `start..end` whose number is above `bound`; the numbers ascend.
    #[inline(always)]
    pub(crate) fn first_above(&self, mut start: usize, end: usize, bound: u64) -> usize {
        let mut left = end.saturating_sub(start);
        while left > 0 {
            let half = left / 2;
            // Both are computed, so that the compiler needs no branch that is as often wrong as right.
            let is_below = self.get(start + half) <= bound;
            start = if is_below { start + half + 1 } else { start };
            left = if is_below { left - half - 1 } else { half };
        }
        start
    }
}
