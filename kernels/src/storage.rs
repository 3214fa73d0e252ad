//! Tensors of floats that nobody else holds, at the speed of memory.
//!
//! burn-ndarray reads a tensor that others hold element by element through its iterators, and fills one likewise. Here both
//! are one pass over slices, which does not depend on how that crate is compiled.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;
use burn_ndarray::NdArrayTensor;

/// The same values in a tensor that can be read back without a pass over its elements; of a device, the tensor itself.
pub fn unshared<const D: usize>(values: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::unshared(values.into_dispatch()))
}

/// Zeros of the same shape, on the same device.
pub fn zeros_like<const D: usize>(values: &Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::zeros_of_shape(values.clone().into_dispatch()))
}

/// The backend extension behind [`unshared`] and [`zeros_like`].
#[backend_extension(NdArray, Cube: cfg(feature = "wgpu"))]
pub trait StorageBackend: Backend {
    /// See [`unshared`].
    fn unshared(values: FloatTensor<Self>) -> FloatTensor<Self>;

    /// See [`zeros_like`].
    fn zeros_of_shape(values: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl StorageBackend for burn_ndarray::NdArray {
    fn unshared(values: FloatTensor<Self>) -> FloatTensor<Self> {
        let is_unshared = |values: &NdArrayTensor| match values {
            NdArrayTensor::F32(storage) => storage.is_unique() && storage.view().is_standard_layout(),
            _ => false,
        };
        if is_unshared(&values) {
            return values;
        }
        let shape = burn::backend::TensorMetadata::shape(&values);
        crate::host::tensor(crate::host::f32_values(&values).into_owned(), &shape)
    }

    fn zeros_of_shape(values: FloatTensor<Self>) -> FloatTensor<Self> {
        let shape = burn::backend::TensorMetadata::shape(&values);
        crate::host::tensor(vec![0.0f32; shape.num_elements()], &shape)
    }
}

#[cfg(feature = "wgpu")]
mod device {
    use burn::backend::TensorMetadata;
    use burn::backend::ops::FloatTensorOps;
    use burn_cubecl::CubeBackend;

    use super::*;

    impl StorageBackend for CubeBackend {
        fn unshared(values: FloatTensor<Self>) -> FloatTensor<Self> {
            values
        }

        fn zeros_of_shape(values: FloatTensor<Self>) -> FloatTensor<Self> {
            Self::float_zeros(values.shape(), &values.device, values.dtype.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    #[test]
    fn a_shared_a_sliced_and_an_own_tensor_keep_their_values() {
        let device = Device::ndarray();
        let whole =
            || Tensor::<2>::from_data(TensorData::from([[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]]), &device);
        let shared = whole();
        let read = |tensor: Tensor<2>| unshared(tensor).into_data().to_vec::<f32>().unwrap();
        assert_eq!(read(shared.clone()), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(read(shared.slice([0..2, 1..3])), [2.0, 3.0, 5.0, 6.0]);
        assert_eq!(read(whole().transpose()), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        let zeros = zeros_like(&whole());
        assert_eq!((zeros.dims(), zeros.into_data().to_vec::<f32>().unwrap()), ([2, 3], vec![0.0; 6]));
    }
}
