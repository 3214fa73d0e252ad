use std::ops::Range;

use burn::module::{Param, ParamId};
use burn::tensor::{Device, Int, Tensor, TensorData};
use ipsight_kernels::addresses::{Addresses, words};
use ipsight_kernels::folded::{Folded, Pairs, folded};
use ipsight_kernels::folded_step::{Stepped, TableShard, folded_step};
use ipsight_kernels::negatives::{Negatives, donors, pairs};
use ipsight_kernels::row_adam::{AdamStep, TableTensors, row_adam};
use ipsight_kernels::shape::{Families, ModelShape};
use ipsight_kernels::storage::zeros_like;

use crate::Result;
use crate::config::Hyperparameters;
use crate::data::{MiniBatch, segments};
use crate::event::Address;
use crate::model::{
    EntityEmbedding, IpEncoder, IpInsights, IpInsightsConfig, RowIndex, ShardRows, index_tensor,
};
use crate::tensors::{ip_tensor, read_floats};

/// A model in training with its optimiser: what one step reads and writes, all on one device.
pub struct TrainState {
    entity_embedding: EntityEmbedding,
    /// First and second moments of each shard of the table.
    moments: Vec<(Tensor<2>, Tensor<2>)>,
    shape: ModelShape,
    /// The encoder's parameters and their moments, `[1, num_parameters]` each: a table of one row.
    encoder: TableTensors,
    /// The one row, and that it occurs once.
    encoder_row: (Tensor<1, Int>, Tensor<1, Int>),
    device: Device,
    num_steps: usize,
    /// Steps behind the moments with which it began.
    num_steps_before: usize,
    learning_rate: f64,
    weight_decay: f64,
}

/// Sums over the pairs of one step or of several; on the device until they are published.
#[derive(Clone, Debug)]
pub struct StepLoss {
    /// `[3]`: cross entropy, correct pairs, pairs, each summed over pairs that are not masked.
    pub sums: Tensor<1>,
}

/// A part of a [`TrainState`].
pub(super) struct StateTensor {
    /// One of [`STATE_NAMES`].
    pub(super) name: &'static str,
    /// Its rows, in order: a sharded table has several parts.
    pub(super) parts: Vec<Tensor<2>>,
}

/// What steps change: the table `[N, d]` and the encoder `[1, num_parameters]`, with both moments of Adam.
const STATE_NAMES: [&str; 6] = [
    "entity_embedding",
    "entity_embedding.first_moment",
    "entity_embedding.second_moment",
    "ip_encoder",
    "ip_encoder.first_moment",
    "ip_encoder.second_moment",
];

/// A mini-batch on the device.
struct Uploaded {
    /// The unique rows.
    index: RowIndex,
    /// `[U + 1]`
    segments: Tensor<1, Int>,
    num_positives: usize,
}

impl TrainState {
    /// Makes a model and its optimiser on `device`.
    pub fn new(config: &IpInsightsConfig, hyperparameters: &Hyperparameters, device: &Device) -> Self {
        Self::from_model(config.init(device), hyperparameters)
    }

    /// Starts from a model on a plain device.
    pub fn from_model(model: IpInsights, hyperparameters: &Hyperparameters) -> Self {
        let shape = model.shape();
        let IpInsights { entity_embedding, ip_encoder } = model;
        let zeros = |tensor: &Tensor<2>| (zeros_like(tensor), zeros_like(tensor));
        let moments = entity_embedding.shards.iter().map(|shard| zeros(&shard.val())).collect();
        let parameters = ip_encoder.parameters();
        let (first, second) = zeros(&parameters);
        let device = entity_embedding.device();
        Self {
            encoder_row: (index_tensor(vec![0], &device), index_tensor(vec![0, 1], &device)),
            device,
            entity_embedding,
            moments,
            shape,
            encoder: (parameters, first, second),
            num_steps: 0,
            num_steps_before: 0,
            learning_rate: hyperparameters.learning_rate,
            weight_decay: hyperparameters.weight_decay,
        }
    }

    /// What the next steps take as learning rate.
    pub fn set_learning_rate(&mut self, learning_rate: f64) {
        self.learning_rate = learning_rate;
    }

    /// Steps done since it began.
    pub fn num_steps(&self) -> usize {
        self.num_steps
    }

    /// The model as it is now. Drop it before the next step: a table that is shared is copied when it is
    /// written to.
    pub fn snapshot(&self) -> IpInsights {
        IpInsights {
            entity_embedding: self.entity_embedding.clone(),
            ip_encoder: IpEncoder::from_parameters(&self.shape, self.encoder.0.clone()),
        }
    }

    /// Everything that steps change, under the names that checkpoints give it. Drop it before the next step, as a
    /// snapshot.
    pub(super) fn tensors(&self) -> Vec<StateTensor> {
        let shards = |of: fn(&TableTensors) -> &Tensor<2>| {
            let shards = self.entity_embedding.shards.iter().zip(&self.moments);
            let shard = |(weights, (first, second)): (&Param<Tensor<2>>, &(Tensor<2>, Tensor<2>))| {
                of(&(weights.val(), first.clone(), second.clone())).clone()
            };
            shards.map(shard).collect::<Vec<_>>()
        };
        let encoder = [&self.encoder.0, &self.encoder.1, &self.encoder.2].map(|tensor| vec![tensor.clone()]);
        let parts = [shards(|table| &table.0), shards(|table| &table.1), shards(|table| &table.2)];
        let parts = parts.into_iter().chain(encoder);
        STATE_NAMES.into_iter().zip(parts).map(|(name, parts)| StateTensor { name, parts }).collect()
    }

    /// The inverse of [`TrainState::tensors`], on any device and in any number of shards: `rows` is asked for rows
    /// of a tensor by its name, and for how many floats a row has. `num_steps` are those of the run,
    /// `num_steps_before` those before it that the moments know of.
    ///
    /// # Errors
    ///
    /// The first error of `rows`.
    pub(super) fn restore(
        config: &IpInsightsConfig,
        hyperparameters: &Hyperparameters,
        device: &Device,
        [num_steps_before, num_steps]: [usize; 2],
        mut rows: impl FnMut(&'static str, Range<usize>, usize) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        let (table, shape) = (config.entity_embedding(), config.shape());
        let mut upload = |name, range: Range<usize>, width| -> Result<Tensor<2>> {
            let values = TensorData::new(rows(name, range.clone(), width)?, [range.len(), width]);
            Ok(Tensor::from_data(values, device))
        };
        let mut shards = Vec::new();
        let mut moments = Vec::new();
        let [weights, first, second, encoder @ ..] = STATE_NAMES;
        for range in table.sharding().shards(config.num_entity_vectors) {
            let mut shard = |name| upload(name, range.clone(), shape.vector_dim);
            shards.push(shard(weights)?);
            moments.push((shard(first)?, shard(second)?));
        }
        let mut encoder = encoder.into_iter().map(|name| upload(name, 0..1, shape.num_parameters()));
        let mut next = || encoder.next().expect("there are three");
        Ok(Self {
            encoder: (next()?, next()?, next()?),
            encoder_row: (index_tensor(vec![0], device), index_tensor(vec![0, 1], device)),
            device: device.clone(),
            entity_embedding: table.with_shards(shards),
            moments,
            shape,
            num_steps,
            num_steps_before,
            learning_rate: hyperparameters.learning_rate,
            weight_decay: hyperparameters.weight_decay,
        })
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

    /// The sum of the encoder's parameters: not finite where one of them is not.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Device`].
    pub fn sum_of_parameters(&self) -> Result<f32> {
        Ok(read_floats(self.encoder.0.clone().sum())?[0])
    }

    /// The model alone.
    pub fn into_model(self) -> IpInsights {
        self.snapshot()
    }

    /// One step on a mini-batch: makes the negatives, forward, backward, Adam for the encoder, row-sparse
    /// Adam for the table. An empty mini-batch is no step.
    ///
    /// # Panics
    ///
    /// Where the mini-batch is empty.
    pub fn step(&mut self, batch: &MiniBatch, negatives: Negatives) -> StepLoss {
        let uploaded = self.upload(batch);
        let pairs = self.pairs(batch, negatives);
        self.step_on_pairs(uploaded, pairs)
    }

    /// The addresses `[B, P · words]` of a mini-batch's pairs, and their mask `[B, P]`.
    ///
    /// # Panics
    ///
    /// Where an address is of a family that the encoder does not know.
    pub fn pairs(&self, batch: &MiniBatch, negatives: Negatives) -> (Tensor<2, Int>, Tensor<2>) {
        let families = self.shape.families;
        let ips = words(batch.addresses.iter().copied().map(Address::bits), families);
        let mut donors = match families {
            Families::Ipv4 => Vec::new(),
            Families::Both => donors(Addresses::new(&ips, families)),
        };
        if donors.is_empty() {
            donors.push(0); // nothing binds an empty tensor
        }
        pairs(ip_tensor(ips, &self.device), ip_tensor(donors, &self.device), families, negatives)
    }

    /// One step on pairs that are given: `pair_ips` is `[B, P · words]` and `mask` `[B, P]`, positives first.
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
        let uploaded = self.upload(batch);
        let rows = self.entity_embedding.forward(&uploaded.index);
        let pairs = Pairs { segments: uploaded.segments, ips: pair_ips, mask };
        folded(rows, pairs, self.encoder.0.clone(), self.shape)
    }

    fn step_on_pairs(&mut self, uploaded: Uploaded, (ips, mask): (Tensor<2, Int>, Tensor<2>)) -> StepLoss {
        self.num_steps += 1;
        // The gradients are of a mean over the mini-batch, so each row's share of the penalty is, too.
        let weight_decay = self.weight_decay / uploaded.num_positives as f64;
        let adam = self.adam(weight_decay);
        let (shards, places) = self.take_shards(uploaded.index, &uploaded.segments);
        let pairs = Pairs { segments: uploaded.segments, ips, mask };
        let Stepped { tables, parameters, sums } =
            folded_step(shards, pairs, self.encoder.0.clone(), self.shape, adam);
        for ((shard, id), (weights, first, second)) in places.into_iter().zip(tables) {
            self.entity_embedding.shards[shard] = Param::initialized(id, weights);
            self.moments[shard] = (first, second);
        }
        self.update_encoder(parameters);
        StepLoss { sums }
    }

    /// Takes the touched shards out of the table, and says where they belong. They leave placeholders: what a
    /// kernel writes to must be owned uniquely, or it copies the whole.
    fn take_shards(
        &mut self,
        index: RowIndex,
        segments: &Tensor<1, Int>,
    ) -> (Vec<TableShard>, Vec<(usize, ParamId)>) {
        let is_whole = index.parts.len() == 1;
        let take = |part: ShardRows| {
            let (weights, first, second) = self.placeholders();
            let shard = &mut self.entity_embedding.shards[part.shard];
            let (id, weights, _) =
                std::mem::replace(shard, Param::initialized(ParamId::new(), weights)).consume();
            let (first, second) = std::mem::replace(&mut self.moments[part.shard], (first, second));
            let segments = match is_whole {
                true => segments.clone(),
                false => segments.clone().slice(part.range.start..part.range.end + 1),
            };
            let shard = TableShard { table: (weights, first, second), rows: part.rows, segments };
            (shard, (part.shard, id))
        };
        index.parts.into_iter().map(take).unzip()
    }

    fn upload(&self, batch: &MiniBatch) -> Uploaded {
        assert!(!batch.is_empty(), "a step needs a positive pair");
        let (unique, offsets) = segments(&batch.entity_rows);
        Uploaded {
            index: self.entity_embedding.index(&unique),
            segments: index_tensor(offsets, &self.device),
            num_positives: batch.len(),
        }
    }

    fn update_encoder(&mut self, gradient: Tensor<2>) {
        let adam = self.adam(self.weight_decay);
        let (row, once) = self.encoder_row.clone();
        let placeholders = self.placeholders();
        let encoder = std::mem::replace(&mut self.encoder, placeholders);
        self.encoder = row_adam(encoder, row, once, gradient, adam);
    }

    fn adam(&self, weight_decay: f64) -> AdamStep {
        AdamStep::at(self.num_steps_before + self.num_steps, self.learning_rate, weight_decay)
    }

    /// Stand in for tensors that a kernel writes to, which must be owned uniquely meanwhile.
    fn placeholders(&self) -> TableTensors {
        let empty = || Tensor::<2>::empty([1, 1], &self.device);
        (empty(), empty(), empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DeviceChoice;

    /// A run that begins from a checkpoint continues with its moments as if it were the same run.
    #[test]
    fn a_step_depends_on_all_steps_behind_its_moments() {
        let mut config = crate::Config::default();
        let h = &mut config.hyperparameters;
        (h.num_entity_vectors, h.vector_dim) = (20, 8);
        let model = IpInsightsConfig::of(&config, 8); // three shards
        let device = crate::device::choose(DeviceChoice::Ndarray).unwrap().device;
        let step = |state: &mut TrainState, i: u32| {
            let ip = |j: u32| Address::from_ipv4((i * 40 + j).wrapping_mul(2_654_435_761));
            let positives = (0..40).map(|j| (j % 20, ip(j)));
            state.step(&MiniBatch::sorted(positives), Negatives::training(1, 1, 5, 0, i));
        };
        let values = |state: &TrainState| -> Vec<Vec<f32>> {
            let parts = state.tensors().into_iter().flat_map(|tensor| tensor.parts);
            parts.map(|part| read_floats(part).unwrap()).collect()
        };
        let mut whole = TrainState::new(&model, &config.hyperparameters, &device);
        (0..5).for_each(|i| step(&mut whole, i));
        let restore = |num_steps: [usize; 2]| {
            let tensors = whole.tensors();
            TrainState::restore(&model, &config.hyperparameters, &device, num_steps, |name, rows, width| {
                let tensor = tensors.iter().find(|tensor| tensor.name == name).unwrap();
                let parts = tensor.parts.iter().flat_map(|part| read_floats(part.clone()).unwrap());
                Ok(parts.skip(rows.start * width).take(rows.len() * width).collect())
            })
            .unwrap()
        };
        let (mut begun, mut resumed, mut forgetful) = (restore([5, 0]), restore([3, 2]), restore([0, 0]));
        for state in [&mut whole, &mut begun, &mut resumed, &mut forgetful] {
            step(state, 5);
        }
        assert_eq!((begun.num_steps(), resumed.num_steps()), (1, 3));
        assert!(values(&begun) == values(&whole) && values(&resumed) == values(&whole));
        assert!(values(&forgetful) != values(&whole));
    }
}
