//! Row-sparse ("lazy") Adam: a table's rows that a mini-batch touched are updated once each, in place.
//!
//! ```text
//! g   = gradients[u] + weight_decay · (segments[u + 1] - segments[u]) · w
//! m   = beta1 · m + (1 - beta1) · g
//! v   = beta2 · v + (1 - beta2) · g²
//! w  -= learning_rate · (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)
//! ```
//!
//! for the u-th unique row, t the global step (Kingma and Ba, 2015). The update is not linear in `g`, so a row
//! that occurs k times in a mini-batch is summed first, which `folded` does, and updated once. The L2 penalty
//! counts k times: it weighs the same against the data whatever the size of the mini-batch.
//!
//! 24 d bytes a row move (w, m, v, read and written) and 4 d of gradients; memory is the floor. The encoder's
//! parameters are updated by the same kernel, as a table of one row.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{Int, Tensor};

use crate::prefetch::prefetch;

/// The scalars of one Adam step.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    /// Step size.
    pub learning_rate: f32,
    /// Decay of the first moment.
    pub beta_1: f32,
    /// Decay of the second moment.
    pub beta_2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// L2 penalty added to each gradient of a row.
    pub weight_decay: f32,
    /// `1 - beta_1^t`.
    pub correction_1: f32,
    /// `1 - beta_2^t`.
    pub correction_2: f32,
}

impl AdamStep {
    /// The scalars at global step `t`, from 1, with the usual betas and epsilon of Adam.
    pub fn at(t: usize, learning_rate: f64, weight_decay: f64) -> Self {
        let (beta_1, beta_2) = (0.9f32, 0.999f32);
        let t = i32::try_from(t).unwrap_or(i32::MAX);
        Self {
            learning_rate: learning_rate as f32,
            beta_1,
            beta_2,
            epsilon: 1e-8,
            weight_decay: weight_decay as f32,
            correction_1: 1.0 - beta_1.powi(t),
            correction_2: 1.0 - beta_2.powi(t),
        }
    }

    /// What an update needs of the corrections: one division and one root an element are enough.
    #[inline(always)]
    fn rates(&self) -> Rates {
        Rates { step: self.learning_rate / self.correction_1, root: 1.0 / self.correction_2.sqrt() }
    }

    /// Updates one element; `decay` is the L2 penalty of all its gradients.
    #[inline(always)]
    fn update(&self, rates: Rates, gradient: f32, decay: f32, w: &mut f32, m: &mut f32, v: &mut f32) {
        let g = gradient + decay * *w;
        let m_new = self.beta_1 * *m + (1.0 - self.beta_1) * g;
        let v_new = self.beta_2 * *v + (1.0 - self.beta_2) * g * g;
        let w_new = *w - rates.step * m_new / (v_new.sqrt() * rates.root + self.epsilon);
        (*w, *m, *v) = (w_new, m_new, v_new);
    }
}

/// `learning_rate / (1 - beta1^t)` and `1 / sqrt(1 - beta2^t)`.
#[derive(Clone, Copy)]
struct Rates {
    step: f32,
    root: f32,
}

/// A table and its two moments, or a part of them: equal slices of whole rows.
pub struct RowsMut<'a> {
    /// Weights.
    pub w: &'a mut [f32],
    /// First moments.
    pub m: &'a mut [f32],
    /// Second moments.
    pub v: &'a mut [f32],
}

impl<'a> RowsMut<'a> {
    pub(crate) fn split_at(self, mid: usize) -> (Self, Self) {
        let (w, w2) = self.w.split_at_mut(mid);
        let (m, m2) = self.m.split_at_mut(mid);
        let (v, v2) = self.v.split_at_mut(mid);
        (RowsMut { w, m, v }, RowsMut { w: w2, m: m2, v: v2 })
    }
}

/// The rows that a mini-batch touched and their gradients.
#[derive(Clone, Copy)]
pub struct TouchedRows<'a> {
    /// `[U]`: unique rows, ascending.
    pub rows: &'a [i32],
    /// `[U + 1]`: row u occurs `segments[u + 1] - segments[u]` times.
    pub segments: &'a [i32],
    /// `[U, d]`, summed per row
    pub gradients: &'a [f32],
    /// d
    pub vector_dim: usize,
}

/// The reference: one row after the other.
pub fn row_adam_reference(table: RowsMut<'_>, touched: TouchedRows<'_>, step: &AdamStep) {
    let d = touched.vector_dim;
    for (u, row) in touched.rows.iter().enumerate() {
        let decay = step.weight_decay * (touched.segments[u + 1] - touched.segments[u]) as f32;
        for column in 0..d {
            let i = *row as usize * d + column;
            let g = touched.gradients[u * d + column] + decay * table.w[i];
            table.m[i] = step.beta_1 * table.m[i] + (1.0 - step.beta_1) * g;
            table.v[i] = step.beta_2 * table.v[i] + (1.0 - step.beta_2) * g * g;
            let (m, v) = (table.m[i] / step.correction_1, table.v[i] / step.correction_2);
            table.w[i] -= step.learning_rate * m / (v.sqrt() + step.epsilon);
        }
    }
}

/// The CPU twin. Rows are ascending, so halving them halves the table too, and each half is its own task:
/// the result does not depend on the number of threads.
pub fn row_adam_on_slices(table: RowsMut<'_>, touched: TouchedRows<'_>, step: &AdamStep) {
    update_rows(table, 0, touched, step);
}

fn update_rows(table: RowsMut<'_>, first_row: usize, touched: TouchedRows<'_>, step: &AdamStep) {
    const ROWS_PER_TASK: usize = 512;
    let d = touched.vector_dim;
    if touched.rows.len() > ROWS_PER_TASK {
        let half = touched.rows.len() / 2;
        let middle_row = touched.rows[half] as usize;
        let (low, high) = table.split_at((middle_row - first_row) * d);
        let (low_rows, high_rows) = touched.rows.split_at(half);
        let (low_gradients, high_gradients) = touched.gradients.split_at(half * d);
        let (low_segments, high_segments) = (&touched.segments[..=half], &touched.segments[half..]);
        let lower =
            TouchedRows { rows: low_rows, segments: low_segments, gradients: low_gradients, vector_dim: d };
        let upper = TouchedRows {
            rows: high_rows,
            segments: high_segments,
            gradients: high_gradients,
            vector_dim: d,
        };
        rayon::join(
            || update_rows(low, first_row, lower, step),
            || update_rows(high, middle_row, upper, step),
        );
        return;
    }
    pulp::Arch::new().dispatch(UpdateRows { table, first_row, touched, step });
}

/// The rows of one task.
struct UpdateRows<'a> {
    table: RowsMut<'a>,
    first_row: usize,
    touched: TouchedRows<'a>,
    step: &'a AdamStep,
}

impl pulp::WithSimd for UpdateRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        const ROWS_AHEAD: usize = 4;
        let Self { table: RowsMut { w, m, v }, first_row, touched, step } = self;
        let d = touched.vector_dim;
        let place = |row: i32| (row as usize - first_row) * d;
        for (u, (row, gradients)) in touched.rows.iter().zip(touched.gradients.chunks_exact(d)).enumerate() {
            if let Some(ahead) = touched.rows.get(u + ROWS_AHEAD) {
                let ahead = place(*ahead);
                [&*w, &*m, &*v].into_iter().for_each(|table| prefetch(&table[ahead..ahead + d]));
            }
            let count = (touched.segments[u + 1] - touched.segments[u]) as f32;
            let start = place(*row);
            let row = RowsMut { w: &mut w[start..][..d], m: &mut m[start..][..d], v: &mut v[start..][..d] };
            update_row(row, gradients, count, step);
        }
    }
}

/// Updates one row by the sum of `count` gradients; element by element, for the compiler to turn into the
/// vectors of the instruction set that the caller was dispatched to.
#[inline(always)]
pub(crate) fn update_row(row: RowsMut<'_>, gradients: &[f32], count: f32, step: &AdamStep) {
    let (rates, decay) = (step.rates(), step.weight_decay * count);
    for (((gradient, w), m), v) in gradients.iter().zip(row.w).zip(row.m).zip(row.v) {
        step.update(rates, *gradient, decay, w, m, v);
    }
}

/// A table with its moments on a device: weights, first moments, second moments, each `[N, d]`.
pub type TableTensors = (Tensor<2>, Tensor<2>, Tensor<2>);

/// Updates a table in place on its device. The tensors must be owned uniquely: a clone that is still alive
/// makes this copy the whole table, which [`crate::num_table_copies`] counts.
///
/// # Shapes
///
/// - `table`: three times `[N, d]`
/// - `rows`: `[U]`, ascending and unique, below N
/// - `segments`: `[U + 1]`, ascending: how often each row occurs
/// - `gradients`: `[U, d]`, summed per row
pub fn row_adam(
    table: TableTensors,
    rows: Tensor<1, Int>,
    segments: Tensor<1, Int>,
    gradients: Tensor<2>,
    step: AdamStep,
) -> TableTensors {
    let (w, m, v) = Dispatch::row_adam(
        table.0.into_dispatch(),
        table.1.into_dispatch(),
        table.2.into_dispatch(),
        rows.into_dispatch(),
        segments.into_dispatch(),
        gradients.into_dispatch(),
        step,
    );
    (Tensor::from_dispatch(w), Tensor::from_dispatch(m), Tensor::from_dispatch(v))
}

/// The backend extension behind [`row_adam`].
#[backend_extension(NdArray, Cube: cfg(feature = "wgpu"))]
pub trait RowAdamBackend: Backend {
    /// See [`row_adam`].
    fn row_adam(
        w: FloatTensor<Self>,
        m: FloatTensor<Self>,
        v: FloatTensor<Self>,
        rows: IntTensor<Self>,
        segments: IntTensor<Self>,
        gradients: FloatTensor<Self>,
        step: AdamStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl RowAdamBackend for burn_ndarray::NdArray {
    fn row_adam(
        w: FloatTensor<Self>,
        m: FloatTensor<Self>,
        v: FloatTensor<Self>,
        rows: IntTensor<Self>,
        segments: IntTensor<Self>,
        gradients: FloatTensor<Self>,
        step: AdamStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        use crate::host::{f32_array, i32_array, slice, slice_mut, table_array};
        let (mut w, mut m, mut v) = (table_array(w), table_array(m), table_array(v));
        let (rows, segments, gradients) = (i32_array(rows), i32_array(segments), f32_array(gradients));
        let vector_dim = w.shape()[1];
        row_adam_on_slices(
            RowsMut { w: slice_mut(&mut w), m: slice_mut(&mut m), v: slice_mut(&mut v) },
            TouchedRows {
                rows: slice(&rows),
                segments: slice(&segments),
                gradients: slice(&gradients),
                vector_dim,
            },
            &step,
        );
        (w.into(), m.into(), v.into())
    }
}

#[cfg(feature = "wgpu")]
#[allow(unsafe_code, reason = "a kernel is launched without bounds checks; see the SAFETY comment")]
mod device {
    use burn_cubecl::CubeBackend;
    use cubecl::prelude::*;

    use super::*;
    use crate::launch;

    /// A table and its moments in a kernel, `[N, d]` each.
    #[derive(CubeType, CubeLaunch)]
    struct AdamTable {
        w: Box<[f32]>,
        m: Box<[f32]>,
        v: Box<[f32]>,
    }

    /// [`TouchedRows`] in a kernel.
    #[derive(CubeType, CubeLaunch)]
    struct AdamRows {
        rows: Box<[i32]>,
        segments: Box<[i32]>,
        gradients: Box<[f32]>,
        /// Elements of the gradients.
        len: u32,
        vector_dim: u32,
    }

    /// [`AdamStep`] in a kernel, with its [`Rates`].
    #[derive(CubeType, CubeLaunch)]
    struct AdamScalars {
        beta_1: f32,
        beta_2: f32,
        epsilon: f32,
        weight_decay: f32,
        step: f32,
        root: f32,
    }

    /// One unit per column of a touched row.
    #[cube(launch_unchecked)]
    fn row_adam_kernel(table: &mut AdamTable, touched: &AdamRows, adam: &AdamScalars) {
        let position = ABSOLUTE_POS;
        if position >= touched.len as usize {
            terminate!();
        }
        let d = touched.vector_dim as usize;
        let u = position / d;
        let column = position % d;
        let i = touched.rows[u] as usize * d + column;
        let decay = adam.weight_decay * f32::cast_from(touched.segments[u + 1] - touched.segments[u]);
        let g = touched.gradients[position] + decay * table.w[i];
        let m_new = adam.beta_1 * table.m[i] + (1.0f32 - adam.beta_1) * g;
        let v_new = adam.beta_2 * table.v[i] + (1.0f32 - adam.beta_2) * g * g;
        table.m[i] = m_new;
        table.v[i] = v_new;
        table.w[i] -= adam.step * m_new / (f32::sqrt(v_new) * adam.root + adam.epsilon);
    }

    impl RowAdamBackend for CubeBackend {
        fn row_adam(
            w: FloatTensor<Self>,
            m: FloatTensor<Self>,
            v: FloatTensor<Self>,
            rows: IntTensor<Self>,
            segments: IntTensor<Self>,
            gradients: FloatTensor<Self>,
            step: AdamStep,
        ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
            let (w, m, v) = (launch::owned(w), launch::owned(m), launch::owned(v));
            let (rows, segments) = (launch::contiguous(rows), launch::contiguous(segments));
            let gradients = launch::contiguous(gradients);
            let vector_dim = w.meta.shape()[1];
            let len = rows.meta.shape()[0] * vector_dim;
            let rates = step.rates();
            let (count, dim) = launch::one_unit_each(&w, len);
            let table = AdamTableLaunch {
                w: w.clone().into_buffer_arg(),
                m: m.clone().into_buffer_arg(),
                v: v.clone().into_buffer_arg(),
            };
            let touched = AdamRowsLaunch {
                rows: rows.into_buffer_arg(),
                segments: segments.into_buffer_arg(),
                gradients: gradients.into_buffer_arg(),
                len: len as u32,
                vector_dim: vector_dim as u32,
            };
            let adam = AdamScalarsLaunch {
                beta_1: step.beta_1,
                beta_2: step.beta_2,
                epsilon: step.epsilon,
                weight_decay: step.weight_decay,
                step: rates.step,
                root: rates.root,
            };
            launch::count_launch();
            // SAFETY: the kernel checks its position against U·d; the caller promises rows below N, and
            // unique rows keep two units off one element.
            unsafe {
                row_adam_kernel::launch_unchecked(&w.client.clone(), count, dim, table, touched, adam);
            }
            (w, m, v)
        }
    }
}
