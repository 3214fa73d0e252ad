//! Products of matrices with few columns on one thread of the CPU: what a block of rows needs, in registers.
//!
//! ```text
//! multiply:        out = a b                 a [n, depth], b [depth, width] packed into panels
//! add_transposed:  out += aᵀ b               a [n, rows], b [n, width]
//! ```
//!
//! A tile of 6 rows and 2 or 4 vectors of the output is summed in registers; each step down the depth loads
//! the vectors of b and spreads 6 numbers of a. General libraries pack both factors at each call, which at
//! these sizes costs a tenth of the product: here b is packed once a step. Every element is summed in the
//! order of the depth, however the rows are cut into blocks.

use pulp::Simd;

use crate::simd::{AlignedVec, padded, vectors, vectors_mut};

/// Rows of a tile.
const ROWS: usize = 6;

/// Floats of a panel: a multiple of every tile's width.
const PANEL: usize = 64;

/// A right factor, `[depth, width]`, cut into panels of columns, padded with zeros to whole vectors.
pub(crate) struct Panels {
    values: AlignedVec,
    depth: usize,
    width: usize,
}

impl Panels {
    /// Packs a matrix of rows.
    pub fn new(matrix: &[f32], [depth, width]: [usize; 2]) -> Self {
        Self::pack([depth, width], |k, j| matrix[k * width + j])
    }

    /// Packs the transpose of a matrix of rows, which is `[width, depth]`.
    pub fn transposed(matrix: &[f32], [depth, width]: [usize; 2]) -> Self {
        Self::pack([depth, width], |k, j| matrix[j * depth + k])
    }

    fn pack([depth, width]: [usize; 2], element: impl Fn(usize, usize) -> f32) -> Self {
        let padded_width = padded(width);
        let mut values = AlignedVec::zeros(depth * padded_width);
        for (first, panel) in (0..padded_width).step_by(PANEL).zip(values.chunks_mut(depth * PANEL)) {
            let columns = panel.len() / depth;
            for (k, row) in panel.chunks_exact_mut(columns).enumerate() {
                for (j, value) in row.iter_mut().enumerate().take(width - first) {
                    *value = element(k, first + j);
                }
            }
        }
        Self { values, depth, width: padded_width }
    }
}

/// `out = a b`: `out` has rows of the padded width of b, `a` rows of `a_stride`, of which the first `depth`
/// elements count. There are as many rows as `out` has.
#[inline(always)]
pub(crate) fn multiply<S: Simd>(simd: S, a: &[f32], a_stride: usize, b: &Panels, out: &mut [f32]) {
    // 16 registers hold 6 x 2 sums, 32 hold 6 x 4.
    match S::REGISTER_COUNT {
        ..32 => multiply_by::<S, 2>(simd, a, a_stride, b, out),
        32.. => multiply_by::<S, 4>(simd, a, a_stride, b, out),
    }
}

#[inline(always)]
fn multiply_by<S: Simd, const VECTORS: usize>(
    simd: S,
    a: &[f32],
    a_stride: usize,
    b: &Panels,
    out: &mut [f32],
) {
    let num_rows = out.len() / b.width;
    let out_stride = b.width / S::F32_LANES;
    let out = vectors_mut::<S>(out);
    let row = |r: usize| &a[r * a_stride..][..b.depth];
    for (p, panel) in vectors::<S>(&b.values).chunks(b.depth * PANEL / S::F32_LANES).enumerate() {
        let stride = panel.len() / b.depth;
        let mut r = 0;
        while r < num_rows {
            let out = (&mut out[r * out_stride + p * PANEL / S::F32_LANES..], out_stride);
            let right = (panel, stride);
            if r + ROWS <= num_rows {
                let rows = RowMajor([row(r), row(r + 1), row(r + 2), row(r + 3), row(r + 4), row(r + 5)]);
                across::<S, ROWS, VECTORS, false>(simd, &rows, b.depth, right, out, stride);
                r += ROWS;
            } else {
                across::<S, 1, VECTORS, false>(simd, &RowMajor([row(r)]), b.depth, right, out, stride);
                r += 1;
            }
        }
    }
}

/// A hidden layer: `above = relu(below b + bias)`, rows of `width` each, which is the padded width of b.
#[inline(always)]
pub(crate) fn hidden_layer<S: Simd>(simd: S, below: &[f32], b: &Panels, bias: &[f32], above: &mut [f32]) {
    multiply(simd, below, b.width, b, above);
    for row in above.chunks_exact_mut(b.width) {
        row.iter_mut().zip(bias).for_each(|(h, b)| *h = (*h + b).max(0.0));
    }
}

/// `out += aᵀ b`: `out` has `rows` rows of `width`, which is padded, as b has; a has rows of `a_stride`, of
/// which the first `rows` elements count. `depth` is how many rows a and b have.
#[inline(always)]
pub(crate) fn add_transposed<S: Simd>(
    simd: S,
    (a, a_stride): (&[f32], usize),
    (b, width): (&[f32], usize),
    depth: usize,
    rows: usize,
    out: &mut [f32],
) {
    match S::REGISTER_COUNT {
        ..32 => add_transposed_by::<S, 2>(simd, (a, a_stride), (b, width), depth, rows, out),
        32.. => add_transposed_by::<S, 4>(simd, (a, a_stride), (b, width), depth, rows, out),
    }
}

#[inline(always)]
fn add_transposed_by<S: Simd, const VECTORS: usize>(
    simd: S,
    (a, a_stride): (&[f32], usize),
    (b, width): (&[f32], usize),
    depth: usize,
    rows: usize,
    out: &mut [f32],
) {
    let stride = width / S::F32_LANES;
    let (b, out) = (vectors::<S>(b), vectors_mut::<S>(out));
    let panel = PANEL / S::F32_LANES;
    for first in (0..stride).step_by(panel) {
        let columns = panel.min(stride - first);
        let mut r = 0;
        while r < rows {
            let out = (&mut out[r * stride + first..], stride);
            let right = (&b[first..], stride);
            if r + ROWS <= rows {
                let left = ColumnMajor::<ROWS>(&a[r..], a_stride);
                across::<S, ROWS, VECTORS, true>(simd, &left, depth, right, out, columns);
                r += ROWS;
            } else {
                let left = ColumnMajor::<1>(&a[r..], a_stride);
                across::<S, 1, VECTORS, true>(simd, &left, depth, right, out, columns);
                r += 1;
            }
        }
    }
}

/// R rows of a left factor.
trait Left<const R: usize> {
    /// Their elements at `k` of the depth.
    fn at(&self, k: usize) -> [f32; R];
}

/// Rows one after the other.
struct RowMajor<'a, const R: usize>([&'a [f32]; R]);

impl<const R: usize> Left<R> for RowMajor<'_, R> {
    #[inline(always)]
    fn at(&self, k: usize) -> [f32; R] {
        let mut elements = [0.0; R];
        for (element, row) in elements.iter_mut().zip(&self.0) {
            *element = row[k];
        }
        elements
    }
}

/// The transpose of rows that are a stride apart.
struct ColumnMajor<'a, const R: usize>(&'a [f32], usize);

impl<const R: usize> Left<R> for ColumnMajor<'_, R> {
    #[inline(always)]
    fn at(&self, k: usize) -> [f32; R] {
        *self.0[k * self.1..].first_chunk().expect("the slice holds every row")
    }
}

/// Tiles side by side across `columns` vectors; the right factor and the output are given with the strides of
/// their rows, in vectors.
#[inline(always)]
fn across<S: Simd, const R: usize, const VECTORS: usize, const ADD: bool>(
    simd: S,
    left: &impl Left<R>,
    depth: usize,
    (right, right_stride): (&[S::f32s], usize),
    (out, out_stride): (&mut [S::f32s], usize),
    columns: usize,
) {
    let mut first = 0;
    while first + VECTORS <= columns {
        let (right, out) = (&right[first..], &mut out[first..]);
        tile::<S, R, VECTORS, ADD>(simd, left, depth, (right, right_stride), (out, out_stride));
        first += VECTORS;
    }
    while first < columns {
        let (right, out) = (&right[first..], &mut out[first..]);
        tile::<S, R, 1, ADD>(simd, left, depth, (right, right_stride), (out, out_stride));
        first += 1;
    }
}

/// R rows and some vectors of the output.
#[inline(always)]
fn tile<S: Simd, const R: usize, const VECTORS: usize, const ADD: bool>(
    simd: S,
    left: &impl Left<R>,
    depth: usize,
    (right, right_stride): (&[S::f32s], usize),
    (out, out_stride): (&mut [S::f32s], usize),
) {
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; R];
    if ADD {
        for (r, sums) in sums.iter_mut().enumerate() {
            sums.copy_from_slice(&out[r * out_stride..][..VECTORS]);
        }
    }
    for k in 0..depth {
        let vectors = right[k * right_stride..].first_chunk::<VECTORS>().expect("the slice holds every row");
        let elements = left.at(k);
        for r in 0..R {
            let element = simd.splat_f32s(elements[r]);
            for j in 0..VECTORS {
                sums[r][j] = simd.mul_add_e_f32s(element, vectors[j], sums[r][j]);
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        out[r * out_stride..][..VECTORS].copy_from_slice(sums);
    }
}

/// Products on a device.
///
/// Tiles of 64 x 64 of the product, one a cube; each unit holds 4 x 4 of it in registers, and 16 columns and
/// rows of the factors at a time pass through 8.25 KiB of shared memory. 2 M N K FLOP; of [M, K] x [K, N], A is
/// read N / 64 times and B M / 64 times, 4 bytes an element, mostly from cache.
///
/// A gradient of weights sums over all rows of a mini-batch, which leaves few tiles. It is cut into slices of
/// rows, by shapes alone, and the slices are added in their order: the same sum every time.
#[cfg(feature = "wgpu")]
pub(crate) mod device {
    use burn::tensor::{DType, Shape};
    use burn_cubecl::tensor::CubeTensor;
    use cubecl::prelude::*;

    use crate::launch;

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
        pub fn bias_relu(parameters: &CubeTensor, offset: usize) -> Self {
            Self { finish: Finish::BiasRelu, operand: parameters.clone(), offset }
        }

        /// `unused` is bound but not read.
        pub fn mask(unused: &CubeTensor) -> Self {
            Self { finish: Finish::Mask, operand: unused.clone(), offset: 0 }
        }
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

    /// Copies a tile into shared memory, `[DEPTH, STRIDE]`: `across` runs along the tile, `along` over what is
    /// summed; zeros outside of the matrix.
    #[cube]
    #[allow(clippy::too_many_arguments)] // a kernel takes its scalars one by one
    fn load_tile(
        tile: &mut Shared<[f32]>,
        values: &[f32],
        offset: usize,
        across_start: usize,
        across_end: usize,
        across_stride: usize,
        along_start: usize,
        along_end: usize,
        along_stride: usize,
        #[comptime] along_is_adjacent: bool,
    ) {
        #[unroll]
        for i in 0..comptime!(TILE * DEPTH / UNITS as usize) {
            let element = UNIT_POS as usize + i * UNITS as usize;
            // Neighbouring units read neighbouring elements.
            let mut across = element % TILE;
            let mut along = element / TILE;
            if comptime!(along_is_adjacent) {
                across = element / DEPTH;
                along = element % DEPTH;
            }
            let mut value = 0.0f32;
            if across_start + across < across_end && along_start + along < along_end {
                value = values
                    [offset + (across_start + across) * across_stride + (along_start + along) * along_stride];
            }
            tile[along * STRIDE + across] = value;
        }
    }

    /// One cube per tile of the product and slice of what is summed; slices follow each other in `out`.
    #[cube(launch_unchecked)]
    #[allow(clippy::too_many_arguments)] // a kernel takes its scalars one by one
    fn multiply_kernel(
        a: &[f32],
        b: &[f32],
        operand: &[f32],
        out: &mut [f32],
        rows: u32,
        columns: u32,
        depth: u32,
        depth_of_slice: u32,
        num_slices: u32,
        out_rows: u32,
        a_offset: u32,
        a_row_stride: u32,
        a_column_stride: u32,
        b_offset: u32,
        b_row_stride: u32,
        b_column_stride: u32,
        operand_offset: u32,
        #[comptime] a_rows_adjacent: bool,
        #[comptime] b_rows_adjacent: bool,
        #[comptime] finish: Finish,
    ) {
        let rows = rows as usize;
        let columns = columns as usize;
        let column_tiles = columns.div_ceil(TILE);
        let tiles = rows.div_ceil(TILE) * column_tiles;
        let slice = CUBE_POS / tiles;
        if slice >= num_slices as usize {
            terminate!();
        }
        let first_row = CUBE_POS % tiles / column_tiles * TILE;
        let first_column = CUBE_POS % column_tiles * TILE;
        let mut k = slice * depth_of_slice as usize;
        let end = min(k + depth_of_slice as usize, depth as usize);

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
            load_tile(
                &mut a_tile,
                a,
                a_offset as usize,
                first_row,
                rows,
                a_row_stride as usize,
                k,
                end,
                a_column_stride as usize,
                !a_rows_adjacent,
            );
            load_tile(
                &mut b_tile,
                b,
                b_offset as usize,
                first_column,
                columns,
                b_column_stride as usize,
                k,
                end,
                b_row_stride as usize,
                b_rows_adjacent,
            );
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
                    let at = (slice * out_rows as usize + row) * columns + column;
                    let mut value = sums[i * SIDE + j];
                    if comptime!(finish == Finish::Mean) {
                        value /= operand[2];
                    }
                    if comptime!(finish == Finish::BiasRelu) {
                        value = max(value + operand[operand_offset as usize + column], 0.0f32);
                    }
                    if comptime!(finish == Finish::Mask) {
                        value = select(out[at] > 0.0f32, value, 0.0f32);
                    }
                    out[at] = value;
                }
            }
        }
    }

    /// `destination = a b`, row after row, finished by `epilogue`.
    pub(crate) fn multiply(destination: &CubeTensor, epilogue: Epilogue, a: DeviceMatrix, b: DeviceMatrix) {
        let slices = Slices { num: 1, len: a.columns };
        multiply_slices((destination, a.rows), epilogue, a, b, slices);
    }

    /// How the rows that a sum runs over are cut.
    #[derive(Clone, Copy)]
    pub(crate) struct Slices {
        pub num: usize,
        /// Rows of a slice; the last may have fewer.
        pub len: usize,
    }

    impl Slices {
        /// Slices of `num_rows` rows, whose sums are of `len` elements made by `units`: enough units for a
        /// large device, but not much memory.
        pub fn new(num_rows: usize, len: usize, units: usize) -> Self {
            const UNITS_OF_ALL: usize = 1 << 17;
            const MIN_ROWS: usize = 32;
            const MAX_ELEMENTS: usize = 1 << 22;
            let wanted = UNITS_OF_ALL.div_ceil(units).min(num_rows.div_ceil(MIN_ROWS));
            let num = wanted.min(MAX_ELEMENTS / len).max(1);
            let len = num_rows.div_ceil(num).next_multiple_of(DEPTH);
            Self { num: num_rows.div_ceil(len).max(1), len }
        }
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
        assert!(
            depth == b.rows && a.fits() && b.fits(),
            "the matrices do not fit each other or their tensors"
        );
        assert!(rows <= out_rows && slices.num * out_rows * columns <= destination.meta.num_elements());
        let num_cubes = slices.num * rows.div_ceil(TILE) * columns.div_ceil(TILE);
        launch::count_launch();
        // SAFETY: the assertions keep every element of the factors and of the product inside its tensor, and
        // the kernel checks rows, columns and slices against theirs; an epilogue's operand is a vector of the
        // product's columns from its offset, three sums, or not read. The destination is a tensor of its own.
        unsafe {
            multiply_kernel::launch_unchecked(
                &destination.client.clone(),
                launch::cubes(destination, num_cubes),
                CubeDim::new_1d(UNITS),
                a.tensor.into_buffer_arg(),
                b.tensor.into_buffer_arg(),
                epilogue.operand.into_buffer_arg(),
                destination.clone().into_buffer_arg(),
                rows as u32,
                columns as u32,
                depth as u32,
                slices.len as u32,
                slices.num as u32,
                out_rows as u32,
                a.offset as u32,
                a.row_stride as u32,
                a.column_stride as u32,
                b.offset as u32,
                b.row_stride as u32,
                b.column_stride as u32,
                epilogue.offset as u32,
                a.row_stride == 1,
                b.row_stride == 1,
                epilogue.finish,
            );
        }
    }

    /// Sums of each column over a slice of rows, weighted or not; one unit per column, one cube per 64 of them
    /// and slice. They become the last row of the slice in `out`.
    #[cube(launch_unchecked)]
    #[allow(clippy::too_many_arguments)] // a kernel takes its scalars one by one
    fn column_sums_kernel(
        values: &[f32],
        weights: &[f32],
        out: &mut [f32],
        rows: u32,
        columns: u32,
        rows_of_slice: u32,
        num_slices: u32,
        out_rows: u32,
        stride: u32,
        weights_offset: u32,
        weights_stride: u32,
        #[comptime] is_weighted: bool,
    ) {
        let columns = columns as usize;
        let column_tiles = columns.div_ceil(TILE);
        let slice = CUBE_POS / column_tiles;
        let column = CUBE_POS % column_tiles * TILE + UNIT_POS as usize;
        if slice >= num_slices as usize || column >= columns {
            terminate!();
        }
        let start = slice * rows_of_slice as usize;
        let mut sum = 0.0f32;
        for row in start..min(start + rows_of_slice as usize, rows as usize) {
            let mut value = values[row * stride as usize + column];
            if comptime!(is_weighted) {
                value *= weights[weights_offset as usize + row * weights_stride as usize];
            }
            sum += value;
        }
        out[((slice + 1) * out_rows as usize - 1) * columns + column] = sum;
    }

    /// Adds up slices of `len` elements; several units take turns at the slices of one element, and the sums of
    /// each are added in their order.
    #[cube(launch_unchecked)]
    #[allow(clippy::too_many_arguments)] // a kernel takes its scalars one by one
    fn sum_slices_kernel(
        slices: &[f32],
        loss_sums: &[f32],
        out: &mut [f32],
        len: u32,
        num_slices: u32,
        out_offset: u32,
        #[comptime] elements: u32,
        #[comptime] is_mean: bool,
    ) {
        let len = len as usize;
        let unit = UNIT_POS as usize;
        let element = unit % elements as usize;
        let at = CUBE_POS * elements as usize + element;
        let mut sum = 0.0f32;
        if at < len {
            let mut slice = unit / elements as usize;
            while slice < num_slices as usize {
                sum += slices[slice * len + at];
                slice += comptime!((UNITS / elements) as usize);
            }
        }
        let mut sums = Shared::<[f32]>::new_slice(UNITS as usize);
        sums[unit] = sum;
        sync_cube();
        if unit < elements as usize && at < len {
            let mut total = 0.0f32;
            for turn in 0..comptime!((UNITS / elements) as usize) {
                total += sums[turn * elements as usize + element];
            }
            if comptime!(is_mean) {
                total /= loss_sums[2];
            }
            out[out_offset as usize + at] = total;
        }
    }

    /// A part of a tensor: `len` elements from `offset`.
    pub(crate) struct Part<'a> {
        pub tensor: &'a CubeTensor,
        pub offset: usize,
        pub len: usize,
    }

    /// Adds up slices, `[num_slices, len]`, into a part of another tensor; divided by the third of `loss_sums`
    /// where there are.
    pub(crate) fn sum_slices(out: Part<'_>, slices: CubeTensor, loss_sums: Option<&CubeTensor>) {
        assert!(out.offset + out.len <= out.tensor.meta.num_elements());
        let num_slices = slices.meta.num_elements() / out.len;
        // Units take turns at the slices of an element where there are enough slices, most where there are few
        // elements.
        let elements = match out.len {
            ..32 => 1,
            _ => (UNITS / (num_slices as u32).next_power_of_two().min(UNITS)).max(32),
        };
        launch::count_launch();
        // SAFETY: the kernel checks its element against the length and its slice against the number of slices;
        // the assertion keeps the part inside its tensor.
        unsafe {
            sum_slices_kernel::launch_unchecked(
                &slices.client.clone(),
                launch::cubes(&slices, out.len.div_ceil(elements as usize)),
                CubeDim::new_1d(UNITS),
                slices.clone().into_buffer_arg(),
                loss_sums.unwrap_or(&slices).clone().into_buffer_arg(),
                out.tensor.clone().into_buffer_arg(),
                out.len as u32,
                num_slices as u32,
                out.offset as u32,
                elements,
                loss_sums.is_some(),
            );
        }
    }

    /// The mean gradients of a layer's weights and biases, which follow each other from `offset` of `out`:
    /// `inputsᵀ gradients`, and the sums of the gradients' columns. With `weights`, `[rows, 1]`, the biases'
    /// are weighted. Three launches.
    pub(crate) fn layer_gradients(
        (out, offset): (&CubeTensor, usize),
        inputs: DeviceMatrix,
        gradients: DeviceMatrix,
        weights: Option<DeviceMatrix>,
        loss_sums: &CubeTensor,
    ) {
        let (rows, [width, columns]) = (inputs.rows, [inputs.columns, gradients.columns]);
        assert!(gradients.column_stride == 1 && gradients.offset == 0);
        let is_weighted = weights.is_some();
        let weights = weights.unwrap_or_else(|| gradients.clone());
        assert!(gradients.fits() && weights.fits() && weights.rows == rows);
        let len = (width + 1) * columns;
        let tiles = width.div_ceil(TILE) * columns.div_ceil(TILE);
        let slices = Slices::new(rows, len, tiles * UNITS as usize);
        let sums = launch::empty_like(out, Shape::new([slices.num, width + 1, columns]), DType::F32);
        launch::count_launch();
        // SAFETY: the kernel checks its column and slice and stays below the rows, which both inputs have by
        // the assertions; the output has a last row in every slice.
        unsafe {
            column_sums_kernel::launch_unchecked(
                &out.client.clone(),
                launch::cubes(out, slices.num * columns.div_ceil(TILE)),
                CubeDim::new_1d(TILE as u32),
                gradients.tensor.clone().into_buffer_arg(),
                weights.tensor.into_buffer_arg(),
                sums.clone().into_buffer_arg(),
                rows as u32,
                columns as u32,
                slices.len as u32,
                slices.num as u32,
                (width + 1) as u32,
                gradients.row_stride as u32,
                weights.offset as u32,
                weights.row_stride as u32,
                is_weighted,
            );
        }
        multiply_slices((&sums, width + 1), Epilogue::nothing(out), inputs.transposed(), gradients, slices);
        sum_slices(Part { tensor: out, offset, len }, sums, Some(loss_sums));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Products {
        shape: [usize; 3],
    }

    impl pulp::WithSimd for Products {
        type Output = ();

        /// Small integers, so that every sum is exact.
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let [n, depth, width] = self.shape;
            let number = |i: usize| (i * 7 % 11) as f32 - 5.0;
            let a: Vec<f32> = (0..n * depth).map(number).collect();
            let b: Vec<f32> = (0..depth * width).map(|i| number(i + 3)).collect();
            let panels = Panels::new(&b, [depth, width]);
            let mut out = AlignedVec::zeros(n * padded(width));
            multiply(simd, &a, depth, &panels, &mut out);
            for (i, row) in out.chunks_exact(padded(width)).enumerate() {
                for (j, found) in row.iter().enumerate() {
                    let product = |k| if j < width { a[i * depth + k] * b[k * width + j] } else { 0.0 };
                    assert_eq!(*found, (0..depth).map(product).sum::<f32>(), "{:?} {i} {j}", self.shape);
                }
            }
            let transposed: Vec<f32> = (0..width * depth).map(|i| b[i % depth * width + i / depth]).collect();
            let panels = Panels::transposed(&transposed, [depth, width]);
            let mut same = AlignedVec::zeros(out.len());
            multiply(simd, &a, depth, &panels, &mut same);
            assert_eq!(*same, *out);

            // aᵀ out, twice
            let mut sums = AlignedVec::zeros(depth * padded(width));
            for _ in 0..2 {
                add_transposed(simd, (&a, depth), (&out, padded(width)), n, depth, &mut sums);
            }
            for (i, row) in sums.chunks_exact(padded(width)).enumerate() {
                for (j, found) in row.iter().enumerate() {
                    let product = |k| 2.0 * a[k * depth + i] * out[k * padded(width) + j];
                    assert_eq!(*found, (0..n).map(product).sum::<f32>(), "{:?} {i} {j}", self.shape);
                }
            }
        }
    }

    #[test]
    fn products_are_those_of_the_school_book() {
        for shape in [[1, 1, 1], [6, 4, 16], [7, 32, 100], [13, 5, 128], [5, 100, 33], [12, 3, 200]] {
            pulp::Arch::new().dispatch(Products { shape });
            pulp::Scalar.vectorize(Products { shape });
        }
    }
}
