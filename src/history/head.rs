//! The head: one small function for all accounts, from what a history knows of a pair to a score; high = usual.
//!
//! ```text
//! x       = the inputs of `features`                      [59], with a table of networks [73]
//! h       = relu(relu(x W1 + b1) W2 + b2)                 [20], then [12]
//! network = h w3 + b3 + x w + b
//! score   = network + c · closed form                     of the log ratios, see `closed_form`
//! ```
//!
//! The closed form has a fixed weight c, which the fit does not see: it limits how far a head that was fitted on few
//! accounts departs from the closed form. [`HeadModule`](super::HeadModule) defines the network. This is the form for the
//! host: blocks of pairs whose inputs are columns, so that a SIMD vector holds one input of several pairs; a single pair has
//! a way of its own through the network ([`PairNetwork`]).

use pulp::Simd;
use rayon::prelude::*;

use super::column::Column;
use super::feature_block::{BLOCK_PAIRS, InputBlock};
use super::features::{NUM_BASE_INPUTS, NUM_INPUTS};
use super::network::{HIDDEN_1, HIDDEN_2, NUM_PARAMETERS, Part};
use super::pair_network::PairNetwork;
use super::usage::Usage;

/// A head's parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    parameters: Vec<f32>,
    pair_network: Box<PairNetwork>,
    num_inputs: usize,
}

/// The two parts of a score, which add up to it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HeadParts {
    /// The closed form's weight times its score.
    pub closed_form: f32,
    /// The network's part.
    pub network: f32,
}

/// Pairs of one task of a core.
const PAIRS_PER_TASK: usize = 1024;

/// Pairs of a small block, for calls that have no more.
const FEW_PAIRS: usize = 16;

impl Head {
    /// A head with these parameters, in the order of [`Part::range`]; `None` where their number is wrong or one of them is
    /// not finite.
    pub fn from_parameters(parameters: Vec<f32>) -> Option<Self> {
        let is_sound = parameters.len() == NUM_PARAMETERS && parameters.iter().all(|value| value.is_finite());
        is_sound.then(|| {
            let num_inputs = num_inputs(&parameters);
            Self { pair_network: Box::new(PairNetwork::new(&parameters, num_inputs)), num_inputs, parameters }
        })
    }

    /// How many of the inputs have a weight: those behind are of owners, and the head was fitted without them.
    pub(super) fn num_inputs(&self) -> usize {
        self.num_inputs
    }

    /// Whether the head was fitted with a table of networks.
    pub fn uses_networks(&self) -> bool {
        self.num_inputs > NUM_BASE_INPUTS
    }

    /// All parameters in one row, `[NUM_PARAMETERS]`.
    pub fn parameters(&self) -> &[f32] {
        &self.parameters
    }

    /// The values of one part.
    pub fn part(&self, part: Part) -> &[f32] {
        &self.parameters[part.range()]
    }

    /// The weight of the closed form.
    pub fn closed_weight(&self) -> f32 {
        self.part(Part::ClosedWeight)[0]
    }

    /// The scores of pairs, on all cores; high = usual.
    ///
    /// # Shapes
    ///
    /// - `usages`: `[pairs]`, the counts of each
    /// - `scores`: `[pairs]`
    ///
    /// # Panics
    ///
    /// Where lengths differ.
    pub fn scores(&self, usages: &[Usage], scores: &mut [f32]) {
        assert_eq!(usages.len(), scores.len(), "a score for each pair");
        let tasks = scores.par_chunks_mut(PAIRS_PER_TASK).zip(usages.par_chunks(PAIRS_PER_TASK));
        tasks.for_each(|(scores, usages)| self.score_on_one_core(usages, scores));
    }

    /// [`Head::scores`] on the calling thread.
    pub fn score_on_one_core(&self, usages: &[Usage], scores: &mut [f32]) {
        assert_eq!(usages.len(), scores.len(), "a score for each pair");
        match usages {
            [usage] => scores[0] = self.score(usage),
            _ if usages.len() <= FEW_PAIRS => self.score_blocks::<FEW_PAIRS>(usages, scores),
            _ => self.score_blocks::<BLOCK_PAIRS>(usages, scores),
        }
    }

    /// The score of one pair.
    pub fn score(&self, usage: &Usage) -> f32 {
        pulp::Arch::new().dispatch(ScorePair { head: self, usage }).sum()
    }

    fn score_blocks<const PAIRS: usize>(&self, usages: &[Usage], scores: &mut [f32]) {
        let mut buffers = Buffers::<PAIRS>::default();
        for (usages, scores) in usages.chunks(PAIRS).zip(scores.chunks_mut(PAIRS)) {
            pulp::Arch::new().dispatch(ScoreBlock { head: self, usages, buffers: &mut buffers });
            for (score, parts) in scores.iter_mut().zip(buffers.parts()) {
                *score = parts.sum();
            }
        }
    }

    /// The parts of each score, `[pairs]`.
    pub fn parts(&self, usages: &[Usage]) -> Vec<HeadParts> {
        let mut buffers = Buffers::<BLOCK_PAIRS>::default();
        let mut all = Vec::with_capacity(usages.len());
        for usages in usages.chunks(BLOCK_PAIRS) {
            pulp::Arch::new().dispatch(ScoreBlock { head: self, usages, buffers: &mut buffers });
            all.extend(buffers.parts().take(usages.len()));
        }
        all
    }
}

/// All inputs where one of the owners' has a weight, else those that need no table of networks.
fn num_inputs(parameters: &[f32]) -> usize {
    let weights = &parameters[Part::FirstWeight.range()][NUM_BASE_INPUTS * HIDDEN_1..];
    let linear = &parameters[Part::SkipWeight.range()][NUM_BASE_INPUTS..];
    match weights.iter().chain(linear).any(|weight| *weight != 0.0) {
        true => NUM_INPUTS,
        false => NUM_BASE_INPUTS,
    }
}

impl HeadParts {
    fn sum(self) -> f32 {
        self.network + self.closed_form
    }
}

/// Computes both parts of the score of one pair.
struct ScorePair<'a> {
    head: &'a Head,
    usage: &'a Usage,
}

impl pulp::WithSimd for ScorePair<'_> {
    type Output = HeadParts;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> HeadParts {
        let mut block = InputBlock::<1>::default();
        block.fill_inline(std::slice::from_ref(self.usage));
        let closed_form = self.head.closed_weight() * block.ratio_sums[0];
        HeadParts { closed_form, network: self.head.pair_network.forward(simd, &block.inputs) }
    }
}

/// The buffers of a block's scores.
struct Buffers<const PAIRS: usize> {
    inputs: InputBlock<PAIRS>,
    hidden_1: [Column<PAIRS>; HIDDEN_1],
    hidden_2: [Column<PAIRS>; HIDDEN_2],
    network: Column<PAIRS>,
    closed_form: Column<PAIRS>,
}

impl<const PAIRS: usize> Default for Buffers<PAIRS> {
    fn default() -> Self {
        Self {
            inputs: InputBlock::default(),
            hidden_1: [[0.0; PAIRS]; HIDDEN_1],
            hidden_2: [[0.0; PAIRS]; HIDDEN_2],
            network: [0.0; PAIRS],
            closed_form: [0.0; PAIRS],
        }
    }
}

impl<const PAIRS: usize> Buffers<PAIRS> {
    /// The parts of the block's scores, those past the last pair included.
    fn parts(&self) -> impl Iterator<Item = HeadParts> {
        let parts = self.network.iter().zip(&self.closed_form);
        parts.map(|(network, closed_form)| HeadParts { network: *network, closed_form: *closed_form })
    }
}

/// Computes both parts of the scores of a block.
struct ScoreBlock<'a, const PAIRS: usize> {
    head: &'a Head,
    usages: &'a [Usage],
    buffers: &'a mut Buffers<PAIRS>,
}

impl<const PAIRS: usize> pulp::WithSimd for ScoreBlock<'_, PAIRS> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Buffers { inputs, hidden_1, hidden_2, network, closed_form } = self.buffers;
        inputs.fill_inline(self.usages);
        let part = |part| self.head.part(part);
        let num_inputs = self.head.num_inputs;
        layer(simd, &inputs.inputs[..num_inputs], part(Part::FirstWeight), part(Part::FirstBias), hidden_1);
        layer(simd, hidden_1, part(Part::SecondWeight), part(Part::SecondBias), hidden_2);
        *network = [part(Part::OutputBias)[0] + part(Part::SkipBias)[0]; PAIRS];
        add_scaled(simd, &inputs.inputs[..num_inputs], part(Part::SkipWeight), network);
        add_scaled(simd, hidden_2, part(Part::OutputWeight), network);
        let weight = self.head.closed_weight();
        for (part, sum) in closed_form.iter_mut().zip(&inputs.ratio_sums) {
            *part = weight * sum;
        }
    }
}

/// `units = relu(weight^T inputs + bias)`, with `weight` `[inputs, units]`. A tile is four units by two vectors of pairs, where
/// there are two: eight independent sums hide the latency of an addition.
#[inline(always)]
fn layer<S: Simd, const OUT: usize, const PAIRS: usize>(
    simd: S,
    inputs: &[Column<PAIRS>],
    weight: &[f32],
    bias: &[f32],
    units: &mut [Column<PAIRS>; OUT],
) {
    match PAIRS / S::F32_LANES {
        1 => layer_of_tiles::<S, OUT, PAIRS, 1>(simd, inputs, weight, bias, units),
        _ => layer_of_tiles::<S, OUT, PAIRS, 2>(simd, inputs, weight, bias, units),
    }
}

#[inline(always)]
fn layer_of_tiles<S: Simd, const OUT: usize, const PAIRS: usize, const VECTORS: usize>(
    simd: S,
    inputs: &[Column<PAIRS>],
    weight: &[f32],
    bias: &[f32],
    units: &mut [Column<PAIRS>; OUT],
) {
    const UNITS: usize = 4;
    const { assert!(OUT.is_multiple_of(UNITS) && PAIRS.is_multiple_of(16)) };
    let weight = weight.as_chunks::<OUT>().0;
    let zero = simd.splat_f32s(0.0);
    for (tile, units) in units.as_chunks_mut::<UNITS>().0.iter_mut().enumerate() {
        for start in (0..PAIRS / S::F32_LANES).step_by(VECTORS) {
            let bias: &[f32; UNITS] = bias[tile * UNITS..].first_chunk().expect("a tile of units");
            let mut sums = bias.map(|bias| [simd.splat_f32s(bias); VECTORS]);
            for (input, weight) in inputs.iter().zip(weight) {
                let input = &S::as_simd_f32s(input).0[start..start + VECTORS];
                for unit in 0..UNITS {
                    let weight = simd.splat_f32s(weight[tile * UNITS + unit]);
                    for vector in 0..VECTORS {
                        sums[unit][vector] = simd.mul_add_e_f32s(weight, input[vector], sums[unit][vector]);
                    }
                }
            }
            for (unit, sums) in units.iter_mut().zip(sums) {
                let unit = &mut S::as_mut_simd_f32s(unit).0[start..start + VECTORS];
                for vector in 0..VECTORS {
                    unit[vector] = simd.max_f32s(sums[vector], zero);
                }
            }
        }
    }
}

/// `sums += weights^T columns`.
#[inline(always)]
fn add_scaled<S: Simd, const PAIRS: usize>(
    simd: S,
    columns: &[Column<PAIRS>],
    weights: &[f32],
    sums: &mut Column<PAIRS>,
) {
    let sums = S::as_mut_simd_f32s(sums).0;
    for (column, weight) in columns.iter().zip(weights) {
        let weight = simd.splat_f32s(*weight);
        for (sum, value) in sums.iter_mut().zip(S::as_simd_f32s(column).0) {
            *sum = simd.mul_add_e_f32s(weight, *value, *sum);
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
