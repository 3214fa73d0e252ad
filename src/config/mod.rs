//! The configuration: what a TOML file or `--set section.key=value` may say, with defaults and ranges.
//!
//! The structs are the only list of keys. Their JSON Schema, with the ranges, is what [`Config::load`] checks
//! files and overrides against, so a key cannot be documented and unchecked.

pub(crate) mod check;
mod checkpoint_interval;
mod differences;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz_target;
mod hyperparameters;
pub(crate) mod layers;
mod named_values;
mod suggest;

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use self::check::Problem;
pub use self::checkpoint_interval::CheckpointInterval;
pub(crate) use self::differences::differences;
pub use self::hyperparameters::{AutoSizes, Hyperparameters};
use self::layers::Layers;
pub(crate) use self::suggest::suggest;
use crate::event::AddressFamilies;
use crate::{Error, Result};

/// A whole configuration: one field per table of the TOML file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The model and how it is trained, in the reference system's words.
    pub hyperparameters: Hyperparameters,
    /// What the model has that the reference system's has not.
    pub model: ModelConfig,
    /// Where a training runs.
    pub training: TrainingConfig,
    /// What is trained on.
    pub data: DataConfig,
    /// The sizes that the training events decide.
    #[serde(skip)]
    pub auto_sizes: AutoSizes,
}

/// What the model has that the reference system's has not; by default nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// What scores.
    pub detector: DetectorKind,
    /// The families of addresses that the model knows; a row with another is bad.
    pub addresses: AddressFamilies,
    /// Keep at most so many networks of an entity in the history: the addresses (of IPv6, their upper 64 bits) that it used
    /// last. Bounds memory where an entity may use any number of addresses.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_networks_per_entity: Option<usize>,
}

/// What scores an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DetectorKind {
    /// The dot product of the entity's and the address's embedding, as in the reference system.
    #[default]
    Engine,
    /// A head over the exact counts of how each account, and all accounts, used the address and its networks.
    History,
}

/// Where a training runs, and what it keeps to go on from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingConfig {
    /// Determines everything random in a training: initial weights, order of events, negatives.
    // TOML's integers are signed: the upper half of u64 could not be written back.
    #[schemars(range(min = 0, max = i64::MAX))]
    pub seed: u64,
    /// The device that trains.
    pub device: DeviceChoice,
    /// How the learning rate goes on from `hyperparameters.learning_rate`.
    pub learning_rate_schedule: LearningRateSchedule,
    /// Steps in which the learning rate rises in a straight line to that of the schedule; 0: it is there at once. Worth
    /// having where a run begins from a model, whose weights are better than what a first full step knows.
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub warmup_steps: usize,
    /// How often a checkpoint is written, from which a run that was cut off goes on: every so many steps, minutes
    /// or epochs, as in "10000 steps", "15 minutes" or "1 epochs", or "off". A run that is stopped by a signal writes one too,
    /// unless this is "off".
    #[schemars(regex(pattern = "^(off|[0-9]+ (steps?|minutes?|epochs?))$"))]
    pub checkpoint_interval: String,
    /// How many checkpoints are kept: the latest.
    #[schemars(range(min = 1, max = 1000))]
    pub keep_checkpoints: usize,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        TrainingConfig {
            seed: 0,
            device: DeviceChoice::default(),
            learning_rate_schedule: LearningRateSchedule::default(),
            warmup_steps: 0,
            checkpoint_interval: "15 minutes".into(),
            keep_checkpoints: 2,
        }
    }
}

impl TrainingConfig {
    /// The learning rate of step `step` (from 0) of `num_steps`: that of the schedule, and of the first `warmup_steps`
    /// steps `(step + 1) / warmup_steps` of it ("gradual warmup", Goyal et al. 2017).
    pub fn learning_rate(&self, first_rate: f64, step: usize, num_steps: usize) -> f64 {
        let rate = self.learning_rate_schedule.rate(first_rate, step, num_steps);
        match step < self.warmup_steps {
            true => rate * ((step + 1) as f64 / self.warmup_steps as f64),
            false => rate,
        }
    }
}

/// How the learning rate goes on from its first value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LearningRateSchedule {
    /// It stays, as in the reference system.
    #[default]
    Constant,
    /// It falls in a straight line, to 0 behind the last step of the last epoch.
    Linear,
}

impl LearningRateSchedule {
    /// The rate of step `step` (from 0) of `num_steps`, of a first rate.
    pub fn rate(self, first_rate: f64, step: usize, num_steps: usize) -> f64 {
        match self {
            LearningRateSchedule::Constant => first_rate,
            LearningRateSchedule::Linear => first_rate * (1.0 - step as f64 / num_steps as f64).max(0.0),
        }
    }
}

/// The device that trains or scores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeviceChoice {
    /// A GPU where there is one, the CPU otherwise.
    #[default]
    Auto,
    /// A GPU through wgpu (Vulkan, Metal, DirectX 12).
    Wgpu,
    /// The CPU.
    Ndarray,
}

impl DeviceChoice {
    /// Every choice, in the order in which help texts list them.
    pub const ALL: [DeviceChoice; 3] = [DeviceChoice::Auto, DeviceChoice::Wgpu, DeviceChoice::Ndarray];

    /// The name in configurations and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            DeviceChoice::Auto => "auto",
            DeviceChoice::Wgpu => "wgpu",
            DeviceChoice::Ndarray => "ndarray",
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        DeviceChoice::ALL.into_iter().find(|choice| choice.name() == text).ok_or_else(|| {
            let names = DeviceChoice::ALL.map(DeviceChoice::name).join(", ");
            Error::config("device", format!("unknown device `{text}`"), format!("valid devices: {names}"))
        })
    }
}

/// What is trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// Files, folders or glob patterns to train on.
    pub train: Vec<String>,
    /// Files, folders or glob patterns to validate on after every epoch.
    pub validation: Vec<String>,
    /// The column that holds the entity; without it the first column.
    pub entity_column: Option<String>,
    /// The column that holds the address; without it the second column.
    pub ip_column: Option<String>,
    /// The column that holds the time of an event: a number of seconds, milli-, micro- or nanoseconds, RFC 3339 or the
    /// common log format; without it text has no times. Prepared files
    /// have their own.
    pub time_column: Option<String>,
    /// Whether names that stand for nobody (`-`, `NULL`, `nan`, `None` and such) are entities; else they are bad rows.
    pub keep_nobody: bool,
    /// The character that makes the next one literal in a quoted field of CSV, as Spark and MySQL write a backslash;
    /// without it quotes are doubled only.
    #[schemars(length(min = 1, max = 1))]
    pub csv_escape: Option<String>,
    /// What to do with a row that cannot be read: `fail`, `skip`, or `quarantine=FILE` to copy it there.
    #[schemars(regex(pattern = "^(fail|skip|quarantine=.+)$"))]
    pub on_bad_row: String,
    /// The greatest share of bad rows that `skip` and `quarantine` accept.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_bad_fraction: f64,
    /// Keep at most so many training events of an entity, drawn at random by `training.seed`.
    #[schemars(range(min = 1))]
    pub max_events_per_entity: Option<usize>,
    /// Keep at most so many training events of an address, likewise, of those that are kept of entities.
    #[schemars(range(min = 1))]
    pub max_events_per_ip: Option<usize>,
    /// Train on logins that are generated in memory instead of on files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generated: Option<GeneratedConfig>,
}

impl Default for DataConfig {
    fn default() -> Self {
        DataConfig {
            train: Vec::new(),
            validation: Vec::new(),
            entity_column: None,
            ip_column: None,
            time_column: None,
            keep_nobody: false,
            csv_escape: None,
            on_bad_row: "fail".into(),
            max_bad_fraction: 0.001,
            max_events_per_entity: None,
            max_events_per_ip: None,
            generated: None,
        }
    }
}

/// How many logins to generate; [`crate::synth`] describes them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GeneratedConfig {
    /// Number of users. A user has 50 to 10,000 logins, 300 or so on average.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub users: usize,
    /// Number of days over which the logins are spread.
    #[schemars(range(min = 1, max = 3650))]
    pub days: usize,
    /// Determines the logins.
    #[schemars(range(min = 0, max = i64::MAX))]
    pub seed: u64,
}

impl Default for GeneratedConfig {
    fn default() -> Self {
        GeneratedConfig { users: 10_000, days: 10, seed: 0 }
    }
}

impl Config {
    /// Lays `overrides` (each `section.key=value`) over `file` over the defaults and validates the outcome.
    ///
    /// A value of an override is TOML, and where it is not, a bare string: `training.device=ndarray`,
    /// `data.train=["a", "b"]`. A later override wins over an earlier one.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read. [`Error::Config`] naming `file:line: section.key` or
    /// `--set section.key=value` for bad TOML, unknown keys, wrong types, values out of range, and keys that
    /// contradict each other; every problem that was found is in the one error.
    pub fn load(file: Option<&Path>, overrides: &[String]) -> Result<Config> {
        let mut layers = Layers::default();
        if let Some(file) = file {
            layers.add_file(file)?;
        }
        for assignment in overrides {
            layers.add_override(assignment)?;
        }
        Self::of_layers(&layers)
    }

    /// [`Config::load`] of a file's text, which errors call `name`.
    pub(crate) fn from_text(name: &str, text: &str) -> Result<Config> {
        let mut layers = Layers::default();
        layers.add_text(name, text)?;
        Self::of_layers(&layers)
    }

    /// Validates layers and takes what they say over the defaults; errors as of [`Config::load`].
    pub(crate) fn of_layers(layers: &Layers) -> Result<Config> {
        let problems = check::check(Self::schema(), layers.table());
        if !problems.is_empty() {
            return Err(layers.error(problems));
        }
        let config = Self::of_table(layers.table().clone())
            .map_err(|error| Error::config("configuration", error.message(), SCHEMA_HELP))?;
        let problems = config.rule_problems();
        if problems.is_empty() { Ok(config) } else { Err(layers.error(problems)) }
    }

    /// Checks ranges, and keys against each other, of a configuration that code has made or changed.
    ///
    /// # Errors
    /// [`Error::Config`] at `source: section.key`.
    pub fn validate(&self, source: &str) -> Result<()> {
        let table = self.table().map_err(|error| {
            Error::config(source, error.to_string(), format!("integers: at most {}", i64::MAX))
        })?;
        let mut problems = check::check(Self::schema(), &table);
        problems.extend(self.rule_problems());
        if problems.is_empty() {
            return Ok(());
        }
        Err(check::join(
            problems.into_iter().map(|problem| (format!("{source}: {}", problem.path()), problem)),
        ))
    }

    /// The configuration as TOML with every value written out; [`Config::load`] gives it back unchanged.
    ///
    /// # Panics
    /// If an integer is above `i64::MAX`, which [`Config::validate`] refuses.
    pub fn to_toml(&self) -> String {
        let text = self.table().and_then(|table| toml::to_string(&table));
        text.expect("a valid configuration has only values that TOML can hold")
    }

    /// The values of a table that the schema allows.
    fn of_table(mut table: Table) -> std::result::Result<Config, toml::de::Error> {
        let mut auto_sizes = AutoSizes::default();
        if let Some(Value::Table(of_section)) = table.get_mut(HYPERPARAMETERS) {
            for (key, is_auto) in auto_sizes.by_key() {
                if of_section.get(key).and_then(Value::as_str) == Some(hyperparameters::AUTO) {
                    of_section.remove(key);
                    *is_auto = true;
                }
            }
        }
        Ok(Config { auto_sizes, ..table.try_into()? })
    }

    /// The configuration as a TOML table with every value.
    ///
    /// # Errors
    /// If an integer is above `i64::MAX`, which [`Config::validate`] refuses.
    pub fn table(&self) -> std::result::Result<Table, toml::ser::Error> {
        let mut table = Table::try_from(self)?;
        if let Some(Value::Table(of_section)) = table.get_mut(HYPERPARAMETERS) {
            for (key, is_auto) in self.auto_sizes.clone().by_key() {
                if *is_auto {
                    of_section.insert(key.into(), hyperparameters::AUTO.into());
                }
            }
        }
        Ok(table)
    }

    /// The JSON Schema (draft 2020-12) of the configuration, with descriptions, defaults and ranges.
    pub fn json_schema() -> serde_json::Value {
        let settings = schemars::generate::SchemaSettings::default().with(|s| s.inline_subschemas = true);
        settings.into_generator().into_root_schema_for::<Config>().to_value()
    }

    /// [`Config::json_schema`], made once.
    pub(crate) fn schema() -> &'static serde_json::Value {
        static SCHEMA: LazyLock<serde_json::Value> = LazyLock::new(Config::json_schema);
        &SCHEMA
    }

    /// Problems that a schema cannot state as a type or a range.
    fn rule_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let Hyperparameters { random_negative_sampling_rate, shuffled_negative_sampling_rate, .. } =
            self.hyperparameters;
        let num_negatives = random_negative_sampling_rate.saturating_add(shuffled_negative_sampling_rate);
        if !(1..=500).contains(&num_negatives) {
            problems.push(Problem::new(
                &[
                    "hyperparameters.random_negative_sampling_rate",
                    "hyperparameters.shuffled_negative_sampling_rate",
                ],
                format!(
                    "random_negative_sampling_rate + shuffled_negative_sampling_rate = {num_negatives} \
                     is out of range"
                ),
                "allowed: 1..=500",
            ));
        }
        if let Err(Error::Config { what, help, .. }) =
            self.training.checkpoint_interval.parse::<CheckpointInterval>()
        {
            problems.push(Problem::new(&["training.checkpoint_interval"], what, help));
        }
        if self.model.max_networks_per_entity.is_some() && self.model.detector == DetectorKind::Engine {
            problems.push(Problem::new(
                &["model.max_networks_per_entity", "model.detector"],
                "the engine keeps no history of networks",
                "take detector = \"history\", or leave out max_networks_per_entity",
            ));
        }
        let on_bad_row = self.data.on_bad_row.as_str();
        let quarantine = on_bad_row.strip_prefix("quarantine=").is_some_and(|file| !file.is_empty());
        if !quarantine && !["fail", "skip"].contains(&on_bad_row) {
            problems.push(Problem::new(
                &["data.on_bad_row"],
                format!("on_bad_row = {on_bad_row:?} is not a valid value"),
                suggest(on_bad_row, "values", &["fail", "skip", "quarantine=FILE"]),
            ));
        }
        if self.data.generated.is_some() && !self.data.train.is_empty() {
            problems.push(Problem::new(
                &["data.train", "data.generated"],
                "data.train and [data.generated] exclude each other",
                "leave out one of them",
            ));
        }
        problems
    }
}

/// The table of [`Hyperparameters`].
const HYPERPARAMETERS: &str = "hyperparameters";

const SCHEMA_HELP: &str = "compare with the configuration's JSON Schema";

#[cfg(test)]
mod tests;
