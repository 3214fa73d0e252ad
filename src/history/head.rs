//! The head: one small function for all accounts, from what a history knows of a pair to a score; high = usual.
//!
//! ```text
//! x       = the inputs of `features`                      [60]
//! h       = relu(relu(x W1 + b1) W2 + b2)                 [20], then [12]
//! network = h w3 + b3 + x w + b
//! score   = network + c · sum of r_l                      r_l: the log ratios of the closed form
//! ```
//!
//! The closed form has a weight c of its own, which the fit does not see: it is what a head that was fitted on few accounts
//! does not get far from. [`HeadModule`](super::HeadModule) is the definition. This is the host's form: 64 pairs at a time, whose
//! inputs are columns, so that a vector of the instruction set holds one input of several pairs.

use pulp::Simd;
use rayon::prelude::*;

use super::feature_block::{BLOCK_PAIRS, Column, InputBlock};
use super::features::NUM_INPUTS;
use super::network::{HIDDEN_1, HIDDEN_2, NUM_PARAMETERS, Part};
use super::usage::Usage;

/// A head's parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    parameters: Vec<f32>,
}

/// What a score is made of; the two add up to it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HeadParts {
    /// The closed form's weight times the sum of its log ratios.
    pub closed_form: f32,
    /// The network's part.
    pub network: f32,
}

/// Pairs that one core scores at a time.
const PAIRS_PER_TASK: usize = 1024;

impl Head {
    /// A head of parameters that lie as [`Part::range`] says; `None` where their number is not that of a head's or one is
    /// not finite.
    pub fn from_parameters(parameters: Vec<f32>) -> Option<Self> {
        let is_sound = parameters.len() == NUM_PARAMETERS && parameters.iter().all(|value| value.is_finite());
        is_sound.then_some(Self { parameters })
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

    /// Whether the head was fitted with the engine's scores, and wants them.
    pub fn has_engine(&self) -> bool {
        self.part(Part::EngineScale)[0] != 0.0
    }

    /// The scores of pairs, on all cores; high = usual.
    ///
    /// # Shapes
    ///
    /// - `usages`: `[pairs]`, what is known of each
    /// - `engine`: `[pairs]`, the engine's dot products; or nothing, then each counts as their mean
    /// - `scores`: `[pairs]`
    ///
    /// # Panics
    ///
    /// Where lengths differ.
    pub fn scores(&self, usages: &[Usage], engine: &[f32], scores: &mut [f32]) {
        assert_eq!(usages.len(), scores.len(), "a score for each pair");
        scores.par_chunks_mut(PAIRS_PER_TASK).enumerate().for_each(|(task, scores)| {
            let range = task * PAIRS_PER_TASK..task * PAIRS_PER_TASK + scores.len();
            let engine = if engine.is_empty() { engine } else { &engine[range.clone()] };
            self.score_on_one_core(&usages[range], engine, scores);
        });
    }

    /// [`Head::scores`] on the calling thread.
    pub fn score_on_one_core(&self, usages: &[Usage], engine: &[f32], scores: &mut [f32]) {
        assert_eq!(usages.len(), scores.len(), "a score for each pair");
        let mut buffers = Box::<Buffers>::default();
        for (block, scores) in scores.chunks_mut(BLOCK_PAIRS).enumerate() {
            let start = block * BLOCK_PAIRS;
            let engine = if engine.is_empty() { engine } else { &engine[start..start + scores.len()] };
            self.block(&usages[start..start + scores.len()], engine, &mut buffers);
            let sums = buffers.network.iter().zip(&buffers.closed_form);
            for (score, (network, closed_form)) in scores.iter_mut().zip(sums) {
                *score = network + closed_form;
            }
        }
    }

    /// What each score is made of, `[pairs]`; otherwise as [`Head::scores`].
    pub fn parts(&self, usages: &[Usage], engine: &[f32]) -> Vec<HeadParts> {
        let mut buffers = Box::<Buffers>::default();
        let mut all = Vec::with_capacity(usages.len());
        for (block, usages) in usages.chunks(BLOCK_PAIRS).enumerate() {
            let start = block * BLOCK_PAIRS;
            let engine = if engine.is_empty() { engine } else { &engine[start..start + usages.len()] };
            self.block(usages, engine, &mut buffers);
            let sums = buffers.network.iter().zip(&buffers.closed_form);
            let parts = sums.map(|(network, closed_form)| HeadParts { network: *network, closed_form: *closed_form });
            all.extend(parts.take(usages.len()));
        }
        all
    }

    /// Both parts of the scores of a block of pairs.
    fn block(&self, usages: &[Usage], engine: &[f32], buffers: &mut Buffers) {
        let (scale, mean) = (self.part(Part::EngineScale)[0], self.part(Part::EngineMean)[0]);
        for (scaled, score) in buffers.engine.iter_mut().zip(engine) {
            *scaled = (score - mean) * scale;
        }
        pulp::Arch::new().dispatch(ScoreBlock { head: self, usages, num_engine: engine.len(), buffers });
    }
}

/// What the scores of a block need.
struct Buffers {
    inputs: InputBlock,
    engine: Column,
    hidden_1: [Column; HIDDEN_1],
    hidden_2: [Column; HIDDEN_2],
    network: Column,
    closed_form: Column,
}

impl Default for Buffers {
    fn default() -> Self {
        Self {
            inputs: InputBlock::default(),
            engine: [0.0; BLOCK_PAIRS],
            hidden_1: [[0.0; BLOCK_PAIRS]; HIDDEN_1],
            hidden_2: [[0.0; BLOCK_PAIRS]; HIDDEN_2],
            network: [0.0; BLOCK_PAIRS],
            closed_form: [0.0; BLOCK_PAIRS],
        }
    }
}

struct ScoreBlock<'a> {
    head: &'a Head,
    usages: &'a [Usage],
    num_engine: usize,
    buffers: &'a mut Buffers,
}

impl pulp::WithSimd for ScoreBlock<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Buffers { inputs, engine, hidden_1, hidden_2, network, closed_form } = self.buffers;
        inputs.fill_inline(self.usages, &engine[..self.num_engine]);
        let part = |part| self.head.part(part);
        layer(simd, &inputs.inputs, part(Part::FirstWeight), part(Part::FirstBias), hidden_1);
        layer(simd, hidden_1, part(Part::SecondWeight), part(Part::SecondBias), hidden_2);
        *network = [part(Part::OutputBias)[0] + part(Part::SkipBias)[0]; BLOCK_PAIRS];
        add_scaled(simd, &inputs.inputs, part(Part::SkipWeight), network);
        add_scaled(simd, hidden_2, part(Part::OutputWeight), network);
        let weight = self.head.closed_weight();
        for (part, sum) in closed_form.iter_mut().zip(&inputs.ratio_sums) {
            *part = weight * sum;
        }
    }
}

/// `units = relu(weight^T inputs + bias)`, with `weight` `[inputs, units]`. Four units of two vectors of pairs at a time, so that
/// eight sums are under way.
#[inline(always)]
fn layer<S: Simd, const OUT: usize>(
    simd: S,
    inputs: &[Column],
    weight: &[f32],
    bias: &[f32],
    units: &mut [Column; OUT],
) {
    const UNITS: usize = 4;
    const VECTORS: usize = 2;
    const { assert!(OUT.is_multiple_of(UNITS) && BLOCK_PAIRS.is_multiple_of(16 * VECTORS)) };
    let weight = weight.as_chunks::<OUT>().0;
    let zero = simd.splat_f32s(0.0);
    for (tile, units) in units.as_chunks_mut::<UNITS>().0.iter_mut().enumerate() {
        for start in (0..BLOCK_PAIRS / S::F32_LANES).step_by(VECTORS) {
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
fn add_scaled<S: Simd>(simd: S, columns: &[Column], weights: &[f32], sums: &mut Column) {
    let sums = S::as_mut_simd_f32s(sums).0;
    for (column, weight) in columns.iter().zip(weights) {
        let weight = simd.splat_f32s(*weight);
        for (sum, value) in sums.iter_mut().zip(S::as_simd_f32s(column).0) {
            *sum = simd.mul_add_e_f32s(weight, *value, *sum);
        }
    }
}

#[cfg(test)]
mod tests;
