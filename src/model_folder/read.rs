//! Reads a model folder, and checks every byte of it.

use std::path::Path;

use burn::tensor::Device;

use super::entity_filter::EntityFilter;
use super::layout::{
    CONFIG, DAMAGED_HELP, FOLDED_WEIGHTS, HEAD, HISTORY, MANIFEST, NETWORKS, ROW_COUNTS, WEIGHTS,
};
use super::manifest::{Manifest, check_entity_hash, read_manifest};
use super::placement::Placement;
use super::stored_tensors::{Tensors, entity_filter, floats, numbers};
use crate::config::{Config, DetectorKind};
use crate::history::Detector;
use crate::model::{IpInsights, IpInsightsConfig};
use crate::{Error, Result};

/// Reads the manifest and the configuration of a model folder and checks every checksum.
///
/// # Errors
///
/// [`Error::Io`] where a file is missing, [`Error::Data`] where one is damaged.
pub fn read_and_verify(folder: &Path) -> Result<(Manifest, Config)> {
    let VerifiedFolder { manifest, config, .. } = open_and_verify(folder, Placement::InPlace)?;
    check_entity_hash(folder, &manifest)?;
    Ok((manifest, config))
}

/// Does as [`read_and_verify`], and reads the detector where the model has one.
///
/// # Errors
///
/// As [`read_and_verify`].
pub fn read_with_detector(folder: &Path) -> Result<(Manifest, Config, Option<Detector>)> {
    let VerifiedFolder { manifest, config, detector, .. } = open_and_verify(folder, Placement::InPlace)?;
    check_entity_hash(folder, &manifest)?;
    Ok((manifest, config, detector.map(read_detector).transpose()?))
}

/// The bytes of a detector's files.
pub(crate) struct DetectorFiles {
    history: Tensors,
    head: Tensors,
    /// Where the model has a table of networks.
    networks: Option<Tensors>,
}

/// Takes the bytes of a detector.
///
/// # Errors
///
/// [`Error::Data`] where a file is damaged.
pub(crate) fn read_detector(files: DetectorFiles) -> Result<Detector> {
    let DetectorFiles { history, head, networks } = files;
    let name = |file: &Tensors| file.path.display().to_string();
    let (history_name, head_name, networks_name) = (name(&history), name(&head), networks.as_ref().map(name));
    let networks = networks.as_ref().map(|file| &file.bytes).zip(networks_name.as_deref());
    Detector::from_bytes((history.bytes, &history_name), (&head.bytes, &head_name), networks)
}

/// The weights of a model folder, for a training that begins from them, and its detector.
pub(crate) struct StoredWeights {
    /// Its entity hash is not checked.
    pub(crate) manifest: Manifest,
    pub(crate) config: Config,
    weights: Tensors,
    /// None in a model of the engine alone.
    pub(crate) detector: Option<Detector>,
}

impl StoredWeights {
    /// Maps a model folder and checks every checksum; errors as of [`read_and_verify`].
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let VerifiedFolder { manifest, config, weights, detector, .. } =
            open_and_verify(folder, Placement::InPlace)?;
        Ok(Self { manifest, config, weights, detector: detector.map(read_detector).transpose()? })
    }

    /// Bytes of the files that stay mapped.
    pub(crate) fn num_file_bytes(&self) -> u64 {
        let files = self.manifest.files.iter().filter(|(name, _)| *name != FOLDED_WEIGHTS);
        files.map(|(_, file)| file.bytes).sum()
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
    /// Where the configuration asks for a detector.
    pub(crate) detector: Option<DetectorFiles>,
}

pub(crate) fn open_and_verify(folder: &Path, placement: Placement) -> Result<VerifiedFolder> {
    let manifest = read_manifest(folder)?;
    let verified = |name: &str| {
        let path = folder.join(name);
        placement.verified(&path, manifest.files.get(name)).map(|bytes| Tensors { path, bytes })
    };
    // What is read is what was verified: the file is not opened again.
    let config = read_config(&verified(CONFIG)?)?;
    let (weights, folded) = (verified(WEIGHTS)?, verified(FOLDED_WEIGHTS)?);
    let h = &config.hyperparameters;
    let shape = (h.num_entity_vectors, h.vector_dim, h.num_ip_encoder_layers);
    if shape != (manifest.num_entity_vectors, manifest.vector_dim, manifest.num_ip_encoder_layers) {
        let at = folder.join(MANIFEST).display().to_string();
        return Err(Error::data(at, format!("it and {CONFIG} differ in the model's shape"), DAMAGED_HELP));
    }
    let detector = match config.model.detector {
        DetectorKind::Engine => None,
        DetectorKind::History => {
            let has_networks = manifest.files.contains_key(NETWORKS);
            let networks = has_networks.then(|| verified(NETWORKS)).transpose()?;
            Some(DetectorFiles { history: verified(HISTORY)?, head: verified(HEAD)?, networks })
        }
    };
    Ok(VerifiedFolder { manifest, config, weights, folded, detector })
}

fn read_config(file: &Tensors) -> Result<Config> {
    let name = file.path.display().to_string();
    let text =
        str::from_utf8(&file.bytes).map_err(|_| Error::data(&name, "it is no UTF-8 text", DAMAGED_HELP))?;
    Config::from_text(&name, text)
}

/// The bytes of the files of a model folder, as its manifest says: what a copy of it takes.
///
/// # Errors
///
/// [`Error::Io`] where the manifest cannot be read, [`Error::Data`] where it is damaged.
pub(crate) fn num_file_bytes(folder: &Path) -> Result<u64> {
    Ok(read_manifest(folder)?.files.values().fold(0, |sum: u64, file| sum.saturating_add(file.bytes)))
}
