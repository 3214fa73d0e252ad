//! The gradients of one mini-batch in the folded form.
//!
//! ```text
//! h_0 = bits(ip)        h_l = relu(h_{l-1} W_{l-1} + b_{l-1}),  l = 1..=L       v = h_L W_L + b_L
//! logit = e · v = (W_L e) · h_L + e · b_L = q · h_L + c
//!
//! Q  = E W_Lᵀ,  c = E b_L                              E [U, d]: the mini-batch's unique entity rows
//! per row, over all its pairs p:  g_p, s, G as in `pair_loss`
//! dE = S W_L + G b_Lᵀ,   dW_L = Sᵀ E,   db_L = Eᵀ G
//! dh_L = g_p q where h_L > 0, and down the hidden layers as usual; the first layer as in `first_layer`
//! ```
//!
//! The output layer is linear, so it is folded into the entity instead of being applied to every address: the
//! three products with W_L are of U rows, however many pairs there are. 6 d² FLOP a positive for them, against
//! 6 d² P for the encoder's output layer alone in the plain form.
//!
//! | file | what |
//! |---|---|
//! | `inputs` | a mini-batch as slices, and the chunks of rows that it is cut into |
//! | `reference` | the plain form, pair by pair, in float64 |
//! | `cpu` | the CPU twin: chunks in parallel, and their sums |
//! | `chunk` | one chunk's pass forward and backward |
//! | `gradients` | how a chunk's gradients of the parameters lie in its memory |
//! | `tensors` | the functions on tensors |
//! | `device` | the composition of kernels on a device |

mod chunk;
mod cpu;
#[cfg(feature = "wgpu")]
mod device;
mod gradients;
mod inputs;
mod reference;
mod tensors;

pub(crate) use chunk::ChunkRows;
pub use chunk::ROWS_PER_BLOCK;
pub(crate) use cpu::run_chunks;
pub use cpu::{CHUNKS_AT_ONCE, folded_on_slices};
pub use inputs::{FoldedInputs, FoldedOutputs, MIN_POSITIVES_PER_CHUNK};
pub use reference::folded_reference;
pub use tensors::{Folded, FoldedBackend, Pairs, folded};
