//! The vectors behind the scores.

use burn::tensor::Device;
use bytes::Bytes;

use crate::event::entity_row;
use crate::model::{IpEncoder, address_words};
use crate::tensors::{ip_tensor, read_floats};
use crate::{Event, Result};

/// The entity and IP embeddings of a model. Their dot product is the score.
#[derive(Debug)]
pub struct Embeddings {
    ip_encoder: IpEncoder,
    device: Device,
    /// `[N, d]`, 32-bit floats in the byte order of the file.
    vectors: Bytes,
    /// Of [`crate::model::prior_entity`], `[d]`.
    prior: Vec<f32>,
}

impl Embeddings {
    /// Takes the encoder on a plain device, the bytes of the entities' vectors, `[N, vector_dim]`, and the vector that
    /// stands for all, `[vector_dim]`.
    pub(crate) fn new(ip_encoder: IpEncoder, vectors: Bytes, prior: Vec<f32>) -> Self {
        let device = ip_encoder.layers[0].weight.val().device();
        Self { ip_encoder, device, vectors, prior }
    }

    /// The vector of an entity's table row, `[vector_dim]`.
    pub fn entity_embedding(&self, entity: u64) -> Vec<f32> {
        let row_bytes = 4 * self.vector_dim();
        let row = entity_row(entity, self.vectors.len() / row_bytes) as usize;
        let (floats, _) = self.vectors[row * row_bytes..(row + 1) * row_bytes].as_chunks::<4>();
        floats.iter().copied().map(f32::from_le_bytes).collect()
    }

    /// The vector of the entity that stands for those that were not seen, `[vector_dim]`.
    pub fn prior_embedding(&self) -> &[f32] {
        &self.prior
    }

    /// The vectors of the events' addresses, `[n, vector_dim]`, row after row.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Device`] where the device fails, [`crate::Error::Config`] for an IPv6 address where the model knows IPv4
    /// alone.
    pub fn ip_embeddings(&self, events: &[Event]) -> Result<Vec<f32>> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let addresses = events.iter().map(|event| event.address);
        let words = address_words(addresses, self.ip_encoder.shape().families)?;
        read_floats(self.ip_encoder.forward(ip_tensor(words, &self.device)))
    }

    /// d.
    pub fn vector_dim(&self) -> usize {
        self.prior.len()
    }
}
