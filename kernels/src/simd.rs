//! Slices as vectors of the instruction set that the CPU has, found at run time (`pulp`).
//!
//! CPU twins keep rows padded with zeros to a multiple of [`LANES`], so that no vector is cut off. What a
//! product or a sum rounds to depends on the width of the vectors, hence on the machine, but never on the
//! number of threads.

use pulp::Simd;

/// Floats that every row is padded to a multiple of: the widest vector of any instruction set.
pub(crate) const LANES: usize = 16;

/// The width of a padded row.
pub(crate) fn padded(width: usize) -> usize {
    width.next_multiple_of(LANES)
}

/// Floats of one cache line, which is also the widest vector.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([f32; LANES]);

/// Floats that begin with a cache line, so that no vector of a padded row lies across two.
#[derive(Default)]
pub(crate) struct AlignedVec {
    lines: Vec<Line>,
    start: usize,
    len: usize,
}

impl AlignedVec {
    pub fn zeros(len: usize) -> Self {
        Self { lines: vec![Line([0.0; LANES]); len.div_ceil(LANES)], start: 0, len }
    }

    /// Zeros that begin some cache lines behind the start of a page. A CPU takes a load for one of what was
    /// just stored when both are at the same place in their pages, and waits: rows that one loop reads and
    /// writes begin at different lines, the ones that are written to at earlier ones.
    pub fn staggered(len: usize, line: usize) -> Self {
        const LINES_PER_PAGE: usize = 64;
        let lines = vec![Line([0.0; LANES]); len.div_ceil(LANES) + 2 * LINES_PER_PAGE];
        let page = lines.as_ptr().align_offset(4096).min(LINES_PER_PAGE);
        Self { lines, start: (page + line) * LANES, len }
    }
}

impl std::ops::Deref for AlignedVec {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[self.start..self.start + self.len]
    }
}

impl std::ops::DerefMut for AlignedVec {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[self.start..self.start + self.len]
    }
}

/// A padded row as vectors.
#[inline(always)]
pub(crate) fn vectors<S: Simd>(row: &[f32]) -> &[S::f32s] {
    S::as_simd_f32s(row).0
}

/// A padded row as vectors to write to.
#[inline(always)]
pub(crate) fn vectors_mut<S: Simd>(row: &mut [f32]) -> &mut [S::f32s] {
    S::as_mut_simd_f32s(row).0
}

/// The dot product of two slices of one length, padded or not.
#[inline(always)]
pub(crate) fn dot<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_tail), (b, b_tail)) = (S::as_simd_f32s(a), S::as_simd_f32s(b));
    let tail = a_tail.iter().zip(b_tail).fold(0.0, |sum, (a, b)| sum + a * b);
    dot_vectors(simd, a, b) + tail
}

/// The dot product of two rows of one length.
#[inline(always)]
pub(crate) fn dot_vectors<S: Simd>(simd: S, a: &[S::f32s], b: &[S::f32s]) -> f32 {
    // Four sums at once: a chain of one would wait for each multiply-add.
    let mut sums = [simd.splat_f32s(0.0); 4];
    let ((a4, a_rest), (b4, b_rest)) = (a.as_chunks::<4>(), b.as_chunks::<4>());
    for (a, b) in a4.iter().zip(b4) {
        for i in 0..4 {
            sums[i] = simd.mul_add_e_f32s(a[i], b[i], sums[i]);
        }
    }
    for (a, b) in a_rest.iter().zip(b_rest) {
        sums[0] = simd.mul_add_e_f32s(*a, *b, sums[0]);
    }
    let sum = simd.add_f32s(simd.add_f32s(sums[0], sums[1]), simd.add_f32s(sums[2], sums[3]));
    simd.reduce_sum_f32s(sum)
}
