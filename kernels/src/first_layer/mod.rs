//! The encoder's first layer, from an address to the activations of the first hidden layer, by lookup.
//!
//! ```text
//! a[k]  = b[k] + sum over i of bits(ip)[i] · W[i, k]              bits as in `bits`: -1 or +1, 0 of the other family
//!       = sum over j of tables[j, digit_j(ip), k]                 digit_j: the j-th nibble or byte of the address
//! h[k]  = relu(a[k])
//! dW[i] = sum over addresses of bits(ip)[i] · dh,  db = sum of dh          (dh: 0 where h is 0)
//!       = sums of buckets, where buckets[j, digit_j(ip)] += dh
//! ```
//!
//! The input is signs, so a matrix product is waste: a table per digit holds the digit's share of the sum,
//! and no `[N, n]` matrix exists. Gradients are summed by digit too and folded back into weights at the end.
//! Each family has its own tables and buckets, of as many digits as its addresses have, with the biases in the first.
//!
//! With 8 nibbles of 16 entries a step builds 128 rows; with 4 bytes of 256 a scorer, which builds them once,
//! adds half as many rows. Cost of an IPv4 address at width d, nibbles: forward 8 d additions, 4 · 8 d bytes read
//! from cache; backward the same, written too. An IPv6 address costs twice that.

mod cpu;
#[cfg(feature = "wgpu")]
pub(crate) mod device;
mod reference;

pub use cpu::FirstLayer;
pub(crate) use cpu::{ByteTables, NibbleTables, add_to_buckets, fold_buckets};
pub use reference::{first_layer_gradients_reference, first_layer_reference};
