//! Folding and scoring on tensors.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{Int, Tensor};

use super::cpu::{PairsToScore, ScoreInputs, fold_on_slices, scores_on_slices, tables_on_slices};
use crate::addresses::Addresses;
use crate::host::{f32_array, f32_values, i32_array, slice, tensor, u32_array};
use crate::shape::ModelShape;

/// Folds the output layer into entity rows on their device.
///
/// # Shapes
///
/// - `rows`: `[N, d]`
/// - `parameters`: `[1, num_parameters]`, laid out as [`ModelShape`] says
/// - output: `[N, width + 1]`, width being n where there is no hidden layer, else d
pub fn fold(rows: Tensor<2>, parameters: Tensor<2>, shape: ModelShape) -> Tensor<2> {
    let folded = Dispatch::fold(rows.into_dispatch(), parameters.into_dispatch(), shape);
    Tensor::from_dispatch(folded)
}

/// The lookup tables that [`scores`] takes; each backend has its own layout of them.
pub fn lookup_tables(parameters: Tensor<2>, shape: ModelShape) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::lookup_tables(parameters.into_dispatch(), shape))
}

/// Scores pairs on the device of the folded rows.
///
/// # Shapes
///
/// - `folded`: `[N, width + 1]`, of [`fold`]
/// - `rows`: `[n]`, below N; `ips`: `[n · words]`, unsigned 32-bit integers as in [`crate::addresses`]
/// - `tables`: of [`lookup_tables`]; `parameters`: `[1, num_parameters]`
/// - output: `[n]`
///
/// # Panics
///
/// Where there are not as many rows as addresses.
pub fn scores(
    folded: Tensor<2>,
    (rows, ips): (Tensor<1, Int>, Tensor<1, Int>),
    tables: Tensor<2>,
    parameters: Tensor<2>,
    shape: ModelShape,
) -> Tensor<1> {
    let num_words = rows.dims()[0] * shape.families.num_words();
    assert_eq!(ips.dims(), [num_words], "every pair has a row and an address");
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
    fn fold(rows: FloatTensor<Self>, parameters: FloatTensor<Self>, shape: ModelShape) -> FloatTensor<Self>;

    /// See [`lookup_tables`].
    fn lookup_tables(parameters: FloatTensor<Self>, shape: ModelShape) -> FloatTensor<Self>;

    /// See [`scores`].
    fn scores(
        folded: FloatTensor<Self>,
        rows: IntTensor<Self>,
        ips: IntTensor<Self>,
        tables: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        shape: ModelShape,
    ) -> FloatTensor<Self>;
}

impl ScoresBackend for burn_ndarray::NdArray {
    fn fold(rows: FloatTensor<Self>, parameters: FloatTensor<Self>, shape: ModelShape) -> FloatTensor<Self> {
        let (rows, parameters) = (f32_array(rows), f32_array(parameters));
        let folded = fold_on_slices(&shape, slice(&parameters), slice(&rows));
        tensor(folded, &[rows.shape()[0], shape.folded_width()])
    }

    fn lookup_tables(parameters: FloatTensor<Self>, shape: ModelShape) -> FloatTensor<Self> {
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
        shape: ModelShape,
    ) -> FloatTensor<Self> {
        let folded = f32_values(&folded);
        let (tables, parameters) = (f32_array(tables), f32_array(parameters));
        let (rows, ips) = (i32_array(rows), u32_array(ips));
        let (rows, ips) = (slice(&rows), Addresses::new(slice(&ips), shape.families));
        let mut out = vec![0.0; rows.len()];
        let inputs =
            ScoreInputs { folded: &folded, tables: slice(&tables), parameters: slice(&parameters), shape };
        scores_on_slices(inputs, PairsToScore { rows, ips }, &mut out);
        let len = out.len();
        tensor(out, &[len])
    }
}
