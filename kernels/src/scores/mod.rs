//! Scores of (entity, address) pairs, with the output layer folded into the entities.
//!
//! ```text
//! folded[r]    = [W_L e_r | e_r · b_L]                       once per entity, [N, width + 1]
//! score(r, ip) = folded[r] · [h_L(ip) | 1] = e_r · v(ip)
//! ```
//!
//! A score is the encoder's hidden layers, of which the first is four lookups on a CPU, and one dot product:
//! with one hidden layer 4 d additions and 2 d FLOP more, 16 d bytes from the tables in cache and 4 d + 4 from
//! the entity's row, which comes from memory. Memory is the floor: a row at d = 128 is nine cache lines.

mod cpu;
#[cfg(feature = "wgpu")]
mod device;
mod reference;
mod tensors;

pub use cpu::{PairsToScore, ScoreInputs, fold_on_slices, scores_on_slices, tables_on_slices};
pub use reference::{fold_reference, score_reference};
pub use tensors::{ScoresBackend, fold, lookup_tables, scores};
