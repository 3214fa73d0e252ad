//! Fits the head on the counts before each of a sample of past events, and of pairs that did not occur: weighted cross
//! entropy by Adam (Kingma and Ba 2015), with a learning rate that falls linearly to 0.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::event_log::{EventLog, Query};
use super::feature_block::{BLOCK_PAIRS, InputBlock};
use super::features::NUM_INPUTS;
use super::gradient::{FitData, GradientPass, ROW};
use super::head::Head;
use super::negatives::{SamplingOptions, TrainingPair, sample_pairs};
use super::network::{HIDDEN_1, HIDDEN_2, NUM_FITTED, NUM_PARAMETERS, Part};
use super::prequential::{prequential_bytes, prequential_usage};
use super::usage::{NUM_LEVELS, Usage};
use crate::allocator::give_back;
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

/// Fits a head on a log. The same log and options give the same bytes with any number of threads.
///
/// # Errors
///
/// [`Error::Data`] where the log has no event.
pub fn fit_head(log: &EventLog<'_>, options: &FitOptions) -> Result<Head> {
    if log.is_empty() {
        let help = "give at least one event";
        return Err(Error::data("the events", "there are none to fit the head of the history on", help));
    }
    let pairs = sample_pairs(log, &options.sampling);
    let queries: Vec<Query> = pairs.iter().map(|pair| pair.query).collect();
    give_back();
    let usages = prequential_usage(log, &queries);
    give_back();
    let mut inputs = input_rows(&usages);
    drop(usages);
    let unused: Vec<usize> = (0..NUM_INPUTS).filter(|input| !options.used_inputs[*input]).collect();
    for row in &mut inputs {
        unused.iter().for_each(|input| row[*input] = 0.0);
    }
    let labels: Vec<f32> = pairs.iter().map(|pair| f32::from(u8::from(pair.is_event))).collect();
    let weights: Vec<f32> = pairs.iter().map(|pair| pair.weight).collect();
    let data = FitData { inputs: &inputs, labels: &labels, weights: &weights };
    let mut parameters = vec![0.0; NUM_PARAMETERS];
    fit_network(&data, options, &mut parameters[..NUM_FITTED]);
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
pub(super) fn initial_parameters(seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut parameters = vec![0.0; NUM_FITTED];
    let drawn = [
        (Part::FirstWeight, NUM_INPUTS, 1.0),
        (Part::FirstBias, NUM_INPUTS, 1.0),
        (Part::SecondWeight, HIDDEN_1, 1.0),
        (Part::SecondBias, HIDDEN_1, 1.0),
        (Part::OutputWeight, HIDDEN_2, 0.1),
        (Part::OutputBias, HIDDEN_2, 1.0),
    ];
    for (part, fan_in, scale) in drawn {
        let bound = 1.0 / (fan_in as f32).sqrt();
        for weight in &mut parameters[part.range()] {
            *weight = rng.random_range(-bound..bound) * scale;
        }
    }
    // The inputs of the log ratios are 0.3 times these.
    parameters[Part::SkipWeight.range()][..NUM_LEVELS].fill(3.0);
    parameters
}

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

fn fit_network(data: &FitData, options: &FitOptions, parameters: &mut [f32]) {
    parameters.copy_from_slice(&initial_parameters(options.seed));
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
