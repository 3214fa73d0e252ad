//! What a sweep runs with, and what follows from it for a trial.

use std::path::{Path, PathBuf};

use ipsight_search::space::Assignment;

use super::outcome::PreparedData;
use super::plan::SweepPlan;
use super::process::Launch;
use crate::Result;
use crate::config::Config;
use crate::device::DeviceLimits;
use crate::train::{RunData, RunMemory};

/// What a sweep runs with.
pub struct SweepInputs<'a> {
    /// The search: its space, method, metric and budget.
    pub plan: &'a SweepPlan,
    /// The sweep's folder, which this process has locked.
    pub folder: &'a Path,
    /// The events to train on.
    pub data: &'a PreparedData,
    /// The number of trials at a time.
    pub num_jobs: usize,
    /// How their processes are started.
    pub launch: Launch,
    /// What fits the device.
    pub limits: DeviceLimits,
    /// Bytes that all trials at a time may take; `None` if that is not known.
    pub capacity_bytes: Option<u64>,
    /// Called now and then: the number of a signal that asks the sweep to stop.
    pub stop: &'a dyn Fn() -> Option<i32>,
}

impl SweepInputs<'_> {
    /// The folder of a trial.
    pub(super) fn trial_folder(&self, trial: usize) -> PathBuf {
        self.folder.join("trials").join(format!("{trial:05}"))
    }

    /// The configurations of a trial's trainings, as its processes get them.
    pub(super) fn configs(&self, trial: usize, assignment: &Assignment) -> Result<Vec<Config>> {
        self.memory(&self.plan.trial_config(trial, assignment)?)?;
        let config = |training| {
            let mut config = self.plan.training_config(trial, assignment, training)?;
            self.data.lay_over(&mut config);
            config.training.checkpoint_interval = "1 epochs".into();
            config.training.keep_checkpoints = 1;
            Ok(config)
        };
        (0..self.num_trainings()).map(config).collect()
    }

    /// The number of trainings of a trial.
    pub(super) fn num_trainings(&self) -> usize {
        self.plan.file.seeds_per_trial
    }

    /// The memory that a trial takes. One whose configuration is wrong, or that fits nowhere, takes none: it fails when
    /// it begins.
    pub(super) fn num_bytes(&self, assignment: &Assignment) -> u64 {
        let config = self.plan.trial_config(0, assignment);
        config.and_then(|config| self.memory(&config)).map_or(0, |memory| memory.shared_bytes())
    }

    fn memory(&self, config: &Config) -> Result<RunMemory> {
        RunMemory::plan(config, &self.limits, &RunData::prepared(config, self.data.num_events))
    }
}
