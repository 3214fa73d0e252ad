//! How a chunk's gradients of the parameters lie in its memory, and what becomes of them.

use std::ops::Range;

use crate::first_layer::fold_buckets;
use crate::pair_loss::LossSums;
use crate::pool::Pool;
use crate::shape::ModelShape;
use crate::simd::{AlignedVec, padded};

/// How a chunk's gradients of the parameters lie: rows padded to whole vectors; the first layer's, where it has
/// ReLUs behind it, as buckets.
pub(super) struct PaddedShape(pub ModelShape);

impl PaddedShape {
    /// The layers whose gradients are products.
    fn products(&self) -> Range<usize> {
        self.0.num_hidden.min(1)..self.0.num_hidden + 1
    }

    /// The first layer's gradients; none where its gradients are a product.
    pub fn buckets(&self) -> Range<usize> {
        let num_rows = if self.0.num_hidden > 0 { self.0.families.num_nibble_rows() } else { 0 };
        0..num_rows * padded(self.0.vector_dim)
    }

    /// Weights and, behind them, biases of layer `l`.
    pub fn rows(&self, l: usize) -> Range<usize> {
        let len = (self.0.layer_shape(l)[0] + 1) * padded(self.0.vector_dim);
        let start = self.buckets().end + (l - self.products().start) * len;
        start..start + len
    }

    pub fn len(&self) -> usize {
        self.rows(self.0.num_hidden).end
    }

    /// The parameters' gradients as the encoder lays them out.
    pub fn unpadded(&self, totals: &[f32]) -> Vec<f32> {
        let shape = self.0;
        let mut parameters = vec![0.0; shape.num_parameters()];
        for l in self.products() {
            let rows = &mut parameters[shape.layer(l)];
            let padded_rows = totals[self.rows(l)].chunks_exact(padded(shape.vector_dim));
            for (row, padded_row) in rows.chunks_exact_mut(shape.vector_dim).zip(padded_rows) {
                row.copy_from_slice(&padded_row[..shape.vector_dim]);
            }
        }
        if shape.num_hidden > 0 {
            let (weight, bias) = parameters[shape.layer(0)].split_at_mut(shape.weight(0).len());
            fold_buckets(&totals[self.buckets()], weight, bias);
        }
        parameters
    }
}

/// Loss and gradients of the parameters, summed over a chunk.
pub(super) struct ChunkSums {
    pub loss: LossSums,
    /// As [`PaddedShape`] says.
    pub gradients: AlignedVec,
}

static SPARE_GRADIENTS: Pool<ModelShape, AlignedVec> = Pool::new();

impl ChunkSums {
    pub fn zeros(shape: &ModelShape) -> Self {
        let mut gradients =
            SPARE_GRADIENTS.take(shape, || AlignedVec::staggered(PaddedShape(*shape).len(), 0));
        gradients.fill(0.0);
        Self { loss: LossSums::default(), gradients }
    }

    /// Keeps the memory for another chunk.
    pub fn recycle(self, shape: &ModelShape) {
        SPARE_GRADIENTS.give(*shape, self.gradients);
    }
}
