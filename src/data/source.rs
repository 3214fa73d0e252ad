//! Where text comes from, and how long a line of it may be.

use crate::Result;

/// Lines and CSV records are shorter than this, in bytes.
pub(crate) const MAX_LINE: usize = 64 * 1024;

/// Where text comes from.
pub(crate) trait Source {
    /// The input's name in messages.
    fn name(&self) -> &str;

    /// Fills the beginning of `buffer`, which must not be empty; 0 at the end of the input.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize>;
}

impl<S: Source> Source for &mut S {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        (**self).read(buffer)
    }
}
