//! Folding and scoring on a device: one cube a pair, whose units share the columns of the dot product.

#![allow(unsafe_code, reason = "a kernel is launched without bounds checks; see the SAFETY comment of each")]

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use cubecl::prelude::*;

use super::tensors::ScoresBackend;
use crate::first_layer::device::{Activations, activation, encode, tables};
use crate::launch::{self, contiguous, empty_like};
use crate::matrix::device::{DeviceMatrix, Epilogue, hidden_layer, multiply};
use crate::shape::ModelShape;

/// What a score is computed from.
#[derive(CubeType, CubeLaunch)]
struct ScoringInputs {
    /// `[N, width + 1]`
    folded: Box<[f32]>,
    /// `[n]`
    rows: Box<[i32]>,
    /// `[n · words]`
    ips: Box<[u32]>,
    /// What [`activation`] takes.
    source: Box<[f32]>,
}

/// One cube per pair.
#[cube(launch_unchecked)]
fn scores_kernel(
    inputs: &ScoringInputs,
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
    let q = inputs.rows[pair] as usize * (width + 1);
    let mut share = 0.0f32;
    let mut column = unit;
    while column < width {
        share += inputs.folded[q + column]
            * activation(&inputs.source, &inputs.ips, pair, column, width, activations);
        column += units as usize;
    }
    let mut shares = Shared::<[f32]>::new_slice(comptime!(units as usize));
    shares[unit] = share;
    sync_cube();
    if unit == 0 {
        let mut score = inputs.folded[q + width];
        #[unroll]
        for i in 0..comptime!(units as usize) {
            score += shares[i];
        }
        out[pair] = score;
    }
}

impl ScoresBackend for CubeBackend {
    fn fold(rows: FloatTensor<Self>, parameters: FloatTensor<Self>, shape: ModelShape) -> FloatTensor<Self> {
        let (rows, parameters) = (contiguous(rows), contiguous(parameters));
        let (num_rows, d, columns) = (rows.meta.shape()[0], shape.vector_dim, shape.folded_width());
        let folded = empty_like(&rows, Shape::new([num_rows, columns]), DType::F32);
        let start = shape.layer(shape.num_hidden).start;
        // The bias is the row behind the weights.
        let output = DeviceMatrix::new(&parameters, start, [columns, d], d).transposed();
        let e = DeviceMatrix::new(&rows, 0, [num_rows, d], d);
        multiply(&folded, Epilogue::nothing(&parameters), e, output);
        folded
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
        ips: IntTensor<Self>,
        tables: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        shape: ModelShape,
    ) -> FloatTensor<Self> {
        let (folded, rows, ips) = (contiguous(folded), contiguous(rows), contiguous(ips));
        let parameters = contiguous(parameters);
        let (num_pairs, width) = (rows.meta.num_elements(), shape.output_width());
        let mut source = tables;
        if shape.num_hidden > 1 {
            source = encode(&source, &ips, shape.families);
            for l in 1..shape.num_hidden {
                source = hidden_layer(&source, &parameters, &shape, l);
            }
        }
        let out = empty_like(&folded, Shape::new([num_pairs]), DType::F32);
        let units = (width as u32).next_power_of_two().clamp(32, 128);
        let inputs = ScoringInputsLaunch {
            folded: folded.clone().into_buffer_arg(),
            rows: rows.into_buffer_arg(),
            ips: ips.into_buffer_arg(),
            source: source.into_buffer_arg(),
        };
        launch::count_launch();
        // SAFETY: the kernel checks its pair against the length of the output; the caller promises rows below
        // N, and the source holds a row per digit or per pair.
        unsafe {
            scores_kernel::launch_unchecked(
                &folded.client.clone(),
                launch::cubes(&folded, num_pairs),
                CubeDim::new_1d(units),
                inputs,
                out.clone().into_buffer_arg(),
                num_pairs as u32,
                width as u32,
                units,
                Activations::of(&shape),
            );
        }
        out
    }
}
