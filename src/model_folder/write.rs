//! Writes a model folder: beside its place, synced, and then exchanged with what is there.

use std::fs;
use std::io;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};

use super::checksummed_json;
use super::checksums::file_entry;
use super::entity_filter::EntityFilter;
use super::held::HeldFolder;
use super::layout::{
    CONFIG, FILTER_KEY_BITS, FILTER_OFFSETS, FILTER_RESTS, FOLDED, FOLDED_PRIOR, FOLDED_WEIGHTS,
    FORMAT_VERSION, HEAD, HISTORY, MANIFEST, PRIOR, ROW_COUNTS, WEIGHTS,
};
use super::manifest::{Manifest, TrainingSummary};
use crate::config::Config;
use crate::durable::{exchange, remove_half_written, sync};
use crate::event::ENTITY_HASH;
use crate::history::FittedDetector;
use crate::model::{IpInsights, fold_entities, fold_entity, prior_entity};
use crate::tensors::read_floats;
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
        for name in [MANIFEST, THRESHOLDS] {
            match fs::remove_file(folder.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", folder.join(name))(error));
                }
                _ => {}
            }
        }
        let detector = [HISTORY, HEAD].into_iter().filter(|name| manifest.files.contains_key(*name));
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
    write_weights(&weights_path, model, &prior)?;
    write_folded(&folded_path, model.model, prior)?;
    let detector = match model.detector {
        Some(detector) => write_detector(folder, detector)?,
        None => &[],
    };
    let files = [WEIGHTS, FOLDED_WEIGHTS, CONFIG]
        .iter()
        .chain(detector)
        .map(|name| Ok((name.to_string(), file_entry(&folder.join(name))?)))
        .collect::<Result<_>>()?;
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
    for path in detector.iter().chain([&weights_path, &folded_path, &config_path, &manifest_path]) {
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
    Ok(&[HISTORY, HEAD])
}

fn write_weights(path: &Path, trained: &TrainedModel<'_>, prior: &[f32]) -> Result<()> {
    let mut tensors = Vec::new();
    for tensor in trained.model.named_tensors() {
        let mut bytes = Vec::with_capacity(4 * tensor.shape.iter().product::<usize>());
        for part in tensor.parts {
            bytes.extend(read_floats(part)?.into_iter().flat_map(f32::to_le_bytes));
        }
        tensors.push((tensor.name, Dtype::F32, tensor.shape, bytes));
    }
    let counts = trained.row_counts.iter().flat_map(|count| count.to_le_bytes()).collect();
    tensors.push((ROW_COUNTS.into(), Dtype::U32, vec![trained.row_counts.len()], counts));
    tensors.push((PRIOR.into(), Dtype::F32, vec![1, prior.len()], le_bytes(prior)));
    let (key_bits, offsets, rests) = trained.entity_filter.parts();
    let key_bits = key_bits.to_le_bytes().to_vec();
    tensors.push((FILTER_KEY_BITS.into(), Dtype::U32, vec![1], key_bits));
    tensors.push((FILTER_OFFSETS.into(), Dtype::U64, vec![offsets.len() / 8], offsets.to_vec()));
    tensors.push((FILTER_RESTS.into(), Dtype::U32, vec![rests.len() / 4], rests.to_vec()));
    write_safetensors(path, &tensors)
}

fn write_folded(path: &Path, model: &IpInsights, prior: Vec<f32>) -> Result<()> {
    let mut bytes = Vec::new();
    for shard in fold_entities(model) {
        bytes.extend(read_floats(shard)?.into_iter().flat_map(f32::to_le_bytes));
    }
    let width = model.shape().folded_width();
    let prior = le_bytes(&read_floats(fold_entity(model, prior))?);
    let num_rows = model.entity_embedding.num_entity_vectors();
    let tensors = [
        (FOLDED.into(), Dtype::F32, vec![num_rows, width], bytes),
        (FOLDED_PRIOR.into(), Dtype::F32, vec![1, width], prior),
    ];
    write_safetensors(path, &tensors)
}

fn le_bytes(floats: &[f32]) -> Vec<u8> {
    floats.iter().flat_map(|float| float.to_le_bytes()).collect()
}

/// Writes tensors: name, type, shape and bytes.
fn write_safetensors(path: &Path, tensors: &[(String, Dtype, Vec<usize>, Vec<u8>)]) -> Result<()> {
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        let view = TensorView::new(*dtype, shape.clone(), bytes).expect("bytes fill the shape");
        (name.as_str(), view)
    });
    safetensors::serialize_to_file(views, None, path).map_err(|error| match error {
        safetensors::SafeTensorError::IoError(source) => Error::io("write", path)(source),
        other => Error::io("write", path)(std::io::Error::other(other)),
    })?;
    // safetensors makes a file that only its owner can read: let it have the mode of any other.
    let beside = path.with_file_name(CONFIG);
    fs::metadata(&beside)
        .and_then(|metadata| fs::set_permissions(path, metadata.permissions()))
        .map_err(Error::io("set the mode of", path))
}
