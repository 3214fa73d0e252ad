//! The head: one small function for all accounts, from what a history knows of a pair to the log odds that it is real.
//!
//! ```text
//! x      = the inputs of `features`, [60]
//! h      = relu(W_2 relu(W_1 x + b_1) + b_2)
//! logit  = w_o . h + b_o + w_s . x + b_s
//! score  = logit + 0.3 sum of r_l            r_l: the log ratios of the closed form
//! ```
//!
//! The closed form keeps a share of its own, so that a head that was fitted on few events is not far from it. The Burn
//! module [`HeadModule`] is the definition; [`Head::scores`] computes the same on the host, block by block.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData, activation::relu};
use rayon::prelude::*;

use super::event_log::{EventLog, Query};
use super::feature_block::{BLOCK_PAIRS, InputBlock};
use super::features::NUM_INPUTS;
use super::fit::{self, FitData, FitOptions, ROW};
use super::negatives::{SamplingOptions, sample_pairs};
use super::network::{HIDDEN_1, HIDDEN_2, NUM_PARAMETERS, Part};
use super::prequential::prequential_usage;
use super::usage::Usage;

/// The share of the closed form's sum in a score.
pub const CLOSED_FORM_SHARE: f32 = 0.3;

/// A head that was fitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// `[NUM_PARAMETERS]`, in the order of [`Part`].
    parameters: Vec<f32>,
}

/// What a score is made of; the two add up to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadParts {
    /// [`CLOSED_FORM_SHARE`] times the sum of the log ratios.
    pub closed_form: f32,
    /// The network's logit.
    pub network: f32,
}

impl Head {
    /// Fits a head on what was known before each of a sample of the log's events, and of as many pairs that did not
    /// occur. The same log and seed give the same bits with any number of threads.
    pub fn fit(log: &EventLog<'_>, seed: u64) -> Self {
        let pairs = sample_pairs(log, &SamplingOptions { seed, ..SamplingOptions::default() });
        let queries: Vec<Query> = pairs.iter().map(|pair| pair.query).collect();
        let usages = prequential_usage(log, &queries);
        let inputs = rows_of(&usages);
        let labels: Vec<f32> = pairs.iter().map(|pair| f32::from(u8::from(pair.is_event))).collect();
        let weights: Vec<f32> = pairs.iter().map(|pair| pair.weight).collect();
        let data = FitData { inputs: &inputs, labels: &labels, weights: &weights };
        Self { parameters: fit::fit(&data, &FitOptions { seed, ..FitOptions::default() }) }
    }

    /// A head of these parameters; `None` where their number is not that of a head's or one is not finite.
    pub fn from_parameters(parameters: Vec<f32>) -> Option<Self> {
        let is_sound = parameters.len() == NUM_PARAMETERS && parameters.iter().all(|value| value.is_finite());
        is_sound.then_some(Self { parameters })
    }

    /// All parameters in one row, `[NUM_PARAMETERS]`.
    pub fn parameters(&self) -> &[f32] {
        &self.parameters
    }

    /// The scores of pairs, `[pairs]`: log odds, high means usual. On all cores.
    ///
    /// # Panics
    ///
    /// Where the lengths differ.
    pub fn scores(&self, usages: &[Usage], scores: &mut [f32]) {
        assert_eq!(usages.len(), scores.len(), "a score for each pair");
        (usages.par_chunks(PAIRS_PER_TASK), scores.par_chunks_mut(PAIRS_PER_TASK))
            .into_par_iter()
            .for_each(|(usages, scores)| self.score_on_one_core(usages, scores));
    }

    /// [`Head::scores`] on the calling thread.
    pub fn score_on_one_core(&self, usages: &[Usage], scores: &mut [f32]) {
        let parts = self.parts(usages);
        for (score, parts) in scores.iter_mut().zip(parts) {
            *score = parts.closed_form + parts.network;
        }
    }

    /// What each score is made of.
    pub fn parts(&self, usages: &[Usage]) -> Vec<HeadParts> {
        let rows = rows_of(usages);
        let mut block = InputBlock::default();
        let closed_forms = usages.chunks(BLOCK_PAIRS).flat_map(|usages| {
            block.fill(usages, &[]);
            block.ratio_sums[..usages.len()].to_vec()
        });
        closed_forms
            .zip(fit::logits(&self.parameters, &rows))
            .map(|(sum, network)| HeadParts { closed_form: CLOSED_FORM_SHARE * sum, network })
            .collect()
    }
}

/// Pairs that one core scores at a time.
const PAIRS_PER_TASK: usize = 1024;

/// The inputs of pairs, `[pairs, ROW]`, with zeros behind the inputs.
fn rows_of(usages: &[Usage]) -> Vec<f32> {
    let mut rows = vec![0.0; usages.len() * ROW];
    let mut block = InputBlock::default();
    for (usages, rows) in usages.chunks(BLOCK_PAIRS).zip(rows.chunks_mut(BLOCK_PAIRS * ROW)) {
        block.fill(usages, &[]);
        for (pair, row) in rows.chunks_exact_mut(ROW).enumerate() {
            for (value, column) in row.iter_mut().zip(&block.inputs) {
                *value = column[pair];
            }
        }
    }
    rows
}

/// The head's network as a Burn module: its definition, forward only.
#[derive(Module, Debug)]
pub struct HeadModule {
    first_weight: Param<Tensor<2>>,
    first_bias: Param<Tensor<2>>,
    second_weight: Param<Tensor<2>>,
    second_bias: Param<Tensor<2>>,
    output_weight: Param<Tensor<2>>,
    skip_weight: Param<Tensor<2>>,
    output_bias: Param<Tensor<2>>,
}

impl HeadModule {
    /// The module of a head, on a device.
    pub fn new(head: &Head, device: &Device) -> Self {
        let tensor = |part: Part, shape: [usize; 2]| {
            let values = head.parameters[part.range()].to_vec();
            Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), device))
        };
        let biases: f32 =
            [Part::OutputBias, Part::SkipBias].map(|part| head.parameters[part.range().start]).iter().sum();
        Self {
            first_weight: tensor(Part::FirstWeight, [NUM_INPUTS, HIDDEN_1]),
            first_bias: tensor(Part::FirstBias, [1, HIDDEN_1]),
            second_weight: tensor(Part::SecondWeight, [HIDDEN_1, HIDDEN_2]),
            second_bias: tensor(Part::SecondBias, [1, HIDDEN_2]),
            output_weight: tensor(Part::OutputWeight, [HIDDEN_2, 1]),
            skip_weight: tensor(Part::SkipWeight, [NUM_INPUTS, 1]),
            output_bias: Param::from_tensor(Tensor::from_data(TensorData::new(vec![biases], [1, 1]), device)),
        }
    }

    /// Logits of inputs.
    ///
    /// # Shapes
    ///
    /// inputs `[pairs, 60]`, output `[pairs, 1]`.
    pub fn forward(&self, inputs: Tensor<2>) -> Tensor<2> {
        let first = relu(inputs.clone().matmul(self.first_weight.val()) + self.first_bias.val());
        let second = relu(first.matmul(self.second_weight.val()) + self.second_bias.val());
        second.matmul(self.output_weight.val())
            + inputs.matmul(self.skip_weight.val())
            + self.output_bias.val()
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::event::Address;

    /// Accounts with a home /24 each, and now and then another address.
    fn log_of(num_events: usize) -> (Vec<u64>, Vec<Address>, Vec<i64>) {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let events = (0..num_events).map(|i| {
            let account = rng.random_range(0..60u32);
            let home = 0x0A00_0000 + account * 0x1_0700;
            let address = if rng.random_bool(0.9) { home + rng.random_range(0..20) } else { rng.random() };
            (u64::from(account) << 40 | 7, Address::from_ipv4(address), 1_700_000_000 + 600 * i as i64)
        });
        let rows: Vec<_> = events.collect();
        (
            rows.iter().map(|row| row.0).collect(),
            rows.iter().map(|row| row.1).collect(),
            rows.iter().map(|row| row.2).collect(),
        )
    }

    fn fitted() -> (Head, Vec<Usage>, Vec<Usage>) {
        let (entities, addresses, times) = log_of(6000);
        let log = EventLog { entities: &entities, addresses: &addresses, times: Some(&times), order: None };
        let head = Head::fit(&log, 5);
        let query = |i: usize, address| Query {
            entity: entities[i],
            address,
            position: 6000,
            time: 1_700_000_000 + 600 * 6000,
        };
        let own: Vec<Query> = (5000..6000).map(|i| query(i, addresses[i])).collect();
        let others: Vec<Query> = (5000..6000).map(|i| query(i, addresses[i - 977])).collect();
        (head, prequential_usage(&log, &own), prequential_usage(&log, &others))
    }

    #[test]
    fn a_fitted_head_tells_own_addresses_from_those_of_others() {
        let (head, own, others) = fitted();
        let mut scores = [vec![0.0; own.len()], vec![0.0; others.len()]];
        head.scores(&own, &mut scores[0]);
        head.scores(&others, &mut scores[1]);
        let mut num_right = 0.0;
        for own in &scores[0] {
            num_right += scores[1].iter().filter(|other| own > *other).count() as f64;
        }
        let auc = num_right / (scores[0].len() * scores[1].len()) as f64;
        assert!(auc > 0.9, "{auc}");
    }

    #[test]
    fn the_same_seed_gives_the_same_bits_with_any_number_of_threads() {
        let (entities, addresses, times) = log_of(1500);
        let log = EventLog { entities: &entities, addresses: &addresses, times: Some(&times), order: None };
        let fit = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Head::fit(&log, 9))
        };
        let [one, three] = [fit(1), fit(3)];
        assert_eq!(one, three);
        assert_ne!(one, Head::fit(&log, 10));
    }

    #[test]
    fn parts_add_up_and_the_host_computes_what_the_module_does() {
        let (head, own, _) = fitted();
        let mut scores = vec![0.0; own.len()];
        head.scores(&own, &mut scores);
        let parts = head.parts(&own);
        for (parts, score) in parts.iter().zip(&scores) {
            assert_eq!(parts.closed_form + parts.network, *score);
        }
        let rows = rows_of(&own);
        let inputs: Vec<f32> = rows.chunks_exact(ROW).flat_map(|row| row[..NUM_INPUTS].to_vec()).collect();
        for choice in [crate::config::DeviceChoice::Ndarray, crate::config::DeviceChoice::Wgpu] {
            let Ok(device) = crate::device::choose(choice) else { continue };
            let inputs = TensorData::new(inputs.clone(), [own.len(), NUM_INPUTS]);
            let module = HeadModule::new(&head, &device.device);
            let logits = module.forward(Tensor::from_data(inputs, &device.device));
            let logits = crate::tensors::read_floats(logits).unwrap();
            for (parts, logit) in parts.iter().zip(logits) {
                assert!(
                    (parts.network - logit).abs() < 2e-4 * (1.0 + logit.abs()),
                    "{} {logit}",
                    parts.network
                );
            }
        }
    }

    #[test]
    fn parameters_that_are_not_a_heads_are_refused() {
        assert!(Head::from_parameters(vec![0.0; NUM_PARAMETERS]).is_some());
        assert!(Head::from_parameters(vec![0.0; NUM_PARAMETERS - 1]).is_none());
        assert!(Head::from_parameters(vec![f32::NAN; NUM_PARAMETERS]).is_none());
    }
}
