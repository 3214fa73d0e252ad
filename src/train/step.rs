use burn::module::{Module, Param, ParamId};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Tensor};
use ipsight_kernels::negatives::{Negatives, pairs};
use ipsight_kernels::row_adam::{AdamStep, row_adam};

use crate::Result;
use crate::config::Hyperparameters;
use crate::data::{MiniBatch, segments};
use crate::model::{IpEncoder, IpInsights, IpInsightsConfig, RowIndex, index_tensor};
use crate::score::{ip_tensor, read_floats};

/// A model in training with its optimiser: what one step reads and writes.
pub struct TrainState {
    /// The encoder is on the autodiff device, the table on the plain one.
    pub model: IpInsights,
    encoder_optimizer: ModuleOptimizer,
    /// First and second moments of each shard of the table.
    moments: Vec<(Tensor<2>, Tensor<2>)>,
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

/// What the backward pass of a step gives, on the plain device.
pub struct StepGradients {
    /// `[B, P]`
    pub logits: Tensor<2>,
    /// As [`StepLoss::sums`].
    pub sums: Tensor<1>,
    /// `[B, d]`: of the mean loss, for each row of the mini-batch; a row's duplicates are not summed yet.
    pub rows: Tensor<2>,
    /// Of the encoder's parameters, by their id.
    pub encoder: GradientsParams,
}

/// A mini-batch on the device.
struct Uploaded {
    index: RowIndex,
    ips: Tensor<1, Int>,
    /// For each touched shard: its number, unique rows, segments.
    touched: Vec<(usize, Tensor<1, Int>, Tensor<1, Int>)>,
}

impl TrainState {
    /// Makes a model and its optimiser on `device` (the plain one).
    pub fn new(config: &IpInsightsConfig, hyperparameters: &Hyperparameters, device: &Device) -> Self {
        Self::from_model(config.init(&device.clone().autodiff()), hyperparameters)
    }

    /// Starts from a model whose encoder is on an autodiff device.
    pub fn from_model(model: IpInsights, hyperparameters: &Hyperparameters) -> Self {
        let moments = model
            .entity_embedding
            .shards
            .iter()
            .map(|shard| (shard.val().zeros_like(), shard.val().zeros_like()))
            .collect();
        let decay = WeightDecayConfig::new(hyperparameters.weight_decay as f32);
        let encoder_optimizer = AdamConfig::new().with_epsilon(1e-8).with_weight_decay(Some(decay)).init();
        Self {
            device: model.entity_embedding.device(),
            model,
            encoder_optimizer,
            moments,
            num_steps: 0,
            learning_rate: hyperparameters.learning_rate,
            weight_decay: hyperparameters.weight_decay,
        }
    }

    /// Steps done.
    pub fn num_steps(&self) -> usize {
        self.num_steps
    }

    /// The model as it is now, on the plain device. Drop it before the next step: a table that is shared is
    /// copied when it is written to.
    pub fn snapshot(&self) -> IpInsights {
        self.model.valid()
    }

    /// Reads one element of each large tensor back: an allocation that failed shows only then.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Device`].
    pub fn probe(&self) -> Result<()> {
        let shards = self.model.entity_embedding.shards.iter().map(|shard| shard.val());
        let moments = self.moments.iter().flat_map(|(first, second)| [first.clone(), second.clone()]);
        for tensor in shards.chain(moments) {
            let rows = tensor.dims()[0];
            read_floats(tensor.slice([rows - 1..rows, 0..1]))?;
        }
        Ok(())
    }

    /// The model alone, on the plain device.
    pub fn into_model(self) -> IpInsights {
        self.model.valid()
    }

    /// One step on a mini-batch: makes the negatives, forward, backward, Adam for the encoder, row-sparse
    /// Adam for the table.
    pub fn step(&mut self, batch: &MiniBatch, negatives: Negatives) -> StepLoss {
        let uploaded = self.upload(batch);
        let (pair_ips, mask) = pairs(uploaded.ips.clone(), negatives);
        self.step_on_pairs(uploaded, pair_ips, mask)
    }

    /// One step on pairs that are given: `pair_ips` and `mask` are `[B, P]`, positives first.
    pub fn step_with_pairs(
        &mut self,
        batch: &MiniBatch,
        pair_ips: Tensor<2, Int>,
        mask: Tensor<2>,
    ) -> StepLoss {
        let uploaded = self.upload(batch);
        self.step_on_pairs(uploaded, pair_ips, mask)
    }

    /// The gradients of pairs that are given, without a step. For proofs.
    pub fn gradients(&self, batch: &MiniBatch, pair_ips: Tensor<2, Int>, mask: Tensor<2>) -> StepGradients {
        self.backward(&self.upload(batch).index, pair_ips, mask)
    }

    fn step_on_pairs(&mut self, uploaded: Uploaded, pair_ips: Tensor<2, Int>, mask: Tensor<2>) -> StepLoss {
        let gradients = self.backward(&uploaded.index, pair_ips, mask);
        self.num_steps += 1;
        self.update_encoder(gradients.encoder);
        self.update_table(uploaded.touched, gradients.rows);
        StepLoss { sums: gradients.sums }
    }

    fn backward(&self, index: &RowIndex, pair_ips: Tensor<2, Int>, mask: Tensor<2>) -> StepGradients {
        // The gathered rows are the leaf: no gradient of the table's size exists.
        let rows = Tensor::<2>::from_inner(self.model.entity_embedding.forward(index)).require_grad();
        let logits = self.model.forward(rows.clone(), pair_ips);
        let (loss, sums) = loss(logits.clone(), mask);
        let mut gradients = loss.backward();
        StepGradients {
            logits: logits.inner(),
            sums,
            rows: rows.grad_remove(&mut gradients).expect("the leaf is part of the loss"),
            encoder: GradientsParams::from_grads(gradients, &self.model.ip_encoder),
        }
    }

    fn upload(&self, batch: &MiniBatch) -> Uploaded {
        let table = &self.model.entity_embedding;
        let touched = table
            .shard_ranges(&batch.entity_rows)
            .map(|(shard, range)| {
                let (unique, offsets) = segments(&batch.entity_rows, range);
                let rows = index_tensor(table.local_rows(shard, &unique), &self.device);
                (shard, rows, index_tensor(offsets, &self.device))
            })
            .collect();
        Uploaded {
            index: table.index(&batch.entity_rows),
            ips: ip_tensor(batch.ips.clone(), &self.device),
            touched,
        }
    }

    fn update_encoder(&mut self, gradients: GradientsParams) {
        let encoder: IpEncoder = self.model.ip_encoder.clone();
        self.model.ip_encoder = self.encoder_optimizer.step(self.learning_rate, encoder, gradients);
    }

    fn update_table(&mut self, touched: Vec<(usize, Tensor<1, Int>, Tensor<1, Int>)>, gradients: Tensor<2>) {
        // The gradients are of a mean over the mini-batch, so each row's share of the penalty is, too.
        let weight_decay = self.weight_decay / gradients.dims()[0] as f64;
        let adam = AdamStep::at(self.num_steps, self.learning_rate, weight_decay);
        let shards = &mut self.model.entity_embedding.shards;
        for (shard, rows, segments) in touched {
            // Placeholders keep the table uniquely owned while the kernel writes to it.
            let empty = || Tensor::<2>::empty([1, 1], &self.device);
            let weights = std::mem::replace(&mut shards[shard], Param::initialized(ParamId::new(), empty()));
            let (id, weights, _) = weights.consume();
            let (first, second) = std::mem::replace(&mut self.moments[shard], (empty(), empty()));
            let (weights, first, second) =
                row_adam((weights, first, second), rows, segments, gradients.clone(), adam);
            shards[shard] = Param::initialized(id, weights);
            self.moments[shard] = (first, second);
        }
    }
}

/// Mean cross entropy of the pairs that are not masked, column 0 real and the others generated, and the
/// sums that are published: cross entropy, correct pairs, pairs.
///
/// # Shapes
///
/// - `logits`: `[B, P]` on the autodiff device
/// - `mask`: `[B, P]` on the plain device
fn loss(logits: Tensor<2>, mask: Tensor<2>) -> (Tensor<1>, Tensor<1>) {
    let [num_rows, num_pairs] = mask.dims();
    let device = mask.device();
    // +1 for the positive column, -1 for the others.
    let sign = Tensor::<1>::ones([num_pairs], &device).neg().slice_fill(0..1, 1.0);
    let sign = sign.unsqueeze_dim::<2>(0).expand([num_rows, num_pairs]);
    let num_counted = mask.clone().sum();
    let margin = logits.clone() * Tensor::from_inner(sign.clone());
    // ln(1 + exp(-margin)) without overflow. Burn's log_sigmoid has the same value, but its gradient is 0 from a
    // margin of about 16, where exp(-margin) is lost beside 1; Adam makes something of small gradients.
    let cross_entropy = relu(margin.clone().neg()) + margin.abs().neg().exp().log1p();
    let cross_entropy = (cross_entropy * Tensor::from_inner(mask.clone())).sum();
    let predicted = logits.inner().greater_elem(0.0).float().mul_scalar(2.0).sub_scalar(1.0);
    let num_correct = (predicted * sign).add_scalar(1.0).mul_scalar(0.5).mul(mask).sum();
    let sums = Tensor::cat(vec![cross_entropy.clone().inner(), num_correct, num_counted.clone()], 0);
    (cross_entropy / Tensor::from_inner(num_counted), sums)
}
