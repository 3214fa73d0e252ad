//! Fuzz targets of the model folder's files.

use bytes::Bytes;
use safetensors::Dtype;

use super::checksummed_json;
use super::layout::*;
use super::manifest::parse_manifest;
use super::stored_tensors::{Tensors, entity_filter};
use crate::model::VECTORS;

/// The manifest, as it is and with the checksum that it should have: what is taken is written as JSON that is taken.
pub fn manifest(text: &[u8]) {
    let _ = parse_manifest(MANIFEST, text);
    let Ok(value @ serde_json::Value::Object(_)) = serde_json::from_slice(text) else { return };
    let Ok(manifest) = parse_manifest(MANIFEST, checksummed_json::to_text(&value).as_bytes()) else { return };
    assert_eq!(manifest.format_version, FORMAT_VERSION);
    let written = checksummed_json::to_text(&manifest);
    let Ok(again) = parse_manifest(MANIFEST, written.as_bytes()) else {
        panic!("what was written is refused")
    };
    assert_eq!((again.files, again.entity_hash), (manifest.files, manifest.entity_hash));
}

/// A safetensors file, as weights and as the folded file: a tensor has the bytes that its shape says, and the filter
/// of entities answers.
pub fn safetensors(bytes: &[u8]) {
    let tensors = Tensors { path: WEIGHTS.into(), bytes: Bytes::copy_from_slice(bytes) };
    let names =
        [VECTORS, ROW_COUNTS, PRIOR, FOLDED, FOLDED_PRIOR, FILTER_KEY_BITS, FILTER_OFFSETS, FILTER_RESTS];
    for name in names {
        for (dtype, size) in [(Dtype::F32, 4), (Dtype::U32, 4), (Dtype::U64, 8)] {
            let Ok((values, shape)) = tensors.tensor(name, dtype) else { continue };
            assert_eq!(Some(values.len()), shape.iter().try_fold(size, |n: usize, dim| n.checked_mul(*dim)));
            assert!(tensors.values(name, dtype, &shape).is_ok_and(|again| again == values));
        }
    }
    if let Ok(filter) = entity_filter(&tensors) {
        let num_found = (0..64).filter(|entity| filter.contains(*entity)).count();
        assert!(num_found == 0 || filter.num_entities() > 0);
    }
}
