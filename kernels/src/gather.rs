//! Rows of a table, one after the other.
//!
//! ```text
//! out[u] = table[rows[u]]
//! ```
//!
//! 8 d bytes a row moved, no arithmetic.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{Int, Tensor};
use rayon::prelude::*;

use crate::prefetch::prefetch;

/// The reference.
pub fn gather_reference(table: &[f32], rows: &[i32], vector_dim: usize) -> Vec<f32> {
    let row = |row: &i32| table[*row as usize * vector_dim..][..vector_dim].to_vec();
    rows.iter().flat_map(row).collect()
}

/// The CPU twin: fills `out`, `[U, d]`.
pub fn gather_on_slices(table: &[f32], rows: &[i32], vector_dim: usize, out: &mut [f32]) {
    const ROWS_PER_TASK: usize = 256;
    const ROWS_AHEAD: usize = 8;
    let row = |row: i32| &table[row as usize * vector_dim..][..vector_dim];
    let tasks = out.par_chunks_mut(ROWS_PER_TASK * vector_dim).zip(rows.par_chunks(ROWS_PER_TASK));
    tasks.for_each(|(out, rows)| {
        rows.iter().take(ROWS_AHEAD).for_each(|r| prefetch(row(*r)));
        for (u, out) in out.chunks_exact_mut(vector_dim).enumerate() {
            if let Some(ahead) = rows.get(u + ROWS_AHEAD) {
                prefetch(row(*ahead));
            }
            out.copy_from_slice(row(rows[u]));
        }
    });
}

/// Gathers rows of a table on its device.
///
/// # Shapes
///
/// - `table`: `[N, d]`
/// - `rows`: `[U]`, below N
/// - output: `[U, d]`
pub fn gather(table: Tensor<2>, rows: Tensor<1, Int>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::gather_rows(table.into_dispatch(), rows.into_dispatch()))
}

/// The backend extension behind [`gather()`].
#[backend_extension(NdArray, Cube: cfg(feature = "wgpu"))]
pub trait GatherBackend: Backend {
    /// See [`gather()`].
    fn gather_rows(table: FloatTensor<Self>, rows: IntTensor<Self>) -> FloatTensor<Self>;
}

impl GatherBackend for burn_ndarray::NdArray {
    fn gather_rows(table: FloatTensor<Self>, rows: IntTensor<Self>) -> FloatTensor<Self> {
        use crate::host::{f32_values, i32_array, slice, tensor};
        let vector_dim = burn::backend::TensorMetadata::shape(&table)[1];
        let (table, rows) = (f32_values(&table), i32_array(rows));
        let mut out = vec![0.0; rows.len() * vector_dim];
        gather_on_slices(&table, slice(&rows), vector_dim, &mut out);
        tensor(out, &[rows.len(), vector_dim])
    }
}

#[cfg(feature = "wgpu")]
mod device {
    use burn_cubecl::CubeBackend;

    use super::*;

    impl GatherBackend for CubeBackend {
        fn gather_rows(table: FloatTensor<Self>, rows: IntTensor<Self>) -> FloatTensor<Self> {
            // Burn's own kernel does just this, one unit per element, in one launch.
            crate::launch::count_launch();
            <Self as burn::backend::ops::FloatTensorOps<Self>>::float_select(table, 0, rows)
        }
    }
}
