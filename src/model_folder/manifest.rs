//! `manifest.json`: what a model folder holds, and where it came from.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::checksummed_json::{self, Unreadable};
use super::checksums::FileEntry;
use super::layout::{DAMAGED_HELP, FOLDED_WEIGHTS, FORMAT_VERSION, MANIFEST, WEIGHTS};
use crate::event::ENTITY_HASH;
use crate::{Error, Result};

/// `manifest.json`: what the folder holds and where it came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The version of `ipsight` that wrote it.
    pub ipsight_version: String,
    /// Name and version of the entity hash: [`ENTITY_HASH`].
    pub entity_hash: String,
    /// N.
    pub num_entity_vectors: usize,
    /// d.
    pub vector_dim: usize,
    /// L.
    pub num_ip_encoder_layers: usize,
    /// What the model was trained on.
    pub training: TrainingSummary,
    /// The other files of the folder.
    pub files: BTreeMap<String, FileEntry>,
}

impl Manifest {
    /// BLAKE3 of the weights, in hexadecimal, by which what was made for them is known.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] where the manifest names no weights.
    pub fn weights_digest(&self) -> Result<&str> {
        let weights = self.files.get(WEIGHTS).map(|file| file.blake3.as_str());
        weights.ok_or_else(|| Error::data(MANIFEST, "it names no weights", DAMAGED_HELP))
    }
}

/// What a model was trained on and how that went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingSummary {
    /// Training events.
    pub num_events: u64,
    /// Table rows that were trained; entities share rows where the table is smaller than their number.
    pub num_entity_rows_seen: u64,
    /// Epochs finished.
    pub num_epochs: usize,
    /// Steps done.
    pub num_steps: usize,
    /// Whether the run reached its end; false where a signal stopped it.
    pub completed: bool,
    /// Mean cross entropy of the last finished epoch.
    pub loss: Option<f64>,
    /// Accuracy of the last finished epoch.
    pub accuracy: Option<f64>,
    /// Validation AUC after the last finished epoch.
    pub discriminator_auc: Option<f64>,
    /// That of IPv4 events, of a model that takes both families.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discriminator_auc_ipv4: Option<f64>,
    /// Likewise of IPv6 events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discriminator_auc_ipv6: Option<f64>,
    /// What shows that it learned nothing, or unlearned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What it began from; `None`: random weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_from: Option<InitFrom>,
}

/// What tells the weights that a training began from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitFrom {
    /// BLAKE3, in hexadecimal, of the file that holds them: [`Manifest::weights_digest`] of a model, that of the state
    /// of a checkpoint.
    pub blake3: String,
    /// Steps behind the moments of Adam that came along; 0 where none did: a model has none.
    pub num_optimizer_steps: usize,
}

/// Bytes of the tensors of a model folder, by its manifest.
pub(crate) fn num_tensor_bytes(folder: &Path) -> Result<u64> {
    let manifest = read_manifest(folder)?;
    Ok([WEIGHTS, FOLDED_WEIGHTS]
        .iter()
        .filter_map(|name| manifest.files.get(*name))
        .map(|file| file.bytes)
        .sum())
}

/// Whether the folder holds the model of a run that came to its end. One that cannot be told is taken for such.
pub(crate) fn is_completed(folder: &Path) -> bool {
    match read_manifest(folder) {
        Ok(manifest) => manifest.training.completed,
        Err(_) => folder.exists(),
    }
}

/// Reads `manifest.json`, of whatever entity hash.
pub(super) fn read_manifest(folder: &Path) -> Result<Manifest> {
    let path = folder.join(MANIFEST);
    let text = fs::read(&path).map_err(Error::io("read", &path))?;
    parse_manifest(&path.display().to_string(), &text)
}

pub(super) fn parse_manifest(at: &str, text: &[u8]) -> Result<Manifest> {
    checksummed_json::read(text, FORMAT_VERSION).map_err(|error| match error {
        Unreadable::Damaged(what) => Error::data(at, what, DAMAGED_HELP),
        Unreadable::OtherVersion(found) => {
            let help = format!(
                "this ipsight reads version {FORMAT_VERSION}: take the ipsight that wrote it, or train again"
            );
            Error::data(at, found, help)
        }
    })
}

pub(crate) fn check_entity_hash(folder: &Path, manifest: &Manifest) -> Result<()> {
    if manifest.entity_hash == ENTITY_HASH {
        return Ok(());
    }
    Err(Error::data(
        folder.join(MANIFEST).display().to_string(),
        format!("entities were hashed with {}, not {ENTITY_HASH}", manifest.entity_hash),
        "take the ipsight that wrote it, or train again",
    ))
}
