//! Loss and gradients of a mini-batch on tensors.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{Int, Tensor};

use super::cpu::folded_on_slices;
use super::inputs::FoldedInputs;
use crate::addresses::Addresses;
use crate::host::{f32_array, i32_array, slice, tensor, u32_array};
use crate::shape::{Families, ModelShape};

/// A mini-batch's pairs on its device.
#[derive(Clone, Debug)]
pub struct Pairs {
    /// `[U + 1]`, ascending: positives `segments[u]..segments[u + 1]` are of unique row u.
    pub segments: Tensor<1, Int>,
    /// `[B, P · words]`, unsigned 32-bit integers as in [`crate::addresses`]: addresses, the positive's own first.
    pub ips: Tensor<2, Int>,
    /// `[B, P]`: 0.0 where a pair does not count, else 1.0.
    pub mask: Tensor<2>,
}

impl Pairs {
    /// # Panics
    ///
    /// Where the shapes do not fit each other, the families and a number of unique rows.
    pub(crate) fn check(&self, num_rows: usize, families: Families) {
        let [num_positives, num_pairs] = self.mask.dims();
        assert_eq!(
            self.ips.dims(),
            [num_positives, num_pairs * families.num_words()],
            "every pair has a mask"
        );
        assert_eq!(self.segments.dims()[0], num_rows + 1, "every row has a segment");
    }
}

/// Gradients of a mini-batch on its device.
pub struct Folded {
    /// `[B, P]`
    pub logits: Tensor<2>,
    /// `[3]`: cross entropy, correct pairs, pairs, each summed over pairs that count.
    pub sums: Tensor<1>,
    /// `[U, d]`: of the mean loss, for each unique row.
    pub rows: Tensor<2>,
    /// `[1, num_parameters]`: of the mean loss.
    pub parameters: Tensor<2>,
}

/// Computes loss and gradients of a mini-batch on the device of its tensors.
///
/// # Shapes
///
/// - `rows`: `[U, d]`, the unique rows of the table
/// - `pairs`: of these rows
/// - `parameters`: `[1, num_parameters]`, laid out as [`ModelShape`] says
///
/// # Panics
///
/// Where the shapes do not fit each other.
pub fn folded(rows: Tensor<2>, pairs: Pairs, parameters: Tensor<2>, shape: ModelShape) -> Folded {
    pairs.check(rows.dims()[0], shape.families);
    assert_eq!(rows.dims()[1], shape.vector_dim);
    assert_eq!(parameters.dims(), [1, shape.num_parameters()]);
    let (logits, sums, rows, parameters) = Dispatch::folded(
        rows.into_dispatch(),
        pairs.segments.into_dispatch(),
        pairs.ips.into_dispatch(),
        pairs.mask.into_dispatch(),
        parameters.into_dispatch(),
        shape,
    );
    Folded {
        logits: Tensor::from_dispatch(logits),
        sums: Tensor::from_dispatch(sums),
        rows: Tensor::from_dispatch(rows),
        parameters: Tensor::from_dispatch(parameters),
    }
}

/// The backend extension behind [`folded()`].
#[backend_extension(NdArray, Cube: cfg(feature = "wgpu"))]
pub trait FoldedBackend: Backend {
    /// See [`folded()`].
    fn folded(
        rows: FloatTensor<Self>,
        segments: IntTensor<Self>,
        pair_ips: IntTensor<Self>,
        mask: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        shape: ModelShape,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl FoldedBackend for burn_ndarray::NdArray {
    fn folded(
        rows: FloatTensor<Self>,
        segments: IntTensor<Self>,
        pair_ips: IntTensor<Self>,
        mask: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        shape: ModelShape,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (rows, segments, parameters) = (f32_array(rows), i32_array(segments), f32_array(parameters));
        let (pair_ips, mask) = (u32_array(pair_ips), f32_array(mask));
        let inputs = FoldedInputs {
            segments: slice(&segments),
            pair_ips: Addresses::new(slice(&pair_ips), shape.families),
            mask: slice(&mask),
            parameters: slice(&parameters),
            shape,
        };
        let (logits, gradients, outputs) = folded_on_slices(inputs, slice(&rows));
        (
            tensor(logits, mask.shape()),
            tensor(outputs.sums.to_vec(), &[3]),
            tensor(gradients, rows.shape()),
            tensor(outputs.parameters, parameters.shape()),
        )
    }
}
