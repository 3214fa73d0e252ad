//! The entity that stands for those that a model was not trained on, and the folding of entities.
//!
//! The prior entity's vector is the mean of those of the trained rows, so its score is the mean score over them.

use burn::tensor::{Tensor, TensorData};
use ipsight_kernels::scores::fold;
use rayon::prelude::*;

use super::ip_insights::IpInsights;
use crate::Result;
use crate::tensors::read_floats;

/// Folds the encoder's output layer into the entities of a model on a plain device, shard by shard:
/// `[rows, width + 1]`.
pub fn fold_entities(model: &IpInsights) -> impl Iterator<Item = Tensor<2>> {
    let (shape, parameters) = (model.shape(), model.ip_encoder.parameters());
    model.entity_embedding.shards.iter().map(move |shard| fold(shard.val(), parameters.clone(), shape))
}

/// As [`fold_entities`], in pieces of some MiB, in the order of the rows and with the same values.
pub fn fold_entities_in_pieces(model: &IpInsights) -> impl Iterator<Item = Tensor<2>> {
    let (shape, parameters) = (model.shape(), model.ip_encoder.parameters());
    row_pieces(model).map(move |rows| fold(rows, parameters.clone(), shape))
}

/// The rows of the table, in pieces of whole blocks of [`ROWS_PER_SUM`] but for the last of each shard.
fn row_pieces(model: &IpInsights) -> impl Iterator<Item = Tensor<2>> {
    const BYTES_PER_PIECE: usize = 8 << 20;
    let width = model.entity_embedding.vector_dim();
    let rows_at_once = (BYTES_PER_PIECE / (4 * width) / ROWS_PER_SUM).max(1) * ROWS_PER_SUM;
    model.entity_embedding.shards.iter().flat_map(move |shard| {
        let shard = shard.val();
        let num_rows = shard.dims()[0];
        let starts = (0..num_rows).step_by(rows_at_once);
        starts.map(move |start| shard.clone().slice([start..(start + rows_at_once).min(num_rows), 0..width]))
    })
}

/// The entity that stands for those that were not seen, as a row of the table, `[vector_dim]`. `row_counts` are the
/// training events of each row. Sums are in float64 and of one order, whatever the number of threads.
///
/// # Errors
///
/// [`crate::Error::Device`] where the weights cannot be read back.
pub fn prior_entity(model: &IpInsights, row_counts: &[u32]) -> Result<Vec<f32>> {
    let width = model.entity_embedding.vector_dim();
    let mut sums = Sums::new(width);
    let mut counts = row_counts;
    for rows in row_pieces(model) {
        let rows = read_floats(rows)?;
        let of_piece;
        (of_piece, counts) = counts.split_at(rows.len() / width);
        let parts: Vec<Sums> = (rows.par_chunks(ROWS_PER_SUM * width), of_piece.par_chunks(ROWS_PER_SUM))
            .into_par_iter()
            .map(|(rows, counts)| {
                let mut sums = Sums::new(width);
                let trained = rows.chunks_exact(width).zip(counts).filter(|(_, count)| **count > 0);
                trained.for_each(|(row, _)| sums.add(row));
                sums
            })
            .collect();
        parts.iter().for_each(|part| sums.merge(part));
    }
    let mean = |sum: &f64| (sum / sums.num_rows.max(1.0)) as f32;
    Ok(sums.vector.iter().map(mean).collect())
}

/// Rows that are summed one after the other.
const ROWS_PER_SUM: usize = 4096;

struct Sums {
    num_rows: f64,
    vector: Vec<f64>,
}

impl Sums {
    fn new(vector_dim: usize) -> Self {
        Self { num_rows: 0.0, vector: vec![0.0; vector_dim] }
    }

    /// Adds a trained row.
    fn add(&mut self, row: &[f32]) {
        self.num_rows += 1.0;
        self.vector.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
    }

    fn merge(&mut self, other: &Self) {
        self.num_rows += other.num_rows;
        self.vector.iter_mut().zip(&other.vector).for_each(|(sum, value)| *sum += value);
    }
}

/// Folds the encoder's output layer into one entity, whose `row` is as in the table: `[1, width + 1]`.
pub fn fold_entity(model: &IpInsights, row: Vec<f32>) -> Tensor<2> {
    let shape = [1, row.len()];
    let row = Tensor::from_data(TensorData::new(row, shape), &model.entity_embedding.device());
    fold(row, model.ip_encoder.parameters(), model.shape())
}
