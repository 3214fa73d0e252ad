//! Scores of (entity, address) pairs, with the output layer folded into the entities.
//!
//! ```text
//! folded[r]      = [W_L e_r | e_r · b_L]                       once per entity, [N, width + 1]
//! score(r, ip)   = folded[r] · [h_L(ip) | 1]                   = e_r · v(ip)
//! ```
//!
//! A score is the encoder's hidden layers, of which the first is four lookups on a CPU, and one dot product:
//! with one hidden layer 4 d additions and 2 d FLOP more, 16 d bytes from the tables in cache and 4 d + 4 from
//! the entity's row, which comes from memory. Memory is the floor: a row at d = 128 is nine cache lines.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{Int, Tensor};
use pulp::Simd;
use rayon::prelude::*;

use crate::bits::NUM_BITS;
use crate::encoder::EncoderShape;
use crate::first_layer::ByteTables;
use crate::matrix::{Panels, hidden_layer, multiply};
use crate::prefetch::prefetch;
use crate::simd::{AlignedVec, dot, padded, vectors_mut};

/// Pairs of one task: their activations stay in the cache.
const PAIRS_PER_TASK: usize = 512;

/// The reference of folding: element `column` of an entity's folded row.
pub fn fold_reference(shape: &EncoderShape, parameters: &[f32], vector: &[f32], column: usize) -> f64 {
    // The bias is the row behind the weights.
    let start = shape.weight(shape.num_hidden).start + column * shape.vector_dim;
    let row = &parameters[start..start + shape.vector_dim];
    row.iter().zip(vector).map(|(w, e)| *w as f64 * *e as f64).sum()
}

/// The reference of scoring: from an entity's folded row.
pub fn score_reference(shape: &EncoderShape, parameters: &[f32], folded: &[f32], ip: u32) -> f64 {
    let mut bits = [0.0; NUM_BITS];
    crate::bits::bits_on_slices(&[ip], &mut bits);
    let mut hidden: Vec<f64> = bits.iter().map(|bit| *bit as f64).collect();
    for l in 0..shape.num_hidden {
        let (weight, bias) = (&parameters[shape.weight(l)], &parameters[shape.bias(l)]);
        let activation = |k: usize| {
            let product = |i: usize| hidden[i] * weight[i * shape.vector_dim + k] as f64;
            ((0..hidden.len()).map(product).sum::<f64>() + bias[k] as f64).max(0.0)
        };
        hidden = (0..shape.vector_dim).map(activation).collect();
    }
    let c = folded[hidden.len()] as f64;
    hidden.iter().zip(folded).map(|(h, q)| h * *q as f64).sum::<f64>() + c
}

/// The CPU twin of folding: from rows `[N, d]` to `[N, width + 1]`.
pub fn fold_on_slices(shape: &EncoderShape, parameters: &[f32], vectors: &[f32]) -> Vec<f32> {
    const ROWS_PER_TASK: usize = 64;
    let (d, columns) = (shape.vector_dim, shape.output_width() + 1);
    let output = shape.weight(shape.num_hidden).start..shape.bias(shape.num_hidden).end;
    let output = Panels::transposed(&parameters[output], [d, columns]);
    let mut folded = vec![0.0; vectors.len() / d * columns];
    let tasks = folded.par_chunks_mut(ROWS_PER_TASK * columns).zip(vectors.par_chunks(ROWS_PER_TASK * d));
    tasks.for_each(|(folded, vectors)| {
        pulp::Arch::new().dispatch(Fold { vectors, vector_dim: d, output: &output, folded, columns });
    });
    folded
}

struct Fold<'a> {
    vectors: &'a [f32],
    vector_dim: usize,
    output: &'a Panels,
    folded: &'a mut [f32],
    columns: usize,
}

impl pulp::WithSimd for Fold<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let width = padded(self.columns);
        let mut rows = AlignedVec::zeros(self.vectors.len() / self.vector_dim * width);
        multiply(simd, self.vectors, self.vector_dim, self.output, &mut rows);
        for (folded, row) in self.folded.chunks_exact_mut(self.columns).zip(rows.chunks_exact(width)) {
            folded.copy_from_slice(&row[..self.columns]);
        }
    }
}

/// What the CPU twin scores with.
#[derive(Clone, Copy)]
pub struct ScoreInputs<'a> {
    /// `[N, width + 1]`: folded rows.
    pub folded: &'a [f32],
    /// Of [`tables_on_slices`].
    pub tables: &'a [f32],
    /// `[num_parameters]`: the encoder.
    pub parameters: &'a [f32],
    /// The encoder's shape.
    pub shape: EncoderShape,
}

/// The lookup tables of an encoder's first layer, for [`scores_on_slices`].
pub fn tables_on_slices(shape: &EncoderShape, parameters: &[f32]) -> Vec<f32> {
    ByteTables::new(shape, parameters).entries().to_vec()
}

/// The CPU twin of scoring: `out[i]` is the score of row `rows[i]` and address `ips[i]`.
pub fn scores_on_slices(inputs: ScoreInputs<'_>, rows: &[i32], ips: &[u32], out: &mut [f32]) {
    let (shape, d) = (inputs.shape, inputs.shape.vector_dim);
    let hidden: Vec<Panels> =
        (1..shape.num_hidden).map(|l| Panels::new(&inputs.parameters[shape.weight(l)], [d, d])).collect();
    let score = |((rows, ips), out): ((&[i32], &[u32]), &mut [f32])| {
        pulp::Arch::new().dispatch(Score { inputs, hidden: &hidden, rows, ips, out });
    };
    if out.len() <= PAIRS_PER_TASK {
        return score(((rows, ips), out)); // handing it to another thread would take longer
    }
    let pairs = rows.par_chunks(PAIRS_PER_TASK).zip(ips.par_chunks(PAIRS_PER_TASK));
    pairs.zip(out.par_chunks_mut(PAIRS_PER_TASK)).for_each(score);
}

/// Pairs of one task.
struct Score<'a> {
    inputs: ScoreInputs<'a>,
    hidden: &'a [Panels],
    rows: &'a [i32],
    ips: &'a [u32],
    out: &'a mut [f32],
}

impl pulp::WithSimd for Score<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        const ROWS_AHEAD: usize = 12;
        let ScoreInputs { folded, tables, shape, .. } = self.inputs;
        let tables = ByteTables::from_entries(&shape, tables);
        let columns = shape.output_width() + 1;
        let folded_row = |row: i32| &folded[row as usize * columns..][..columns];
        self.rows.iter().take(ROWS_AHEAD).for_each(|row| prefetch(folded_row(*row)));
        let activations = (!self.hidden.is_empty()).then(|| self.activations(simd, &tables));
        for (i, (row, ip)) in self.rows.iter().zip(self.ips).enumerate() {
            if let Some(ahead) = self.rows.get(i + ROWS_AHEAD) {
                prefetch(folded_row(*ahead));
            }
            let (q, c) = folded_row(*row).split_at(columns - 1);
            let product = match &activations {
                None => tables.dot(simd, q, *ip),
                Some(activations) => dot(simd, q, &activations[i * tables.width()..][..columns - 1]),
            };
            self.out[i] = product + c[0];
        }
    }
}

impl Score<'_> {
    /// The activations of the last of several hidden layers, `[pairs, padded width]`.
    #[inline(always)]
    fn activations<S: Simd>(&self, simd: S, tables: &ByteTables<&[f32]>) -> AlignedVec {
        let (shape, width) = (self.inputs.shape, tables.width());
        let mut activations = AlignedVec::zeros(self.ips.len() * width);
        let mut above = AlignedVec::zeros(activations.len());
        let rows = vectors_mut::<S>(&mut activations).chunks_exact_mut(width / S::F32_LANES);
        self.ips.iter().zip(rows).for_each(|(ip, h)| tables.encode(simd, *ip, h));
        for (l, weight) in self.hidden.iter().enumerate() {
            let bias = &self.inputs.parameters[shape.bias(l + 1)];
            hidden_layer(simd, &activations, weight, bias, &mut above);
            std::mem::swap(&mut activations, &mut above);
        }
        activations
    }
}

/// Folds the output layer into entity rows on their device.
///
/// # Shapes
///
/// - `vectors`: `[N, d]`
/// - `parameters`: `[1, num_parameters]`, laid out as [`EncoderShape`] says
/// - output: `[N, width + 1]`, width being 32 where there is no hidden layer, else d
pub fn fold(vectors: Tensor<2>, parameters: Tensor<2>, shape: EncoderShape) -> Tensor<2> {
    let folded = Dispatch::fold(vectors.into_dispatch(), parameters.into_dispatch(), shape);
    Tensor::from_dispatch(folded)
}

/// The lookup tables that [`scores`] takes; what is in them is the backend's business.
pub fn lookup_tables(parameters: Tensor<2>, shape: EncoderShape) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::lookup_tables(parameters.into_dispatch(), shape))
}

/// Scores pairs on the device of the folded rows.
///
/// # Shapes
///
/// - `folded`: `[N, width + 1]`, of [`fold`]
/// - `rows`: `[n]`, below N; `ips`: `[n]`, unsigned 32-bit integers
/// - `tables`: of [`lookup_tables`]; `parameters`: `[1, num_parameters]`
/// - output: `[n]`
pub fn scores(
    folded: Tensor<2>,
    (rows, ips): (Tensor<1, Int>, Tensor<1, Int>),
    tables: Tensor<2>,
    parameters: Tensor<2>,
    shape: EncoderShape,
) -> Tensor<1> {
    assert_eq!(rows.dims(), ips.dims(), "every pair has a row and an address");
    Tensor::from_dispatch(Dispatch::scores(
        folded.into_dispatch(),
        rows.into_dispatch(),
        ips.into_dispatch(),
        tables.into_dispatch(),
        parameters.into_dispatch(),
        shape,
    ))
}

/// The backend extension behind [`fold`], [`lookup_tables`] and [`scores`].
#[backend_extension(NdArray, Cube: cfg(feature = "wgpu"))]
pub trait ScoresBackend: Backend {
    /// See [`fold`].
    fn fold(
        vectors: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        shape: EncoderShape,
    ) -> FloatTensor<Self>;

    /// See [`lookup_tables`].
    fn lookup_tables(parameters: FloatTensor<Self>, shape: EncoderShape) -> FloatTensor<Self>;

    /// See [`scores`].
    fn scores(
        folded: FloatTensor<Self>,
        rows: IntTensor<Self>,
        ips: IntTensor<Self>,
        tables: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        shape: EncoderShape,
    ) -> FloatTensor<Self>;
}

impl ScoresBackend for burn_ndarray::NdArray {
    fn fold(
        vectors: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        shape: EncoderShape,
    ) -> FloatTensor<Self> {
        use crate::host::{f32_array, slice, tensor};
        let (vectors, parameters) = (f32_array(vectors), f32_array(parameters));
        let folded = fold_on_slices(&shape, slice(&parameters), slice(&vectors));
        tensor(folded, &[vectors.shape()[0], shape.output_width() + 1])
    }

    fn lookup_tables(parameters: FloatTensor<Self>, shape: EncoderShape) -> FloatTensor<Self> {
        use crate::host::{f32_array, slice, tensor};
        let entries = tables_on_slices(&shape, slice(&f32_array(parameters)));
        let len = entries.len();
        tensor(entries, &[1, len])
    }

    fn scores(
        folded: FloatTensor<Self>,
        rows: IntTensor<Self>,
        ips: IntTensor<Self>,
        tables: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        shape: EncoderShape,
    ) -> FloatTensor<Self> {
        use crate::host::{f32_array, i32_array, slice, tensor, u32_array};
        let (folded, tables, parameters) = (f32_array(folded), f32_array(tables), f32_array(parameters));
        let (rows, ips) = (i32_array(rows), u32_array(ips));
        let (folded, tables, parameters) = (slice(&folded), slice(&tables), slice(&parameters));
        let mut out = vec![0.0; ips.len()];
        let inputs = ScoreInputs { folded, tables, parameters, shape };
        scores_on_slices(inputs, slice(&rows), slice(&ips), &mut out);
        tensor(out, &[ips.len()])
    }
}

/// The kernels on a device: one cube a pair, whose units share the columns of the dot product.
#[cfg(feature = "wgpu")]
mod device {
    use burn::tensor::{DType, Shape};
    use burn_cubecl::CubeBackend;
    use cubecl::prelude::*;

    use super::*;
    use crate::first_layer::device::{encode, tables};
    use crate::launch::{self, contiguous, empty_like};
    use crate::matrix::device::{DeviceMatrix, Epilogue, multiply};
    use crate::pair_loss::device::{Activations, activation};

    /// One cube per pair.
    #[cube(launch_unchecked)]
    #[allow(clippy::too_many_arguments)] // a kernel takes its scalars one by one
    fn scores_kernel(
        folded: &[f32],
        rows: &[i32],
        ips: &[u32],
        source: &[f32],
        out: &mut [f32],
        num_pairs: u32,
        width: u32,
        #[comptime] units: u32,
        #[comptime] activations: Activations,
    ) {
        let pair = CUBE_POS;
        if pair >= num_pairs as usize {
            terminate!();
        }
        let unit = UNIT_POS as usize;
        let width = width as usize;
        let q = rows[pair] as usize * (width + 1);
        let mut share = 0.0f32;
        let mut column = unit;
        while column < width {
            share += folded[q + column] * activation(source, ips, pair, column, width, activations);
            column += units as usize;
        }
        let mut shares = Shared::<[f32]>::new_slice(comptime!(units as usize));
        shares[unit] = share;
        sync_cube();
        if unit == 0 {
            let mut score = folded[q + width];
            #[unroll]
            for i in 0..comptime!(units as usize) {
                score += shares[i];
            }
            out[pair] = score;
        }
    }

    impl ScoresBackend for CubeBackend {
        fn fold(
            vectors: FloatTensor<Self>,
            parameters: FloatTensor<Self>,
            shape: EncoderShape,
        ) -> FloatTensor<Self> {
            let (vectors, parameters) = (contiguous(vectors), contiguous(parameters));
            let (num_rows, d, columns) =
                (vectors.meta.shape()[0], shape.vector_dim, shape.output_width() + 1);
            let folded = empty_like(&vectors, Shape::new([num_rows, columns]), DType::F32);
            let start = shape.weight(shape.num_hidden).start;
            // The bias is the row behind the weights.
            let output = DeviceMatrix::new(&parameters, start, [columns, d], d).transposed();
            let e = DeviceMatrix::new(&vectors, 0, [num_rows, d], d);
            multiply(&folded, Epilogue::nothing(&parameters), e, output);
            folded
        }

        fn lookup_tables(parameters: FloatTensor<Self>, shape: EncoderShape) -> FloatTensor<Self> {
            match shape.num_hidden {
                0 => empty_like(&parameters, Shape::new([1, 1]), DType::F32), // bound, but not read
                _ => tables(&contiguous(parameters), &shape),
            }
        }

        fn scores(
            folded: FloatTensor<Self>,
            rows: IntTensor<Self>,
            ips: IntTensor<Self>,
            tables: FloatTensor<Self>,
            parameters: FloatTensor<Self>,
            shape: EncoderShape,
        ) -> FloatTensor<Self> {
            let (folded, rows, ips) = (contiguous(folded), contiguous(rows), contiguous(ips));
            let parameters = contiguous(parameters);
            let (num_pairs, d, width) = (ips.meta.num_elements(), shape.vector_dim, shape.output_width());
            let mut source = tables;
            if shape.num_hidden > 1 {
                source = encode(&source, &ips);
                for l in 1..shape.num_hidden {
                    let above = empty_like(&folded, Shape::new([num_pairs, d]), DType::F32);
                    let epilogue = Epilogue::bias_relu(&parameters, shape.bias(l).start);
                    let below = DeviceMatrix::new(&source, 0, [num_pairs, d], d);
                    let weight = DeviceMatrix::new(&parameters, shape.weight(l).start, [d, d], d);
                    multiply(&above, epilogue, below, weight);
                    source = above;
                }
            }
            let activations = match shape.num_hidden {
                0 => Activations::Bits,
                1 => Activations::Tables,
                _ => Activations::Kept,
            };
            let out = empty_like(&folded, Shape::new([num_pairs]), DType::F32);
            let units = (width as u32).next_power_of_two().clamp(32, 128);
            launch::count_launch();
            // SAFETY: the kernel checks its pair against the length of the output; the caller promises rows
            // below N, and the source holds a row per digit or per pair.
            unsafe {
                scores_kernel::launch_unchecked(
                    &folded.client.clone(),
                    launch::cubes(&folded, num_pairs),
                    CubeDim::new_1d(units),
                    folded.into_buffer_arg(),
                    rows.into_buffer_arg(),
                    ips.into_buffer_arg(),
                    source.into_buffer_arg(),
                    out.clone().into_buffer_arg(),
                    num_pairs as u32,
                    width as u32,
                    units,
                    activations,
                );
            }
            out
        }
    }
}
