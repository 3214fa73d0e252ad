//! Checkpoints: folders from which a training is resumed as if it had not been interrupted.
//!
//! `step-NNNNNNNNNN/` holds `state.safetensors` (the table and the encoder with both moments of each, the sums of the
//! loss, the counts of rows, the filter of entities, the figures of finished epochs), `config.toml` (resolved) and `manifest.json` (where the
//! run is, what it trains on and began from, size and BLAKE3 of the other files, and a checksum of itself). The order of events and the negatives are
//! functions of (seed, epoch, step), so nothing else is needed.

//!
//! `format` has the names and the manifest, `stored` reads one checkpoint, `folder` finds those that are there, `identity`
//! says whether one is of this run, `writer` writes them.

mod folder;
mod format;
mod identity;
mod stored;
mod writer;

pub use folder::{Resume, find, last_good, list};
pub(super) use format::STATE;
pub use format::{CheckpointManifest, FORMAT_VERSION};
pub use identity::RunIdentity;
pub use stored::Checkpoint;
pub use writer::CheckpointFolder;
pub(super) use writer::{Checkpointer, Written, pieces_bytes};
