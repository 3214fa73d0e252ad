//! Products of small matrices on one thread of the CPU, by the `gemm` crate.
#![allow(unsafe_code)]

/// A matrix in a slice: element (i, j) is `values[i * row_stride + j * column_stride]`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub values: &'a [f32],
    pub rows: usize,
    pub columns: usize,
    pub row_stride: usize,
    pub column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Rows one after the other, `stride` apart.
    pub fn new(values: &'a [f32], [rows, columns]: [usize; 2], stride: usize) -> Self {
        Self { values, rows, columns, row_stride: stride, column_stride: 1 }
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
        let last = (self.rows.max(1) - 1) * self.row_stride + (self.columns.max(1) - 1) * self.column_stride;
        self.rows == 0 || self.columns == 0 || last < self.values.len()
    }
}

/// What happens with the product.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    /// It replaces the destination.
    Replace,
    /// It is added to the destination.
    Add,
}

/// `destination = a b` or `destination += a b`, the destination's rows `stride` apart.
pub(crate) fn multiply(destination: &mut [f32], stride: usize, store: Store, a: Matrix<'_>, b: Matrix<'_>) {
    let (rows, columns) = (a.rows, b.columns);
    if rows == 0 || columns == 0 {
        return;
    }
    assert!(
        a.columns == b.rows && a.fits() && b.fits(),
        "the matrices do not fit each other or their slices"
    );
    assert!(columns <= stride && (rows - 1) * stride + columns <= destination.len());
    let gemm = gemm_f32::gemm::f32::get_gemm_fn();
    let stride_of = |stride: usize| isize::try_from(stride).expect("a slice is shorter than isize::MAX");
    // SAFETY: the assertions keep every element of the three matrices inside its slice; the destination is a
    // slice of its own, so it overlaps neither factor; rows of the destination do not overlap each other.
    unsafe {
        gemm(
            rows,
            columns,
            a.columns,
            destination.as_mut_ptr(),
            1,
            stride_of(stride),
            store == Store::Add,
            a.values.as_ptr(),
            stride_of(a.column_stride),
            stride_of(a.row_stride),
            b.values.as_ptr(),
            stride_of(b.column_stride),
            stride_of(b.row_stride),
            1.0,
            1.0,
            false,
            false,
            false,
            gemm_common::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_those_of_the_school_book() {
        let a: Vec<f32> = (0..15).map(|i| i as f32 - 7.0).collect();
        let b: Vec<f32> = (0..12).map(|i| 0.5 * i as f32 - 2.0).collect();
        for transposed in [false, true] {
            // [5, 3] x [3, 4], or [3, 5]ᵀ x [3, 4]
            let a = match transposed {
                false => Matrix::new(&a, [5, 3], 3),
                true => Matrix::new(&a, [3, 5], 5).transposed(),
            };
            let b = Matrix::new(&b, [3, 4], 4);
            for store in [Store::Replace, Store::Add] {
                let mut found = vec![1.0; 5 * 6];
                multiply(&mut found, 6, store, a, b);
                for (i, row) in found.chunks(6).enumerate() {
                    for (j, found) in row.iter().enumerate() {
                        let element = |m: &Matrix<'_>, i, j| m.values[i * m.row_stride + j * m.column_stride];
                        let product: f32 = (0..3).map(|k| element(&a, i, k) * element(&b, k, j.min(3))).sum();
                        let old = if store == Store::Add { 1.0 } else { 0.0 };
                        assert_eq!(*found, if j < 4 { product + old } else { 1.0 });
                    }
                }
            }
        }
    }
}
