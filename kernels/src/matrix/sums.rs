//! Sums over the rows of a mini-batch on a device.
//!
//! The rows are cut into slices, by shapes alone, each slice is summed by itself, and the slices are added in
//! their order: the same sum every time.

#![allow(unsafe_code, reason = "a kernel is launched without bounds checks; see the SAFETY comment of each")]

use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use crate::launch;

/// How the rows that a sum runs over are cut.
#[derive(Clone, Copy)]
pub(crate) struct Slices {
    pub num: usize,
    /// Rows of a slice; the last may have fewer.
    pub len: usize,
}

impl Slices {
    /// Slices of `num_rows` rows, whose sums are of `len` elements computed by `units`: enough units for a
    /// large device, but not much memory.
    pub fn new(num_rows: usize, len: usize, units: usize) -> Self {
        const UNITS_OF_ALL: usize = 1 << 17;
        const MIN_ROWS: usize = 32;
        const MAX_ELEMENTS: usize = 1 << 22;
        // As many as a product takes at a time, so that only the last slice is padded.
        const ROWS_AT_ONCE: usize = 16;
        let wanted = UNITS_OF_ALL.div_ceil(units).min(num_rows.div_ceil(MIN_ROWS));
        let num = wanted.min(MAX_ELEMENTS / len).max(1);
        let len = num_rows.div_ceil(num).next_multiple_of(ROWS_AT_ONCE);
        Self { num: num_rows.div_ceil(len).max(1), len }
    }
}

const UNITS: u32 = 256;

/// How many slices of how many elements are added up, and where in the output the sums go.
#[derive(CubeType, CubeLaunch)]
struct SumSizes {
    len: u32,
    num_slices: u32,
    out_offset: u32,
}

/// Adds up slices of `len` elements; several units take turns at the slices of one element, and the sums of
/// each are added in their order.
#[cube(launch_unchecked)]
fn sum_slices_kernel(
    slices: &[f32],
    loss_sums: &[f32],
    out: &mut [f32],
    sizes: &SumSizes,
    #[comptime] elements: u32,
    #[comptime] is_mean: bool,
) {
    let len = sizes.len as usize;
    let unit = UNIT_POS as usize;
    let element = unit % elements as usize;
    let at = CUBE_POS * elements as usize + element;
    let mut sum = 0.0f32;
    if at < len {
        let mut slice = unit / elements as usize;
        while slice < sizes.num_slices as usize {
            sum += slices[slice * len + at];
            slice += comptime!((UNITS / elements) as usize);
        }
    }
    let mut sums = Shared::<[f32]>::new_slice(UNITS as usize);
    sums[unit] = sum;
    sync_cube();
    if unit < elements as usize && at < len {
        let mut total = 0.0f32;
        for turn in 0..comptime!((UNITS / elements) as usize) {
            total += sums[turn * elements as usize + element];
        }
        if comptime!(is_mean) {
            total /= loss_sums[2];
        }
        out[sizes.out_offset as usize + at] = total;
    }
}

/// A part of a tensor: `len` elements from `offset`.
pub(crate) struct Part<'a> {
    pub tensor: &'a CubeTensor,
    pub offset: usize,
    pub len: usize,
}

/// Adds up slices, `[num_slices, len]`, into a part of another tensor; divided by the third of `loss_sums`
/// where there are. One launch.
pub(crate) fn sum_slices(out: Part<'_>, slices: CubeTensor, loss_sums: Option<&CubeTensor>) {
    assert!(out.offset + out.len <= out.tensor.meta.num_elements());
    let num_slices = slices.meta.num_elements() / out.len;
    // Units take turns at the slices of an element where there are enough slices, most where there are few
    // elements.
    let elements = match out.len {
        ..32 => 1,
        _ => (UNITS / (num_slices as u32).next_power_of_two().min(UNITS)).max(32),
    };
    let sizes =
        SumSizesLaunch { len: out.len as u32, num_slices: num_slices as u32, out_offset: out.offset as u32 };
    launch::count_launch();
    // SAFETY: the kernel checks its element against the length and its slice against the number of slices; the
    // assertion keeps the part inside its tensor.
    unsafe {
        sum_slices_kernel::launch_unchecked(
            &slices.client.clone(),
            launch::cubes(&slices, out.len.div_ceil(elements as usize)),
            CubeDim::new_1d(UNITS),
            slices.clone().into_buffer_arg(),
            loss_sums.unwrap_or(&slices).clone().into_buffer_arg(),
            out.tensor.clone().into_buffer_arg(),
            sizes,
            elements,
            loss_sums.is_some(),
        );
    }
}
