//! A mini-batch's pairs on a device, and what the pass over them leaves for the kernels that follow.

use burn_cubecl::tensor::CubeTensor;

/// The pairs of a mini-batch.
pub(crate) struct DevicePairs {
    /// `[U + 1]`: positives `segments[u]..segments[u + 1]` belong to unique row u.
    pub segments: CubeTensor,
    /// `[B, P · words]`: addresses, the positive's own first.
    pub ips: CubeTensor,
    /// `[B, P]`: 0 where a pair does not count, else 1.
    pub mask: CubeTensor,
}

impl DevicePairs {
    /// P
    pub fn num_pairs(&self) -> usize {
        self.mask.meta.shape()[1]
    }
}

/// What one pass over the pairs of every unique row gives; of the summed, not of the mean loss.
pub(crate) struct RowLosses {
    /// `[U, output width]`
    pub q: CubeTensor,
    /// `[B, P]`
    pub logits: CubeTensor,
    /// `[B, P]`: g
    pub pair_gradients: CubeTensor,
    /// `[U, output width + 1]`: s and G
    pub s: CubeTensor,
    /// `[B]`: the unique row of each positive
    pub rows_of_positives: CubeTensor,
    /// `[U, 3]`: cross entropy, correct pairs, pairs
    pub row_sums: CubeTensor,
}
