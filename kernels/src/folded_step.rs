//! One training step on the table: the gradients of [`crate::folded`], and row-sparse Adam on the rows that
//! the mini-batch touched.
//!
//! ```text
//! E = table[rows]        dE, d parameters = folded(E, pairs)        table[rows] = row_adam(table[rows], dE)
//! ```
//!
//! On a device these are the kernels of `gather`, `folded` and `row_adam`, one after the other. On the CPU a
//! block of rows is updated as soon as its gradients are there, and the next block's rows and moments are
//! fetched while this one computes: 3 KB a row at d = 128 come from memory and go back behind the arithmetic,
//! and neither E nor dE exists as a whole.

use std::ops::Range;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{
    Backend, BackendTensor, Dispatch, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind,
    ExtensionType, backend_extension,
};
use burn::tensor::{Int, Tensor};

use crate::addresses::Addresses;
use crate::folded::{ChunkRows, FoldedInputs, FoldedOutputs, Pairs, run_chunks};
use crate::host::{f32_array, i32_array, slice, slice_mut, table_array, tensor, u32_array};
use crate::prefetch::prefetch;
use crate::row_adam::{AdamStep, RowsMut, TableTensors, update_row};
use crate::shape::ModelShape;

/// A shard of the table as slices, with the rows of it that a mini-batch touched.
pub struct ShardMut<'a> {
    /// The shard and its moments.
    pub table: RowsMut<'a>,
    /// Touched rows within the shard, ascending and unique.
    pub rows: &'a [i32],
}

/// The CPU twin. The shards' rows, one shard after the other, are the unique rows of `inputs`.
pub fn folded_step_on_slices(
    inputs: FoldedInputs<'_>,
    shards: Vec<ShardMut<'_>>,
    adam: &AdamStep,
) -> FoldedOutputs {
    let borders: Vec<usize> = shards
        .iter()
        .scan(0, |border, shard| {
            *border += shard.rows.len();
            Some(*border)
        })
        .collect();
    let mut chunks = inputs.chunks(&borders).into_iter().peekable();
    let mut tasks = Vec::new();
    for (shard, border) in shards.into_iter().zip(borders) {
        let first_unique = border - shard.rows.len();
        let (mut table, mut first_row) = (shard.table, 0);
        // A chunk's rows are ascending, so the shard is cut where the next chunk begins.
        while let Some(chunk) = chunks.next_if(|chunk| chunk.end <= border) {
            let rows = &shard.rows[chunk.start - first_unique..chunk.end - first_unique];
            let next_row = rows[rows.len() - 1] as usize + 1;
            let part;
            (part, table) = table.split_at((next_row - first_row) * inputs.shape.vector_dim);
            let table_rows = TableRows {
                table: part,
                first_row,
                rows,
                first_unique: chunk.start,
                segments: &inputs.segments[chunk.start..=chunk.end],
                vector_dim: inputs.shape.vector_dim,
                adam,
            };
            tasks.push((chunk, table_rows));
            first_row = next_row;
        }
    }
    run_chunks(inputs, tasks)
}

/// Rows of a chunk in their table, updated in place.
struct TableRows<'a> {
    table: RowsMut<'a>,
    /// The first row of `table`.
    first_row: usize,
    /// The chunk's rows.
    rows: &'a [i32],
    /// The number of the chunk's first row among the unique rows of the mini-batch.
    first_unique: usize,
    segments: &'a [i32],
    vector_dim: usize,
    adam: &'a AdamStep,
}

impl TableRows<'_> {
    /// Where the i-th row of the chunk is.
    #[inline(always)]
    fn place(&self, i: usize) -> Range<usize> {
        let start = (self.rows[i] as usize - self.first_row) * self.vector_dim;
        start..start + self.vector_dim
    }
}

impl ChunkRows for TableRows<'_> {
    #[inline(always)]
    fn row(&self, row: usize) -> &[f32] {
        &self.table.w[self.place(row - self.first_unique)]
    }

    #[inline(always)]
    fn prefetch_for_load(&self, row: usize) {
        let i = row - self.first_unique;
        if i < self.rows.len() {
            prefetch(&self.table.w[self.place(i)]);
        }
    }

    #[inline(always)]
    fn prefetch_for_store(&self, row: usize) {
        let place = self.place(row - self.first_unique);
        prefetch(&self.table.m[place.clone()]);
        prefetch(&self.table.v[place]);
    }

    /// A step has no use for them.
    #[inline(always)]
    fn see_logits(&mut self, _: usize, _: &[f32]) {}

    #[inline(always)]
    fn store(&mut self, row: usize, gradient: &[f32]) {
        let i = row - self.first_unique;
        let count = (self.segments[i + 1] - self.segments[i]) as f32;
        let place = self.place(i);
        let RowsMut { w, m, v } = &mut self.table;
        let row = RowsMut { w: &mut w[place.clone()], m: &mut m[place.clone()], v: &mut v[place] };
        update_row(row, gradient, count, self.adam);
    }
}

/// A shard of the table with its moments, and what a mini-batch touched of it, on a device.
pub struct TableShard {
    /// `[N, d]` each: weights, first moments, second moments. Owned uniquely, or the whole is copied.
    pub table: TableTensors,
    /// `[U]`: the touched rows within the shard, ascending and unique.
    pub rows: Tensor<1, Int>,
    /// `[U + 1]`: how often each occurs, as differences.
    pub segments: Tensor<1, Int>,
}

/// What a step leaves.
pub struct Stepped {
    /// The shards' weights and moments, in the order in which they were given.
    pub tables: Vec<TableTensors>,
    /// `[1, num_parameters]`: gradients of the mean loss.
    pub parameters: Tensor<2>,
    /// `[3]`: cross entropy, correct pairs, pairs, each summed over pairs that count.
    pub sums: Tensor<1>,
}

/// Updates the touched rows of a table in place, and computes the gradients of the encoder's parameters.
///
/// # Shapes
///
/// - `shards`: those that have touched rows; the rows of all of them, U in sum, are the mini-batch's
/// - `pairs`: of the mini-batch
/// - `parameters`: `[1, num_parameters]`, laid out as [`ModelShape`] says
pub fn folded_step(
    shards: Vec<TableShard>,
    pairs: Pairs,
    parameters: Tensor<2>,
    shape: ModelShape,
    adam: AdamStep,
) -> Stepped {
    let num_rows: usize = shards.iter().map(|shard| shard.rows.dims()[0]).sum();
    pairs.check(num_rows, shape.families);
    assert_eq!(parameters.dims(), [1, shape.num_parameters()]);
    let shards = shards.into_iter().map(|shard| TouchedShard {
        w: shard.table.0.into_dispatch(),
        m: shard.table.1.into_dispatch(),
        v: shard.table.2.into_dispatch(),
        rows: shard.rows.into_dispatch(),
        segments: shard.segments.into_dispatch(),
    });
    let done = Dispatch::folded_step(
        TouchedShards(shards.collect()),
        pairs.segments.into_dispatch(),
        pairs.ips.into_dispatch(),
        pairs.mask.into_dispatch(),
        parameters.into_dispatch(),
        shape,
        adam,
    );
    let tensors = |shard: TouchedShard<Dispatch>| {
        (Tensor::from_dispatch(shard.w), Tensor::from_dispatch(shard.m), Tensor::from_dispatch(shard.v))
    };
    Stepped {
        tables: done.shards.0.into_iter().map(tensors).collect(),
        parameters: Tensor::from_dispatch(done.parameters),
        sums: Tensor::from_dispatch(done.sums),
    }
}

/// [`TableShard`] as a backend has it.
#[derive(ExtensionType)]
pub struct TouchedShard<B: Backend> {
    /// Weights.
    pub w: FloatTensor<B>,
    /// First moments.
    pub m: FloatTensor<B>,
    /// Second moments.
    pub v: FloatTensor<B>,
    /// Touched rows.
    pub rows: IntTensor<B>,
    /// How often each occurs, as differences.
    pub segments: IntTensor<B>,
}

/// The shards that a mini-batch touched.
pub struct TouchedShards<B: Backend>(pub Vec<TouchedShard<B>>);

/// Shard by shard; the derive macro has no lists.
impl<B: Backend> ExtensionType<B> for TouchedShards<B> {
    type Target = TouchedShards<Dispatch>;

    fn map_to_dispatch<F>(self, map_kind: F, autodiff: DispatchAutodiffContext) -> Self::Target
    where
        F: Fn(BackendTensor<B>) -> DispatchTensorKind,
    {
        let map = |shard: TouchedShard<B>| shard.map_to_dispatch(&map_kind, autodiff);
        TouchedShards(self.0.into_iter().map(map).collect())
    }

    fn map_from_dispatch<F>(target: Self::Target, unwrap_kind: F) -> Self
    where
        F: Fn(DispatchTensor) -> BackendTensor<B>,
    {
        let map = |shard| TouchedShard::map_from_dispatch(shard, &unwrap_kind);
        TouchedShards(target.0.into_iter().map(map).collect())
    }

    fn routing_tensor(target: &Self::Target) -> Option<&DispatchTensor> {
        target.0.first().and_then(TouchedShard::<B>::routing_tensor)
    }

    fn routing_float_tensor(target: &Self::Target) -> Option<&DispatchTensor> {
        target.0.first().and_then(TouchedShard::<B>::routing_float_tensor)
    }

    fn autodiff_context(target: &Self::Target) -> DispatchAutodiffContext {
        let contexts = target.0.iter().map(TouchedShard::<B>::autodiff_context);
        contexts.fold(DispatchAutodiffContext::Disabled, DispatchAutodiffContext::merge)
    }
}

/// [`Stepped`] as a backend has it.
#[derive(ExtensionType)]
pub struct SteppedTensors<B: Backend> {
    /// The shards that were given.
    #[extension_type]
    pub shards: TouchedShards<B>,
    /// Gradients of the encoder's parameters.
    pub parameters: FloatTensor<B>,
    /// The published sums.
    pub sums: FloatTensor<B>,
}

/// The backend extension behind [`folded_step()`].
#[backend_extension(NdArray, Cube: cfg(feature = "wgpu"))]
pub trait FoldedStepBackend: Backend {
    /// See [`folded_step()`].
    fn folded_step(
        #[extension_type] shards: TouchedShards<Self>,
        segments: IntTensor<Self>,
        pair_ips: IntTensor<Self>,
        mask: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        shape: ModelShape,
        adam: AdamStep,
    ) -> SteppedTensors<Self>;
}

impl FoldedStepBackend for burn_ndarray::NdArray {
    fn folded_step(
        shards: TouchedShards<Self>,
        segments: IntTensor<Self>,
        pair_ips: IntTensor<Self>,
        mask: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        shape: ModelShape,
        adam: AdamStep,
    ) -> SteppedTensors<Self> {
        let (segments, pair_ips) = (i32_array(segments), u32_array(pair_ips));
        let (mask, parameters) = (f32_array(mask), f32_array(parameters));
        let mut arrays: Vec<_> = shards
            .0
            .into_iter()
            .map(|shard| {
                let tables = [shard.w, shard.m, shard.v].map(table_array);
                (tables, i32_array(shard.rows), shard.segments)
            })
            .collect();
        let slices = arrays.iter_mut().map(|([w, m, v], rows, _)| ShardMut {
            table: RowsMut { w: slice_mut(w), m: slice_mut(m), v: slice_mut(v) },
            rows: slice(rows),
        });
        let inputs = FoldedInputs {
            segments: slice(&segments),
            pair_ips: Addresses::new(slice(&pair_ips), shape.families),
            mask: slice(&mask),
            parameters: slice(&parameters),
            shape,
        };
        let outputs = folded_step_on_slices(inputs, slices.collect(), &adam);
        let shards = arrays.into_iter().map(|([w, m, v], rows, segments)| TouchedShard {
            w: w.into(),
            m: m.into(),
            v: v.into(),
            rows: rows.into(),
            segments,
        });
        SteppedTensors {
            shards: TouchedShards(shards.collect()),
            parameters: tensor(outputs.parameters, parameters.shape()),
            sums: tensor(outputs.sums.to_vec(), &[3]),
        }
    }
}

#[cfg(feature = "wgpu")]
mod device {
    use burn::backend::ops::FloatTensorOps;
    use burn_cubecl::CubeBackend;

    use super::*;
    use crate::folded::FoldedBackend;
    use crate::gather::GatherBackend;
    use crate::row_adam::RowAdamBackend;

    impl FoldedStepBackend for CubeBackend {
        fn folded_step(
            shards: TouchedShards<Self>,
            segments: IntTensor<Self>,
            pair_ips: IntTensor<Self>,
            mask: FloatTensor<Self>,
            parameters: FloatTensor<Self>,
            shape: ModelShape,
            adam: AdamStep,
        ) -> SteppedTensors<Self> {
            let gather = |shard: &TouchedShard<Self>| Self::gather_rows(shard.w.clone(), shard.rows.clone());
            let mut parts: Vec<_> = shards.0.iter().map(gather).collect();
            let vectors = match parts.len() {
                1 => parts.remove(0),
                _ => Self::float_cat(parts, 0),
            };
            let (_, sums, gradients, parameters) =
                Self::folded(vectors, segments, pair_ips, mask, parameters, shape);
            let is_whole = shards.0.len() == 1;
            let mut first = 0;
            let update = |shard: TouchedShard<Self>| {
                let rows = first..first + shard.rows.meta.shape()[0];
                first = rows.end;
                let gradients = match is_whole {
                    true => gradients.clone(),
                    false => {
                        Self::float_slice(gradients.clone(), &[rows.into(), (0..shape.vector_dim).into()])
                    }
                };
                let TouchedShard { w, m, v, rows, segments } = shard;
                let (w, m, v) = Self::row_adam(w, m, v, rows.clone(), segments.clone(), gradients, adam);
                TouchedShard { w, m, v, rows, segments }
            };
            let shards = TouchedShards(shards.0.into_iter().map(update).collect());
            SteppedTensors { shards, parameters, sums }
        }
    }
}
