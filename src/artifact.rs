//! The model folder: `model.safetensors`, `folded.safetensors`, `config.toml`, and `manifest.json` with the checksums
//! of them and of itself. What [`crate::thresholds`] adds to it later is known by the checksum of the weights.
//!
//! The folded file has what is scored with, the entities with the encoder's output layer folded in
//! ([`ipsight_kernels::scores`]) and the one that stands for those that were not seen; the filter that tells which were
//! ([`crate::entity_filter`]) is beside the weights. Both are mapped, so a start computes nothing and processes share the
//! memory.
//!
//! It is written beside its place under a temporary name, synced and renamed, so a model is whole or not
//! there. It holds no clock: the same run gives the same bytes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use burn::tensor::{AllocationProperty, DType, Device, Tensor, TensorData};
use bytes::Bytes;
use ipsight_kernels::scores::folded_width;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::data::map_file;
use crate::device::{ComputeDevice, MemoryPlan};
use crate::embeddings::Embeddings;
use crate::entity_filter::EntityFilter;
use crate::event::ENTITY_HASH;
use crate::manifest::{self, Unreadable};
use crate::model::{IpInsights, IpInsightsConfig, VECTORS};
use crate::score::{FoldedEntities, Scorer, fold_entities, read_floats};
use crate::thresholds::THRESHOLDS;
use crate::unseen::{Population, fold_entity, prior_entity};
use crate::{Error, Result};

/// Version of the folder's layout; a reader refuses any other.
pub const FORMAT_VERSION: u32 = 3;

/// The file by which a model folder is known.
pub const MANIFEST: &str = "manifest.json";
const WEIGHTS: &str = "model.safetensors";
const FOLDED_WEIGHTS: &str = "folded.safetensors";
const CONFIG: &str = "config.toml";

/// How many events each table row was trained on, in the first epoch of the run and of those that it began from,
/// `[N]`, beside the weights.
const ROW_COUNTS: &str = "entity_row_counts";

/// The folded entities, `[N, width + 1 + cells]`.
const FOLDED: &str = "folded";

/// The entity that stands for all, `[1, vector_dim + cells]`, beside the weights.
const PRIOR: &str = "prior_entity";

/// The same, folded: `[1, width + 1 + cells]`.
const FOLDED_PRIOR: &str = "folded_prior";

/// [`EntityFilter::parts`], beside the weights.
pub(crate) const FILTER_KEY_BITS: &str = "entity_filter.key_bits";
pub(crate) const FILTER_OFFSETS: &str = "entity_filter.offsets";
pub(crate) const FILTER_RESTS: &str = "entity_filter.rests";

const DAMAGED_HELP: &str = "the folder is damaged or was edited: copy it again or train again";

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
    pub fn weights_digest(&self) -> Option<&str> {
        self.files.get(WEIGHTS).map(|file| file.blake3.as_str())
    }
}

/// A file of the folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its size.
    pub bytes: u64,
    /// Its BLAKE3 hash in hexadecimal.
    pub blake3: String,
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

/// A model that was trained, and on whom.
#[derive(Clone, Copy)]
pub struct TrainedModel<'a> {
    /// The model, on a plain device.
    pub model: &'a IpInsights,
    /// For each table row, how many events it was trained on in the first epoch.
    pub row_counts: &'a [u32],
    /// The entities that it was trained on.
    pub entity_filter: &'a EntityFilter,
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
        for name in [MANIFEST, THRESHOLDS] {
            match fs::remove_file(folder.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", folder.join(name))(error));
                }
                _ => {}
            }
        }
        for names in [&[WEIGHTS, FOLDED_WEIGHTS, CONFIG][..], &[MANIFEST]] {
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
    let files = [WEIGHTS, FOLDED_WEIGHTS, CONFIG]
        .into_iter()
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
    fs::write(&manifest_path, manifest::to_text(&manifest)).map_err(Error::io("write", &manifest_path))?;
    for path in [&weights_path, &folded_path, &config_path, &manifest_path, folder] {
        sync(path)?;
    }
    Ok(manifest)
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
    let width = folded_width(&model.shape());
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

/// Renames a whole folder into place. Where the file system can, one that is there already changes places with it, so
/// that there is a whole one at any time.
fn exchange(temporary: &Path, folder: &Path) -> Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        if renameat_with(CWD, temporary, CWD, folder, RenameFlags::EXCHANGE).is_ok() {
            // The new one is in place; what is left of the old one does no harm.
            let _ = fs::remove_dir_all(temporary);
            return sync_parent(folder);
        }
    }
    replace(temporary, folder)
}

/// Renames a whole folder into place. A folder that is there already is moved aside first and removed last.
pub(crate) fn replace(temporary: &Path, folder: &Path) -> Result<()> {
    let old = temporary.with_extension("old");
    let replaces = folder.exists();
    if replaces {
        // One that was cut off here has left it.
        match fs::remove_dir_all(&old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &old)(error));
            }
            _ => {}
        }
        fs::rename(folder, &old).map_err(Error::io("rename", folder))?;
    }
    if let Err(error) = fs::rename(temporary, folder) {
        if replaces {
            let _ = fs::rename(&old, folder); // the first error is the one to tell
        }
        return Err(Error::io("rename", temporary)(error));
    }
    if replaces {
        // The new model is in place; what is left of the old one does no harm.
        let _ = fs::remove_dir_all(&old);
    }
    sync_parent(folder)
}

fn sync_parent(folder: &Path) -> Result<()> {
    match folder.parent() {
        Some(parent) if parent != Path::new("") => sync(parent),
        _ => sync(Path::new(".")),
    }
}

/// Removes what runs that were killed while they saved `folder` left beside it. An old model that was moved aside, and
/// not replaced, goes back to its place.
pub(crate) fn remove_half_written(folder: &Path) -> Result<()> {
    let parent = match folder.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let start = format!(".{}.", folder.file_name().unwrap_or_default().to_string_lossy());
    for entry in fs::read_dir(parent).map_err(Error::io("read", parent))? {
        let path = entry.map_err(Error::io("read", parent))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with(&start) {
            continue;
        }
        if name.ends_with(".old") && !folder.exists() {
            fs::rename(&path, folder).map_err(Error::io("rename", &path))?;
        } else if name.ends_with(".tmp") || name.ends_with(".old") {
            fs::remove_dir_all(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Has the disk take a file or a folder's list of names.
pub(crate) fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(Error::io("sync", path))
}

pub(crate) fn file_entry(path: &Path) -> Result<FileEntry> {
    Ok(entry_of(&map(path)?))
}

fn entry_of(bytes: &[u8]) -> FileEntry {
    let mut hasher = blake3::Hasher::new();
    hasher.update_rayon(bytes);
    FileEntry { bytes: hasher.count(), blake3: hasher.finalize().to_hex().to_string() }
}

pub(crate) fn map(path: &Path) -> Result<Bytes> {
    File::open(path).and_then(|file| map_file(&file)).map_err(Error::io("read", path))
}

/// A model folder that was read and checked.
#[derive(Debug)]
pub struct Artifact {
    /// Where it came from.
    pub manifest: Manifest,
    /// The configuration that it was trained with.
    pub config: Config,
    /// Ready to score.
    pub scorer: Scorer,
    /// The vectors behind the scores.
    pub embeddings: Embeddings,
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
fn read_manifest(folder: &Path) -> Result<Manifest> {
    let path = folder.join(MANIFEST);
    let text = fs::read(&path).map_err(Error::io("read", &path))?;
    parse_manifest(&path.display().to_string(), &text)
}

fn parse_manifest(at: &str, text: &[u8]) -> Result<Manifest> {
    manifest::read(text, FORMAT_VERSION).map_err(|error| match error {
        Unreadable::Damaged(what) => Error::data(at, what, DAMAGED_HELP),
        Unreadable::OtherVersion(found) => {
            let help = format!("this ipsight reads version {FORMAT_VERSION}; take the ipsight that wrote it");
            Error::data(at, found, help)
        }
    })
}

fn check_entity_hash(folder: &Path, manifest: &Manifest) -> Result<()> {
    if manifest.entity_hash == ENTITY_HASH {
        return Ok(());
    }
    Err(Error::data(
        folder.join(MANIFEST).display().to_string(),
        format!("entities were hashed with {}, not {ENTITY_HASH}", manifest.entity_hash),
        "take the ipsight that wrote it, or train again",
    ))
}

/// Reads the manifest and the configuration of a model folder and checks every checksum.
///
/// # Errors
///
/// [`Error::Io`] where a file is missing, [`Error::Data`] where one is damaged.
pub fn read_and_verify(folder: &Path) -> Result<(Manifest, Config)> {
    let Verified { manifest, config, .. } = map_and_verify(folder)?;
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
        let Verified { manifest, config, weights, .. } = map_and_verify(folder)?;
        Ok(Self { manifest, config, weights: Tensors { path: folder.join(WEIGHTS), bytes: weights } })
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

fn floats(tensors: &Tensors, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    let bytes = tensors.values(name, Dtype::F32, shape)?;
    Ok(bytes.as_chunks::<4>().0.iter().copied().map(f32::from_le_bytes).collect())
}

fn numbers(weights: &Tensors, name: &str, len: usize) -> Result<Vec<u32>> {
    let bytes = weights.values(name, Dtype::U32, &[len])?;
    Ok(bytes.as_chunks::<4>().0.iter().copied().map(u32::from_le_bytes).collect())
}

/// What was read of a model folder: the bytes of its tensors are those that were verified.
struct Verified {
    manifest: Manifest,
    config: Config,
    weights: Bytes,
    folded: Bytes,
}

fn map_and_verify(folder: &Path) -> Result<Verified> {
    let manifest = read_manifest(folder)?;
    let verified = |name: &str| {
        let path = folder.join(name);
        let bytes = map(&path)?;
        verify(&path, &bytes, manifest.files.get(name)).map(|()| bytes)
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
    Ok(Verified { manifest, config, weights, folded })
}

/// Reads a model folder onto a device, after checking every checksum.
///
/// # Errors
///
/// [`Error::Io`] where a file is missing, [`Error::Data`] where one is damaged, [`Error::Device`] where the
/// model does not fit.
pub fn load(folder: &Path, device: &ComputeDevice) -> Result<Artifact> {
    let Verified { manifest, config, weights, folded } = map_and_verify(folder)?;
    check_entity_hash(folder, &manifest)?;
    let plan = MemoryPlan::for_scoring(&config, &device.limits)?;
    let model = IpInsightsConfig::of(&config, plan.max_rows_per_shard);
    let device = &device.device;

    let weights = Tensors { path: folder.join(WEIGHTS), bytes: weights };
    let row_counts = numbers(&weights, ROW_COUNTS, model.num_entity_vectors)?;
    let ip_encoder = model.ip_encoder_from_tensors(device, |name, shape| floats(&weights, name, shape))?;
    let vectors = weights.values(VECTORS, Dtype::F32, &[model.num_entity_vectors, model.vector_dim])?;

    let width = folded_width(&model.shape());
    let folded = Tensors { path: folder.join(FOLDED_WEIGHTS), bytes: folded };
    let rows = folded.values(FOLDED, Dtype::F32, &[model.num_entity_vectors, width])?;
    let sharding = model.entity_embedding().sharding();
    let shard = |range: Range<usize>| {
        let bytes = rows.slice(4 * width * range.start..4 * width * range.end);
        let bytes = burn::tensor::Bytes::from_shared(bytes, AllocationProperty::File);
        Tensor::from_data(TensorData::from_bytes(bytes, [range.len(), width], DType::F32), device)
    };
    let shards = sharding.shards(model.num_entity_vectors).map(shard).collect();
    let prior = TensorData::new(floats(&folded, FOLDED_PRIOR, &[1, width])?, [1, width]);
    let population = Population { filter: entity_filter(&weights)?, prior: Tensor::from_data(prior, device) };
    let scorer =
        Scorer::of_folded(FoldedEntities { shards, sharding }, model.shape(), &ip_encoder, row_counts)
            .with_population(population);
    let row_width = model.entity_embedding().row_width();
    let mut prior = floats(&weights, PRIOR, &[1, row_width])?;
    prior.truncate(model.vector_dim);
    let embeddings = Embeddings::new(ip_encoder, vectors, prior);
    Ok(Artifact { manifest, config, scorer, embeddings })
}

/// The filter, where it is mapped.
pub(crate) fn entity_filter(weights: &Tensors) -> Result<EntityFilter> {
    let [offsets, rests] = [(FILTER_OFFSETS, Dtype::U64), (FILTER_RESTS, Dtype::U32)]
        .map(|(name, dtype)| weights.tensor(name, dtype).map(|(bytes, _)| bytes));
    let key_bits = numbers(weights, FILTER_KEY_BITS, 1)?[0];
    EntityFilter::of_parts(key_bits, offsets?, rests?)
        .ok_or_else(|| weights.damaged("the filter of entities is none".into()))
}

/// Compares the bytes of a file with what a manifest says of it.
pub(crate) fn verify(path: &Path, bytes: &[u8], expected: Option<&FileEntry>) -> Result<()> {
    let found = entry_of(bytes);
    match expected {
        Some(expected) if *expected == found => Ok(()),
        Some(expected) if expected.bytes != found.bytes => Err(Error::data(
            path.display().to_string(),
            format!("{} bytes instead of the manifest's {}", found.bytes, expected.bytes),
            DAMAGED_HELP,
        )),
        _ => Err(Error::data(
            path.display().to_string(),
            "its BLAKE3 hash is not the manifest's",
            DAMAGED_HELP,
        )),
    }
}

/// A safetensors file in memory.
pub(crate) struct Tensors {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Bytes,
}

impl Tensors {
    fn damaged(&self, what: String) -> Error {
        Error::data(self.path.display().to_string(), what, DAMAGED_HELP)
    }

    /// The bytes of a tensor, of the type and shape that it must have.
    pub(crate) fn values(&self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<Bytes> {
        let (bytes, found) = self.tensor(name, dtype)?;
        if found != shape {
            return Err(self.damaged(format!("`{name}` is {found:?}, not {shape:?}")));
        }
        Ok(bytes)
    }

    /// The bytes and the shape of a tensor, of the type that it must have.
    fn tensor(&self, name: &str, dtype: Dtype) -> Result<(Bytes, Vec<usize>)> {
        let tensors =
            SafeTensors::deserialize(&self.bytes).map_err(|error| self.damaged(error.to_string()))?;
        let tensor = tensors.tensor(name).map_err(|_| self.damaged(format!("no tensor `{name}`")))?;
        if tensor.dtype() != dtype {
            return Err(self.damaged(format!("`{name}` is {:?}, not {dtype:?}", tensor.dtype())));
        }
        Ok((self.bytes.slice_ref(tensor.data()), tensor.shape().to_vec()))
    }
}

/// Fuzz targets of the model folder's files.
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz_target {
    use super::*;

    /// The manifest, as it is and with the checksum that it should have: what is taken is written as JSON that is taken.
    pub fn manifest(text: &[u8]) {
        let _ = parse_manifest(MANIFEST, text);
        let Ok(value @ serde_json::Value::Object(_)) = serde_json::from_slice(text) else { return };
        let Ok(manifest) = parse_manifest(MANIFEST, manifest::to_text(&value).as_bytes()) else { return };
        assert_eq!(manifest.format_version, FORMAT_VERSION);
        let written = manifest::to_text(&manifest);
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
                assert_eq!(
                    Some(values.len()),
                    shape.iter().try_fold(size, |n: usize, dim| n.checked_mul(*dim))
                );
                assert!(tensors.values(name, dtype, &shape).is_ok_and(|again| again == values));
            }
        }
        if let Ok(filter) = entity_filter(&tensors) {
            let num_found = (0..64).filter(|entity| filter.contains(*entity)).count();
            assert!(num_found == 0 || filter.num_entities() > 0);
        }
    }
}
