//! Writes checkpoints.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use burn::tensor::{AllocationProperty, DType, Tensor, TensorData};
use bytes::Bytes;

use super::folder::{folder_name, list};
use super::format::{
    CONFIG, CheckpointManifest, EPOCHS, FIGURES_OF_EPOCH, FORMAT_VERSION, MANIFEST, ROW_COUNTS, SECONDS,
    STATE, SUMS, UNREAD_SUMS, figures,
};
use crate::config::{CheckpointInterval, Config};
use crate::data::DataDigest;
use crate::durable;
use crate::event::ENTITY_HASH;
use crate::model_folder::entity_filter::EntityFilter;
use crate::model_folder::{
    FILTER_KEY_BITS, FILTER_OFFSETS, FILTER_RESTS, InitFrom, TensorFile, TensorHead, file_entry,
    to_checksummed_text,
};
use crate::tensors::read_data;
use crate::train::progress::Progress;
use crate::train::step::{StateTensor, TrainState};
use crate::{Error, Result};

/// Bytes that are read back from the device at once.
const BYTES_PER_PIECE: usize = 8 << 20;

/// Pieces that may wait for the disk. The memory plan counts them, so they do not depend on what is free.
const MAX_WAITING_PIECES: usize = 3;

/// Bytes of the pieces of a state of so many bytes: those that wait, one that is written and one that is read.
pub(in crate::train) fn pieces_bytes(state_bytes: u64) -> u64 {
    state_bytes.min(((MAX_WAITING_PIECES + 2) * BYTES_PER_PIECE) as u64)
}

/// Where a run's checkpoints go.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointFolder<'a> {
    /// The folder of all of them; it is made with the first.
    pub path: &'a Path,
    /// [`crate::data::Events::digest`] of the training events.
    pub data: &'a DataDigest,
}

/// What became of a checkpoint that was to be written.
pub(in crate::train) enum Written {
    /// The thread has all of it.
    Begun,
    /// This tensor holds a weight that is not finite: there is no checkpoint.
    NotFinite(&'static str),
}

/// Writes checkpoints on a thread of its own. Training waits until the thread has taken the state, and for a checkpoint
/// that is still being written; the sync to the disk goes on beside it.
pub(in crate::train) struct Checkpointer<'a> {
    folder: CheckpointFolder<'a>,
    config: &'a Config,
    init_from: Option<&'a InitFrom>,
    interval: CheckpointInterval,
    last: Instant,
    num_steps_of_last: usize,
    writing: Option<JoinHandle<Result<()>>>,
    /// Found with the first checkpoint.
    entities: OnceCell<EntityFilter>,
}

impl<'a> Checkpointer<'a> {
    /// None where the configuration asks for no checkpoints.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] where the interval is not one.
    pub(in crate::train) fn new(
        folder: CheckpointFolder<'a>,
        config: &'a Config,
        init_from: Option<&'a InitFrom>,
        num_steps_of_last: usize,
    ) -> Result<Option<Self>> {
        let interval = config.training.checkpoint_interval.parse()?;
        let writing = None;
        let last = Instant::now();
        let entities = OnceCell::new();
        let new = Self { folder, config, init_from, interval, last, num_steps_of_last, writing, entities };
        Ok((interval != CheckpointInterval::Off).then_some(new))
    }

    /// Whether one is to be written after `num_epochs` epochs of the run.
    pub(in crate::train) fn is_due_after_epoch(&self, num_epochs: u32) -> bool {
        matches!(self.interval, CheckpointInterval::Epochs(epochs) if u64::from(num_epochs).is_multiple_of(epochs))
    }

    /// Whether one is to be written after `num_steps` steps.
    pub(in crate::train) fn is_due(&self, num_steps: usize) -> bool {
        match self.interval {
            CheckpointInterval::Off | CheckpointInterval::Epochs(_) => false,
            CheckpointInterval::Steps(steps) => (num_steps as u64).is_multiple_of(steps),
            CheckpointInterval::Minutes(minutes) => self.last.elapsed() >= Duration::from_secs(60 * minutes),
        }
    }

    /// Whether there is nothing to add to what the last one holds.
    pub(in crate::train) fn is_up_to_date(&self, num_steps: usize) -> bool {
        num_steps == self.num_steps_of_last
    }

    /// Copies the state and leaves it to the thread. `unread` are the sums of the loss that are on the device, `entities`
    /// those of the run, which are the same each time. A state with a weight that is not finite is not written.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] where the state cannot be read back, [`Error::Io`] where this checkpoint or the one before
    /// could not be written, [`Error::Process`] where the thread cannot be started.
    pub(in crate::train) fn write(
        &mut self,
        state: &TrainState,
        progress: &Progress,
        unread: Option<&Tensor<1>>,
        entities: &dyn Fn() -> EntityFilter,
    ) -> Result<Written> {
        self.finish()?;
        self.last = Instant::now();
        let tensors = state.tensors();
        let mut numbers = numbers(progress, unread)?;
        numbers.extend(of_filter(self.entities.get_or_init(entities)));
        let heads: Vec<_> =
            tensors.iter().map(head).chain(numbers.iter().map(|(head, _)| head.clone())).collect();
        let manifest = self.manifest(state.num_steps(), progress, unread.is_some());
        let sender = self.start(manifest, heads)?;
        match send_all(&sender, tensors, numbers)? {
            Sent::All => {}
            Sent::NotTaken => {
                drop(sender);
                self.finish()?; // which says why nobody takes the pieces
            }
            Sent::NotFinite(name) => {
                drop(sender);
                // The thread misses the rest, and removes what it has.
                let _ = self.finish();
                return Ok(Written::NotFinite(name));
            }
        }
        self.num_steps_of_last = state.num_steps();
        Ok(Written::Begun)
    }

    fn manifest(&self, num_steps: usize, progress: &Progress, has_unread: bool) -> CheckpointManifest {
        CheckpointManifest {
            format_version: FORMAT_VERSION,
            ipsight_version: env!("CARGO_PKG_VERSION").into(),
            entity_hash: ENTITY_HASH.into(),
            num_steps,
            epoch: progress.epoch,
            num_steps_of_epoch: progress.num_steps,
            num_unread_sums: if has_unread { 3 } else { 0 },
            data: self.folder.data.clone(),
            init_from: self.init_from.cloned(),
            files: BTreeMap::new(),
        }
    }

    /// Starts the thread, which takes the pieces of the tensors.
    fn start(
        &mut self,
        manifest: CheckpointManifest,
        heads: Vec<TensorHead>,
    ) -> Result<SyncSender<TensorData>> {
        const NAME: &str = "checkpoint";
        let (sender, pieces) = sync_channel(MAX_WAITING_PIECES);
        let job = Job {
            folder: self.folder.path.to_path_buf(),
            keep: self.config.training.keep_checkpoints,
            manifest,
            config: self.config.to_toml(),
            heads,
        };
        let thread = std::thread::Builder::new().name(NAME.into()).spawn(move || job.write(&pieces));
        self.writing = Some(thread.map_err(Error::thread(NAME))?);
        Ok(sender)
    }

    /// The last checkpoint that is whole, if there is one; waits for the one that is being written.
    pub(in crate::train) fn last_good(&mut self) -> Option<PathBuf> {
        // What it could not write is not there.
        let _ = self.finish();
        list(self.folder.path).ok()?.pop().map(|(_, path)| path)
    }

    /// The error of a checkpoint that has been written meanwhile, if there is one.
    pub(in crate::train) fn poll(&mut self) -> Result<()> {
        match &self.writing {
            Some(thread) if thread.is_finished() => self.finish(),
            _ => Ok(()),
        }
    }

    /// Waits for the checkpoint that is being written.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where it could not be written.
    pub(in crate::train) fn finish(&mut self) -> Result<()> {
        let Some(thread) = self.writing.take() else { return Ok(()) };
        thread.join().unwrap_or_else(|_| {
            let source = std::io::Error::other("the thread that writes checkpoints failed");
            Err(Error::io("write", self.folder.path)(source))
        })
    }
}

impl Drop for Checkpointer<'_> {
    fn drop(&mut self) {
        // A run that fails leaves nothing half written; its own error is the one that is reported.
        let _ = self.finish();
    }
}

fn head(tensor: &StateTensor) -> TensorHead {
    let rows = tensor.parts.iter().map(|part| part.dims()[0]).sum();
    let width = tensor.parts.first().map_or(0, |part| part.dims()[1]);
    TensorHead::new(tensor.name, DType::F32, &[rows, width])
}

/// What a checkpoint holds beside the state of the model and its optimiser.
fn numbers(progress: &Progress, unread: Option<&Tensor<1>>) -> Result<Vec<(TensorHead, TensorData)>> {
    let sums = [progress.of_epoch, progress.of_interval];
    let sums = sums.map(|sums| [sums.cross_entropy, sums.num_correct, sums.num_pairs]).concat();
    let figures = progress.epochs.iter().flat_map(figures).collect::<Vec<f64>>();
    let data = |name: &'static str, data: TensorData, dtype| {
        let shape: Vec<usize> = data.shape().iter().copied().collect();
        (TensorHead::new(name, dtype, &shape), data)
    };
    let doubles =
        |name, values: Vec<f64>, shape: [usize; 2]| data(name, TensorData::new(values, shape), DType::F64);
    let counts = progress.row_counts.clone();
    let num_counts = counts.len();
    let mut numbers = vec![
        doubles(SUMS, sums, [2, 3]),
        (TensorHead::new(SECONDS, DType::F64, &[1]), TensorData::new(vec![progress.seconds], [1])),
        doubles(EPOCHS, figures, [progress.epochs.len(), FIGURES_OF_EPOCH]),
        data(ROW_COUNTS, TensorData::new(counts, [num_counts]), DType::U32),
    ];
    let unread = match unread {
        Some(sums) => read_data(sums.clone())?,
        None => TensorData::new(Vec::<f32>::new(), [0]),
    };
    numbers.push(data(UNREAD_SUMS, unread, DType::F32));
    Ok(numbers)
}

fn of_filter(filter: &EntityFilter) -> [(TensorHead, TensorData); 3] {
    let (key_bits, offsets, rests) = filter.parts();
    let tensor = |name: &'static str, bytes: Bytes, dtype: DType| {
        let shape = vec![bytes.len() / dtype.size()];
        let bytes = burn::tensor::Bytes::from_shared(bytes, AllocationProperty::Other);
        let data = TensorData::from_bytes(bytes, shape.clone(), dtype);
        (TensorHead::new(name, dtype, &shape), data)
    };
    [
        tensor(FILTER_KEY_BITS, Bytes::copy_from_slice(&key_bits.to_le_bytes()), DType::U32),
        tensor(FILTER_OFFSETS, offsets.clone(), DType::U64),
        tensor(FILTER_RESTS, rests.clone(), DType::U32),
    ]
}

/// How far [`send_all`] came.
enum Sent {
    All,
    /// Nobody takes them any more.
    NotTaken,
    /// This tensor holds a weight that is not finite.
    NotFinite(&'static str),
}

/// Reads the tensors back piece by piece.
fn send_all(
    pieces: &SyncSender<TensorData>,
    tensors: Vec<StateTensor>,
    numbers: Vec<(TensorHead, TensorData)>,
) -> Result<Sent> {
    for StateTensor { name, parts } in tensors {
        for part in parts {
            let [num_rows, width] = part.dims();
            let rows_at_once = (BYTES_PER_PIECE / (4 * width.max(1))).max(1);
            for start in (0..num_rows).step_by(rows_at_once) {
                let rows = start..(start + rows_at_once).min(num_rows);
                let piece = read_data(part.clone().slice([rows, 0..width]))?;
                // A moment that overflows keeps its weight where it is, and the loss finite.
                if !name.ends_with("_moment") && !is_finite(&piece) {
                    return Ok(Sent::NotFinite(name));
                }
                if pieces.send(piece).is_err() {
                    return Ok(Sent::NotTaken);
                }
            }
        }
    }
    let is_taken = numbers.into_iter().all(|(_, data)| pieces.send(data).is_ok());
    Ok(if is_taken { Sent::All } else { Sent::NotTaken })
}

/// Whether all floats are finite. Without a way out in the middle the loop is as fast as memory.
fn is_finite(piece: &TensorData) -> bool {
    let is_finite = |part: &[f32]| part.iter().fold(true, |all, float| all & float.is_finite());
    piece.as_slice::<f32>().is_ok_and(|floats| floats.chunks(4096).all(is_finite))
}

/// A checkpoint that is to be written.
struct Job {
    /// Of all checkpoints.
    folder: PathBuf,
    keep: usize,
    manifest: CheckpointManifest,
    config: String,
    heads: Vec<TensorHead>,
}

impl Job {
    fn write(self, pieces: &Receiver<TensorData>) -> Result<()> {
        let name = folder_name(self.manifest.num_steps);
        let temporary = self.folder.join(format!(".{name}.{}.tmp", std::process::id()));
        let (folder, keep) = (self.folder.clone(), self.keep);
        let result = self
            .fill(&temporary, pieces)
            .and_then(|()| durable::replace(&temporary, &folder.join(name)))
            .and_then(|()| remove_oldest(&folder, keep));
        if result.is_err() {
            // The error that matters is the first; a leftover is removed by the next run.
            let _ = fs::remove_dir_all(&temporary);
        }
        result
    }

    fn fill(mut self, folder: &Path, pieces: &Receiver<TensorData>) -> Result<()> {
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let mut state = TensorFile::create(&folder.join(STATE), &self.heads)?;
        pieces.iter().try_for_each(|piece| state.write(&piece))?;
        let [config, manifest] = [CONFIG, MANIFEST].map(|name| folder.join(name));
        self.manifest.files.insert(STATE.into(), state.finish()?);
        fs::write(&config, &self.config).map_err(Error::io("write", &config))?;
        self.manifest.files.insert(CONFIG.into(), file_entry(&config)?);
        let text = to_checksummed_text(&self.manifest);
        fs::write(&manifest, text).map_err(Error::io("write", &manifest))?;
        [config.as_path(), &manifest, folder].into_iter().try_for_each(durable::sync)
    }
}

fn remove_oldest(folder: &Path, keep: usize) -> Result<()> {
    let all = list(folder)?;
    let num_surplus = all.len().saturating_sub(keep);
    for (num_steps, path) in &all[..num_surplus] {
        // Under another name first, so that what is half removed is nobody's checkpoint.
        let old = folder.join(format!(".{}.{}.old", folder_name(*num_steps), std::process::id()));
        fs::rename(path, &old).map_err(Error::io("rename", path))?;
        fs::remove_dir_all(&old).map_err(Error::io("remove", &old))?;
    }
    Ok(())
}
