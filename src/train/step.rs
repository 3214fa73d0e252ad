use burn::module::{Param, ParamId};
use burn::tensor::{Device, Int, Tensor};
use ipsight_kernels::encoder::EncoderShape;
use ipsight_kernels::folded::{Folded, folded};
use ipsight_kernels::negatives::{Negatives, pairs};
use ipsight_kernels::row_adam::{AdamStep, TableTensors, row_adam};

use crate::Result;
use crate::config::Hyperparameters;
use crate::data::{MiniBatch, segments};
use crate::model::{EntityEmbedding, IpEncoder, IpInsights, IpInsightsConfig, RowIndex, index_tensor};
use crate::score::{ip_tensor, read_floats};

/// A model in training with its optimiser: what one step reads and writes, all on one device.
pub struct TrainState {
    entity_embedding: EntityEmbedding,
    /// First and second moments of each shard of the table.
    moments: Vec<(Tensor<2>, Tensor<2>)>,
    encoder_shape: EncoderShape,
    /// The encoder's parameters and their moments, `[1, num_parameters]` each: a table of one row.
    encoder: TableTensors,
    device: Device,
    num_steps: usize,
    learning_rate: f64,
    weight_decay: f64,
}

/// Sums over the pairs of one step or of several; on the device until they are published.
#[derive(Clone, Debug)]
pub struct StepLoss {
    /// `[3]`: cross entropy, correct pairs, pairs, each summed over pairs that are not masked.
    pub sums: Tensor<1>,
}

/// A mini-batch on the device.
struct Uploaded {
    /// The unique rows.
    index: RowIndex,
    /// `[U + 1]`
    segments: Tensor<1, Int>,
    /// `[B]`
    ips: Tensor<1, Int>,
    num_positives: usize,
}

impl TrainState {
    /// Makes a model and its optimiser on `device`.
    pub fn new(config: &IpInsightsConfig, hyperparameters: &Hyperparameters, device: &Device) -> Self {
        Self::from_model(config.init(device), hyperparameters)
    }

    /// Starts from a model on a plain device.
    pub fn from_model(model: IpInsights, hyperparameters: &Hyperparameters) -> Self {
        let IpInsights { entity_embedding, ip_encoder } = model;
        let zeros = |tensor: &Tensor<2>| (tensor.zeros_like(), tensor.zeros_like());
        let moments = entity_embedding.shards.iter().map(|shard| zeros(&shard.val())).collect();
        let (encoder_shape, parameters) = (ip_encoder.shape(), ip_encoder.parameters());
        let (first, second) = zeros(&parameters);
        Self {
            device: entity_embedding.device(),
            entity_embedding,
            moments,
            encoder_shape,
            encoder: (parameters, first, second),
            num_steps: 0,
            learning_rate: hyperparameters.learning_rate,
            weight_decay: hyperparameters.weight_decay,
        }
    }

    /// Steps done.
    pub fn num_steps(&self) -> usize {
        self.num_steps
    }

    /// The model as it is now. Drop it before the next step: a table that is shared is copied when it is
    /// written to.
    pub fn snapshot(&self) -> IpInsights {
        IpInsights {
            entity_embedding: self.entity_embedding.clone(),
            ip_encoder: IpEncoder::from_parameters(&self.encoder_shape, self.encoder.0.clone()),
        }
    }

    /// Reads one element of each large tensor back: an allocation that failed shows only then.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Device`].
    pub fn probe(&self) -> Result<()> {
        let shards = self.entity_embedding.shards.iter().map(|shard| shard.val());
        let moments = self.moments.iter().flat_map(|(first, second)| [first.clone(), second.clone()]);
        for tensor in shards.chain(moments) {
            let rows = tensor.dims()[0];
            read_floats(tensor.slice([rows - 1..rows, 0..1]))?;
        }
        Ok(())
    }

    /// The model alone.
    pub fn into_model(self) -> IpInsights {
        self.snapshot()
    }

    /// One step on a mini-batch: makes the negatives, forward, backward, Adam for the encoder, row-sparse
    /// Adam for the table.
    pub fn step(&mut self, batch: &MiniBatch, negatives: Negatives) -> StepLoss {
        let uploaded = self.upload(batch);
        let pairs = pairs(uploaded.ips.clone(), negatives);
        self.step_on_pairs(uploaded, pairs)
    }

    /// One step on pairs that are given: `pair_ips` and `mask` are `[B, P]`, positives first.
    pub fn step_with_pairs(
        &mut self,
        batch: &MiniBatch,
        pair_ips: Tensor<2, Int>,
        mask: Tensor<2>,
    ) -> StepLoss {
        let uploaded = self.upload(batch);
        self.step_on_pairs(uploaded, (pair_ips, mask))
    }

    /// Loss and gradients of pairs that are given, without a step. For proofs.
    pub fn gradients(&self, batch: &MiniBatch, pair_ips: Tensor<2, Int>, mask: Tensor<2>) -> Folded {
        self.backward(&self.upload(batch), (pair_ips, mask))
    }

    fn step_on_pairs(&mut self, uploaded: Uploaded, pairs: (Tensor<2, Int>, Tensor<2>)) -> StepLoss {
        let gradients = self.backward(&uploaded, pairs);
        self.num_steps += 1;
        self.update_encoder(gradients.parameters);
        self.update_table(uploaded, gradients.vectors);
        StepLoss { sums: gradients.sums }
    }

    fn backward(&self, uploaded: &Uploaded, pairs: (Tensor<2, Int>, Tensor<2>)) -> Folded {
        // The gathered rows are the leaf: no gradient of the table's size exists.
        let vectors = self.entity_embedding.forward(&uploaded.index);
        folded(vectors, uploaded.segments.clone(), pairs, self.encoder.0.clone(), self.encoder_shape)
    }

    fn upload(&self, batch: &MiniBatch) -> Uploaded {
        let (unique, offsets) = segments(&batch.entity_rows);
        Uploaded {
            index: self.entity_embedding.index(&unique),
            segments: index_tensor(offsets, &self.device),
            ips: ip_tensor(batch.ips.clone(), &self.device),
            num_positives: batch.len(),
        }
    }

    fn update_encoder(&mut self, gradient: Tensor<2>) {
        let adam = AdamStep::at(self.num_steps, self.learning_rate, self.weight_decay);
        let (row, once) = (index_tensor(vec![0], &self.device), index_tensor(vec![0, 1], &self.device));
        let placeholders = self.placeholders();
        let encoder = std::mem::replace(&mut self.encoder, placeholders);
        self.encoder = row_adam(encoder, row, once, gradient, adam);
    }

    fn update_table(&mut self, uploaded: Uploaded, gradients: Tensor<2>) {
        // The gradients are of a mean over the mini-batch, so each row's share of the penalty is, too.
        let weight_decay = self.weight_decay / uploaded.num_positives as f64;
        let adam = AdamStep::at(self.num_steps, self.learning_rate, weight_decay);
        for part in uploaded.index.parts {
            let (weights, first, second) = self.placeholders();
            let shard = &mut self.entity_embedding.shards[part.shard];
            let (id, weights, _) =
                std::mem::replace(shard, Param::initialized(ParamId::new(), weights)).consume();
            let (first, second) = std::mem::replace(&mut self.moments[part.shard], (first, second));
            let range = part.range;
            let (segments, gradients) = match range.len() == gradients.dims()[0] {
                true => (uploaded.segments.clone(), gradients.clone()),
                false => (
                    uploaded.segments.clone().slice(range.start..range.end + 1),
                    gradients.clone().slice(range),
                ),
            };
            let (weights, first, second) =
                row_adam((weights, first, second), part.rows, segments, gradients, adam);
            *shard = Param::initialized(id, weights);
            self.moments[part.shard] = (first, second);
        }
    }

    /// Stand in for tensors that a kernel writes to, which must be owned uniquely meanwhile.
    fn placeholders(&self) -> TableTensors {
        let empty = || Tensor::<2>::empty([1, 1], &self.device);
        (empty(), empty(), empty())
    }
}
