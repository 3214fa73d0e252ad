//! The only inference path: training's validation, `evaluate` and `score` all go through it.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::event::entity_row;
use crate::model::IpInsights;
use crate::{Error, Event, Result};

/// Pairs that are scored at once: enough for a matrix product, little enough for any device.
pub const PAIRS_PER_BATCH: usize = 8192;

/// The anomaly score of a pair: the negated dot product, so that high means anomalous.
///
/// The dot product is the log odds that the pair is real; the reference system's article plots and
/// thresholds its negation (0: step-up authentication, 10: manual investigation).
pub fn anomaly_score(dot_product: f32) -> f32 {
    -dot_product
}

/// A model that is ready to score.
#[derive(Debug)]
pub struct Scorer {
    model: IpInsights,
    device: Device,
    row_counts: Vec<u32>,
}

impl Scorer {
    /// Takes a model on a plain device and, for each table row, how many events it was trained on.
    pub fn new(model: IpInsights, row_counts: Vec<u32>) -> Self {
        let device = model.entity_embedding.device();
        Self { model, device, row_counts }
    }

    /// Whether the entity's table row was ever trained. Entities share rows where the table is smaller than
    /// their number, so `true` may be another entity's doing; `false` is certain.
    pub fn entity_seen(&self, entity: u64) -> bool {
        self.row_counts[self.row(entity) as usize] > 0
    }

    /// The dot products of events, in their order. High means normal.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] where the device fails.
    pub fn dot_products(&self, events: &[Event]) -> Result<Vec<f32>> {
        let mut scores = Vec::with_capacity(events.len());
        for events in events.chunks(PAIRS_PER_BATCH) {
            scores.extend(self.score_batch(events)?);
        }
        Ok(scores)
    }

    /// The dot product of one event.
    ///
    /// # Errors
    ///
    /// As [`Scorer::dot_products`].
    pub fn dot_product(&self, event: Event) -> Result<f32> {
        Ok(self.dot_products(&[event])?[0])
    }

    fn row(&self, entity: u64) -> u32 {
        entity_row(entity, self.row_counts.len())
    }

    fn score_batch(&self, events: &[Event]) -> Result<Vec<f32>> {
        let mut by_row: Vec<usize> = (0..events.len()).collect();
        by_row.sort_by_key(|i| self.row(events[*i].entity));
        let rows: Vec<u32> = by_row.iter().map(|i| self.row(events[*i].entity)).collect();
        let ips = by_row.iter().map(|i| events[*i].ip).collect();
        let index = self.model.entity_embedding.index(&rows);
        let len = rows.len();
        let ips = ip_tensor(ips, &self.device).reshape([len, 1]);
        let logits = self.model.forward(self.model.entity_embedding.forward(&index), ips);
        let sorted = read_floats(logits.reshape([len]))?;
        let mut scores = vec![0.0; len];
        for (i, score) in by_row.into_iter().zip(sorted) {
            scores[i] = score;
        }
        Ok(scores)
    }
}

/// Uploads addresses as unsigned 32-bit integers.
pub fn ip_tensor(ips: Vec<u32>, device: &Device) -> Tensor<1, Int> {
    let len = ips.len();
    Tensor::from_data(TensorData::new(ips, [len]), (device, DType::U32))
}

/// Reads floats back from the device.
///
/// # Errors
///
/// [`Error::Device`] where the device lost the work, for example for want of memory.
pub fn read_floats<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    let failed = |reason: String| Error::device(format!("the device failed: {reason}"), DEVICE_FAILED_HELP);
    let data = tensor.try_into_data().map_err(|e| failed(e.to_string()))?;
    data.try_to_vec::<f32>().map_err(|e| failed(format!("{e:?}")))
}

const DEVICE_FAILED_HELP: &str =
    "lower mini_batch_size, num_entity_vectors or vector_dim, or take --device ndarray";
