//! From the ndarray backend's tensors to slices and back.

use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::Element;
use burn_ndarray::{NdArrayTensor, SharedArray};

/// How often a table had to be copied because somebody still held a clone of it. Stays 0 in training.
static TABLE_COPIES: AtomicUsize = AtomicUsize::new(0);

/// The number of whole-table copies made by [`crate::row_adam::row_adam`] and
/// [`crate::folded_step::folded_step`] in this process, all backends.
pub fn num_table_copies() -> usize {
    TABLE_COPIES.load(Ordering::Relaxed)
}

pub(crate) fn count_table_copy() {
    TABLE_COPIES.fetch_add(1, Ordering::Relaxed);
}

macro_rules! array_of {
    ($name:ident, $variant:ident, $element:ty) => {
        /// The tensor's array. Kernels are only called with this element type.
        pub(crate) fn $name(tensor: NdArrayTensor) -> SharedArray<$element> {
            match tensor {
                NdArrayTensor::$variant(storage) => standard_layout(storage.into_shared()),
                other => {
                    unreachable!("a kernel was given {:?}", burn::backend::TensorMetadata::dtype(&other))
                }
            }
        }
    };
}

array_of!(f32_array, F32, f32);
array_of!(i32_array, I32, i32);
array_of!(u32_array, U32, u32);

/// The tensor's values where they lie, for a table that is read: it may be a mapped file, which [`f32_array`] would
/// copy.
pub(crate) fn f32_values(tensor: &NdArrayTensor) -> Cow<'_, [f32]> {
    let NdArrayTensor::F32(storage) = tensor else { unreachable!("a kernel was given something else") };
    let view = storage.view();
    view.to_slice().map_or_else(|| Cow::Owned(view.iter().copied().collect()), Cow::Borrowed)
}

/// Like [`f32_array`], for a table that will be written to: counts the copy if it is shared.
pub(crate) fn table_array(tensor: NdArrayTensor) -> SharedArray<f32> {
    let array = f32_array(tensor);
    if !array.is_unique() {
        count_table_copy();
    }
    array
}

/// Rows one after the other, as slices need them; a transposed or sliced view is copied.
fn standard_layout<E: Clone>(array: SharedArray<E>) -> SharedArray<E> {
    if array.is_standard_layout() { array } else { array.as_standard_layout().into_owned().into_shared() }
}

pub(crate) fn slice<E>(array: &SharedArray<E>) -> &[E] {
    array.as_slice().expect("standard layout")
}

pub(crate) fn slice_mut<E: Clone>(array: &mut SharedArray<E>) -> &mut [E] {
    array.as_slice_mut().expect("standard layout")
}

/// A tensor of values row after row, which are not copied.
pub(crate) fn tensor<E: Element>(values: Vec<E>, shape: &[usize]) -> NdArrayTensor
where
    NdArrayTensor: From<SharedArray<E>>,
{
    SharedArray::from_shape_vec(shape.to_vec(), values).expect("values fill the shape").into()
}
