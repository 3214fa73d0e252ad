//! A model that is served, and what shows that its folder has changed.

use std::fs;
use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::refusal::Refusal;
use crate::event::AddressFamilies;
use crate::inference::embeddings::Embeddings;
use crate::model_folder::{FILES, Manifest};
use crate::thresholds::{THRESHOLDS, Thresholds};
use crate::{Error, Event, Result, Scorer, Unseen};

/// How long a model that was replaced is waited for until nobody scores with it.
const MAX_IN_USE: Duration = Duration::from_secs(1);

/// All that a folder held when it was loaded; models of one folder share it.
pub struct Loaded {
    pub manifest: Manifest,
    pub scorer: Scorer,
    pub embeddings: Embeddings,
    pub thresholds: Option<Thresholds>,
    /// The families of addresses that it knows.
    pub addresses: AddressFamilies,
    /// Bytes of the folder's files.
    pub num_bytes: u64,
    pub fingerprint: Option<Fingerprint>,
}

/// A model that is served.
pub struct ServedModel {
    /// The name under which it is served.
    pub name: String,
    pub folder: PathBuf,
    pub loaded: Arc<Loaded>,
}

impl Deref for ServedModel {
    type Target = Loaded;

    fn deref(&self) -> &Loaded {
        &self.loaded
    }
}

impl Loaded {
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

    /// Frees a model that is served no more, once nobody scores with it: a request that freed it as the last one would
    /// be held up by as much memory as it has.
    pub fn retire(self: Arc<Self>) {
        const STEP: Duration = Duration::from_millis(2);
        let mut waited = Duration::ZERO;
        while Arc::strong_count(&self) > 1 && waited < MAX_IN_USE {
            std::thread::sleep(STEP);
            waited += STEP;
        }
    }
}

/// What shows that a folder has changed: where a link leads, and its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    pub folder: PathBuf,
    /// Its files, where they are there.
    files: Vec<Option<FileIdentity>>,
}

/// Device, inode, seconds and nanoseconds of the last change, and size.
type FileIdentity = (u64, u64, i64, i64, u64);

impl Fingerprint {
    /// Of a folder as it is now; `None` where there is none.
    pub fn of(folder: &Path) -> Option<Self> {
        let folder = folder.canonicalize().ok()?;
        let identity = |name: &&str| {
            let m = fs::metadata(folder.join(name)).ok()?;
            Some((m.dev(), m.ino(), m.mtime(), m.mtime_nsec(), m.size()))
        };
        let files = FILES.iter().chain([&THRESHOLDS]).map(identity).collect();
        Some(Self { folder, files })
    }
}
