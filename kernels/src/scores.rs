//! Scores of (entity, address) pairs, with the output layer folded into the entities.
//!
//! ```text
//! folded[r]      = [W_L e_r | e_r · b_L | cells of r]          once per entity, [N, width + 1 + cells]
//! usual(r, ip)   = [W_L e_r | e_r · b_L] · [h_L(ip) | 1] + m   = e_r · v(ip) + m, m as in `memory`
//! score(r, ip)   = usual, or common + ln(exp(usual) + exp(elsewhere)), as in `elsewhere`
//! ```
//!
//! A score is the encoder's hidden layers, of which the first is four lookups on a CPU, and one dot product:
//! with one hidden layer 4 d additions and 2 d FLOP more, 16 d bytes from the tables in cache and 4 d + 4 from
//! the entity's row, which comes from memory. Memory is the floor: a row at d = 128 is nine cache lines, and each
//! prefix length one more.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{Int, Tensor};
use pulp::Simd;
use rayon::prelude::*;

use crate::bits::NUM_BITS;
use crate::elsewhere::{elsewhere, mix, mix_reference};
use crate::first_layer::ByteTables;
use crate::matrix::{Panels, hidden_layer, multiply};
use crate::prefetch::prefetch;
use crate::shape::ModelShape;
use crate::simd::{AlignedVec, dot, padded, vectors_mut};

/// Pairs of one task: their activations stay in the cache.
const PAIRS_PER_TASK: usize = 512;

/// The reference of folding: element `column` of an entity's folded row, from its row of the table.
pub fn fold_reference(shape: &ModelShape, parameters: &[f32], row: &[f32], column: usize) -> f64 {
    let (vector, cells) = row.split_at(shape.vector_dim);
    if column > shape.output_width() {
        return cells[column - shape.output_width() - 1] as f64;
    }
    // The bias is the row behind the weights.
    let start = shape.weight(shape.num_hidden).start + column * shape.vector_dim;
    let row = &parameters[start..start + shape.vector_dim];
    row.iter().zip(vector).map(|(w, e)| *w as f64 * *e as f64).sum()
}

/// The reference of scoring: from an entity's folded row.
pub fn score_reference(shape: &ModelShape, parameters: &[f32], folded: &[f32], tag: u32, ip: u32) -> f64 {
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
    let (product, cells) = folded.split_at(hidden.len() + 1);
    let (row_cells, cells) = cells.split_at(shape.elsewhere.num_row_cells());
    let usual = hidden.iter().zip(product).map(|(h, q)| h * *q as f64).sum::<f64>()
        + product[hidden.len()] as f64
        + shape.memory.sum(cells, tag, ip) as f64;
    if !shape.elsewhere.exists() {
        return usual;
    }
    let common = shape.elsewhere.common(&parameters[shape.prefix_weights()], ip) as f64;
    common + mix_reference(usual, elsewhere(row_cells, tag) as f64).0
}

/// Floats of a folded row: width + 1 + cells.
pub fn folded_width(shape: &ModelShape) -> usize {
    shape.output_width() + 1 + shape.num_cells()
}

/// The CPU twin of folding: from rows of a table, `[N, d + cells]`, to `[N, width + 1 + cells]`.
pub fn fold_on_slices(shape: &ModelShape, parameters: &[f32], rows: &[f32]) -> Vec<f32> {
    const ROWS_PER_TASK: usize = 64;
    let (row_width, columns) = (shape.row_width(), folded_width(shape));
    let output = shape.weight(shape.num_hidden).start..shape.bias(shape.num_hidden).end;
    let output = Panels::transposed(&parameters[output], [shape.vector_dim, shape.output_width() + 1]);
    let mut folded = vec![0.0; rows.len() / row_width * columns];
    let tasks =
        folded.par_chunks_mut(ROWS_PER_TASK * columns).zip(rows.par_chunks(ROWS_PER_TASK * row_width));
    tasks.for_each(|(folded, rows)| {
        pulp::Arch::new().dispatch(Fold { rows, output: &output, folded, shape });
    });
    folded
}

struct Fold<'a> {
    rows: &'a [f32],
    output: &'a Panels,
    folded: &'a mut [f32],
    shape: &'a ModelShape,
}

impl pulp::WithSimd for Fold<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (row_width, columns) = (self.shape.row_width(), self.shape.output_width() + 1);
        let width = padded(columns);
        let mut products = AlignedVec::zeros(self.rows.len() / row_width * width);
        multiply(simd, self.rows, row_width, self.output, &mut products);
        let rows = self.rows.chunks_exact(row_width).zip(products.chunks_exact(width));
        for (folded, (row, product)) in self.folded.chunks_exact_mut(folded_width(self.shape)).zip(rows) {
            let (of_product, of_cells) = folded.split_at_mut(columns);
            of_product.copy_from_slice(&product[..columns]);
            of_cells.copy_from_slice(&row[self.shape.vector_dim..]);
        }
    }
}

/// What the CPU twin scores with.
#[derive(Clone, Copy)]
pub struct ScoreInputs<'a> {
    /// `[N, width + 1 + cells]`: folded rows.
    pub folded: &'a [f32],
    /// Of [`tables_on_slices`].
    pub tables: &'a [f32],
    /// `[num_parameters]`: the encoder.
    pub parameters: &'a [f32],
    /// The encoder's shape.
    pub shape: ModelShape,
}

/// The lookup tables of an encoder's first layer, for [`scores_on_slices`].
pub fn tables_on_slices(shape: &ModelShape, parameters: &[f32]) -> Vec<f32> {
    ByteTables::new(shape, parameters).entries().to_vec()
}

/// Pairs to score, as slices of one length.
#[derive(Clone, Copy)]
pub struct PairsToScore<'a> {
    /// Rows of the folded table.
    pub rows: &'a [i32],
    /// The entities' tags, as [`crate::memory`] says.
    pub tags: &'a [u32],
    /// Addresses.
    pub ips: &'a [u32],
}

/// The CPU twin of scoring: `out[i]` is the score of the i-th pair.
pub fn scores_on_slices(inputs: ScoreInputs<'_>, pairs: PairsToScore<'_>, out: &mut [f32]) {
    let (shape, d) = (inputs.shape, inputs.shape.vector_dim);
    let hidden: Vec<Panels> =
        (1..shape.num_hidden).map(|l| Panels::new(&inputs.parameters[shape.weight(l)], [d, d])).collect();
    let score = |pairs: PairsToScore<'_>, out: &mut [f32]| {
        pulp::Arch::new().dispatch(Score { inputs, hidden: &hidden, pairs, out });
    };
    if out.len() <= PAIRS_PER_TASK {
        return score(pairs, out); // handing it to another thread would take longer
    }
    out.par_chunks_mut(PAIRS_PER_TASK).enumerate().for_each(|(i, out)| {
        let range = i * PAIRS_PER_TASK..i * PAIRS_PER_TASK + out.len();
        let PairsToScore { rows, tags, ips } = pairs;
        score(PairsToScore { rows: &rows[range.clone()], tags: &tags[range.clone()], ips: &ips[range] }, out);
    });
}

/// Pairs of one task.
struct Score<'a> {
    inputs: ScoreInputs<'a>,
    hidden: &'a [Panels],
    pairs: PairsToScore<'a>,
    out: &'a mut [f32],
}

impl pulp::WithSimd for Score<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        const ROWS_AHEAD: usize = 12;
        let ScoreInputs { folded, tables, shape, parameters } = self.inputs;
        let PairsToScore { rows, tags, ips } = self.pairs;
        let tables = ByteTables::from_entries(&shape, tables);
        let (width, columns) = (shape.output_width(), folded_width(&shape));
        let (num_row_cells, has_cells) = (shape.elsewhere.num_row_cells(), shape.num_cells() > 0);
        let prefix_weights = &parameters[shape.prefix_weights()];
        let folded_row = |i: usize| &folded[rows[i] as usize * columns..][..columns];
        let fetch = |i: usize| {
            let row = folded_row(i);
            prefetch(&row[..width + 1]);
            if has_cells {
                let cells = &row[width + 1 + num_row_cells..];
                for length in shape.memory.lengths.iter() {
                    prefetch(&cells[shape.memory.cell(tags[i], ips[i], length)..][..1]);
                }
            }
        };
        (0..rows.len().min(ROWS_AHEAD)).for_each(fetch);
        let activations = (!self.hidden.is_empty()).then(|| self.activations(simd, &tables));
        for (i, ip) in ips.iter().enumerate() {
            if i + ROWS_AHEAD < rows.len() {
                fetch(i + ROWS_AHEAD);
            }
            let (q, rest) = folded_row(i).split_at(width);
            let product = match &activations {
                None => tables.dot(simd, q, *ip),
                Some(activations) => dot(simd, q, &activations[i * tables.width()..][..width]),
            };
            let mut score = product + rest[0];
            if has_cells {
                let (row_cells, cells) = rest[1..].split_at(num_row_cells);
                score += shape.memory.sum(cells, tags[i], *ip);
                if shape.elsewhere.exists() {
                    let (mixed, _) = mix(score, elsewhere(row_cells, tags[i]));
                    score = shape.elsewhere.common(prefix_weights, *ip) + mixed;
                }
            }
            self.out[i] = score;
        }
    }
}

impl Score<'_> {
    /// The activations of the last of several hidden layers, `[pairs, padded width]`.
    #[inline(always)]
    fn activations<S: Simd>(&self, simd: S, tables: &ByteTables<&[f32]>) -> AlignedVec {
        let (shape, width) = (self.inputs.shape, tables.width());
        let mut activations = AlignedVec::zeros(self.pairs.ips.len() * width);
        let mut above = AlignedVec::zeros(activations.len());
        let rows = vectors_mut::<S>(&mut activations).chunks_exact_mut(width / S::F32_LANES);
        self.pairs.ips.iter().zip(rows).for_each(|(ip, h)| tables.encode(simd, *ip, h));
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
/// - `rows`: `[N, d + cells]`
/// - `parameters`: `[1, num_parameters]`, laid out as [`ModelShape`] says
/// - output: `[N, width + 1 + cells]`, width being 32 where there is no hidden layer, else d
pub fn fold(rows: Tensor<2>, parameters: Tensor<2>, shape: ModelShape) -> Tensor<2> {
    let folded = Dispatch::fold(rows.into_dispatch(), parameters.into_dispatch(), shape);
    Tensor::from_dispatch(folded)
}

/// The lookup tables that [`scores`] takes; what is in them is the backend's business.
pub fn lookup_tables(parameters: Tensor<2>, shape: ModelShape) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::lookup_tables(parameters.into_dispatch(), shape))
}

/// Scores pairs on the device of the folded rows.
///
/// # Shapes
///
/// - `folded`: `[N, width + 1 + cells]`, of [`fold`]
/// - `rows`: `[n]`, below N; `tags` and `ips`: `[n]`, unsigned 32-bit integers
/// - `tables`: of [`lookup_tables`]; `parameters`: `[1, num_parameters]`
/// - output: `[n]`
pub fn scores(
    folded: Tensor<2>,
    (rows, tags, ips): (Tensor<1, Int>, Tensor<1, Int>, Tensor<1, Int>),
    tables: Tensor<2>,
    parameters: Tensor<2>,
    shape: ModelShape,
) -> Tensor<1> {
    assert_eq!([rows.dims(), tags.dims()], [ips.dims(); 2], "every pair has a row, a tag and an address");
    Tensor::from_dispatch(Dispatch::scores(
        folded.into_dispatch(),
        rows.into_dispatch(),
        tags.into_dispatch(),
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
    fn fold(rows: FloatTensor<Self>, parameters: FloatTensor<Self>, shape: ModelShape) -> FloatTensor<Self>;

    /// See [`lookup_tables`].
    fn lookup_tables(parameters: FloatTensor<Self>, shape: ModelShape) -> FloatTensor<Self>;

    /// See [`scores`].
    fn scores(
        folded: FloatTensor<Self>,
        rows: IntTensor<Self>,
        tags: IntTensor<Self>,
        ips: IntTensor<Self>,
        tables: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        shape: ModelShape,
    ) -> FloatTensor<Self>;
}

impl ScoresBackend for burn_ndarray::NdArray {
    fn fold(rows: FloatTensor<Self>, parameters: FloatTensor<Self>, shape: ModelShape) -> FloatTensor<Self> {
        use crate::host::{f32_array, slice, tensor};
        let (rows, parameters) = (f32_array(rows), f32_array(parameters));
        let folded = fold_on_slices(&shape, slice(&parameters), slice(&rows));
        tensor(folded, &[rows.shape()[0], folded_width(&shape)])
    }

    fn lookup_tables(parameters: FloatTensor<Self>, shape: ModelShape) -> FloatTensor<Self> {
        use crate::host::{f32_array, slice, tensor};
        let entries = tables_on_slices(&shape, slice(&f32_array(parameters)));
        let len = entries.len();
        tensor(entries, &[1, len])
    }

    fn scores(
        folded: FloatTensor<Self>,
        rows: IntTensor<Self>,
        tags: IntTensor<Self>,
        ips: IntTensor<Self>,
        tables: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        shape: ModelShape,
    ) -> FloatTensor<Self> {
        use crate::host::{f32_array, f32_values, i32_array, slice, tensor, u32_array};
        let folded = f32_values(&folded);
        let (tables, parameters) = (f32_array(tables), f32_array(parameters));
        let (rows, tags, ips) = (i32_array(rows), u32_array(tags), u32_array(ips));
        let (tables, parameters) = (slice(&tables), slice(&parameters));
        let mut out = vec![0.0; ips.len()];
        let inputs = ScoreInputs { folded: &folded, tables, parameters, shape };
        let pairs = PairsToScore { rows: slice(&rows), tags: slice(&tags), ips: slice(&ips) };
        scores_on_slices(inputs, pairs, &mut out);
        tensor(out, &[ips.len()])
    }
}

/// The kernels on a device: one cube a pair, whose units share the columns of the dot product.
#[cfg(feature = "wgpu")]
mod device {
    use burn::backend::ops::FloatTensorOps;
    use burn::tensor::{DType, Shape};
    use burn_cubecl::CubeBackend;
    use cubecl::prelude::*;

    use super::*;
    use crate::elsewhere::device::{common, elsewhere, smaller_part};
    use crate::first_layer::device::{encode, tables};
    use crate::launch::{self, contiguous, empty_like};
    use crate::matrix::device::{DeviceMatrix, Epilogue, multiply};
    use crate::memory::PrefixLengths;
    use crate::memory::device::memory_sum;
    use crate::pair_loss::device::{Activations, activation};

    /// One cube per pair.
    #[cube(launch_unchecked)]
    #[allow(clippy::too_many_arguments)] // a kernel takes its scalars one by one
    fn scores_kernel(
        folded: &[f32],
        rows: &[i32],
        tags: &[u32],
        ips: &[u32],
        source: &[f32],
        parameters: &[f32],
        out: &mut [f32],
        num_pairs: u32,
        width: u32,
        columns: u32,
        prefix_weights: u32,
        num_row_cells: u32,
        num_cells: u32,
        #[comptime] memory: PrefixLengths,
        #[comptime] prefixes: PrefixLengths,
        #[comptime] units: u32,
        #[comptime] activations: Activations,
    ) {
        let pair = CUBE_POS;
        if pair >= num_pairs as usize {
            terminate!();
        }
        let unit = UNIT_POS as usize;
        let width = width as usize;
        let q = rows[pair] as usize * columns as usize;
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
            let cells = q + width + 1;
            let (tag, ip) = (tags[pair], ips[pair]);
            if comptime!(!memory.is_empty()) {
                score += memory_sum(folded, cells + num_row_cells as usize, tag, ip, num_cells, memory);
            }
            if comptime!(!prefixes.is_empty()) {
                let x = elsewhere(folded, cells, tag);
                score = max(score, x) + f32::log1p(smaller_part(score, x));
                score += common(parameters, prefix_weights as usize, ip, prefixes);
            }
            out[pair] = score;
        }
    }

    impl ScoresBackend for CubeBackend {
        fn fold(
            rows: FloatTensor<Self>,
            parameters: FloatTensor<Self>,
            shape: ModelShape,
        ) -> FloatTensor<Self> {
            let (rows, parameters) = (contiguous(rows), contiguous(parameters));
            let (num_rows, d, columns) = (rows.meta.shape()[0], shape.vector_dim, shape.output_width() + 1);
            let folded = empty_like(&rows, Shape::new([num_rows, columns]), DType::F32);
            let start = shape.weight(shape.num_hidden).start;
            // The bias is the row behind the weights.
            let output = DeviceMatrix::new(&parameters, start, [columns, d], d).transposed();
            let e = DeviceMatrix::new(&rows, 0, [num_rows, d], shape.row_width());
            multiply(&folded, Epilogue::nothing(&parameters), e, output);
            if shape.num_cells() == 0 {
                return folded;
            }
            // Once a model: Burn's own.
            launch::count_launch();
            launch::count_launch();
            let cells = Self::float_slice(rows, &[(0..num_rows).into(), (d..shape.row_width()).into()]);
            Self::float_cat(vec![folded, cells], 1)
        }

        fn lookup_tables(parameters: FloatTensor<Self>, shape: ModelShape) -> FloatTensor<Self> {
            match shape.num_hidden {
                0 => empty_like(&parameters, Shape::new([1, 1]), DType::F32), // bound, but not read
                _ => tables(&contiguous(parameters), &shape),
            }
        }

        fn scores(
            folded: FloatTensor<Self>,
            rows: IntTensor<Self>,
            tags: IntTensor<Self>,
            ips: IntTensor<Self>,
            tables: FloatTensor<Self>,
            parameters: FloatTensor<Self>,
            shape: ModelShape,
        ) -> FloatTensor<Self> {
            let (folded, rows, tags, ips) =
                (contiguous(folded), contiguous(rows), contiguous(tags), contiguous(ips));
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
                    tags.into_buffer_arg(),
                    ips.into_buffer_arg(),
                    source.into_buffer_arg(),
                    parameters.into_buffer_arg(),
                    out.clone().into_buffer_arg(),
                    num_pairs as u32,
                    width as u32,
                    folded_width(&shape) as u32,
                    shape.prefix_weights().start as u32,
                    shape.elsewhere.num_row_cells() as u32,
                    shape.memory.num_cells as u32,
                    shape.memory.lengths,
                    shape.elsewhere.lengths,
                    units,
                    activations,
                );
            }
            out
        }
    }
}
