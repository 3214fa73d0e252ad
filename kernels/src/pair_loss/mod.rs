//! Score, cross entropy and their gradients of one entity row against the hidden activations of one address
//! each of its pairs, in the folded form.
//!
//! ```text
//! z_p = q · h_p + c                          q = W_o e, c = e · b_o: the output layer, folded into the entity
//! CE  = sum over p of m_p · ln(1 + exp(-y_p z_p))          y_0 = +1, the others -1; m_p: 0 where masked
//! g_p = m_p · (sigmoid(z_p) - [p = 0]) · scale             scale = 1 / sum of all m
//! s  += sum over p of g_p h_p,   G += sum over p of g_p    for the gradients of e, W_o and b_o
//! dh_p = g_p q where h_p > 0                               for the gradients of the layers below
//! ```
//!
//! `ln(1 + exp(-m)) = relu(-m) + ln(1 + exp(-|m|))` without overflow. Cost of a row at width d and P pairs:
//! 4 P d FLOP and, with everything in cache, 8 P d bytes read.

mod cpu;
#[cfg(feature = "wgpu")]
pub(crate) mod device;
mod reference;

pub use cpu::{LossSums, RowLoss};
pub(crate) use cpu::{PairGradients, PositivePairs, masked, pair_loss};
pub use reference::pair_reference;
