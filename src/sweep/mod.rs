//! Hyperparameter search over trainings: a TOML file describes it ([`SweepPlan`]). A sampler of [`ipsight_search`] chooses
//! trials, each of them runs `train` in processes of this program, early stopping ends bad ones, and a journal that
//! Optuna reads has the results.

mod error;
mod events;
mod figures;
mod file;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz_target;
mod inputs;
mod metric;
mod outcome;
mod parameters;
mod plan;
mod process;
mod recorder;
pub mod report;
mod resume;
mod run;
mod running;
mod scheduler;
mod trial;

pub use events::{OnEvent, SweepEvent};
pub use figures::num_epochs;
pub use file::{Bounds, Budget, EarlyStoppingFile, EvaluationFile, SweepFile};
pub use inputs::SweepInputs;
pub use metric::Metric;
pub use outcome::{BEST, BEST_CONFIG, DATA, JOURNAL, PreparedData, REPORT, TRIALS, write_files};
pub use plan::{Constraint, EarlyStopping, SweepPlan};
pub use process::Launch;
pub use resume::{begin, digest, go_on};
pub use run::{SweepEnd, run};
pub use scheduler::Scheduler;
