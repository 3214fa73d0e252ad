//! Hyperparameter search: a TOML file says what varies ([`SweepPlan`]), a sampler chooses trials, each is a run of this
//! program in a process of its own, early stopping ends those that do badly, and a journal that Optuna reads keeps what
//! came of them.

pub mod early_stopping;
mod file;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz_target;
pub mod importance;
pub mod journal;
mod metric;
mod outcome;
mod parameters;
pub mod report;
mod resume;
mod run;
pub mod sampler;
mod scheduler;
pub mod space;
pub mod study;
mod trial;

pub use file::{
    Bounds, Budget, Constraint, EarlyStopping, EarlyStoppingFile, EvaluationFile, SweepFile, SweepPlan,
};
pub use metric::Metric;
pub use outcome::{BEST, BEST_CONFIG, DATA, JOURNAL, PreparedData, REPORT, TRIALS, write_files};
pub use resume::{begin, go_on};
pub use run::{SweepEnd, SweepEvent, SweepInputs, run};
pub use sampler::Method;
pub use scheduler::{Scheduler, num_epochs};
pub use trial::Launch;
