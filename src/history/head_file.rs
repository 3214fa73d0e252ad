//! A head as a file: safetensors, a tensor for each part, with the names of its inputs.

use std::collections::HashMap;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::features::{NUM_BASE_INPUTS, NUM_INPUTS, input_names};
use super::head::Head;
use super::network::{NUM_PARAMETERS, Part};
use crate::{Error, Result};

/// Version of the formulas of the inputs: a head that was fitted on others is refused.
const INPUTS_VERSION: &str = "1";

/// The key of the file's metadata.
const NAMES_KEY: &str = "inputs";

const HELP: &str = "copy the model folder again, or train again with this version";

impl Head {
    /// The bytes of the head's file: the same for the same parameters.
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes: Vec<u8> = self.parameters().iter().flat_map(|value| value.to_le_bytes()).collect();
        let tensor = |part: Part| {
            let shape = shape(part, self.num_inputs());
            let start = 4 * part.range().start;
            let bytes = &bytes[start..start + 4 * shape.iter().product::<usize>()];
            let view = TensorView::new(Dtype::F32, shape, bytes);
            (part.name(), view.expect("a part has as many bytes as its shape says"))
        };
        // One key, because the order of several is not fixed.
        let metadata = HashMap::from([(NAMES_KEY.to_string(), names(self.num_inputs()))]);
        safetensors::serialize(Part::ALL.map(tensor), Some(metadata))
            .expect("tensors in memory can be written")
    }

    /// Reads what [`Head::to_bytes`] wrote; `name` stands for the file in messages.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] where the bytes are no safetensors, a part is missing or has another shape, a number is not finite,
    /// or the head takes other inputs.
    pub fn from_bytes(bytes: &[u8], name: &str) -> Result<Self> {
        let refuse = |what: String| Error::data(name, what, HELP);
        let (_, header) = SafeTensors::read_metadata(bytes)
            .map_err(|e| refuse(format!("it is no safetensors file: {e}")))?;
        let found = header.metadata().as_ref().and_then(|metadata| metadata.get(NAMES_KEY));
        let known = [NUM_BASE_INPUTS, NUM_INPUTS].into_iter().find(|num| found == Some(&names(*num)));
        let Some(num_inputs) = known else {
            return Err(refuse("it was fitted on inputs that this version does not compute".into()));
        };
        let tensors = SafeTensors::deserialize(bytes).map_err(|e| refuse(format!("it is damaged: {e}")))?;
        let mut parameters = vec![0.0; NUM_PARAMETERS];
        for part in Part::ALL {
            let tensor = tensors.tensor(part.name());
            let tensor = tensor.map_err(|_| refuse(format!("there is no tensor `{}`", part.name())))?;
            let wanted = shape(part, num_inputs);
            if tensor.dtype() != Dtype::F32 || tensor.shape() != wanted {
                let (dtype, shape, part) = (tensor.dtype(), tensor.shape(), part.name());
                return Err(refuse(format!("`{part}` is {dtype:?} {shape:?}, and not F32 {wanted:?}")));
            }
            let values = tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            for (parameter, value) in parameters[part.range()].iter_mut().zip(values) {
                *parameter = value;
            }
        }
        Self::from_parameters(parameters).ok_or_else(|| refuse("a number in it is not finite".into()))
    }
}

/// What the file says of its inputs, the first of all.
fn names(num_inputs: usize) -> String {
    format!("{INPUTS_VERSION}: {}", input_names()[..num_inputs].join(" "))
}

/// The shape of a part in a head of so many inputs.
fn shape(part: Part, num_inputs: usize) -> Vec<usize> {
    match part.shape() {
        [NUM_INPUTS, units] => vec![num_inputs, *units],
        shape => shape.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head::from_parameters((0..NUM_PARAMETERS).map(|i| i as f32 * 0.25 - 9.0).collect()).unwrap()
    }

    #[test]
    fn a_head_is_read_as_it_was_written() {
        let bytes = head().to_bytes();
        assert_eq!(bytes, head().to_bytes());
        assert_eq!(Head::from_bytes(&bytes, "x").unwrap(), head());
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(tensors.tensor("head.first.weight").unwrap().shape(), [73, 20]);
        assert_eq!(tensors.len(), Part::ALL.len());
    }

    #[test]
    fn a_head_without_owners_has_no_weights_for_them() {
        let mut parameters = head().parameters().to_vec();
        parameters[Part::FirstWeight.range()][59 * 20..].fill(0.0);
        parameters[Part::SkipWeight.range()][59..].fill(0.0);
        let head = Head::from_parameters(parameters).unwrap();
        assert!(!head.uses_networks());
        let bytes = head.to_bytes();
        assert_eq!(Head::from_bytes(&bytes, "x").unwrap(), head);
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(tensors.tensor("head.first.weight").unwrap().shape(), [59, 20]);
        assert_eq!(tensors.tensor("head.skip.weight").unwrap().shape(), [59, 1]);
        let names = String::from_utf8_lossy(&bytes[..3000]).into_owned();
        assert!(names.contains("events_since_use_6\"") && !names.contains("as_novelty"), "{names}");
    }

    #[test]
    fn a_file_that_is_no_head_is_refused_by_name() {
        let bytes = head().to_bytes();
        let text = |bytes: &[u8]| Head::from_bytes(bytes, "models/head").unwrap_err().to_string();
        for end in [0, 7, 8, 100, bytes.len() - 1] {
            assert!(text(&bytes[..end]).contains("models/head"), "{end}");
        }
        let replaced = |from: &str, to: &str| {
            let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
            let mut bytes = bytes.clone();
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
            text(&bytes)
        };
        assert!(replaced("novelty_0", "novelty_9").contains("inputs"));
        assert!(replaced("head.skip.bias", "head.skip.bits").contains("head.skip.bias"));
        let mut bytes = bytes.clone();
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
        assert!(text(&bytes).contains("finite"));
    }
}
