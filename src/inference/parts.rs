//! A score taken apart.
//!
//! ```text
//! usual = vectors + sum of memory      place = usual, or ln(exp(usual) + exp(elsewhere))
//! score = sum of common + place
//! ```
//!
//! The parts are computed on the host in float64, from the weights that the device scores with.

use ipsight_kernels::elsewhere::{PREFIX_SCALE, elsewhere, mix_reference};
use ipsight_kernels::memory::MEMORY_SCALE;
use ipsight_kernels::scores::score_reference;
use ipsight_kernels::shape::ModelShape;
use serde::Serialize;

use super::prefix::Prefix;

/// What one prefix of the address adds to a score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PrefixPart {
    /// The prefix.
    pub prefix: Prefix,
    /// What it adds, in units of the score.
    pub value: f64,
}

/// The parts of a score, all in its units, log odds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parts {
    /// How common each prefix of the address is among all entities, by length ascending; none in a model that
    /// learns bits only.
    pub common: Vec<PrefixPart>,
    /// The dot product of the entity's and the address's vector.
    pub vectors: f64,
    /// What the entity's memory has of each prefix of the address, by length ascending; none without a memory.
    pub memory: Vec<PrefixPart>,
    /// `vectors` and all of `memory` together: how usual the address is for the entity.
    pub usual: f64,
    /// How often the entity is at no usual place; `None` in a model that learns bits only.
    pub elsewhere: Option<f64>,
    /// The share, 0..=1, that `usual` has in `place`; the rest is `elsewhere`'s.
    pub usual_share: f64,
    /// `ln(exp(usual) + exp(elsewhere))`, or `usual` where there is no `elsewhere`.
    pub place: f64,
    /// All of `common` and `place` together.
    pub score: f64,
}

impl Parts {
    /// The parts of a score from the encoder's `parameters`, `[num_parameters]`, the entity's folded row,
    /// `[width + 1 + cells]`, and its tag, as [`ipsight_kernels::scores`] says.
    pub(crate) fn new(shape: &ModelShape, parameters: &[f32], folded: &[f32], tag: u32, ip: u32) -> Self {
        let (product, cells) = folded.split_at(shape.output_width() + 1);
        let (row_cells, cells) = cells.split_at(shape.elsewhere.num_row_cells());
        let of_vectors = ModelShape::bits(shape.vector_dim, shape.num_hidden);
        let vectors = score_reference(&of_vectors, parameters, product, tag, ip);
        let remembered = |length| {
            let cell = cells[shape.memory.cell(tag, ip, length)];
            PrefixPart { prefix: Prefix::of(ip, length), value: f64::from(MEMORY_SCALE) * f64::from(cell) }
        };
        let memory: Vec<PrefixPart> = shape.memory.lengths.iter().map(remembered).collect();
        let common = common(shape, &parameters[shape.prefix_weights()], ip);
        let usual = vectors + sum(&memory);
        let elsewhere = shape.elsewhere.exists().then(|| f64::from(elsewhere(row_cells, tag)));
        let (place, usual_share) =
            elsewhere.map_or((usual, 1.0), |elsewhere| mix_reference(usual, elsewhere));
        let score = sum(&common) + place;
        Self { common, vectors, memory, usual, elsewhere, usual_share, place, score }
    }
}

fn sum(parts: &[PrefixPart]) -> f64 {
    parts.iter().map(|part| part.value).sum()
}

/// How common each prefix of an address is; `weights` are those of all lengths.
fn common(shape: &ModelShape, weights: &[f32], ip: u32) -> Vec<PrefixPart> {
    let part = |(length, place): (u32, usize)| PrefixPart {
        prefix: Prefix::of(ip, length),
        value: f64::from(PREFIX_SCALE) * f64::from(weights[place]),
    };
    shape.elsewhere.places(ip).map(part).collect()
}
