//! Products of matrices with few columns on one thread of the CPU: what a block of rows needs, in registers.
//!
//! ```text
//! multiply:        out = a b                 a [n, depth], b [depth, width] packed into panels
//! add_transposed:  out += aᵀ b               a [n, rows], b [n, width]
//! ```
//!
//! A tile of 6 rows and 2 or 4 vectors of the output is summed in registers; each step down the depth loads
//! the vectors of b and spreads 6 numbers of a. General libraries pack both factors at each call, which at
//! these sizes costs a tenth of the product: here b is packed once a step. Every element is summed in the
//! order of the depth, however the rows are cut into blocks.

mod cpu;
#[cfg(feature = "wgpu")]
pub(crate) mod device;
#[cfg(feature = "wgpu")]
pub(crate) mod sums;

pub(crate) use cpu::{Panels, add_transposed, hidden_layer, multiply};
