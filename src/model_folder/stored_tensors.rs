//! Tensors of a safetensors file that is mapped.

use std::path::PathBuf;

use bytes::Bytes;
use safetensors::tensor::{Dtype, SafeTensors};

use super::entity_filter::EntityFilter;
use super::layout::{DAMAGED_HELP, FILTER_KEY_BITS, FILTER_OFFSETS, FILTER_RESTS};
use crate::{Error, Result};

/// A safetensors file in memory.
pub(crate) struct Tensors {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Bytes,
}

impl Tensors {
    pub(super) fn damaged(&self, what: String) -> Error {
        Error::data(self.path.display().to_string(), what, DAMAGED_HELP)
    }

    /// The bytes of a tensor, of the type and shape that it must have.
    pub(crate) fn values(&self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<Bytes> {
        let (bytes, found) = self.tensor(name, dtype)?;
        if found != shape {
            return Err(self.damaged(format!("`{name}` is {found:?}, not {shape:?}")));
        }
        Ok(bytes)
    }

    /// The bytes and the shape of a tensor, of the type that it must have.
    pub(super) fn tensor(&self, name: &str, dtype: Dtype) -> Result<(Bytes, Vec<usize>)> {
        let tensors =
            SafeTensors::deserialize(&self.bytes).map_err(|error| self.damaged(error.to_string()))?;
        let tensor = tensors.tensor(name).map_err(|_| self.damaged(format!("no tensor `{name}`")))?;
        if tensor.dtype() != dtype {
            return Err(self.damaged(format!("`{name}` is {:?}, not {dtype:?}", tensor.dtype())));
        }
        Ok((self.bytes.slice_ref(tensor.data()), tensor.shape().to_vec()))
    }
}

pub(crate) fn floats(tensors: &Tensors, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    let bytes = tensors.values(name, Dtype::F32, shape)?;
    Ok(bytes.as_chunks::<4>().0.iter().copied().map(f32::from_le_bytes).collect())
}

pub(crate) fn numbers(weights: &Tensors, name: &str, len: usize) -> Result<Vec<u32>> {
    let bytes = weights.values(name, Dtype::U32, &[len])?;
    Ok(bytes.as_chunks::<4>().0.iter().copied().map(u32::from_le_bytes).collect())
}

/// The filter, where it is mapped.
pub(crate) fn entity_filter(weights: &Tensors) -> Result<EntityFilter> {
    let [offsets, rests] = [(FILTER_OFFSETS, Dtype::U64), (FILTER_RESTS, Dtype::U32)]
        .map(|(name, dtype)| weights.tensor(name, dtype).map(|(bytes, _)| bytes));
    let key_bits = numbers(weights, FILTER_KEY_BITS, 1)?[0];
    EntityFilter::of_parts(key_bits, offsets?, rests?)
        .ok_or_else(|| weights.damaged("the filter of entities is none".into()))
}
