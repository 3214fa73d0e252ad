//! The models that are served, by name, and how one takes the place of another.
//!
//! A request that has begun ends with the model with which it began. No name that a request gives becomes a path:
//! it is looked for among the folders that are there. Folders are read by one thread, without a lock: what a reader or a
//! removal needs is held for as long as a map is copied.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::limits::Limits;
use super::loaded::{Fingerprint, Loaded, ServedModel};
use super::memory;
use super::names;
use crate::device::ComputeDevice;
use crate::event::AddressFamilies;
use crate::inference::LoadedModel;
use crate::memory_limits::headroom;
use crate::model_folder::{MANIFEST, Placement, num_file_bytes};
use crate::{At, Error, Result, Unseen};

/// What became of one model in a reload.
#[derive(Debug)]
pub struct Reloaded {
    /// The model's name.
    pub name: String,
    /// The version that is served now; or why the folder was refused, in which case the model before it stays.
    pub outcome: Result<String, Arc<Error>>,
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

/// Where models lie, and how many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelBounds {
    /// Where their bytes lie.
    pub placement: Placement,
    /// Names, at most.
    pub max_models: usize,
    /// Bytes of the files of all of them together; those of a folder that has several names count once.
    pub max_bytes: u64,
    /// Bytes of memory that a load leaves to requests: [`ModelBounds::of_requests`].
    pub reserved_bytes: u64,
}

impl ModelBounds {
    /// Bytes of memory that this process could have now; no bound where the system does not say.
    pub fn available_bytes() -> u64 {
        headroom().map_or(u64::MAX, |headroom| headroom.bytes)
    }

    /// Bytes of memory that requests may take within these limits.
    pub fn of_requests(limits: &Limits) -> u64 {
        memory::request_bytes(limits)
    }
}

/// The models of a server.
pub struct Models {
    root: PathBuf,
    /// Whether `root` holds models rather than being one.
    has_several: bool,
    at_start: AtStart,
    device: ComputeDevice,
    scoring: Scoring,
    bounds: ModelBounds,
    served: RwLock<Arc<Served>>,
    /// Held while `served` is changed, and never while a folder is read.
    changes: Mutex<Changes>,
}

/// Models by their names.
type Served = BTreeMap<String, Arc<ServedModel>>;

#[derive(Default)]
struct Changes {
    /// Models that were taken off by a request, and stay off until another asks for them.
    unloaded: BTreeSet<String>,
    /// Folders that were refused as they are: they are not tried again before they change.
    refused: BTreeMap<String, Option<Fingerprint>>,
    /// Folders that had changed at the last look.
    changed: BTreeMap<String, Option<Fingerprint>>,
}

/// Why a model was not loaded on request.
pub enum LoadFailure {
    /// It is served already.
    Exists,
    /// The name cannot be one.
    Name,
    /// There is no such folder.
    Unknown,
    /// It is not fit, or there is no room for it.
    Unfit(Error),
}

impl Models {
    /// Loads the model in `root`, or those in the folders below it, onto a device.
    ///
    /// # Errors
    ///
    /// As [`LoadedModel::load_into`]; [`Error::Config`] where there is no model, more than may be, or one whose folder's
    /// name cannot be a model's.
    pub fn load(
        root: &Path,
        at_start: AtStart,
        device: ComputeDevice,
        scoring: Scoring,
        bounds: ModelBounds,
    ) -> Result<Self> {
        let models = Self {
            root: root.to_path_buf(),
            has_several: at_start == AtStart::None || !root.join(MANIFEST).exists(),
            at_start,
            device,
            scoring,
            bounds,
            served: RwLock::default(),
            changes: Mutex::default(),
        };
        if at_start == AtStart::None {
            return Ok(models);
        }
        let folders = models.folders()?;
        if folders.is_empty() {
            return Err(Error::config(
                At::option("model"),
                format!("there is no model in {}", root.display()),
                "give a model folder, such as RUN/model, or a folder of model or run folders",
            ));
        }
        models.check_count(folders.len())?;
        for (name, folder) in &folders {
            models.check_name(name, folder)?;
            let loaded = models.load_folder(folder, models.shared(folder), &[])?;
            models.put(name, folder, &loaded);
        }
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
    pub fn all(&self) -> Arc<Served> {
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

    /// Of several models each has a name by which requests call it; the name of one alone is not asked for.
    fn check_name(&self, name: &str, folder: &Path) -> Result<()> {
        if !self.has_several || names::is_name(name) {
            return Ok(());
        }
        Err(Error::config(folder.display().to_string(), names::RULE, "rename the folder"))
    }

    fn check_count(&self, count: usize) -> Result<()> {
        if count <= self.bounds.max_models {
            return Ok(());
        }
        let what = format!("{count} models are more than {}", self.bounds.max_models);
        Err(Error::config(At::option("max_models"), what, "raise it, or serve fewer"))
    }

    /// What is served of this folder, as it is now.
    fn shared(&self, folder: &Path) -> Option<Arc<Loaded>> {
        let fingerprint = Fingerprint::of(folder)?;
        let all = self.all();
        let same = all.values().find(|model| model.fingerprint.as_ref() == Some(&fingerprint));
        same.map(|model| model.loaded.clone())
    }

    /// Reads a folder, unless it is `shared`. Where it fits, those of `replaced` are there no more.
    fn load_folder(
        &self,
        folder: &Path,
        shared: Option<Arc<Loaded>>,
        replaced: &[Arc<Loaded>],
    ) -> Result<Arc<Loaded>> {
        if let Some(loaded) = shared {
            return Ok(loaded);
        }
        // Of before the reading: what changes meanwhile is read again. A link is followed once, for all files.
        let fingerprint = Fingerprint::of(folder);
        let real = folder.canonicalize().map_err(Error::io("read", folder))?;
        let num_bytes = num_file_bytes(&real)?;
        self.check_room(folder, num_bytes, replaced)?;
        let LoadedModel { manifest, config, mut scorer, embeddings, mut thresholds } =
            LoadedModel::load_into(&real, &self.device, self.bounds.placement)?;
        if let Some(unseen) = self.scoring.unseen {
            scorer.set_unseen(unseen)?;
        }
        if let (Some(thresholds), Some(prior)) = (&mut thresholds, self.scoring.attack_prior) {
            thresholds.set_attack_prior(prior);
        }
        let addresses = config.model.addresses;
        Ok(Arc::new(Loaded { manifest, scorer, embeddings, thresholds, addresses, num_bytes, fingerprint }))
    }

    /// Bytes of memory that copies of models take.
    pub(super) fn copied_bytes(&self) -> u64 {
        match self.bounds.placement {
            Placement::InPlace => 0,
            Placement::Copied => {
                let loaded = distinct(self.all().values().map(|model| &model.loaded));
                loaded.iter().map(|loaded| loaded.num_bytes).sum()
            }
        }
    }

    /// Refuses a folder of `num_bytes` that is more than all models may have, or than there is memory to copy it to.
    fn check_room(&self, folder: &Path, num_bytes: u64, replaced: &[Arc<Loaded>]) -> Result<()> {
        let sum = distinct(self.all().values().map(|model| &model.loaded))
            .into_iter()
            .filter(|loaded| !replaced.iter().any(|old| Arc::ptr_eq(old, loaded)))
            .fold(num_bytes, |sum, loaded| sum.saturating_add(loaded.num_bytes));
        let folder = folder.display();
        if sum > self.bounds.max_bytes {
            let what =
                format!("with {folder} models would have {sum} bytes, more than {}", self.bounds.max_bytes);
            return Err(Error::device(what, "raise the option max_model_bytes, or serve fewer models"));
        }
        if self.bounds.placement == Placement::InPlace {
            return Ok(());
        }
        // Beside its copy a model has counts and tables of its own.
        let needed = num_bytes.saturating_add(num_bytes / 4);
        let reserved = self.bounds.reserved_bytes;
        let data = memory::data_left(self.copied_bytes()).map(|left| left.saturating_sub(reserved));
        let headroom = headroom().map(|headroom| headroom.bytes);
        match headroom.into_iter().chain(data).min().filter(|available| needed > *available) {
            None => Ok(()),
            Some(available) => Err(Error::device(
                format!("a copy of {folder} takes {needed} bytes of memory, and {available} are available"),
                "give the process more memory, or the option map_in_place",
            )),
        }
    }

    /// Serves a model, unless it was taken off meanwhile. What it replaces is returned.
    fn put(&self, name: &str, folder: &Path, loaded: &Arc<Loaded>) -> Option<Arc<ServedModel>> {
        let model = ServedModel { name: name.into(), folder: folder.into(), loaded: loaded.clone() };
        let changes = self.changes();
        if changes.unloaded.contains(name) {
            return None;
        }
        self.change(&changes, |served| served.insert(name.into(), Arc::new(model)))
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is served, for a holder of the lock.
    fn change<T>(&self, _: &MutexGuard<'_, Changes>, change: impl FnOnce(&mut Served) -> T) -> T {
        let mut served = BTreeMap::clone(&self.all());
        let changed = change(&mut served);
        *self.served.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(served);
        changed
    }

    /// Loads models again whose folders have changed since, and not since the last look, or all of them; and those that
    /// are new. One that is not fit is refused, and the one before it stays. The work of one thread.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where the folder of models cannot be listed.
    pub(super) fn reload(&self, all: bool) -> Result<Vec<Reloaded>> {
        let served = self.all();
        let mut folders: BTreeMap<String, PathBuf> =
            served.values().map(|model| (model.name.clone(), model.folder.clone())).collect();
        if self.at_start == AtStart::All {
            let present = self.folders()?;
            let mut changes = self.changes();
            changes.forget_all_but(|name| present.contains_key(name) || served.contains_key(name));
            let new = present.into_iter().filter(|(name, _)| !changes.unloaded.contains(name));
            folders.extend(new.filter(|(name, _)| !served.contains_key(name)));
        } else {
            self.changes().forget_all_but(|name| served.contains_key(name));
        }
        drop(served);
        let to_load = self.to_load(folders, all);
        Ok(to_load.values().flat_map(|models| self.reload_folder(models)).collect())
    }

    /// The folders to be read, where links lead, each with the models that are served of it by name and path.
    fn to_load(
        &self,
        folders: BTreeMap<String, PathBuf>,
        all: bool,
    ) -> BTreeMap<PathBuf, Vec<(String, PathBuf)>> {
        let mut to_load: BTreeMap<PathBuf, Vec<_>> = BTreeMap::new();
        for (name, folder) in folders {
            let fingerprint = Fingerprint::of(&folder);
            let mut changes = self.changes();
            let is_known = self.get(&name).is_some_and(|model| model.fingerprint == fingerprint)
                || changes.refused.get(&name) == Some(&fingerprint);
            if !all {
                // A folder that is still being written to is left alone until it has been quiet from one look to the next.
                let before = match is_known {
                    true => changes.changed.remove(&name),
                    false => changes.changed.insert(name.clone(), fingerprint.clone()),
                };
                if is_known || before.as_ref() != Some(&fingerprint) {
                    continue;
                }
            }
            changes.changed.remove(&name);
            let real = fingerprint.map_or_else(|| folder.clone(), |fingerprint| fingerprint.folder);
            to_load.entry(real).or_default().push((name, folder));
        }
        to_load
    }

    /// Reads a folder once for all models that are served of it.
    fn reload_folder(&self, models: &[(String, PathBuf)]) -> Vec<Reloaded> {
        let Some((_, folder)) = models.first() else { return Vec::new() };
        let fingerprint = Fingerprint::of(folder);
        let replaced = {
            let served = self.all();
            distinct(models.iter().filter_map(|(name, _)| Some(&served.get(name)?.loaded)))
        };
        let loaded =
            self.check_new(models).and_then(|()| self.load_folder(folder, None, &replaced)).map_err(Arc::new);
        let outcome = |(name, folder): &(String, PathBuf)| match &loaded {
            Ok(loaded) => {
                self.changes().refused.remove(name);
                self.put(name, folder, loaded);
                Ok(loaded.version().to_string())
            }
            Err(error) => {
                self.changes().refused.insert(name.clone(), fingerprint.clone());
                Err(error.clone())
            }
        };
        let reloaded =
            |model: &(String, PathBuf)| Reloaded { name: model.0.clone(), outcome: outcome(model) };
        let reloaded = models.iter().map(reloaded).collect();
        if loaded.is_ok() {
            replaced.into_iter().for_each(Loaded::retire);
        }
        reloaded
    }

    /// Refuses names that cannot be a model's, and more of them than may be.
    fn check_new(&self, models: &[(String, PathBuf)]) -> Result<()> {
        let served = self.all();
        let num_new = models.iter().filter(|(name, _)| !served.contains_key(name)).count();
        models.iter().try_for_each(|(name, folder)| self.check_name(name, folder))?;
        if num_new > 0 { self.check_count(served.len() + num_new) } else { Ok(()) }
    }

    /// Loads a model that is there under a name, for the multi-model routes: `url` is its folder's name below the
    /// root, or its whole path. The work of the thread that reloads.
    ///
    /// # Errors
    ///
    /// `LoadFailure`.
    pub(super) fn load_on_request(&self, name: &str, url: &str) -> std::result::Result<(), LoadFailure> {
        if !names::is_name(name) {
            return Err(LoadFailure::Name);
        }
        let served = self.all();
        if served.contains_key(name) {
            return Err(LoadFailure::Exists);
        }
        if served.len() >= self.bounds.max_models {
            let what = format!("{} models are loaded, and no more may be", served.len());
            let help = "unload one, or raise the option max_models";
            return Err(LoadFailure::Unfit(Error::device(what, help)));
        }
        drop(served);
        let folders = self.folders().map_err(LoadFailure::Unfit)?;
        let is_meant = |(folder, path): &(&String, &PathBuf)| {
            let url = url.trim_end_matches('/');
            *folder == url || path.to_str() == Some(url) || self.root.join(folder).to_str() == Some(url)
        };
        let (_, folder) = folders.iter().find(is_meant).ok_or(LoadFailure::Unknown)?;
        let loaded = self.load_folder(folder, self.shared(folder), &[]).map_err(LoadFailure::Unfit)?;
        let mut changes = self.changes();
        changes.unloaded.remove(name);
        changes.forget_all_but(|name| folders.contains_key(name));
        drop(changes);
        self.put(name, folder, &loaded);
        Ok(())
    }

    /// Takes a model off; `None` where no model has that name.
    pub(super) fn unload(&self, name: &str) -> Option<Arc<ServedModel>> {
        let mut changes = self.changes();
        self.get(name)?;
        changes.unloaded.insert(name.to_string());
        self.change(&changes, |served| served.remove(name))
    }
}

impl Changes {
    /// Forgets what is known of names that mean nothing any more.
    fn forget_all_but(&mut self, is_there: impl Fn(&str) -> bool) {
        self.unloaded.retain(|name| is_there(name));
        self.refused.retain(|name, _| is_there(name));
        self.changed.retain(|name, _| is_there(name));
    }
}

/// Each once, whatever its number of names.
fn distinct<'a>(all: impl Iterator<Item = &'a Arc<Loaded>>) -> Vec<Arc<Loaded>> {
    let mut distinct: Vec<Arc<Loaded>> = all.cloned().collect();
    distinct.sort_by_key(|loaded| Arc::as_ptr(loaded).addr());
    distinct.dedup_by(|a, b| Arc::ptr_eq(a, b));
    distinct
}
