//! Reads a model folder, and checks every byte of it.

use std::path::Path;

use burn::tensor::Device;

use super::checksums::{map, verify};
use super::entity_filter::EntityFilter;
use super::layout::{CONFIG, DAMAGED_HELP, FOLDED_WEIGHTS, HEAD, HISTORY, MANIFEST, ROW_COUNTS, WEIGHTS};
use super::manifest::{Manifest, check_entity_hash, read_manifest};
use super::stored_tensors::{Tensors, entity_filter, floats, numbers};
use crate::config::{Config, DetectorKind};
use crate::model::{IpInsights, IpInsightsConfig};
use crate::{Error, Result};

/// Reads the manifest and the configuration of a model folder and checks every checksum.
///
/// # Errors
///
/// [`Error::Io`] where a file is missing, [`Error::Data`] where one is damaged.
pub fn read_and_verify(folder: &Path) -> Result<(Manifest, Config)> {
    let VerifiedFolder { manifest, config, .. } = map_and_verify(folder)?;
    check_entity_hash(folder, &manifest)?;
    Ok((manifest, config))
}

/// The weights of a model folder, for a training that begins from them.
pub(crate) struct StoredWeights {
    /// Its entity hash is not checked.
    pub(crate) manifest: Manifest,
    pub(crate) config: Config,
    weights: Tensors,
}

impl StoredWeights {
    /// Maps a model folder and checks every checksum; errors as of [`read_and_verify`].
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let VerifiedFolder { manifest, config, weights, .. } = map_and_verify(folder)?;
        Ok(Self { manifest, config, weights })
    }

    /// The model, on a device; and for each table row how many events it was trained on.
    pub(crate) fn model(&self, config: &IpInsightsConfig, device: &Device) -> Result<(IpInsights, Vec<u32>)> {
        let model = config.from_tensors(device, |name, shape| floats(&self.weights, name, shape))?;
        Ok((model, numbers(&self.weights, ROW_COUNTS, config.num_entity_vectors)?))
    }

    /// The entities that the model was trained on.
    pub(crate) fn entity_filter(&self) -> Result<EntityFilter> {
        entity_filter(&self.weights)
    }
}

/// What was read of a model folder: the bytes of its tensors are those that were verified.
pub(crate) struct VerifiedFolder {
    pub(crate) manifest: Manifest,
    pub(crate) config: Config,
    pub(crate) weights: Tensors,
    pub(crate) folded: Tensors,
    /// The bytes of the history and of the head, where the configuration asks for them.
    pub(crate) detector: Option<[Tensors; 2]>,
}

pub(crate) fn map_and_verify(folder: &Path) -> Result<VerifiedFolder> {
    let manifest = read_manifest(folder)?;
    let verified = |name: &str| {
        let path = folder.join(name);
        let bytes = map(&path)?;
        verify(&path, &bytes, manifest.files.get(name)).map(|()| Tensors { path, bytes })
    };
    let (weights, folded) = (verified(WEIGHTS)?, verified(FOLDED_WEIGHTS)?);
    verified(CONFIG)?;
    let config = Config::load(Some(&folder.join(CONFIG)), &[])?;
    let h = &config.hyperparameters;
    let shape = (h.num_entity_vectors, h.vector_dim, h.num_ip_encoder_layers);
    if shape != (manifest.num_entity_vectors, manifest.vector_dim, manifest.num_ip_encoder_layers) {
        let at = folder.join(MANIFEST).display().to_string();
        return Err(Error::data(at, format!("it and {CONFIG} differ in the model's shape"), DAMAGED_HELP));
    }
    let detector = match config.model.detector {
        DetectorKind::Engine => None,
        DetectorKind::History => Some([verified(HISTORY)?, verified(HEAD)?]),
    };
    Ok(VerifiedFolder { manifest, config, weights, folded, detector })
}
