//! Columns over the pairs of a block, and what is computed of their numbers.

use super::closed_form::DISCOUNT;

/// One number of each pair of a block.
pub type Column<const PAIRS: usize> = [f32; PAIRS];

/// The share of one prefix, as in [`super::closed_form`].
#[inline(always)]
pub(super) fn share(count: f32, num_children: f32, of: f32, base: f32) -> f32 {
    let discount = DISCOUNT as f32;
    let over = count - discount;
    let over = if over > 0.0 { over } else { 0.0 };
    let children = if num_children < of { num_children } else { of };
    (over + (1.0 + discount * children) * base) / (of + 1.0)
}

/// The natural logarithm of a positive normal number, without branches; off by at most 1e-7 of the result or, near 1, 1e-7.
///
/// Cephes' `logf` (Moshier): x = m 2^e with m in [√½, √2), and a polynomial in m - 1.
#[inline(always)]
pub(super) fn ln(x: f32) -> f32 {
    const SQRT_HALF: u32 = 0x3F35_04F3;
    let offset = x.to_bits().wrapping_sub(SQRT_HALF) as i32;
    let exponent = offset >> 23;
    let m = f32::from_bits(x.to_bits().wrapping_sub((exponent << 23) as u32)) - 1.0;
    let e = exponent as f32;
    let mut p = 7.037_683_6e-2;
    p = p * m - 1.151_461e-1;
    p = p * m + 1.167_699_9e-1;
    p = p * m - 1.242_014_1e-1;
    p = p * m + 1.424_932_3e-1;
    p = p * m - 1.666_805_8e-1;
    p = p * m + 2.000_071_5e-1;
    p = p * m - 2.499_999_4e-1;
    p = p * m + 3.333_333e-1;
    let square = m * m;
    // ln 2 in two parts, of which the first has few bits, so that its product with an exponent is exact.
    let tail = m * square * p - 2.121_944_4e-4 * e - 0.5 * square;
    m + tail + 0.693_359_4 * e
}
