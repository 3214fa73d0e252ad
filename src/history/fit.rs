//! Fits the head on the counts before each of a sample of past events, and of pairs that did not occur: weighted cross
//! entropy by Adam (Kingma and Ba 2015), with a learning rate that falls linearly to 0.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::event_log::{EventLog, Query};
use super::feature_block::{BLOCK_PAIRS, InputBlock};
use super::features::{NUM_BASE_INPUTS, NUM_INPUTS, NUM_OWNER_INPUTS};
use super::gradient::{FitData, GradientPass, ROW};
use super::head::Head;
use super::negatives::{SamplingOptions, TrainingPair, sample_pairs};
use super::network::{HIDDEN_1, HIDDEN_2, NUM_FITTED, NUM_PARAMETERS, Part};
use super::owner_prequential::add_prequential_owners;
use super::prequential::{prequential_bytes, prequential_usage};
use super::usage::{NUM_LEVELS, Usage};
use crate::allocator::give_back;
use crate::networks::{NUM_OWNER_LEVELS, Networks};
use crate::{Error, Result};

/// How a head is fitted.
///
/// One set of defaults serves all data. Others were compared on logins of Tor relays, two chat servers (one of them in
/// twelve half-years) and generated logins, and rejected because each loses more on some set than it gains on another;
/// figures are areas under the ROC curve, medians of three seeds unless said, whose noise is about .003 in the half-years:
///
/// - a closed weight of 0.5 and uniform negatives of weight 0.75: attacks from the account's own /16 on Tor relays fall from
///   .983 to .978, random addresses there rise from .9889 to .9897; the half-years stay at .950;
/// - one draw of each event of a small log: the half-years fall from .950 to .943 (with one other seed and other attacks, by
///   .0004 only: docs/accuracy.md);
/// - (one seed, as all below) a closed weight of 1: attacks from the account's own /16 fall by a further .01 there;
/// - weight decay towards the closed form, the stronger the fewer accounts there are, and events weighted by the inverse of
///   their account's number: one split of a chat server whose four accounts have half of the events rises from .80 to .90,
///   its half-years fall to .928;
/// - negatives from addresses that were new to their own account, in place of half of the other accounts' addresses:
///   generated logins rise from .9885 to .9891, the half-years fall by .009 and Tor relays by .002;
/// - twice as many steps, mini-batches of 4,096 pairs, or the mean of four heads: within .001 on Tor relays and on
///   generated logins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FitOptions {
    /// Which pairs it is fitted on.
    pub sampling: SamplingOptions,
    /// Number of mini-batches.
    pub steps: usize,
    /// Pairs of a mini-batch.
    pub mini_batch_size: usize,
    /// The learning rate of the first step; it falls linearly to 0.
    pub learning_rate: f64,
    /// Weight of the sum of the squared weights in the loss.
    pub weight_decay: f64,
    /// The weight of the closed form in the score.
    pub closed_weight: f32,
    /// Which inputs the head uses, in the order of [`input_names`](super::input_names): the others have weights of 0.
    /// All but in an ablation.
    pub used_inputs: [bool; NUM_INPUTS],
    /// Seed of the initial weights and of the mini-batches.
    pub seed: u64,
}

impl Default for FitOptions {
    fn default() -> Self {
        Self {
            sampling: SamplingOptions::default(),
            steps: 1500,
            mini_batch_size: 1024,
            learning_rate: 4e-3,
            weight_decay: 1e-5,
            closed_weight: 0.3,
            used_inputs: [true; NUM_INPUTS],
            seed: 0,
        }
    }
}

impl FitOptions {
    /// The defaults with this seed for every draw.
    pub fn of_seed(seed: u64) -> Self {
        Self { sampling: SamplingOptions { seed, ..SamplingOptions::default() }, seed, ..Self::default() }
    }
}

/// Fits a head on a log, with what a table says of the owners of addresses, where there is one. The same log and options give the same bytes with any number of threads.
///
/// # Errors
///
/// [`Error::Data`] where the log has no event.
pub fn fit_head(log: &EventLog<'_>, networks: Option<&Networks>, options: &FitOptions) -> Result<Head> {
    if log.is_empty() {
        let help = "give at least one event";
        return Err(Error::data("the events", "there are none to fit the head of the history on", help));
    }
    let pairs = sample_pairs(log, &options.sampling);
    let queries: Vec<Query> = pairs.iter().map(|pair| pair.query).collect();
    give_back();
    let mut usages = prequential_usage(log, &queries);
    if let Some(networks) = networks {
        add_prequential_owners(networks, log, &queries, &mut usages);
    }
    give_back();
    let mut inputs = input_rows(&usages);
    drop(usages);
    let used = used_inputs(networks, options);
    let unused: Vec<usize> = (0..NUM_INPUTS).filter(|input| !used[*input]).collect();
    for row in &mut inputs {
        unused.iter().for_each(|input| row[*input] = 0.0);
    }
    let labels: Vec<f32> = pairs.iter().map(|pair| f32::from(u8::from(pair.is_event))).collect();
    let weights: Vec<f32> = pairs.iter().map(|pair| pair.weight).collect();
    let data = FitData { inputs: &inputs, labels: &labels, weights: &weights };
    let mut parameters = vec![0.0; NUM_PARAMETERS];
    fit_network(&data, options, &used, &mut parameters[..NUM_FITTED]);
    parameters[Part::ClosedWeight.range()].fill(options.closed_weight);
    for input in unused {
        let first = Part::FirstWeight.range().start + input * HIDDEN_1;
        parameters[first..first + HIDDEN_1].fill(0.0);
        parameters[Part::SkipWeight.range().start + input] = 0.0;
    }
    Head::from_parameters(parameters).ok_or_else(|| {
        let help = "no setting causes this: report it with the events";
        Error::data("the events", "a weight of the head that was fitted on them is not finite", help)
    })
}

/// Bytes that [`fit_head`] takes beside a log of so many events, with the default sampling. What the walk over one account's
/// events takes is left out: some 200 bytes an event of it, on each core.
pub fn fit_bytes(num_events: u64) -> u64 {
    let num_pairs = SamplingOptions::default().max_pairs(num_events);
    let of_pairs = num_pairs * (size_of::<TrainingPair>() + size_of::<Query>()) as u64;
    let of_rows = num_pairs * (size_of::<Usage>() + size_of::<[f32; ROW]>()) as u64;
    of_pairs + of_rows.max(prequential_bytes(num_events, num_pairs))
}

/// The inputs that the options name and the table has, where there is one.
fn used_inputs(networks: Option<&Networks>, options: &FitOptions) -> [bool; NUM_INPUTS] {
    let num_groups = networks.map_or([0; NUM_OWNER_LEVELS], Networks::num_groups);
    std::array::from_fn(|input| {
        let level = input.checked_sub(NUM_BASE_INPUTS).map(|input| input / NUM_OWNER_INPUTS);
        options.used_inputs[input] && level.is_none_or(|level| num_groups[level] > 0)
    })
}

/// The inputs of pairs, `[pairs, ROW]`: each row is padded with zeros.
pub(super) fn input_rows(usages: &[Usage]) -> Vec<[f32; ROW]> {
    use rayon::prelude::*;
    let mut rows = vec![[0.0; ROW]; usages.len()];
    let blocks = rows.par_chunks_mut(BLOCK_PAIRS).zip(usages.par_chunks(BLOCK_PAIRS));
    blocks.for_each_init(Box::<InputBlock>::default, |block, (rows, usages)| {
        block.fill(usages);
        for (pair, row) in rows.iter_mut().enumerate() {
            for (value, column) in row.iter_mut().zip(&block.inputs) {
                *value = column[pair];
            }
        }
    });
    rows
}

/// Weights as PyTorch's `nn.Linear` draws them, the last layer's a tenth of that; the linear part begins as the closed form.
///
/// Weights of owners are drawn apart, and those of levels that are not used are 0: without a table, everything is as if
/// there were no such inputs.
pub(super) fn initial_parameters(seed: u64, used: &[bool; NUM_INPUTS]) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut parameters = vec![0.0; NUM_FITTED];
    let of_owners = used[NUM_BASE_INPUTS..].iter().filter(|used| **used).count();
    let num_inputs = NUM_BASE_INPUTS + of_owners;
    let first = Part::FirstWeight.range();
    let first = first.start..first.start + NUM_BASE_INPUTS * HIDDEN_1;
    let drawn = [
        (first.clone(), num_inputs, 1.0),
        (Part::FirstBias.range(), num_inputs, 1.0),
        (Part::SecondWeight.range(), HIDDEN_1, 1.0),
        (Part::SecondBias.range(), HIDDEN_1, 1.0),
        (Part::OutputWeight.range(), HIDDEN_2, 0.1),
        (Part::OutputBias.range(), HIDDEN_2, 1.0),
    ];
    let mut draw = |rng: &mut ChaCha8Rng, range: std::ops::Range<usize>, fan_in: usize, scale: f32| {
        let bound = 1.0 / (fan_in as f32).sqrt();
        for weight in &mut parameters[range] {
            *weight = rng.random_range(-bound..bound) * scale;
        }
    };
    for (range, fan_in, scale) in drawn {
        draw(&mut rng, range, fan_in, scale);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(OWNERS_STREAM);
    for input in (NUM_BASE_INPUTS..NUM_INPUTS).filter(|input| used[*input]) {
        let start = first.start + input * HIDDEN_1;
        draw(&mut rng, start..start + HIDDEN_1, num_inputs, 1.0);
    }
    // The inputs of the log ratios are 0.3 times these.
    parameters[Part::SkipWeight.range()][..NUM_LEVELS].fill(3.0);
    parameters
}

/// The stream of random numbers of which the weights of owners' inputs are drawn.
const OWNERS_STREAM: u64 = 2;

/// Whether a parameter is a weight and not a bias: only weights decay.
fn decays(parameter: usize) -> bool {
    [Part::FirstWeight, Part::SecondWeight, Part::OutputWeight, Part::SkipWeight]
        .iter()
        .any(|part| part.range().contains(&parameter))
}

/// Decays of Adam's moments, and the term that keeps its denominator from 0.
const BETAS: [f64; 2] = [0.9, 0.999];
const EPSILON: f64 = 1e-8;

/// The last learning rate as a share of the first.
const LAST_RATE: f64 = 0.001;

fn fit_network(data: &FitData, options: &FitOptions, used: &[bool; NUM_INPUTS], parameters: &mut [f32]) {
    parameters.copy_from_slice(&initial_parameters(options.seed, used));
    let decays: Vec<bool> = (0..NUM_FITTED).map(decays).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    rng.set_stream(1);
    let mut moments = vec![[0.0f64; 2]; NUM_FITTED];
    let mut gradient = vec![0.0; NUM_FITTED];
    let mut rows = vec![0; options.mini_batch_size];
    let mut pass = GradientPass::default();
    for step in 0..options.steps {
        rows.fill_with(|| rng.random_range(0..data.labels.len() as u32));
        pass.run(parameters, data, &rows, &mut gradient);
        let rate = options.learning_rate * (1.0 - step as f64 / options.steps as f64 + LAST_RATE);
        let corrections = BETAS.map(|beta| 1.0 - beta.powi(step as i32 + 1));
        for (i, parameter) in parameters.iter_mut().enumerate() {
            let decay = if decays[i] { 2.0 * options.weight_decay * f64::from(*parameter) } else { 0.0 };
            let slope = f64::from(gradient[i]) + decay;
            let [first, second] = &mut moments[i];
            *first = BETAS[0] * *first + (1.0 - BETAS[0]) * slope;
            *second = BETAS[1] * *second + (1.0 - BETAS[1]) * slope * slope;
            let denominator = (*second / corrections[1]).sqrt() + EPSILON;
            *parameter -= (rate * *first / corrections[0] / denominator) as f32;
        }
    }
}

#[cfg(test)]
mod tests;
