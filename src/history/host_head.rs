//! The head on the host: its weights in one row, and the scores of many pairs.
//!
//! ```text
//! h1    = relu(inputs W1 + b1)          [20]
//! h2    = relu(h1 W2 + b2)              [12]
//! score = h2 w3 + b3 + inputs w + b + closed_weight * sum of r_l
//! ```
//!
//! High = ordinary. 64 pairs at a time: their inputs are columns, so that a vector of the instruction set holds one input
//! of several pairs.

use std::ops::Range;

use pulp::Simd;

use super::feature_block::{BLOCK_PAIRS, Column, InputBlock};
use super::features::NUM_INPUTS;
use super::usage::Usage;

/// Units of the first hidden layer.
pub const HIDDEN_1: usize = 20;

/// Units of the second hidden layer.
pub const HIDDEN_2: usize = 12;

/// A part of a head's parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// W1, `[inputs, 20]`.
    FirstWeight,
    /// b1, `[20]`.
    FirstBias,
    /// W2, `[20, 12]`.
    SecondWeight,
    /// b2, `[12]`.
    SecondBias,
    /// w3, `[12, 1]`.
    OutputWeight,
    /// b3, `[1]`.
    OutputBias,
    /// w, `[inputs, 1]`.
    SkipWeight,
    /// b, `[1]`.
    SkipBias,
    /// The weight of the closed form, `[1]`.
    ClosedWeight,
    /// What the engine's scores are multiplied by after their mean was taken off, `[1]`; 0 where a head has no engine.
    EngineScale,
    /// The mean of the engine's scores, `[1]`.
    EngineMean,
}

impl Part {
    /// All parts, in the order in which they lie.
    pub const ALL: [Self; 11] = [
        Self::FirstWeight,
        Self::FirstBias,
        Self::SecondWeight,
        Self::SecondBias,
        Self::OutputWeight,
        Self::OutputBias,
        Self::SkipWeight,
        Self::SkipBias,
        Self::ClosedWeight,
        Self::EngineScale,
        Self::EngineMean,
    ];

    /// The name of its tensor in a file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FirstWeight => "head.first.weight",
            Self::FirstBias => "head.first.bias",
            Self::SecondWeight => "head.second.weight",
            Self::SecondBias => "head.second.bias",
            Self::OutputWeight => "head.output.weight",
            Self::OutputBias => "head.output.bias",
            Self::SkipWeight => "head.skip.weight",
            Self::SkipBias => "head.skip.bias",
            Self::ClosedWeight => "head.closed.weight",
            Self::EngineScale => "head.engine.scale",
            Self::EngineMean => "head.engine.mean",
        }
    }

    /// The shape of its tensor: `[in, out]` of a weight, `[out]` of a bias.
    pub const fn shape(self) -> &'static [usize] {
        match self {
            Self::FirstWeight => &[NUM_INPUTS, HIDDEN_1],
            Self::FirstBias => &[HIDDEN_1],
            Self::SecondWeight => &[HIDDEN_1, HIDDEN_2],
            Self::SecondBias => &[HIDDEN_2],
            Self::OutputWeight => &[HIDDEN_2, 1],
            Self::SkipWeight => &[NUM_INPUTS, 1],
            _ => &[1],
        }
    }

    const fn len(self) -> usize {
        match self.shape() {
            [rows, columns] => *rows * *columns,
            [len] => *len,
            _ => 0,
        }
    }

    /// Where it lies among the parameters.
    pub const fn range(self) -> Range<usize> {
        let (mut start, mut part) = (0, 0);
        while part < self as usize {
            start += Self::ALL[part].len();
            part += 1;
        }
        start..start + self.len()
    }
}

/// Parameters that are fitted by gradients.
pub const NUM_FITTED: usize = Part::SkipBias.range().end;

/// All parameters of a head.
pub const NUM_PARAMETERS: usize = Part::EngineMean.range().end;

/// A head's parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct HostHead {
    parameters: Vec<f32>,
}

impl HostHead {
    /// A head of parameters that lie as [`Part::range`] says.
    ///
    /// # Panics
    ///
    /// If there are not [`NUM_PARAMETERS`].
    pub fn new(parameters: Vec<f32>) -> Self {
        assert_eq!(parameters.len(), NUM_PARAMETERS);
        Self { parameters }
    }

    /// The parameters, as [`Part::range`] says.
    pub fn parameters(&self) -> &[f32] {
        &self.parameters
    }

    /// The values of one part.
    pub fn part(&self, part: Part) -> &[f32] {
        &self.parameters[part.range()]
    }

    /// Whether the head takes the engine's scores.
    pub fn has_engine(&self) -> bool {
        self.part(Part::EngineScale)[0] != 0.0
    }

    /// The scores of pairs on one core; high = ordinary. Call it from several with parts of the pairs.
    ///
    /// # Shapes
    ///
    /// - `usage`: `[pairs]`, what is known of each
    /// - `engine`: `[pairs]`, the engine's dot products; or empty, then each counts as their mean
    /// - `scores`: `[pairs]`
    ///
    /// # Panics
    ///
    /// If lengths differ.
    pub fn scores(&self, usage: &[Usage], engine: &[f32], scores: &mut [f32]) {
        assert_eq!(usage.len(), scores.len());
        assert!(engine.is_empty() || engine.len() == usage.len());
        let mut buffers = Box::<Buffers>::default();
        for (block, scores) in scores.chunks_mut(BLOCK_PAIRS).enumerate() {
            let range = block * BLOCK_PAIRS..block * BLOCK_PAIRS + scores.len();
            let engine = if engine.is_empty() { engine } else { &engine[range.clone()] };
            self.scale_engine(engine, &mut buffers.engine);
            let (usage, buffers) = (&usage[range], &mut *buffers);
            pulp::Arch::new().dispatch(ScoreBlock { head: self, usage, num_engine: engine.len(), buffers, scores });
        }
    }

    /// The engine's scores as the head takes them.
    pub fn scale_engine(&self, engine: &[f32], scaled: &mut [f32]) {
        let (scale, mean) = (self.part(Part::EngineScale)[0], self.part(Part::EngineMean)[0]);
        for (scaled, score) in scaled.iter_mut().zip(engine) {
            *scaled = (score - mean) * scale;
        }
    }
}

/// What the scores of a block need.
struct Buffers {
    inputs: InputBlock,
    engine: Column,
    hidden_1: [Column; HIDDEN_1],
    hidden_2: [Column; HIDDEN_2],
}

impl Default for Buffers {
    fn default() -> Self {
        Self {
            inputs: InputBlock::default(),
            engine: [0.0; BLOCK_PAIRS],
            hidden_1: [[0.0; BLOCK_PAIRS]; HIDDEN_1],
            hidden_2: [[0.0; BLOCK_PAIRS]; HIDDEN_2],
        }
    }
}

struct ScoreBlock<'a> {
    head: &'a HostHead,
    usage: &'a [Usage],
    num_engine: usize,
    buffers: &'a mut Buffers,
    scores: &'a mut [f32],
}

impl pulp::WithSimd for ScoreBlock<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Buffers { inputs, engine, hidden_1, hidden_2 } = self.buffers;
        inputs.fill_inline(self.usage, &engine[..self.num_engine]);
        let part = |part| self.head.part(part);
        layer(simd, &inputs.inputs, part(Part::FirstWeight), part(Part::FirstBias), hidden_1);
        layer(simd, hidden_1, part(Part::SecondWeight), part(Part::SecondBias), hidden_2);
        let mut sums = [part(Part::OutputBias)[0] + part(Part::SkipBias)[0]; BLOCK_PAIRS];
        let ratios = std::slice::from_ref(&inputs.ratio_sums);
        add_scaled(simd, ratios, part(Part::ClosedWeight), &mut sums);
        add_scaled(simd, &inputs.inputs, part(Part::SkipWeight), &mut sums);
        add_scaled(simd, hidden_2, part(Part::OutputWeight), &mut sums);
        self.scores.copy_from_slice(&sums[..self.scores.len()]);
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
