//! Training: the loop over epochs and steps, checkpoints, and the events that it reports.
//!
//! Everything that varies is a function of (seed, epoch, step): the order of events, the negatives, the
//! initial weights. The same seed gives the same model, byte for byte on the CPU.

pub mod checkpoint;
mod detector;
mod divergence;
mod initial;
mod inputs;
mod learned;
mod lock;
mod losses;
mod memory;
mod metrics;
mod progress;
mod run_folder;
mod run_memory;
mod sizes;
mod step;
mod tensorboard;
mod trainer;

pub use checkpoint::{Checkpoint, CheckpointFolder, Resume, RunIdentity};
pub use detector::{RunDetector, check_history, fit_detector};
pub use initial::InitialModel;
pub use inputs::TrainInputs;
pub use learned::learning_warnings;
pub use lock::FolderLock;
pub use memory::RunData;
pub use metrics::{EpochMetrics, FamilyAucs, TrainEvent};
pub use run_folder::RunFolder;
pub use run_memory::{Phase, RunMemory};
pub use sizes::{few_steps_warning, resolve_sizes};
pub use step::{StepLoss, TrainState};
pub use trainer::{Trained, train};
