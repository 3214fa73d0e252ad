//! Products on one thread of the CPU.

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
