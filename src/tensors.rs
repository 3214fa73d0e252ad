//! Tensors to and from a device.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use ipsight_kernels::storage::unshared;

use crate::{Error, Result};

/// Uploads addresses, or other numbers, as unsigned 32-bit integers.
pub fn ip_tensor(ips: Vec<u32>, device: &Device) -> Tensor<1, Int> {
    let len = ips.len();
    Tensor::from_data(TensorData::new(ips, [len]), (device, DType::U32))
}

/// Reads floats back from the device.
///
/// # Errors
///
/// [`Error::Device`] where the device lost the work, for example for want of memory.
pub fn read_floats<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    read_data(tensor)?.try_into_vec::<f32>().map_err(|e| device_failed(format!("{e:?}")))
}

/// As [`read_floats`], as the bytes that they are.
pub(crate) fn read_data<const D: usize>(tensor: Tensor<D>) -> Result<TensorData> {
    unshared(tensor).try_into_data().map_err(|e| device_failed(e.to_string()))
}

fn device_failed(reason: String) -> Error {
    Error::device(format!("the device failed: {reason}"), DEVICE_FAILED_HELP)
}

const DEVICE_FAILED_HELP: &str =
    "lower mini_batch_size, num_entity_vectors or vector_dim, or take --device ndarray";
