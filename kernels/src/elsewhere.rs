//! What a score has beside the entity's usual places: how common an address is, and how often the entity is
//! elsewhere.
//!
//! ```text
//! logit(t, ip)  = common(ip) + ln(exp(usual) + exp(elsewhere))        usual: e · v(ip), and what the memory adds
//! common(ip)    = PREFIX_SCALE · sum over the lengths l of w_l[i_l(ip)]
//! elsewhere(t)  = OFFSET + a[r, t mod 8]
//! dusual = share · g,   delsewhere = (1 - share) · g,   dcommon = g         share = sigmoid(usual - elsewhere)
//! ```
//!
//! An event is made at one of the entity's usual places or elsewhere, so its odds are a sum of two, as in a
//! mixture of experts (Jacobs et al. 1991). Elsewhere, only two things tell a login from an attack: how often
//! this entity travels, a, and how common the address's prefixes are among all entities, w. A dot product alone
//! tells this too, but buries it: nothing holds it level where the entity never was, and there it wanders by two
//! logits, while the entities' travel differs by one.
//!
//! Prefixes up to 16 bits have a weight each, longer ones are hashed to 2^16. Adam's steps do not depend on the
//! gradients' size, so a scale makes the weights go as much faster against the same penalty. OFFSET keeps
//! `elsewhere` below `usual` at first, or nothing would be learned of usual places.

use std::ops::Range;

use rayon::prelude::*;

use crate::memory::{PrefixLengths, factors, prefix};

/// Values of a in a row: entities that share the row mostly have one of their own.
pub const NUM_ROW_CELLS: usize = 8;

/// Where `elsewhere` starts.
pub const OFFSET: f32 = -4.0;

/// Factor of the weights.
pub const PREFIX_SCALE: f32 = 4.0;

/// Prefixes of more bits share weights.
const MAX_INDEX_BITS: u32 = 16;

/// The shape of this part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ElsewhereShape {
    /// The prefixes that have weights; where there are none, a score is its usual part alone.
    pub lengths: PrefixLengths,
}

/// How often an entity is elsewhere, as a logit; `row_cells` are those of its row.
#[inline(always)]
pub fn elsewhere(row_cells: &[f32], tag: u32) -> f32 {
    OFFSET + row_cells[row_cell(tag)]
}

/// The cell of an entity's a among its row's [`NUM_ROW_CELLS`].
#[inline(always)]
pub fn row_cell(tag: u32) -> usize {
    tag as usize % NUM_ROW_CELLS
}

impl ElsewhereShape {
    /// Whether there is this part.
    #[inline(always)]
    pub fn exists(&self) -> bool {
        !self.lengths.is_empty()
    }

    /// Cells of it in a table's row.
    #[inline(always)]
    pub fn num_row_cells(&self) -> usize {
        if self.exists() { NUM_ROW_CELLS } else { 0 }
    }

    /// Weights of one length.
    pub fn num_weights(length: u32) -> usize {
        1 << length.min(MAX_INDEX_BITS)
    }

    /// Weights of all lengths.
    pub fn num_parameters(&self) -> usize {
        self.lengths.iter().map(Self::num_weights).sum()
    }

    /// Where the weight of an address's prefix is among those of its length.
    #[inline(always)]
    pub fn index(ip: u32, length: u32) -> usize {
        let prefix = prefix(ip, length);
        match length {
            ..=MAX_INDEX_BITS => prefix as usize,
            _ => (factors(length).0.wrapping_mul(prefix) >> (32 - MAX_INDEX_BITS)) as usize,
        }
    }

    /// Each length, ascending, and where its weights are among those of all lengths.
    #[inline(always)]
    pub fn ranges(&self) -> impl Iterator<Item = (u32, Range<usize>)> {
        let mut end = 0;
        self.lengths.iter().map(move |length| {
            let start = end;
            end += Self::num_weights(length);
            (length, start..end)
        })
    }

    /// Each length, ascending, and where the weight of an address's prefix is among those of all lengths.
    #[inline(always)]
    pub fn places(&self, ip: u32) -> impl Iterator<Item = (u32, usize)> {
        self.ranges().map(move |(length, range)| (length, range.start + Self::index(ip, length)))
    }

    /// How common an address is, `weights` being those of all lengths; 0 where there is no such part.
    #[inline(always)]
    pub fn common(&self, weights: &[f32], ip: u32) -> f32 {
        PREFIX_SCALE * self.places(ip).map(|(_, place)| weights[place]).sum::<f32>()
    }

    /// Adds the gradients of pairs, in their order, to those of their weights, of all lengths.
    pub fn add_gradients<'a>(
        &self,
        pairs: impl Iterator<Item = (u32, f32)> + Clone + Send + Sync + 'a,
        gradients: &mut [f32],
    ) {
        let mut rest = gradients;
        let mut tables = Vec::new();
        for length in self.lengths.iter() {
            let (table, behind) = rest.split_at_mut(Self::num_weights(length));
            tables.push((length, table));
            rest = behind;
        }
        tables.into_par_iter().for_each(|(length, table)| {
            for (ip, gradient) in pairs.clone() {
                table[Self::index(ip, length)] += PREFIX_SCALE * gradient;
            }
        });
    }
}

/// The logit of two parts, and the share of its gradient that is the usual part's.
#[inline(always)]
pub fn mix(usual: f32, elsewhere: f32) -> (f32, f32) {
    let difference = usual - elsewhere;
    let small = (-difference.abs()).exp();
    let share = if difference >= 0.0 { 1.0 } else { small } / (1.0 + small);
    (usual.max(elsewhere) + small.ln_1p(), share)
}

/// The reference of [`mix`].
pub fn mix_reference(usual: f64, elsewhere: f64) -> (f64, f64) {
    let small = (-(usual - elsewhere).abs()).exp();
    let share = if usual >= elsewhere { 1.0 } else { small } / (1.0 + small);
    (usual.max(elsewhere) + small.ln_1p(), share)
}

/// The same on a device, and the gradients of the weights.
///
/// Many pairs add to one weight, in no order: they add integers, in units of the smallest power of two that cannot
/// overflow, so that the sum is the same every time; and what that leaves of each, in units that are as much
/// smaller. 30,000 pairs are summed to 2^-31, 600,000 to 2^-21. 16 bytes a pair and length are read and added.
#[cfg(feature = "wgpu")]
pub(crate) mod device {
    use burn::tensor::Shape;
    use burn_cubecl::CubeBackend;
    use burn_cubecl::tensor::CubeTensor;
    use cubecl::prelude::*;

    use super::{ElsewhereShape, MAX_INDEX_BITS, NUM_ROW_CELLS, OFFSET, PREFIX_SCALE};
    use crate::launch;
    use crate::memory::device::prefix;
    use crate::memory::{PrefixLengths, factors};
    use crate::pair_loss::device::{Pairs, RowLosses};
    use crate::shape::ModelShape;

    /// Where the weight of an address's prefix is among those of all lengths.
    #[cube]
    fn place(ip: u32, #[comptime] lengths: PrefixLengths, #[comptime] length: u32) -> usize {
        let prefix = prefix(ip, length);
        let index = if comptime!(length <= MAX_INDEX_BITS) {
            prefix
        } else {
            (prefix * comptime!(factors(length).0)) >> comptime!(32 - MAX_INDEX_BITS)
        };
        let shorter = comptime!(lengths.iter().filter(|l| *l < length));
        index as usize + comptime!(shorter.map(ElsewhereShape::num_weights).sum::<usize>())
    }

    /// How common an address is.
    #[cube]
    pub(crate) fn common(
        parameters: &[f32],
        weights: usize,
        ip: u32,
        #[comptime] lengths: PrefixLengths,
    ) -> f32 {
        let mut sum = 0.0f32;
        #[unroll]
        for length in 0..33u32 {
            if comptime!(lengths.contains(length)) {
                sum += parameters[weights + place(ip, lengths, length)];
            }
        }
        PREFIX_SCALE * sum
    }

    /// How often an entity is elsewhere. `rows` has its row's cells from `start` on.
    #[cube]
    pub(crate) fn elsewhere(rows: &[f32], start: usize, tag: u32) -> f32 {
        OFFSET + rows[start + tag as usize % comptime!(NUM_ROW_CELLS)]
    }

    /// `exp(-|usual - elsewhere|)`, of which both the logit and the shares are made.
    #[cube]
    pub(crate) fn smaller_part(usual: f32, elsewhere: f32) -> f32 {
        f32::exp(-f32::abs(usual - elsewhere))
    }

    /// One unit per pair.
    #[cube(launch_unchecked)]
    fn add_kernel(
        ips: &[u32],
        pair_gradients: &[f32],
        sums: &[Atomic<i32>],
        all_pairs: u32,
        num_weights: u32,
        scale: f32,
        rest_scale: f32,
        #[comptime] lengths: PrefixLengths,
    ) {
        let pair = ABSOLUTE_POS;
        if pair >= all_pairs as usize {
            terminate!();
        }
        let of_both = pair_gradients[pair] + pair_gradients[all_pairs as usize + pair];
        let whole = f32::round(of_both * scale);
        let rest = f32::round((of_both * scale - whole) * rest_scale);
        #[unroll]
        for length in 0..33u32 {
            if comptime!(lengths.contains(length)) {
                let place = place(ips[pair], lengths, length);
                sums[place].fetch_add(i32::cast_from(whole));
                sums[num_weights as usize + place].fetch_add(i32::cast_from(rest));
            }
        }
    }

    /// One unit per weight.
    #[cube(launch_unchecked)]
    #[allow(clippy::too_many_arguments)] // a kernel takes its scalars one by one
    fn mean_kernel(
        sums: &[i32],
        loss_sums: &[f32],
        out: &mut [f32],
        len: u32,
        offset: u32,
        scale: f32,
        rest_scale: f32,
    ) {
        let position = ABSOLUTE_POS;
        if position >= len as usize {
            terminate!();
        }
        let rest = f32::cast_from(sums[len as usize + position]) / rest_scale;
        let sum = (f32::cast_from(sums[position]) + rest) / scale;
        out[offset as usize + position] = PREFIX_SCALE * sum / loss_sums[2];
    }

    /// The mean gradients of the weights, into their place in `out`. Three launches.
    pub(crate) fn weight_gradients(
        out: &CubeTensor,
        pairs: &Pairs,
        losses: &RowLosses,
        loss_sums: &CubeTensor,
        shape: &ModelShape,
    ) {
        let (len, all_pairs) = (shape.elsewhere.num_parameters(), pairs.ips.meta.num_elements());
        // A gradient is at most 1 and a rest at most 1/2, so that neither sum passes 2^30.
        let bits = (all_pairs as u32).next_power_of_two().trailing_zeros().min(30);
        let (scale, rest_scale) = ((1u32 << (30 - bits)) as f32, (1u32 << (31 - bits)) as f32);
        launch::count_launch();
        let sums = <CubeBackend as burn::backend::ops::IntTensorOps<CubeBackend>>::int_zeros(
            Shape::new([2 * len]),
            &out.device,
            burn::tensor::IntDType::I32,
        );
        let (count, dim) = launch::one_unit_each(out, all_pairs);
        launch::count_launch();
        // SAFETY: the kernel checks its position against the number of pairs, for each of which there is an
        // address, and a gradient behind those of the usual part; places are below the number of weights.
        unsafe {
            add_kernel::launch_unchecked(
                &out.client.clone(),
                count,
                dim,
                pairs.ips.clone().into_buffer_arg(),
                losses.pair_gradients.clone().into_buffer_arg(),
                sums.clone().into_buffer_arg(),
                all_pairs as u32,
                len as u32,
                scale,
                rest_scale,
                shape.elsewhere.lengths,
            );
        }
        let (count, dim) = launch::one_unit_each(out, len);
        launch::count_launch();
        // SAFETY: the kernel checks its position against the number of weights, which the parameters' gradients
        // have from the offset on.
        unsafe {
            mean_kernel::launch_unchecked(
                &out.client.clone(),
                count,
                dim,
                sums.into_buffer_arg(),
                loss_sums.clone().into_buffer_arg(),
                out.clone().into_buffer_arg(),
                len as u32,
                shape.prefix_weights().start as u32,
                scale,
                rest_scale,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mixture_is_above_both_parts_and_its_shares_are_its_derivatives() {
        for (usual, elsewhere) in [(0.0, 0.0), (3.0, -4.0), (-9.0, -5.0), (80.0, -80.0), (-200.0, 3.0)] {
            let (logit, share) = mix(usual, elsewhere);
            let reference = mix_reference(usual as f64, elsewhere as f64);
            assert!((logit as f64 - reference.0).abs() < 1e-5 * (1.0 + logit.abs() as f64));
            assert!((share as f64 - reference.1).abs() < 1e-6, "{usual} {elsewhere}: {share} {reference:?}");
            let exact = |usual: f64| (usual.exp() + (elsewhere as f64).exp()).ln();
            assert!((logit as f64 - exact(usual as f64)).abs() < 1e-5 * (1.0 + logit.abs() as f64));
            let slope = (exact(usual as f64 + 1e-5) - exact(usual as f64 - 1e-5)) / 2e-5;
            assert!((share as f64 - slope).abs() < 1e-5, "{usual} {elsewhere}: {share} {slope}");
        }
    }

    #[test]
    fn every_prefix_has_its_weight_and_long_ones_share() {
        for length in [0, 1, 8, 16, 17, 24, 32] {
            for ip in [0, 1, 0x0A00_0001, 0x8000_0000, u32::MAX] {
                assert!(ElsewhereShape::index(ip, length) < ElsewhereShape::num_weights(length));
            }
        }
        assert_eq!(ElsewhereShape::index(0x0A0B_0C0D, 16), 0x0A0B);
        let used: std::collections::BTreeSet<_> =
            (0..1 << 16).map(|i| ElsewhereShape::index(i << 8, 24)).collect();
        assert!(used.len() > 1 << 15, "neighbours spread: {}", used.len());
    }

    #[test]
    fn gradients_are_the_derivative_of_the_sum() {
        let shape = ElsewhereShape { lengths: PrefixLengths::new(&[2, 4, 20]).unwrap() };
        let ips = [0x0123_4567, 0xFEDC_BA98, 0x0123_4568];
        let mut gradients = vec![0.0; shape.num_parameters()];
        shape.add_gradients(ips.iter().map(|ip| (*ip, 1.0)), &mut gradients);
        let weights: Vec<f32> = (0..gradients.len()).map(|i| (i % 13) as f32).collect();
        let product: f32 = weights.iter().zip(&gradients).map(|(w, g)| w * g).sum();
        let sum: f32 = ips.iter().map(|ip| shape.common(&weights, *ip)).sum();
        assert_eq!(product, sum);
    }
}
