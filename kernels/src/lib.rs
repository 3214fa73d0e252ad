//! Kernels of `ipsight`: what Burn's tensor operations cannot do fast or exactly.
//!
//! A file or a folder per kernel. Each starts with its formula and holds, side by side, a plain reference (the
//! definition, element by element), a CPU twin on slices, and a CubeCL kernel; a folder has a file for each. A
//! Burn backend extension dispatches between the twins, so callers see functions on tensors and no backend.
//! `README.md` has the costs and the measured speed of each.
//!
//! | file or folder | what | used by |
//! |---|---|---|
//! | [`shape`] | how the encoder's parameters lie in their tensor | all below |
//! | [`philox`] | counter-based random numbers, the same integers everywhere | `negatives`, `uniform`, epoch order |
//! | [`permutation`] | a keyed permutation of `0..n` without memory | `negatives`, epoch order |
//! | [`addresses`] | addresses of one family or of both as words of 32 bits | all below |
//! | [`bits`] | addresses as floats, -1 or +1 | the plain modules, references |
//! | [`uniform`] | reproducible uniform initial weights | the model's init |
//! | [`negatives`] | a mini-batch's pairs: its own IPs, random and shuffled ones, and their mask | the step |
//! | [`gather`] | rows of the table | the step, scoring |
//! | `matrix` | products of a block of rows, and sums over rows | all below |
//! | [`first_layer`] | the encoder's first layer by lookup, forward and backward | `folded`, `scores` |
//! | [`pair_loss`] | logits, cross entropy and gradients of a row's pairs in one pass | `folded` |
//! | [`folded`] | loss and gradients of a mini-batch in the folded form | `folded_step` |
//! | [`row_adam`] | Adam on the touched rows of a table, once per unique row | `folded_step`, the encoder |
//! | [`folded_step`] | a step on the table: gather, gradients, row Adam | the step |
//! | [`storage`] | tensors to be read back, and zeros | the model folder, the step's moments |
//! | [`scores`] | scores with the output layer folded into the entities | scoring |

#![recursion_limit = "256"]
#![allow(
    deprecated,
    reason = "burn-ndarray 0.22 is marked so in favour of burn-flex; this project uses it as its CPU backend"
)]

pub mod addresses;
pub mod bits;
#[cfg(feature = "wgpu")]
mod device_pairs;
pub mod first_layer;
pub mod folded;
pub mod folded_step;
pub mod gather;
mod host;
#[cfg(feature = "wgpu")]
mod launch;
mod matrix;
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
pub mod storage;
pub mod uniform;

pub use host::num_table_copies;
#[cfg(feature = "wgpu")]
pub use launch::num_launches;
