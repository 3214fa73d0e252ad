//! The memory: scalar weights of (entity, address prefix) pairs, the wide half of a wide and deep model (Cheng
//! et al. 2016). It remembers where the vectors smooth over.
//!
//! ```text
//! memory(t, ip)   = MEMORY_SCALE · sum over the lengths l of cells[r, cell_l(t, ip)]      cells: [N, C]
//! cell_l(t, ip)   = (a_l · (ip >> (32 - l)) + b_l · t mod 2^32) · C >> 32
//! dcells[r, c]    = sum over the pairs of row r and the lengths with cell_l(t, ip) = c of MEMORY_SCALE · g
//! ```
//!
//! a_l and b_l are odd: multiply-shift hashing (Dietzfelbinger et al. 1997), which spreads neighbouring prefixes
//! evenly. The tag t, 32 bits of the entity's hash that its row does not tell, keeps entities that share row r
//! apart. A row's cells are its own, so their gradients are sums within the row, in order, and are updated with
//! it: they follow its vector in the table. 4 lengths cost a pair 4 multiplications and 16 bytes read from 4 C.

/// Factor of the cells: Adam's steps do not depend on the gradients' size, and a pair's cells are few.
pub const MEMORY_SCALE: f32 = 2.0;

/// Factor of Fibonacci hashing, 2^32 / golden ratio.
const GOLDEN: u32 = 0x9E37_79B9;

/// Lengths of address prefixes, each 0..=32. The prefix of length 0 is the same for every address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PrefixLengths {
    /// Bit l stands for the length l.
    bits: u64,
}

impl PrefixLengths {
    /// A set of lengths; `None` where one is above 32.
    pub fn new(lengths: &[u32]) -> Option<Self> {
        let is_valid = lengths.iter().all(|length| *length <= 32);
        is_valid.then(|| Self { bits: lengths.iter().fold(0, |bits, length| bits | 1 << length) })
    }

    /// The lengths, ascending.
    #[inline(always)]
    pub fn iter(self) -> impl Iterator<Item = u32> {
        let mut rest = self.bits;
        std::iter::from_fn(move || {
            let length = (rest != 0).then(|| rest.trailing_zeros());
            rest &= rest.wrapping_sub(1);
            length
        })
    }

    /// Whether a length is one of them.
    pub fn contains(self, length: u32) -> bool {
        self.bits >> length & 1 == 1
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.bits == 0
    }
}

/// The shape of a memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MemoryShape {
    /// C, cells of a row, up to 2^16; 0 where there is no memory.
    pub num_cells: usize,
    /// The prefixes that are remembered; none where there is no memory.
    pub lengths: PrefixLengths,
}

/// The address's prefix of a length, as a number.
#[inline(always)]
pub fn prefix(ip: u32, length: u32) -> u32 {
    (u64::from(ip) >> (32 - length)) as u32
}

/// a_l and b_l of a length.
#[inline(always)]
pub(crate) fn factors(length: u32) -> (u32, u32) {
    (GOLDEN.wrapping_mul(2 * length + 1), GOLDEN.rotate_left(length) | 1)
}

impl MemoryShape {
    /// The cell of an address's prefix, below C.
    #[inline(always)]
    pub fn cell(&self, tag: u32, ip: u32, length: u32) -> usize {
        let (a, b) = factors(length);
        let hash = a.wrapping_mul(prefix(ip, length)).wrapping_add(b.wrapping_mul(tag));
        // In 64 bits a single cell is no special case.
        ((u64::from(hash) * self.num_cells as u64) >> 32) as usize
    }

    /// The sum of an address's cells in a row's, `[C]`: the CPU twin and the reference.
    #[inline(always)]
    pub fn sum(&self, cells: &[f32], tag: u32, ip: u32) -> f32 {
        MEMORY_SCALE * self.lengths.iter().map(|length| cells[self.cell(tag, ip, length)]).sum::<f32>()
    }

    /// Adds a pair's gradient to those of its cells.
    #[inline(always)]
    pub fn add(&self, gradients: &mut [f32], tag: u32, ip: u32, gradient: f32) {
        self.lengths
            .iter()
            .for_each(|length| gradients[self.cell(tag, ip, length)] += MEMORY_SCALE * gradient);
    }
}

/// The same on a device, and the gradients of rows.
///
/// One unit per element of a row's gradient: those of the vector are copied, each of a cell is the sum over the
/// pairs of its row that have it, in order. 4 P bytes a positive are read for every cell, from cache; 8 (d + C) a
/// row move.
#[cfg(feature = "wgpu")]
pub(crate) mod device {
    use burn::tensor::{DType, Shape};
    use burn_cubecl::tensor::CubeTensor;
    use cubecl::prelude::*;

    use super::{MEMORY_SCALE, PrefixLengths, factors};
    use crate::elsewhere::NUM_ROW_CELLS;
    use crate::launch;
    use crate::pair_loss::device::{Pairs, RowLosses};
    use crate::shape::ModelShape;

    /// The address's prefix of a length.
    #[cube]
    pub(crate) fn prefix(ip: u32, #[comptime] length: u32) -> u32 {
        if comptime!(length == 0) { 0u32.runtime() } else { ip >> comptime!(32 - length) }
    }

    /// The cell of an address's prefix. There are at most 2^16, so that 32 bits hold the products.
    #[cube]
    fn cell(tag: u32, ip: u32, num_cells: u32, #[comptime] length: u32) -> usize {
        let hash = prefix(ip, length) * comptime!(factors(length).0) + tag * comptime!(factors(length).1);
        let low = ((hash & 0xFFFFu32) * num_cells) >> 16u32;
        (((hash >> 16u32) * num_cells + low) >> 16u32) as usize
    }

    /// The sum of an address's cells, which start at `start` of `rows`.
    #[cube]
    pub(crate) fn memory_sum(
        rows: &[f32],
        start: usize,
        tag: u32,
        ip: u32,
        num_cells: u32,
        #[comptime] lengths: PrefixLengths,
    ) -> f32 {
        let mut sum = 0.0f32;
        #[unroll]
        for length in 0..33u32 {
            if comptime!(lengths.contains(length)) {
                sum += rows[start + cell(tag, ip, num_cells, length)];
            }
        }
        MEMORY_SCALE * sum
    }

    #[cube(launch_unchecked)]
    #[allow(clippy::too_many_arguments)] // a kernel takes its scalars one by one
    #[allow(clippy::needless_range_loop)] // a kernel has no iterators
    fn row_gradients_kernel(
        vectors: &[f32],
        pair_gradients: &[f32],
        segments: &[i32],
        tags: &[u32],
        ips: &[u32],
        loss_sums: &[f32],
        out: &mut [f32],
        len: u32,
        num_pairs: u32,
        all_pairs: u32,
        vector_dim: u32,
        row_width: u32,
        num_row_cells: u32,
        num_cells: u32,
        #[comptime] lengths: PrefixLengths,
    ) {
        let position = ABSOLUTE_POS;
        if position >= len as usize {
            terminate!();
        }
        let d = vector_dim as usize;
        let row = position / row_width as usize;
        let column = position % row_width as usize;
        let first_of_memory = d + num_row_cells as usize;
        if column < d {
            out[position] = vectors[row * d + column];
            terminate!();
        }
        let mut sum = 0.0f32;
        for positive in segments[row] as usize..segments[row + 1] as usize {
            let tag = tags[positive];
            let start = positive * num_pairs as usize;
            for pair in start..start + num_pairs as usize {
                if column < first_of_memory {
                    let is_it = tag as usize % comptime!(NUM_ROW_CELLS) == column - d;
                    sum += select(is_it, pair_gradients[all_pairs as usize + pair], 0.0f32);
                } else {
                    #[unroll]
                    for length in 0..33u32 {
                        if comptime!(lengths.contains(length)) {
                            let is_it = cell(tag, ips[pair], num_cells, length) == column - first_of_memory;
                            sum += select(is_it, MEMORY_SCALE * pair_gradients[pair], 0.0f32);
                        }
                    }
                }
            }
        }
        out[position] = sum / loss_sums[2];
    }

    /// The mean gradients of whole rows, `[U, d + cells]`, from those of their vectors, `[U, d]`. One launch.
    pub(crate) fn row_gradients(
        vectors: CubeTensor,
        pairs: &Pairs,
        losses: &RowLosses,
        loss_sums: &CubeTensor,
        shape: &ModelShape,
    ) -> CubeTensor {
        let (num_rows, row_width) = (vectors.meta.shape()[0], shape.row_width());
        let out = launch::empty_like(&vectors, Shape::new([num_rows, row_width]), DType::F32);
        let (count, dim) = launch::one_unit_each(&out, num_rows * row_width);
        launch::count_launch();
        // SAFETY: the kernel checks its position against the length of the output; the segments of all rows are
        // the B positives, each with a tag and P addresses and gradients, and as many of `elsewhere` behind them
        // where there is this part.
        unsafe {
            row_gradients_kernel::launch_unchecked(
                &vectors.client.clone(),
                count,
                dim,
                vectors.clone().into_buffer_arg(),
                losses.pair_gradients.clone().into_buffer_arg(),
                pairs.segments.clone().into_buffer_arg(),
                pairs.tags.clone().into_buffer_arg(),
                pairs.ips.clone().into_buffer_arg(),
                loss_sums.clone().into_buffer_arg(),
                out.clone().into_buffer_arg(),
                (num_rows * row_width) as u32,
                pairs.num_pairs() as u32,
                pairs.ips.meta.num_elements() as u32,
                shape.vector_dim as u32,
                row_width as u32,
                shape.elsewhere.num_row_cells() as u32,
                shape.memory.num_cells as u32,
                shape.memory.lengths,
            );
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(num_cells: usize, lengths: &[u32]) -> MemoryShape {
        MemoryShape { num_cells, lengths: PrefixLengths::new(lengths).unwrap() }
    }

    #[test]
    fn lengths_are_a_set_of_0_to_32() {
        assert_eq!(PrefixLengths::new(&[33]), None);
        assert_eq!(PrefixLengths::new(&[32, 0, 16, 16]).unwrap().iter().collect::<Vec<_>>(), [0, 16, 32]);
        assert!(PrefixLengths::new(&[]).unwrap().is_empty());
    }

    #[test]
    fn addresses_of_one_prefix_share_a_cell_and_cells_stay_in_the_row() {
        for num_cells in [1, 2, 64, 4096] {
            let shape = shape(num_cells, &[0, 1, 12, 24, 32]);
            for ip in [0, 1, 0x0A00_0001, 0x8000_0000, u32::MAX] {
                for tag in [0, 1, u32::MAX] {
                    assert!(shape.lengths.iter().all(|length| shape.cell(tag, ip, length) < num_cells));
                    assert_eq!(shape.cell(tag, ip, 24), shape.cell(tag, ip ^ 0xFF, 24));
                    assert_eq!(shape.cell(tag, ip, 0), shape.cell(tag, 0, 0));
                }
            }
        }
    }

    #[test]
    fn neighbouring_prefixes_spread_evenly_and_tags_keep_entities_apart() {
        let shape = shape(256, &[24]);
        let mut counts = [0; 256];
        (0..256).for_each(|i| counts[shape.cell(7, 0x5000_0000 + (i << 8), 24)] += 1);
        assert!(counts.iter().all(|count| *count <= 2), "{counts:?}");
        let same = (0..1000u32).filter(|tag| {
            let tag = tag.wrapping_mul(0x85EB_CA6B);
            shape.cell(tag, 0x5000_0000, 24) == shape.cell(7, 0x5000_0000, 24)
        });
        assert!(same.count() < 20, "a 256th of them");
    }

    #[test]
    fn gradients_are_the_derivative_of_the_sum() {
        let shape = shape(8, &[0, 8, 12, 16, 20, 24]);
        let cells: Vec<f32> = (0..8).map(|i| i as f32).collect();
        let mut gradients = [0.0; 8];
        shape.add(&mut gradients, 3, 0xC0A8_0101, 1.0);
        // The sum is linear, so that its gradient gives it back.
        let product: f32 = cells.iter().zip(&gradients).map(|(c, g)| c * g).sum();
        assert_eq!(product, shape.sum(&cells, 3, 0xC0A8_0101));
        assert_eq!(gradients.iter().sum::<f32>(), 6.0 * MEMORY_SCALE);
    }
}
