//! The encoder's first layer, from an address to the activations of the first hidden layer, by lookup.
//!
//! ```text
//! a[k]  = b[k] + sum over i in 0..n of bits(ip)[i] · W[i, k]            n: bits of an address, -1 or +1 each
//!       = sum over j of tables[j, digit_j(ip), k]                         digit_j: the j-th nibble or byte
//! h[k]  = relu(a[k])
//! dW[i] = sum over addresses of bits(ip)[i] · dh,  db = sum of dh          (dh: 0 where h is 0)
//!       = sums of buckets, where buckets[j, digit_j(ip)] += dh
//! ```
//!
//! The input is n signs, so a matrix product is waste: a table per digit holds the digit's share of the sum,
//! and no `[N, n]` matrix exists. Gradients are summed by digit too and folded back into weights at the end.
//! n is 32. It is a matter of the layer's weights, `[n, d]`, and of how many tables there are: a layer for
//! addresses of another number of bits is the same code with other weights and more tables.
//!
//! With 8 nibbles of 16 entries a step builds 128 rows; with 4 bytes of 256 a scorer, which builds them once,
//! adds half as many rows. Cost of an address at width d, nibbles: forward 8 d additions, 4 · 8 d bytes read
//! from cache; backward the same, written too.

mod cpu;
#[cfg(feature = "wgpu")]
pub(crate) mod device;
mod reference;

pub(crate) use cpu::{ByteTables, NUM_NIBBLES, NibbleTables, add_to_buckets, fold_buckets, num_buckets};
pub use cpu::{FirstLayer, NUM_BUCKETS};
pub use reference::{first_layer_gradient_reference, first_layer_reference};
