//! The TOML file of a sweep: its keys.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::Table;

/// A sweep's file: one field per key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SweepFile {
    /// The configuration that the trials start from: a file, by its path from this one.
    pub base: Option<String>,
    /// Keys of a configuration, laid over `base`.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub config: Table,
    /// What varies: by the name of a configuration key, what it ranges over.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub parameters: Table,
    /// How the next trial is chosen.
    pub method: String,
    /// The metric to optimise.
    pub metric: String,
    /// `maximize` or `minimize`; by default what is better for the metric.
    pub goal: Option<String>,
    /// Determines the trials.
    #[schemars(range(min = 0, max = i64::MAX))]
    pub seed: u64,
    /// The number of trainings of a trial, which differ in `training.seed`; a trial's figures are their means.
    #[schemars(range(min = 1, max = 100))]
    pub seeds_per_trial: usize,
    /// When the sweep ends.
    pub budget: Budget,
    /// The rule that stops bad trials early.
    pub early_stopping: Option<EarlyStoppingFile>,
    /// Bounds of metrics. A trial that violates one cannot be the best.
    pub constraints: BTreeMap<String, Bounds>,
    /// How models are evaluated, for metrics that begin with `evaluation.`.
    pub evaluation: Option<EvaluationFile>,
}

impl Default for SweepFile {
    fn default() -> Self {
        Self {
            base: None,
            config: Table::new(),
            parameters: Table::new(),
            method: "tpe".into(),
            metric: "discriminator_auc".into(),
            goal: None,
            seed: 0,
            seeds_per_trial: 1,
            budget: Budget::default(),
            early_stopping: None,
            constraints: BTreeMap::new(),
            evaluation: None,
        }
    }
}

/// When a sweep ends: at the first limit that is reached. Every method but a grid needs at least one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// The number of trials.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub trials: Option<u64>,
    /// Hours that the sweep runs; the trials that run then are stopped.
    #[schemars(range(min = 0.0001, max = 100_000.0))]
    pub hours: Option<f64>,
    /// Epochs of all trials together; the trials that run then finish.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub epochs: Option<u64>,
}

/// How trials are stopped early.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EarlyStoppingFile {
    /// `asha` or `median`.
    pub method: String,
    /// The metric to compare, one that is known after every epoch; by default the metric to optimise, or if that is
    /// known at the end only, `discriminator_auc`, or `loss` if less is better.
    pub metric: Option<String>,
    /// Epochs before which nothing is stopped.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min_epochs: u32,
    /// `asha`: one of this many trials is promoted.
    #[schemars(range(min = 2, max = 100))]
    pub reduction_factor: u32,
    /// `median`: the number of trials that must have completed before one is stopped.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min_trials: usize,
}

impl Default for EarlyStoppingFile {
    fn default() -> Self {
        Self { method: "asha".into(), metric: None, min_epochs: 1, reduction_factor: 3, min_trials: 5 }
    }
}

/// The range that a metric may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Bounds {
    /// The least value.
    pub min: Option<f64>,
    /// The greatest value.
    pub max: Option<f64>,
}

/// How trials are evaluated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationFile {
    /// The events; if empty, the validation events.
    pub data: Vec<String>,
    /// Whether they carry labels.
    pub labels: bool,
    /// The column of the labels.
    pub label_column: Option<String>,
    /// The column of the attacks' kinds.
    pub kind_column: Option<String>,
    /// Attacks to add, as in `other_users=1`.
    pub attacks: Vec<String>,
    /// Seed of the attacks' addresses.
    #[schemars(range(min = 0, max = i64::MAX))]
    pub seed: u64,
}

/// The JSON Schema that a file is checked against.
pub(super) static SCHEMA: LazyLock<serde_json::Value> = LazyLock::new(schema);

fn schema() -> serde_json::Value {
    let settings = schemars::generate::SchemaSettings::default().with(|s| s.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<SweepFile>().to_value()
}
