//! Writes a model folder: beside its place, synced, and then exchanged with what is there.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use burn::tensor::{DType, Tensor, TensorData};

use super::checksummed_json;
use super::checksums::{FileEntry, file_entry};
use super::entity_filter::EntityFilter;
use super::held::HeldFolder;
use super::layout::{
    CONFIG, FILTER_KEY_BITS, FILTER_OFFSETS, FILTER_RESTS, FOLDED, FOLDED_PRIOR, FOLDED_WEIGHTS,
    FORMAT_VERSION, HEAD, HISTORY, MANIFEST, NETWORKS, PRIOR, ROW_COUNTS, WEIGHTS,
};
use super::manifest::{Manifest, TrainingSummary};
use super::tensor_file::{TensorFile, TensorHead};
use crate::config::Config;
use crate::durable::{exchange, remove_half_written, sync};
use crate::event::ENTITY_HASH;
use crate::history::FittedDetector;
use crate::model::{IpInsights, NamedTensor, fold_entities_in_pieces, fold_entity, prior_entity};
use crate::tensors::read_data;
use crate::thresholds::THRESHOLDS;
use crate::{Error, Result};

/// A model that was trained, and on whom.
#[derive(Clone, Copy)]
pub struct TrainedModel<'a> {
    /// The model, on a plain device.
    pub model: &'a IpInsights,
    /// For each table row, how many events it was trained on in the first epoch.
    pub row_counts: &'a [u32],
    /// The entities that it was trained on.
    pub entity_filter: &'a EntityFilter,
    /// The detector beside the engine; `None` in a model of the engine alone.
    pub detector: Option<&'a FittedDetector>,
}

/// Writes a model folder, replacing one that is there only when the new one is whole.
///
/// # Errors
///
/// [`Error::Io`] where writing fails, [`Error::Device`] where the weights cannot be read back.
pub fn save(
    folder: &Path,
    model: &TrainedModel<'_>,
    config: &Config,
    training: TrainingSummary,
) -> Result<Manifest> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let result = write_folder(&temporary, model, config, training)
        .and_then(|manifest| exchange(&temporary, folder).map(|()| manifest));
    if result.is_err() {
        // The error that matters is the first; a leftover is named by it.
        let _ = fs::remove_dir_all(&temporary);
    }
    result
}

/// Writes a model into a folder that cannot be replaced, such as a mount point. The manifest comes last and, where a
/// model is there already, goes first: without it there is no model, so a whole one is there or none.
///
/// # Errors
///
/// As [`save`].
pub fn save_in_place(
    folder: &Path,
    model: &TrainedModel<'_>,
    config: &Config,
    training: TrainingSummary,
) -> Result<Manifest> {
    // Within the folder, so that it is on the same file system.
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    remove_half_written(&folder.join("model"))?;
    let temporary = folder.join(format!(".model.{}.tmp", std::process::id()));
    let result = write_folder(&temporary, model, config, training).and_then(|manifest| {
        // An evaluation of the old model that is writing its thresholds ends first.
        let _old = HeldFolder::open(folder);
        for name in [MANIFEST, THRESHOLDS, NETWORKS] {
            match fs::remove_file(folder.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", folder.join(name))(error));
                }
                _ => {}
            }
        }
        let detector =
            [HISTORY, HEAD, NETWORKS].into_iter().filter(|name| manifest.files.contains_key(*name));
        let files = [WEIGHTS, FOLDED_WEIGHTS, CONFIG].into_iter().chain(detector).collect();
        for names in [files, vec![MANIFEST]] {
            for name in names {
                let path = folder.join(name);
                fs::rename(temporary.join(name), &path).map_err(Error::io("rename", &path))?;
            }
            sync(folder)?;
        }
        Ok(manifest)
    });
    // The error that matters is the first.
    let _ = fs::remove_dir_all(&temporary);
    result
}

fn write_folder(
    folder: &Path,
    model: &TrainedModel<'_>,
    config: &Config,
    training: TrainingSummary,
) -> Result<Manifest> {
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let [config_path, weights_path, folded_path] =
        [CONFIG, WEIGHTS, FOLDED_WEIGHTS].map(|name| folder.join(name));
    fs::write(&config_path, config.to_toml()).map_err(Error::io("write", &config_path))?;
    let prior = prior_entity(model.model, model.row_counts)?;
    let weights = write_weights(&weights_path, model, &prior)?;
    let folded = write_folded(&folded_path, model.model, prior)?;
    let detector = match model.detector {
        Some(detector) => write_detector(folder, detector)?,
        None => &[],
    };
    let mut files = BTreeMap::from([(WEIGHTS.to_string(), weights), (FOLDED_WEIGHTS.to_string(), folded)]);
    for name in [CONFIG].iter().chain(detector) {
        files.insert(name.to_string(), file_entry(&folder.join(name))?);
    }
    let manifest = Manifest {
        format_version: FORMAT_VERSION,
        ipsight_version: env!("CARGO_PKG_VERSION").into(),
        entity_hash: ENTITY_HASH.into(),
        num_entity_vectors: config.hyperparameters.num_entity_vectors,
        vector_dim: config.hyperparameters.vector_dim,
        num_ip_encoder_layers: config.hyperparameters.num_ip_encoder_layers,
        training,
        files,
    };
    let manifest_path = folder.join(MANIFEST);
    fs::write(&manifest_path, checksummed_json::to_text(&manifest))
        .map_err(Error::io("write", &manifest_path))?;
    let detector: Vec<_> = detector.iter().map(|name| folder.join(name)).collect();
    for path in detector.iter().chain([&config_path, &manifest_path]) {
        sync(path)?;
    }
    sync(folder)?;
    Ok(manifest)
}

/// Writes the files of a detector, and names them.
fn write_detector(folder: &Path, detector: &FittedDetector) -> Result<&'static [&'static str]> {
    let [history, head] = [HISTORY, HEAD].map(|name| folder.join(name));
    fs::copy(&detector.history, &history).map_err(Error::io("write", &history))?;
    fs::write(&head, detector.head.to_bytes()).map_err(Error::io("write", &head))?;
    let mode = fs::metadata(folder.join(CONFIG)).map_err(Error::io("read", folder))?.permissions();
    fs::set_permissions(&history, mode).map_err(Error::io("set the mode of", &history))?;
    let Some(bytes) = &detector.networks else { return Ok(&[HISTORY, HEAD]) };
    let networks = folder.join(NETWORKS);
    fs::write(&networks, bytes).map_err(Error::io("write", &networks))?;
    Ok(&[HISTORY, HEAD, NETWORKS])
}

/// Bytes that are read back from the device at once, at most, where rows are narrow.
const BYTES_PER_PIECE: usize = 8 << 20;

/// Bytes of the pieces of a table of so many bytes while it is saved: its rows, these folded, and what is read back of them.
pub(crate) fn pieces_bytes(table_bytes: u64) -> u64 {
    (3 * table_bytes).min(3 * BYTES_PER_PIECE as u64)
}

/// Writes tensors in the order of the `safetensors` crate: by type, the widest first, then by name. No tensor of the
/// table's size is ever copied as a whole.
fn write_weights(path: &Path, trained: &TrainedModel<'_>, prior: &[f32]) -> Result<FileEntry> {
    let (key_bits, offsets, rests) = trained.entity_filter.parts();
    let device = trained.model.entity_embedding.device();
    let mut tensors = trained.model.named_tensors();
    tensors.push(NamedTensor {
        name: PRIOR.into(),
        shape: vec![1, prior.len()],
        parts: vec![Tensor::from_data(TensorData::new(prior.to_vec(), [prior.len()]), &device)],
    });
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let mut heads = vec![TensorHead::new(FILTER_OFFSETS, DType::U64, &[offsets.len() / 8])];
    heads
        .extend(tensors.iter().map(|tensor| TensorHead::new(tensor.name.clone(), DType::F32, &tensor.shape)));
    heads.extend([
        TensorHead::new(FILTER_KEY_BITS, DType::U32, &[1]),
        TensorHead::new(FILTER_RESTS, DType::U32, &[rests.len() / 4]),
        TensorHead::new(ROW_COUNTS, DType::U32, &[trained.row_counts.len()]),
    ]);
    let mut file = TensorFile::create(path, &heads)?;
    file.write_bytes(offsets)?;
    for part in tensors.into_iter().flat_map(|tensor| tensor.parts) {
        let [len] = part.dims();
        for start in (0..len).step_by(BYTES_PER_PIECE / 4) {
            let range = start..(start + BYTES_PER_PIECE / 4).min(len);
            file.write(&read_data(part.clone().slice([range]))?)?;
        }
    }
    file.write_bytes(&key_bits.to_le_bytes())?;
    file.write_bytes(rests)?;
    for counts in trained.row_counts.chunks(BYTES_PER_PIECE / 4) {
        let bytes: Vec<u8> = counts.iter().flat_map(|count| count.to_le_bytes()).collect();
        file.write_bytes(&bytes)?;
    }
    file.finish()
}

fn write_folded(path: &Path, model: &IpInsights, prior: Vec<f32>) -> Result<FileEntry> {
    let width = model.shape().folded_width();
    let num_rows = model.entity_embedding.num_entity_vectors();
    let heads = [
        TensorHead::new(FOLDED, DType::F32, &[num_rows, width]),
        TensorHead::new(FOLDED_PRIOR, DType::F32, &[1, width]),
    ];
    let mut file = TensorFile::create(path, &heads)?;
    for piece in fold_entities_in_pieces(model) {
        file.write(&read_data(piece)?)?;
    }
    file.write(&read_data(fold_entity(model, prior))?)?;
    file.finish()
}
