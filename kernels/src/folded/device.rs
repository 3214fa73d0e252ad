//! The composition on a device.
//!
//! Nothing is read back: gradients are summed first and divided by the number of pairs that count where they
//! are stored. At L = 1 ten launches: tables, Q, the pass over the pairs, its sums, dE, three for dW_L and
//! db_L, two for the first layer. Another hidden layer adds one forward, four backward, and the first of them
//! two, because its activations are kept, 4 d bytes a pair and layer.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::tensors::FoldedBackend;
use crate::device_pairs::DevicePairs;
use crate::first_layer::device::{Source, encode, first_layer_gradients, tables};
use crate::launch::{contiguous, empty_like};
use crate::matrix::device::{DeviceMatrix, Epilogue, hidden_layer, layer_gradients, multiply};
use crate::pair_loss::device::{PassEncoder, hidden_gradients, loss_sums, row_losses};
use crate::shape::ModelShape;

impl FoldedBackend for CubeBackend {
    fn folded(
        rows: FloatTensor<Self>,
        segments: IntTensor<Self>,
        pair_ips: IntTensor<Self>,
        mask: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        shape: ModelShape,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (rows, parameters) = (contiguous(rows), contiguous(parameters));
        let pairs =
            DevicePairs { segments: contiguous(segments), ips: contiguous(pair_ips), mask: contiguous(mask) };
        let (d, width, last) = (shape.vector_dim, shape.output_width(), shape.num_hidden);
        let num_rows = rows.meta.shape()[0];
        let num_activations = pairs.mask.meta.num_elements();
        let empty = |shape| empty_like(&rows, shape, DType::F32);
        let weight =
            |l: usize| DeviceMatrix::new(&parameters, shape.weight(l).start, shape.layer_shape(l), d);
        let kept = |hidden: &_| DeviceMatrix::new(hidden, 0, [num_activations, d], d);
        let e = DeviceMatrix::new(&rows, 0, [num_rows, d], d);

        let q = empty(Shape::new([num_rows, width]));
        multiply(&q, Epilogue::nothing(&parameters), e.clone(), weight(last).transposed());
        let tables = (last > 0).then(|| tables(&parameters, &shape));
        let hidden = kept_activations(tables.as_ref(), &pairs, &parameters, &shape);
        let source = hidden.last().or(tables.as_ref());
        let encoder = PassEncoder { parameters: &parameters, source, shape: &shape };
        let losses = row_losses(&rows, q, &pairs, encoder);
        let sums = loss_sums(&losses);

        // s and G, like W_L and b_L, are one matrix.
        let s_and_g = DeviceMatrix::new(&losses.s, 0, [num_rows, width + 1], width + 1);
        let output_layer = DeviceMatrix::new(&parameters, shape.layer(last).start, [width + 1, d], d);
        let row_gradients = empty(Shape::new([num_rows, d]));
        multiply(&row_gradients, Epilogue::mean(&sums), s_and_g, output_layer);
        let gradients = empty(Shape::new([1, shape.num_parameters()]));
        let of_layer = |l: usize| (&gradients, shape.layer(l).start);
        let s = DeviceMatrix::new(&losses.s, 0, [num_rows, width], width + 1);
        let g = DeviceMatrix::new(&losses.s, width, [num_rows, 1], width + 1);
        layer_gradients(of_layer(last), s, e, Some(g), &sums);

        if let Some(activations) = hidden.last() {
            hidden_gradients(&losses, activations);
        }
        for l in (1..last).rev() {
            let (below, above) = (&hidden[l - 1], &hidden[l]);
            layer_gradients(of_layer(l), kept(below), kept(above), None, &sums);
            multiply(below, Epilogue::mask(&parameters), kept(above), weight(l).transposed());
        }
        if let Some(tables) = &tables {
            let source = hidden.first().map_or(Source::Tables(tables), Source::Kept);
            first_layer_gradients(of_layer(0), source, &pairs, &losses, &sums, shape.families);
        }
        (losses.logits, sums, row_gradients, gradients)
    }
}

/// The activations of every hidden layer, `[pairs, d]` each, where there are several; else none.
fn kept_activations(
    tables: Option<&CubeTensor>,
    pairs: &DevicePairs,
    parameters: &CubeTensor,
    shape: &ModelShape,
) -> Vec<CubeTensor> {
    let Some(tables) = tables.filter(|_| shape.num_hidden > 1) else { return Vec::new() };
    let mut hidden = vec![encode(tables, &pairs.ips, shape.families)];
    for l in 1..shape.num_hidden {
        hidden.push(hidden_layer(&hidden[l - 1], parameters, shape, l));
    }
    hidden
}
