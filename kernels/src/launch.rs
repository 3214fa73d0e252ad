//! What every CubeCL launch needs.

use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

/// How often a kernel was launched.
static LAUNCHES: AtomicUsize = AtomicUsize::new(0);

/// The number of kernels launched by this crate in this process, Burn's own that it asks for included.
pub fn num_launches() -> usize {
    LAUNCHES.load(Ordering::Relaxed)
}

/// Stands beside every launch.
pub(crate) fn count_launch() {
    LAUNCHES.fetch_add(1, Ordering::Relaxed);
}

/// The tensor with its rows one after the other.
pub(crate) fn contiguous(tensor: CubeTensor) -> CubeTensor {
    if !tensor.is_contiguous() {
        count_launch();
    }
    into_contiguous(tensor)
}

/// The tensor, safe to write to: itself where it is owned uniquely, a copy otherwise.
pub(crate) fn owned(tensor: CubeTensor) -> CubeTensor {
    if tensor.can_mut() && tensor.is_contiguous() {
        tensor
    } else {
        crate::host::count_table_copy();
        count_launch();
        tensor.copy()
    }
}

/// An uninitialised tensor on the device of `like`. Kernels count its elements in 32 bits, which is all that
/// WGSL has; and an allocation over the device's limit would fail in silence, and every kernel after it.
pub(crate) fn empty_like(like: &CubeTensor, shape: Shape, dtype: DType) -> CubeTensor {
    let (len, limit) = (shape.num_elements(), like.client.properties().memory.max_page_size);
    assert!(
        u32::try_from(len).is_ok() && (len * dtype.size()) as u64 <= limit,
        "a tensor of {len} elements is too large for this device, which binds {limit} bytes"
    );
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), shape, dtype)
}

/// Cubes of a launch: at least `num_cubes`, so a kernel checks its position.
pub(crate) fn cubes(tensor: &CubeTensor, num_cubes: usize) -> CubeCount {
    calculate_cube_count_elemwise(&tensor.client, num_cubes, CubeDim::new_single())
}

/// A launch of at least `len` units.
pub(crate) fn one_unit_each(tensor: &CubeTensor, len: usize) -> (CubeCount, CubeDim) {
    let dim = CubeDim::new(&tensor.client, len);
    (calculate_cube_count_elemwise(&tensor.client, len, dim), dim)
}
