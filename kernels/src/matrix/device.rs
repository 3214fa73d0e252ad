//! Products on a device.
//!
//! Tiles of 64 x 64 of the product, one a cube; each unit holds 4 x 4 of it in registers, and 16 columns and
//! rows of the factors at a time pass through 8.25 KiB of shared memory. 2 M N K FLOP; of [M, K] x [K, N], A is
//! read N / 64 times and B M / 64 times, 4 bytes an element, mostly from cache. A gradient of weights sums over
//! all rows of a mini-batch, which leaves few tiles: it is cut into slices, as [`super::sums`] says.

#![allow(unsafe_code, reason = "a kernel is launched without bounds checks; see the SAFETY comment of each")]

use burn::tensor::{DType, Shape};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::sums::{Part, Slices, sum_slices};
use crate::launch;
use crate::shape::ModelShape;

/// A matrix in a device's tensor: element (i, j) is at `offset + i * row_stride + j * column_stride`.
#[derive(Clone)]
pub(crate) struct DeviceMatrix {
    pub tensor: CubeTensor,
    pub offset: usize,
    pub rows: usize,
    pub columns: usize,
    pub row_stride: usize,
    pub column_stride: usize,
}

impl DeviceMatrix {
    /// Rows one after the other from `offset`, `stride` apart.
    pub fn new(tensor: &CubeTensor, offset: usize, [rows, columns]: [usize; 2], stride: usize) -> Self {
        let tensor = tensor.clone();
        Self { tensor, offset, rows, columns, row_stride: stride, column_stride: 1 }
    }

    /// Its transpose, without moving anything.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    fn fits(&self) -> bool {
        let last = self.offset
            + (self.rows.max(1) - 1) * self.row_stride
            + (self.columns.max(1) - 1) * self.column_stride;
        self.rows == 0 || self.columns == 0 || last < self.tensor.meta.num_elements()
    }

    fn into_factor(self) -> FactorLaunch {
        FactorLaunch {
            rows_are_adjacent: self.row_stride == 1,
            values: self.tensor.into_buffer_arg(),
            offset: self.offset as u32,
            row_stride: self.row_stride as u32,
            column_stride: self.column_stride as u32,
        }
    }
}

/// [`DeviceMatrix`] in a kernel.
#[derive(CubeType, CubeLaunch)]
struct Factor {
    values: Box<[f32]>,
    offset: u32,
    row_stride: u32,
    column_stride: u32,
    /// Whether neighbours in a column lie side by side.
    #[cube(comptime)]
    rows_are_adjacent: bool,
}

/// What happens to an element of a product before it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Finish {
    Nothing,
    /// Divided by the third of the published sums, the pairs that count: from a sum to a mean.
    Mean,
    /// relu of it and its column's bias.
    BiasRelu,
    /// 0 unless the destination is above 0: through a ReLU whose activations the gradients replace.
    Mask,
}

/// [`Finish`] with what it needs.
pub(crate) struct Epilogue {
    finish: Finish,
    operand: CubeTensor,
    offset: usize,
}

impl Epilogue {
    /// `unused` is bound but not read.
    pub fn nothing(unused: &CubeTensor) -> Self {
        Self { finish: Finish::Nothing, operand: unused.clone(), offset: 0 }
    }

    pub fn mean(sums: &CubeTensor) -> Self {
        Self { finish: Finish::Mean, operand: sums.clone(), offset: 0 }
    }

    /// Biases from `offset` of `parameters`.
    fn bias_relu(parameters: &CubeTensor, offset: usize) -> Self {
        Self { finish: Finish::BiasRelu, operand: parameters.clone(), offset }
    }

    /// `unused` is bound but not read.
    pub fn mask(unused: &CubeTensor) -> Self {
        Self { finish: Finish::Mask, operand: unused.clone(), offset: 0 }
    }

    fn into_launch(self) -> FinishingLaunch {
        FinishingLaunch {
            operand: self.operand.into_buffer_arg(),
            offset: self.offset as u32,
            finish: self.finish,
        }
    }
}

/// [`Epilogue`] in a kernel.
#[derive(CubeType, CubeLaunch)]
struct Finishing {
    operand: Box<[f32]>,
    offset: u32,
    #[cube(comptime)]
    finish: Finish,
}

/// Rows and columns of a cube's tile.
const TILE: usize = 64;
/// Columns and rows of the factors in shared memory.
const DEPTH: usize = 16;
/// A row of a tile in shared memory: padded, so that units that write columns meet different banks.
const STRIDE: usize = TILE + 2;
/// Rows and columns of a unit's part of the tile.
const SIDE: usize = 4;
const UNITS: u32 = 256;

/// One direction of a tile in its matrix: elements `start..end`, of which a tile takes the first.
#[derive(CubeType, Clone, Copy)]
struct Extent {
    start: usize,
    end: usize,
    stride: usize,
}

/// Copies a tile of a factor into shared memory, `[DEPTH, STRIDE]`: `across` runs along the tile, `along` over
/// what is summed; zeros outside of the matrix.
#[cube]
fn load_tile(
    tile: &mut Shared<[f32]>,
    factor: &Factor,
    across: Extent,
    along: Extent,
    #[comptime] along_is_adjacent: bool,
) {
    #[unroll]
    for i in 0..comptime!(TILE * DEPTH / UNITS as usize) {
        let element = UNIT_POS as usize + i * UNITS as usize;
        // Neighbouring units read neighbouring elements.
        let mut column = element % TILE;
        let mut row = element / TILE;
        if comptime!(along_is_adjacent) {
            column = element / DEPTH;
            row = element % DEPTH;
        }
        let mut value = 0.0f32;
        if across.start + column < across.end && along.start + row < along.end {
            value = factor.values[factor.offset as usize
                + (across.start + column) * across.stride
                + (along.start + row) * along.stride];
        }
        tile[row * STRIDE + column] = value;
    }
}

/// The sizes of a product, and how what is summed is cut into slices.
#[derive(CubeType, CubeLaunch)]
struct ProductSizes {
    rows: u32,
    columns: u32,
    depth: u32,
    depth_of_slice: u32,
    num_slices: u32,
    /// Rows of a slice in the output, at least `rows`.
    out_rows: u32,
}

/// One cube per tile of the product and slice of what is summed; slices follow each other in `out`.
#[cube(launch_unchecked)]
fn multiply_kernel(a: &Factor, b: &Factor, out: &mut [f32], sizes: &ProductSizes, finishing: &Finishing) {
    let rows = sizes.rows as usize;
    let columns = sizes.columns as usize;
    let column_tiles = columns.div_ceil(TILE);
    let tiles = rows.div_ceil(TILE) * column_tiles;
    let slice = CUBE_POS / tiles;
    if slice >= sizes.num_slices as usize {
        terminate!();
    }
    let first_row = CUBE_POS % tiles / column_tiles * TILE;
    let first_column = CUBE_POS % column_tiles * TILE;
    let mut k = slice * sizes.depth_of_slice as usize;
    let end = min(k + sizes.depth_of_slice as usize, sizes.depth as usize);

    let mut a_tile = Shared::<[f32]>::new_slice(comptime!(DEPTH * STRIDE));
    let mut b_tile = Shared::<[f32]>::new_slice(comptime!(DEPTH * STRIDE));
    let unit_row = UNIT_POS as usize / comptime!(TILE / SIDE) * SIDE;
    let unit_column = UNIT_POS as usize % comptime!(TILE / SIDE);
    let mut sums = Array::<f32>::new(comptime!(SIDE * SIDE));
    #[unroll]
    for i in 0..comptime!(SIDE * SIDE) {
        sums[i] = 0.0f32;
    }
    while k < end {
        let across_a = Extent { start: first_row, end: rows, stride: a.row_stride as usize };
        let along_a = Extent { start: k, end, stride: a.column_stride as usize };
        load_tile(&mut a_tile, a, across_a, along_a, comptime!(!a.rows_are_adjacent));
        let across_b = Extent { start: first_column, end: columns, stride: b.column_stride as usize };
        let along_b = Extent { start: k, end, stride: b.row_stride as usize };
        load_tile(&mut b_tile, b, across_b, along_b, comptime!(b.rows_are_adjacent));
        sync_cube();
        for step in 0..DEPTH {
            let mut b_values = Array::<f32>::new(SIDE);
            #[unroll]
            for j in 0..SIDE {
                b_values[j] = b_tile[step * STRIDE + unit_column + j * comptime!(TILE / SIDE)];
            }
            #[unroll]
            for i in 0..SIDE {
                let a_value = a_tile[step * STRIDE + unit_row + i];
                #[unroll]
                for j in 0..SIDE {
                    sums[i * SIDE + j] += a_value * b_values[j];
                }
            }
        }
        sync_cube();
        k += DEPTH;
    }
    #[unroll]
    for i in 0..SIDE {
        #[unroll]
        for j in 0..SIDE {
            let row = first_row + unit_row + i;
            let column = first_column + unit_column + j * comptime!(TILE / SIDE);
            if row < rows && column < columns {
                let at = (slice * sizes.out_rows as usize + row) * columns + column;
                store(out, at, sums[i * SIDE + j], column, finishing);
            }
        }
    }
}

/// Stores an element of the product at `at` of `out`, finished.
#[cube]
fn store(out: &mut [f32], at: usize, product: f32, column: usize, finishing: &Finishing) {
    let value = match comptime!(finishing.finish) {
        Finish::Nothing => product,
        Finish::Mean => product / finishing.operand[2],
        Finish::BiasRelu => max(product + finishing.operand[finishing.offset as usize + column], 0.0f32),
        Finish::Mask => select(out[at] > 0.0f32, product, 0.0f32),
    };
    out[at] = value;
}

/// `destination = a b`, row after row, finished by `epilogue`. One launch.
pub(crate) fn multiply(destination: &CubeTensor, epilogue: Epilogue, a: DeviceMatrix, b: DeviceMatrix) {
    let slices = Slices { num: 1, len: a.columns };
    multiply_slices((destination, a.rows), epilogue, a, b, slices);
}

/// Hidden layer `l`, above the first: `relu(below W_l + b_l)`, `[rows, d]` from `[rows, d]`. One launch.
pub(crate) fn hidden_layer(
    below: &CubeTensor,
    parameters: &CubeTensor,
    shape: &ModelShape,
    l: usize,
) -> CubeTensor {
    let (rows, d) = (below.meta.shape()[0], shape.vector_dim);
    let above = launch::empty_like(below, Shape::new([rows, d]), DType::F32);
    let epilogue = Epilogue::bias_relu(parameters, shape.bias(l).start);
    let weight = DeviceMatrix::new(parameters, shape.weight(l).start, [d, d], d);
    multiply(&above, epilogue, DeviceMatrix::new(below, 0, [rows, d], d), weight);
    above
}

/// The products of slices, `out_rows` rows apart.
fn multiply_slices(
    (destination, out_rows): (&CubeTensor, usize),
    epilogue: Epilogue,
    a: DeviceMatrix,
    b: DeviceMatrix,
    slices: Slices,
) {
    let (rows, columns, depth) = (a.rows, b.columns, a.columns);
    assert!(depth == b.rows && a.fits() && b.fits(), "the matrices do not fit each other or their tensors");
    assert!(rows <= out_rows && slices.num * out_rows * columns <= destination.meta.num_elements());
    let num_cubes = slices.num * rows.div_ceil(TILE) * columns.div_ceil(TILE);
    let sizes = ProductSizesLaunch {
        rows: rows as u32,
        columns: columns as u32,
        depth: depth as u32,
        depth_of_slice: slices.len as u32,
        num_slices: slices.num as u32,
        out_rows: out_rows as u32,
    };
    launch::count_launch();
    // SAFETY: the assertions keep every element of the factors and of the product inside its tensor, and the
    // kernel checks rows, columns and slices against theirs; an epilogue's operand is a vector of the product's
    // columns from its offset, three sums, or not read. The destination is a tensor of its own.
    unsafe {
        multiply_kernel::launch_unchecked(
            &destination.client.clone(),
            launch::cubes(destination, num_cubes),
            CubeDim::new_1d(UNITS),
            a.into_factor(),
            b.into_factor(),
            destination.clone().into_buffer_arg(),
            sizes,
            epilogue.into_launch(),
        );
    }
}

/// Values whose columns are summed, rows `stride` apart.
#[derive(CubeType, CubeLaunch)]
struct ColumnValues {
    values: Box<[f32]>,
    rows: u32,
    columns: u32,
    stride: u32,
}

/// A weight for each row; bound but not read where the rows are not weighted.
#[derive(CubeType, CubeLaunch)]
struct RowWeights {
    weights: Box<[f32]>,
    offset: u32,
    stride: u32,
    #[cube(comptime)]
    is_weighted: bool,
}

/// Slices of rows, and how many rows a slice has in the output.
#[derive(CubeType, CubeLaunch)]
struct RowSlices {
    rows_of_slice: u32,
    num_slices: u32,
    out_rows: u32,
}

/// Sums of each column over a slice of rows, weighted or not; one unit per column, one cube per 64 of them and
/// slice. They become the last row of the slice in `out`.
#[cube(launch_unchecked)]
fn column_sums_kernel(input: &ColumnValues, weights: &RowWeights, out: &mut [f32], slices: &RowSlices) {
    let columns = input.columns as usize;
    let column_tiles = columns.div_ceil(TILE);
    let slice = CUBE_POS / column_tiles;
    let column = CUBE_POS % column_tiles * TILE + UNIT_POS as usize;
    if slice >= slices.num_slices as usize || column >= columns {
        terminate!();
    }
    let start = slice * slices.rows_of_slice as usize;
    let mut sum = 0.0f32;
    for row in start..min(start + slices.rows_of_slice as usize, input.rows as usize) {
        let mut value = input.values[row * input.stride as usize + column];
        if comptime!(weights.is_weighted) {
            value *= weights.weights[weights.offset as usize + row * weights.stride as usize];
        }
        sum += value;
    }
    out[((slice + 1) * slices.out_rows as usize - 1) * columns + column] = sum;
}

/// The mean gradients of a layer's weights and biases, which follow each other from `offset` of `out`:
/// `inputsᵀ gradients`, and the sums of the gradients' columns. With `weights`, `[rows, 1]`, the biases' are
/// weighted. Three launches.
pub(crate) fn layer_gradients(
    (out, offset): (&CubeTensor, usize),
    inputs: DeviceMatrix,
    gradients: DeviceMatrix,
    weights: Option<DeviceMatrix>,
    loss_sums: &CubeTensor,
) {
    let (rows, [width, columns]) = (inputs.rows, [inputs.columns, gradients.columns]);
    let len = (width + 1) * columns;
    let tiles = width.div_ceil(TILE) * columns.div_ceil(TILE);
    let slices = Slices::new(rows, len, tiles * UNITS as usize);
    let sums = launch::empty_like(out, Shape::new([slices.num, width + 1, columns]), DType::F32);
    column_sums((&sums, width + 1), &gradients, weights, slices);
    multiply_slices((&sums, width + 1), Epilogue::nothing(out), inputs.transposed(), gradients, slices);
    sum_slices(Part { tensor: out, offset, len }, sums, Some(loss_sums));
}

/// The sums of a matrix's columns over each slice of its rows, weighted by `weights`, `[rows, 1]`, where there
/// are: the last of `out_rows` rows of the slice. One launch.
fn column_sums(
    (out, out_rows): (&CubeTensor, usize),
    matrix: &DeviceMatrix,
    weights: Option<DeviceMatrix>,
    slices: Slices,
) {
    assert!(matrix.column_stride == 1 && matrix.offset == 0);
    let is_weighted = weights.is_some();
    let weights = weights.unwrap_or_else(|| matrix.clone());
    assert!(matrix.fits() && weights.fits() && weights.rows == matrix.rows);
    assert!(slices.num * out_rows * matrix.columns <= out.meta.num_elements());
    let input = ColumnValuesLaunch {
        values: matrix.tensor.clone().into_buffer_arg(),
        rows: matrix.rows as u32,
        columns: matrix.columns as u32,
        stride: matrix.row_stride as u32,
    };
    let row_weights = RowWeightsLaunch {
        weights: weights.tensor.into_buffer_arg(),
        offset: weights.offset as u32,
        stride: weights.row_stride as u32,
        is_weighted,
    };
    let row_slices = RowSlicesLaunch {
        rows_of_slice: slices.len as u32,
        num_slices: slices.num as u32,
        out_rows: out_rows as u32,
    };
    launch::count_launch();
    // SAFETY: the kernel checks its column and slice and stays below the rows, which both inputs have by the
    // assertions; the output has a last row in every slice.
    unsafe {
        column_sums_kernel::launch_unchecked(
            &out.client.clone(),
            launch::cubes(out, slices.num * matrix.columns.div_ceil(TILE)),
            CubeDim::new_1d(TILE as u32),
            input,
            row_weights,
            out.clone().into_buffer_arg(),
            row_slices,
        );
    }
}
