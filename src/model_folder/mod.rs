//! The model folder: `model.safetensors`, `folded.safetensors`, `config.toml`, and `manifest.json` with the checksums
//! of them and of itself. What [`crate::thresholds`] adds to it later is known by the checksum of the weights.
//!
//! The folded file has what is scored with, the entities with the encoder's output layer folded in
//! ([`ipsight_kernels::scores`]) and the one that stands for those that were not seen; the filter that tells which were
//! ([`self::entity_filter`]) is beside the weights. Both are mapped, so a start computes nothing and processes share the
//! memory; or copied, where the folder may be written to meanwhile ([`Placement`]).
//!
//! It is written beside its place under a temporary name, synced and renamed, so a model is whole or not
//! there. It holds no clock: the same run gives the same bytes.

mod checksummed_json;
mod checksums;
pub mod entity_filter;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz_target;
mod held;
mod layout;
mod manifest;
mod networks;
mod placement;
mod read;
mod stored_tensors;
mod tensor_file;
mod write;

pub(crate) use checksummed_json::{Unreadable, read as read_checksummed, to_text as to_checksummed_text};
pub use checksums::FileEntry;
pub(crate) use checksums::{file_entry, map, verify};
pub use entity_filter::EntityFilter;
pub(crate) use entity_filter::num_distinct;
pub(crate) use held::HeldFolder;
pub(crate) use layout::{
    FILES, FILTER_KEY_BITS, FILTER_OFFSETS, FILTER_RESTS, FOLDED, FOLDED_PRIOR, PRIOR, ROW_COUNTS,
};
pub use layout::{FORMAT_VERSION, HEAD, HISTORY, MANIFEST, NETWORKS};
pub use manifest::{InitFrom, Manifest, TrainingSummary};
pub(crate) use manifest::{check_entity_hash, is_completed, num_tensor_bytes};
pub use networks::replace_networks;
pub use placement::Placement;
pub(crate) use read::{StoredWeights, VerifiedFolder, num_file_bytes, open_and_verify, read_detector};
pub use read::{read_and_verify, read_with_detector};
pub(crate) use stored_tensors::{Tensors, entity_filter, floats, numbers};
pub(crate) use tensor_file::{TensorFile, TensorHead};
pub(crate) use write::pieces_bytes;
pub use write::{TrainedModel, save, save_in_place};
