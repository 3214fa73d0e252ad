//! Kernels of `ipsight`: what Burn's tensor operations cannot do fast or exactly.
//!
//! One file per kernel. Each starts with its formula and holds, side by side, a plain reference (the
//! definition, element by element), a CPU twin on slices, and a CubeCL kernel. A Burn backend extension
//! dispatches between the twins, so callers see functions on tensors and no backend. `README.md` has the
//! costs and the measured speed of each.
//!
//! | file | what | used by |
//! |---|---|---|
//! | [`philox`] | counter-based random numbers, the same integers everywhere | all below |
//! | [`permutation`] | a keyed permutation of `0..n` without memory | negatives, epoch order |
//! | [`shape`] | how a row and the encoder's parameters lie in their tensors | all below |
//! | [`memory`] | weights of (entity, prefix) pairs: their cells, sum and gradients | `folded`, `scores` |
//! | [`bits`] | IPv4 addresses as 32 floats, -1 or +1 | the plain modules, references |
//! | [`uniform`] | reproducible uniform initial weights | the model's init |
//! | [`negatives`] | a mini-batch's pairs: its own IPs, random IPv4, shuffled IPs, and their mask | the step |
//! | [`gather`] | rows of the table | the step, scoring |
//! | [`elsewhere`] | the part of a score that does not ask for usual places, and the mixture | `folded`, `scores` |
//! | [`first_layer`] | the encoder's first layer by lookup, forward and backward | `folded`, `scores` |
//! | [`pair_loss`] | logits, cross entropy and gradients of a row's pairs in one pass | `folded` |
//! | `matrix` | products of a block of rows | `folded`, `scores` |
//! | [`folded`] | loss and gradients of a mini-batch in the folded form | `folded_step` |
//! | [`folded_reference`] | the same in the plain form, in float64 | tests |
//! | [`row_adam`] | Adam on the touched rows of a table, once per unique row | `folded_step`, the encoder |
//! | [`folded_step`] | a step on the table: gather, gradients, row Adam | the step |
//! | [`scores`] | scores with the output layer folded into the entities | scoring |

#![recursion_limit = "256"]
// burn-ndarray 0.22 is marked deprecated in favour of burn-flex. It is the CPU backend of this project.
#![allow(deprecated)]

pub mod bits;
pub mod elsewhere;
pub mod first_layer;
pub mod folded;
pub mod folded_reference;
pub mod folded_step;
pub mod gather;
mod host;
#[cfg(feature = "wgpu")]
mod launch;
mod matrix;
pub mod memory;
pub mod negatives;
pub mod pair_loss;
pub mod permutation;
pub mod philox;
mod pool;
mod prefetch;
pub mod row_adam;
pub mod scores;
pub mod shape;
mod simd;
pub mod uniform;

pub use host::num_table_copies;
#[cfg(feature = "wgpu")]
pub use launch::num_launches;
