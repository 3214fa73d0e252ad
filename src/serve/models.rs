//! The models that are served, by name, and how one takes the place of another.
//!
//! A request that has begun ends with the model with which it began. No name that a request gives becomes a path:
//! it is looked for among the folders that are there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use super::refusal::Refusal;
use crate::device::ComputeDevice;
use crate::event::AddressFamilies;
use crate::inference::LoadedModel;
use crate::inference::embeddings::Embeddings;
use crate::model_folder::{MANIFEST, Manifest};
use crate::thresholds::{THRESHOLDS, Thresholds};
use crate::{At, Error, Event, Result, Scorer, Unseen};

/// A model that is served.
pub struct ServedModel {
    /// The name under which it is served.
    pub name: String,
    pub manifest: Manifest,
    pub scorer: Scorer,
    pub embeddings: Embeddings,
    pub thresholds: Option<Thresholds>,
    /// The families of addresses that it knows.
    pub addresses: AddressFamilies,
    pub folder: PathBuf,
    fingerprint: Option<Fingerprint>,
}

impl ServedModel {
    /// As [`Scorer::scores_at`] of events that happen now, but a score that is not a number is an error.
    pub fn scores(&self, events: &[Event]) -> Result<Vec<f32>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let times = vec![u32::try_from(now).unwrap_or(u32::MAX); events.len()];
        let scores = self.scorer.scores_at(events, Some(&times))?;
        match scores.iter().position(|score| !score.is_finite()) {
            None => Ok(scores),
            Some(index) => Err(Error::data(
                "scores",
                format!("the score of a record is {}", scores[index]),
                "the model is broken: train again with a lower learning_rate",
            )),
        }
    }

    /// Refuses events of entities that the model was not trained on, where that was chosen.
    ///
    /// # Errors
    ///
    /// 400 with the index of the first.
    pub fn check_seen(&self, events: &[Event]) -> std::result::Result<(), Refusal> {
        let [what, help] = Unseen::REFUSED;
        self.scorer.first_refused(events).map_or(Ok(()), |index| Err(Refusal::bad_record(index, what, help)))
    }

    /// The first digits of its weights' BLAKE3 hash, which distinguishes models.
    pub fn version(&self) -> &str {
        self.manifest.weights_digest().map_or("", |digest| &digest[..digest.len().min(12)])
    }
}

/// What shows that a folder has changed: where a link leads, and the files that are renamed into place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fingerprint {
    folder: PathBuf,
    /// The manifest and the thresholds, where they are there.
    files: [Option<FileIdentity>; 2],
}

/// Device, inode, seconds and nanoseconds of the last change, and size.
type FileIdentity = (u64, u64, i64, i64, u64);

impl Fingerprint {
    fn of(folder: &Path) -> Option<Self> {
        let folder = folder.canonicalize().ok()?;
        let files = [MANIFEST, THRESHOLDS].map(|name| {
            let m = fs::metadata(folder.join(name)).ok()?;
            Some((m.dev(), m.ino(), m.mtime(), m.mtime_nsec(), m.size()))
        });
        Some(Self { folder, files })
    }
}

/// What became of one model in a reload.
#[derive(Debug)]
pub struct Reloaded {
    /// The model's name.
    pub name: String,
    /// The version that is served now; or why the folder was refused, in which case the model before it stays.
    pub outcome: Result<String>,
}

/// Which models of a folder are served from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtStart {
    /// All that are there, and later those that come.
    All,
    /// None: each is asked for by `POST /models`, as a multi-model endpoint of SageMaker does.
    None,
}

/// How all models of a server score.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scoring {
    /// The share of attacks among real events, set in all models that have thresholds.
    pub attack_prior: Option<f64>,
    /// What becomes of entities that a model was not trained on, where it is not the model's default; [`Unseen::Error`]
    /// refuses the request.
    pub unseen: Option<Unseen>,
}

/// The models of a server.
pub struct Models {
    root: PathBuf,
    /// Whether `root` holds models rather than being one.
    has_several: bool,
    at_start: AtStart,
    device: ComputeDevice,
    scoring: Scoring,
    served: RwLock<Arc<BTreeMap<String, Arc<ServedModel>>>>,
    /// Held while `served` is changed.
    changes: Mutex<Changes>,
}

#[derive(Default)]
struct Changes {
    /// Models that were taken off by a request, and stay off until another asks for them.
    unloaded: BTreeSet<String>,
    /// Folders that were refused as they are: they are not tried again before they change.
    refused: BTreeMap<String, Option<Fingerprint>>,
}

/// Why a model was not loaded on request.
pub enum LoadFailure {
    /// It is served already.
    Exists,
    /// There is no such folder.
    Unknown,
    /// It is not fit.
    Unfit(Error),
}

impl Models {
    /// Loads the model in `root`, or those in the folders below it, onto a device.
    ///
    /// # Errors
    ///
    /// As [`LoadedModel::load`], and [`Error::Config`] where there is no model.
    pub fn load(root: &Path, at_start: AtStart, device: ComputeDevice, scoring: Scoring) -> Result<Self> {
        let models = Self {
            root: root.to_path_buf(),
            has_several: at_start == AtStart::None || !root.join(MANIFEST).exists(),
            at_start,
            device,
            scoring,
            served: RwLock::default(),
            changes: Mutex::default(),
        };
        if at_start == AtStart::None {
            return Ok(models);
        }
        let mut served = BTreeMap::new();
        for (name, folder) in models.folders()? {
            served.insert(name.clone(), Arc::new(models.load_one(name, &folder)?));
        }
        if served.is_empty() {
            return Err(Error::config(
                At::option("model"),
                format!("there is no model in {}", root.display()),
                "give a model folder, such as RUN/model, or a folder of model or run folders",
            ));
        }
        *models.served.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(served);
        Ok(models)
    }

    /// The families of addresses that at least one of the models knows that are served now.
    pub fn addresses(&self) -> AddressFamilies {
        let served = self.all();
        let knows_both = served.values().any(|model| model.addresses == AddressFamilies::Both);
        if knows_both || served.is_empty() { AddressFamilies::Both } else { AddressFamilies::Ipv4 }
    }

    /// Whether models have names that matter.
    pub fn has_several(&self) -> bool {
        self.has_several
    }

    /// All that are served now, by name.
    pub fn all(&self) -> Arc<BTreeMap<String, Arc<ServedModel>>> {
        self.served.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The model of that name.
    pub fn get(&self, name: &str) -> Option<Arc<ServedModel>> {
        self.all().get(name).cloned()
    }

    /// The only model.
    pub fn only(&self) -> Option<Arc<ServedModel>> {
        let all = self.all();
        let only = all.values().next().filter(|_| all.len() == 1);
        only.cloned()
    }

    /// The folders of models that are there, by name; the model of a run folder has the run's name.
    fn folders(&self) -> Result<BTreeMap<String, PathBuf>> {
        if !self.has_several {
            let name =
                self.root.file_name().map_or("model".into(), |name| name.to_string_lossy().into_owned());
            return Ok(BTreeMap::from([(name, self.root.clone())]));
        }
        let mut folders = BTreeMap::new();
        for entry in fs::read_dir(&self.root).map_err(Error::io("read", &self.root))? {
            let path = entry.map_err(Error::io("read", &self.root))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).filter(|name| !name.starts_with('.'));
            let model =
                [path.clone(), path.join("model")].into_iter().find(|model| model.join(MANIFEST).exists());
            if let (Some(name), Some(model)) = (name, model) {
                folders.insert(name.to_string(), model);
            }
        }
        Ok(folders)
    }

    fn load_one(&self, name: String, folder: &Path) -> Result<ServedModel> {
        // Of before the reading: what changes meanwhile is read again. A link is followed once, for all files.
        let fingerprint = Fingerprint::of(folder);
        let real = folder.canonicalize().map_err(Error::io("read", folder))?;
        let LoadedModel { manifest, config, mut scorer, embeddings, mut thresholds } =
            LoadedModel::load(&real, &self.device)?;
        if let Some(unseen) = self.scoring.unseen {
            scorer.set_unseen(unseen)?;
        }
        if let (Some(thresholds), Some(prior)) = (&mut thresholds, self.scoring.attack_prior) {
            thresholds.set_attack_prior(prior);
        }
        let folder = folder.to_path_buf();
        let addresses = config.model.addresses;
        Ok(ServedModel { name, manifest, scorer, embeddings, thresholds, addresses, folder, fingerprint })
    }

    fn put(&self, model: ServedModel) {
        self.change(|served| drop(served.insert(model.name.clone(), Arc::new(model))));
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Arc<ServedModel>>)) {
        let mut served = BTreeMap::clone(&self.all());
        change(&mut served);
        *self.served.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(served);
    }

    /// Loads models again whose folders have changed, or all of them; and those that are new. One that is not fit
    /// is refused, and the one before it stays.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where the folder of models cannot be listed.
    pub fn reload(&self, all: bool) -> Result<Vec<Reloaded>> {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut reloaded = Vec::new();
        let served = self.all();
        let mut folders: BTreeMap<String, PathBuf> =
            served.values().map(|model| (model.name.clone(), model.folder.clone())).collect();
        if self.at_start == AtStart::All {
            let new = self.folders()?.into_iter().filter(|(name, _)| !changes.unloaded.contains(name));
            folders.extend(new.filter(|(name, _)| !served.contains_key(name)));
        }
        for (name, folder) in folders {
            let fingerprint = Fingerprint::of(&folder);
            let is_known = self.get(&name).is_some_and(|model| model.fingerprint == fingerprint)
                || changes.refused.get(&name) == Some(&fingerprint);
            if is_known && !all {
                continue;
            }
            let outcome = self.load_one(name.clone(), &folder).map(|model| {
                changes.refused.remove(&name);
                let version = model.version().to_string();
                self.put(model);
                version
            });
            if outcome.is_err() {
                changes.refused.insert(name.clone(), fingerprint);
            }
            reloaded.push(Reloaded { name, outcome });
        }
        Ok(reloaded)
    }

    /// Loads a model that is there under a name, for the multi-model routes: `url` is its folder's name below the
    /// root, or its whole path.
    ///
    /// # Errors
    ///
    /// `LoadFailure`.
    pub fn load_on_request(&self, name: &str, url: &str) -> std::result::Result<(), LoadFailure> {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if self.get(name).is_some() {
            return Err(LoadFailure::Exists);
        }
        let folders = self.folders().map_err(LoadFailure::Unfit)?;
        let is_meant = |(folder, path): &(&String, &PathBuf)| {
            let url = url.trim_end_matches('/');
            *folder == url || path.to_str() == Some(url) || self.root.join(folder).to_str() == Some(url)
        };
        let (_, folder) = folders.iter().find(is_meant).ok_or(LoadFailure::Unknown)?;
        let model = self.load_one(name.to_string(), folder).map_err(LoadFailure::Unfit)?;
        changes.unloaded.remove(name);
        self.put(model);
        Ok(())
    }

    /// Takes a model off; false where there is none of that name.
    pub fn unload(&self, name: &str) -> bool {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if self.get(name).is_none() {
            return false;
        }
        changes.unloaded.insert(name.to_string());
        self.change(|served| drop(served.remove(name)));
        true
    }
}
