//! What every CubeCL launch needs.

use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

/// The tensor with its rows one after the other.
pub(crate) fn contiguous(tensor: CubeTensor) -> CubeTensor {
    into_contiguous(tensor)
}

/// The tensor, safe to write to: itself where it is owned uniquely, a copy otherwise.
pub(crate) fn owned(tensor: CubeTensor) -> CubeTensor {
    if tensor.can_mut() && tensor.is_contiguous() {
        tensor
    } else {
        crate::host::count_table_copy();
        tensor.copy()
    }
}

/// An uninitialised tensor on the device of `like`.
pub(crate) fn empty_like(like: &CubeTensor, shape: Shape, dtype: DType) -> CubeTensor {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), shape, dtype)
}

/// A launch of at least `len` units.
pub(crate) fn one_unit_each(tensor: &CubeTensor, len: usize) -> (CubeCount, CubeDim) {
    let dim = CubeDim::new(&tensor.client, len);
    (calculate_cube_count_elemwise(&tensor.client, len, dim), dim)
}
