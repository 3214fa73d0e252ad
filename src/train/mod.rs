//! Training: the loop over epochs and steps, and what it tells its caller.
//!
//! Everything that varies is a function of (seed, epoch, step): the order of events, the negatives, the
//! initial weights. The same seed gives the same model, byte for byte on the CPU.

pub mod checkpoint;
mod checkpointer;
mod detector;
mod initial;
mod lock;
mod progress;
mod run_folder;
mod step;
mod tensor_file;
mod tensorboard;
mod trainer;

pub use checkpoint::{Checkpoint, Resume, RunIdentity};
pub use checkpointer::CheckpointFolder;
pub use detector::fit_detector;
pub use initial::InitialModel;
pub use lock::FolderLock;
pub use run_folder::RunFolder;
pub use step::{StepLoss, TrainState};
pub use trainer::{EpochMetrics, TrainEvent, TrainInputs, Trained, train};
