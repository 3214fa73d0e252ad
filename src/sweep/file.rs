//! The TOML file of a sweep: what it may say, checked as configurations are, and what it comes to.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::early_stopping::{Asha, Median};
use super::metric::Metric;
use super::parameters;
use super::sampler::Method;
use super::space::{Assignment, Space};
use super::study::Goal;
use crate::config::check::{self, Problem};
use crate::config::layers::Layers;
use crate::config::{Config, suggest};
use crate::evaluate::parse_attacks;
use crate::{Error, Result};

/// The key that early stopping cannot compare across.
const EPOCHS: &str = "hyperparameters.epochs";

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
    /// What is looked for.
    pub metric: String,
    /// Which way it is better: `maximize` or `minimize`; by default what its name says.
    pub goal: Option<String>,
    /// Determines the trials.
    #[schemars(range(min = 0, max = i64::MAX))]
    pub seed: u64,
    /// Trainings of a trial, which differ in `training.seed`; a trial's figures are their means.
    #[schemars(range(min = 1, max = 100))]
    pub seeds_per_trial: usize,
    /// When the sweep ends.
    pub budget: Budget,
    /// Trials that do badly are stopped early.
    pub early_stopping: Option<EarlyStoppingFile>,
    /// Bounds of metrics: a trial that violates one is not the best.
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

/// When a sweep ends: at the first limit that is reached. One at least is needed, but for a grid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// Trials that are begun.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub trials: Option<u64>,
    /// Hours of work; trials that are under way then are stopped.
    #[schemars(range(min = 0.0001, max = 100_000.0))]
    pub hours: Option<f64>,
    /// Epochs that are trained, of all trials; what is under way then comes to its end.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub epochs: Option<u64>,
}

/// How trials are stopped early.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EarlyStoppingFile {
    /// `asha` or `median`.
    pub method: String,
    /// What is compared: a metric that is told after every epoch; by default the one that is looked for, and where
    /// that comes at the end only, `discriminator_auc`, or `loss` where less is better.
    pub metric: Option<String>,
    /// Epochs before which nothing is stopped.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min_epochs: u32,
    /// `asha`: of so many trials one goes on.
    #[schemars(range(min = 2, max = 100))]
    pub reduction_factor: u32,
    /// `median`: trials that must have ended before any is stopped.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min_trials: usize,
}

impl Default for EarlyStoppingFile {
    fn default() -> Self {
        Self { method: "asha".into(), metric: None, min_epochs: 1, reduction_factor: 3, min_trials: 5 }
    }
}

/// What a metric may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Bounds {
    /// The least value.
    pub min: Option<f64>,
    /// The greatest value.
    pub max: Option<f64>,
}

/// What `ipsight evaluate` is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationFile {
    /// Events; without any the validation events.
    pub data: Vec<String>,
    /// Whether they carry labels.
    pub labels: bool,
    /// The column of the labels.
    pub label_column: Option<String>,
    /// The column of the attacks' kinds.
    pub kind_column: Option<String>,
    /// Attacks that are added, as in `other_users=1`.
    pub attacks: Vec<String>,
    /// Seed of the attacks' addresses.
    #[schemars(range(min = 0, max = i64::MAX))]
    pub seed: u64,
}

/// How trials are stopped early.
#[derive(Clone, Debug, PartialEq)]
pub enum EarlyStopping {
    /// None is.
    Off,
    /// Asynchronous successive halving.
    Asha(Asha),
    /// The median rule.
    Median(Median),
}

/// A bound of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Constraint {
    /// Of what.
    pub metric: Metric,
    /// What it may be.
    pub bounds: Bounds,
}

impl Constraint {
    /// How far a value is out of bounds, below 0 how far it is within. No value is out of all bounds.
    pub fn violation(&self, value: Option<f64>) -> f64 {
        let Some(value) = value.filter(|value| !value.is_nan()) else { return f64::INFINITY };
        let below = self.bounds.min.map_or(f64::NEG_INFINITY, |min| min - value);
        let above = self.bounds.max.map_or(f64::NEG_INFINITY, |max| value - max);
        below.max(above)
    }
}

/// A sweep that was found to be one.
#[derive(Clone)]
pub struct SweepPlan {
    /// The file, with what flags laid over it.
    pub file: SweepFile,
    /// The configuration that trials start from, with its inputs.
    pub base: Config,
    /// What varies.
    pub space: Space,
    /// How the next trial is chosen.
    pub method: Method,
    /// What is looked for.
    pub metric: Metric,
    /// Which way it is better.
    pub goal: Goal,
    /// How trials are stopped early.
    pub early_stopping: EarlyStopping,
    /// What is compared for that.
    pub watched: Metric,
    /// Bounds of metrics.
    pub constraints: Vec<Constraint>,
    layers: Layers,
}

impl SweepPlan {
    /// Reads a sweep's file and lays `overrides` (`section.key=value`) over its configuration.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where a file cannot be read. [`Error::Config`] with file, line and key for all that is wrong in the
    /// file: keys that there are not (with the nearest), empty ranges, values that the key cannot take, conditions on
    /// what does not vary.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self> {
        let mut layers = Layers::default();
        layers.add_file(path)?;
        Self::of_layers(path, layers, overrides)
    }

    /// As [`SweepPlan::load`], of a file that was read.
    pub(super) fn of_layers(path: &Path, layers: Layers, overrides: &[String]) -> Result<Self> {
        let problems = check::check(&SCHEMA, layers.table());
        if !problems.is_empty() {
            return Err(layers.error(problems));
        }
        let file: SweepFile = layers.table().clone().try_into().map_err(|error: toml::de::Error| {
            Error::config(path.display().to_string(), error.message(), "compare with README.md, Sweeps")
        })?;
        let base_layers = base_layers(path, &file, &layers, overrides)?;
        let base = Config::of_layers(&base_layers)?;
        let mut problems = Vec::new();
        let space = parameters::parse(&file.parameters, &layers, &mut problems);
        let method = parse_method(&file, &space, &mut problems);
        let metric = parse_metric("metric", &file.metric, Metric::parse, &mut problems);
        let goal = parse_goal(&file, &metric, &mut problems);
        let constraints = parse_constraints(&file, &mut problems);
        let (early_stopping, watched) = parse_early_stopping(&file, &base, &space, goal, &mut problems);
        check_budget(&file, method, &mut problems);
        check_evaluation(&file, &metric, &constraints, &mut problems);
        check_seeds(&file, &space, &mut problems);
        if !problems.is_empty() {
            return Err(layers.error(problems));
        }
        let layers = base_layers;
        Ok(Self { file, base, space, method, metric, goal, early_stopping, watched, constraints, layers })
    }

    /// The configuration of a trial.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] where its values contradict each other, as no negatives of either kind.
    pub fn trial_config(&self, number: usize, assignment: &Assignment) -> Result<Config> {
        let mut layers = self.layers.clone();
        for (parameter, value) in self.space.values(assignment) {
            layers.set(&parameter.key, value, format!("trial {number}: {}", parameter.key))?;
        }
        let mut config = Config::of_layers(&layers)?;
        config.data = self.base.data.clone();
        config.training.device = self.base.training.device;
        Ok(config)
    }

    /// The configuration of one of a trial's trainings, from 0.
    ///
    /// # Errors
    ///
    /// As [`SweepPlan::trial_config`].
    pub fn training_config(&self, number: usize, assignment: &Assignment, training: usize) -> Result<Config> {
        let mut config = self.trial_config(number, assignment)?;
        config.training.seed = config.training.seed.saturating_add(training as u64).min(i64::MAX as u64);
        Ok(config)
    }

    /// The first of the metrics that there are only with validation events.
    pub fn needs_validation(&self) -> Option<&Metric> {
        let has_own = self.file.evaluation.as_ref().is_some_and(|evaluation| !evaluation.data.is_empty());
        let needs = |metric: &&Metric| match metric.needs_evaluation() {
            true => !has_own,
            false => **metric == Metric::default(),
        };
        let watched = Some(&self.watched).filter(|_| self.early_stopping != EarlyStopping::Off);
        let constrained = self.constraints.iter().map(|constraint| &constraint.metric);
        [&self.metric].into_iter().chain(watched).chain(constrained).find(needs)
    }

    /// The sweep as TOML, by which one that goes on knows that it is the same.
    ///
    /// # Panics
    ///
    /// If an integer is above `i64::MAX`, which no TOML file holds.
    pub fn to_toml(&self) -> String {
        let mut file = self.file.clone();
        file.base = None;
        file.config = Table::try_from(&self.base).expect("a valid configuration");
        toml::to_string(&file).expect("it was TOML")
    }
}

static SCHEMA: LazyLock<serde_json::Value> = LazyLock::new(schema);

fn schema() -> serde_json::Value {
    let settings = schemars::generate::SchemaSettings::default().with(|s| s.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<SweepFile>().to_value()
}

/// The base configuration's file, the file's own keys over it, the overrides over both.
fn base_layers(path: &Path, file: &SweepFile, sweep: &Layers, overrides: &[String]) -> Result<Layers> {
    let mut layers = Layers::default();
    if let Some(base) = &file.base {
        let folder = path.parent().unwrap_or(Path::new(""));
        layers.add_file(&folder.join(base))?;
    }
    let at = |key: &str| sweep.place(&format!("config.{key}")).map_or(key.into(), |(_, at)| at.to_string());
    set_all(&mut layers, "", &file.config, &at)?;
    for assignment in overrides {
        layers.add_override(assignment)?;
    }
    Ok(layers)
}

fn set_all(layers: &mut Layers, parent: &str, table: &Table, at: &dyn Fn(&str) -> String) -> Result<()> {
    for (key, value) in table {
        let path = check::child(parent, key);
        match value {
            Value::Table(inner) => set_all(layers, &path, inner, at)?,
            value => layers.set(&path, value.clone(), at(&path))?,
        }
    }
    Ok(())
}

fn parse_method(file: &SweepFile, space: &Space, problems: &mut Vec<Problem>) -> Method {
    let Some(method) = Method::from_name(&file.method) else {
        let names = Method::ALL.map(Method::name);
        let what = format!("method = {:?} is not a valid value", file.method);
        problems.push(Problem::new(&["method"], what, suggest(&file.method, "methods", &names)));
        return Method::Random;
    };
    for parameter in space.parameters.iter().filter(|_| method == Method::Grid) {
        if parameter.domain.num_values().is_none() {
            let path = format!("parameters.{}", parameter.name);
            let what = format!("{} ranges over real numbers, of which a grid cannot try all", parameter.name);
            problems.push(Problem::new(&[&path], what, "give values = […], or take another method"));
        }
    }
    method
}

fn parse_metric(
    key: &str,
    name: &str,
    parse: fn(&str) -> std::result::Result<Metric, String>,
    problems: &mut Vec<Problem>,
) -> Metric {
    parse(name).unwrap_or_else(|help| {
        problems.push(Problem::new(&[key], format!("unknown metric `{name}`"), help));
        Metric::default()
    })
}

fn parse_goal(file: &SweepFile, metric: &Metric, problems: &mut Vec<Problem>) -> Goal {
    match file.goal.as_deref() {
        None => metric.goal(),
        Some("maximize") => Goal::Maximize,
        Some("minimize") => Goal::Minimize,
        Some(other) => {
            let what = format!("goal = {other:?} is not a valid value");
            problems.push(Problem::new(&["goal"], what, "valid values: maximize, minimize"));
            metric.goal()
        }
    }
}

fn parse_constraints(file: &SweepFile, problems: &mut Vec<Problem>) -> Vec<Constraint> {
    let mut constraints = Vec::new();
    for (name, bounds) in &file.constraints {
        let path = format!("constraints.{name}");
        let metric = parse_metric(&path, name, Metric::parse, problems);
        let is_empty = match bounds {
            Bounds { min: None, max: None } => true,
            Bounds { min, max } if [min, max].into_iter().flatten().any(|bound| bound.is_nan()) => true,
            Bounds { min: Some(min), max: Some(max) } => min > max,
            _ => false,
        };
        if is_empty {
            let what = format!("{name} has no bounds between which a value could be");
            problems.push(Problem::new(&[&path], what, "give min, max or both, min at most max"));
        }
        constraints.push(Constraint { metric, bounds: *bounds });
    }
    constraints
}

fn parse_early_stopping(
    file: &SweepFile,
    base: &Config,
    space: &Space,
    goal: Goal,
    problems: &mut Vec<Problem>,
) -> (EarlyStopping, Metric) {
    let default = match (Metric::parse_of_epoch(&file.metric), goal) {
        (Ok(_), _) => file.metric.as_str(),
        (Err(_), Goal::Maximize) => "discriminator_auc",
        (Err(_), Goal::Minimize) => "loss",
    };
    let Some(asked) = &file.early_stopping else {
        return (EarlyStopping::Off, Metric::parse(default).unwrap_or_default());
    };
    let name = asked.metric.as_deref().unwrap_or(default);
    let watched = parse_metric("early_stopping.metric", name, Metric::parse_of_epoch, problems);
    let varies = |key: &str| space.parameters.iter().any(|parameter| parameter.key == key);
    let max_epochs = u32::try_from(base.hyperparameters.epochs).unwrap_or(u32::MAX);
    let rule = match asked.method.as_str() {
        "asha" => {
            if varies(EPOCHS) {
                let what = "asha compares trials of the same number of epochs, but epochs varies";
                let help = "leave out [parameters.epochs], or take early_stopping.method = \"median\"";
                problems.push(Problem::new(&["early_stopping.method"], what, help));
            }
            if asked.min_epochs > max_epochs {
                let what = format!("min_epochs = {} is above epochs = {max_epochs}", asked.min_epochs);
                problems.push(Problem::new(&["early_stopping.min_epochs"], what, "lower it"));
            }
            let &EarlyStoppingFile { min_epochs, reduction_factor, .. } = asked;
            EarlyStopping::Asha(Asha { min_epochs, max_epochs, reduction_factor })
        }
        "median" => {
            EarlyStopping::Median(Median { min_epochs: asked.min_epochs, min_trials: asked.min_trials })
        }
        other => {
            let what = format!("method = {other:?} is not a valid value");
            let help = suggest(other, "values", &["asha", "median"]);
            problems.push(Problem::new(&["early_stopping.method"], what, help));
            EarlyStopping::Off
        }
    };
    if watched.goal() != goal {
        let what = format!("`{watched}` and what is looked for are better in opposite ways");
        let help = "take a metric that is better in the same way: loss where less is better";
        problems.push(Problem::new(&["early_stopping.metric"], what, help));
    }
    (rule, watched)
}

fn check_budget(file: &SweepFile, method: Method, problems: &mut Vec<Problem>) {
    let Budget { trials, hours, epochs } = file.budget;
    if method != Method::Grid && trials.is_none() && hours.is_none() && epochs.is_none() {
        let what = format!("method = {:?} has no end by itself", file.method);
        problems.push(Problem::new(&["budget", "method"], what, "give [budget] trials, hours or epochs"));
    }
}

fn check_evaluation(
    file: &SweepFile,
    metric: &Metric,
    constraints: &[Constraint],
    problems: &mut Vec<Problem>,
) {
    let Some(evaluation) = &file.evaluation else { return };
    if evaluation.labels && evaluation.data.is_empty() {
        let what = "labels = true, but the validation events have no labels";
        problems.push(Problem::new(&["evaluation.labels"], what, "give evaluation.data"));
    }
    if evaluation.labels && !evaluation.attacks.is_empty() {
        let what = "labels and attacks exclude each other";
        problems.push(Problem::new(&["evaluation.attacks", "evaluation.labels"], what, "leave out one"));
    }
    for (key, column) in
        [("label_column", &evaluation.label_column), ("kind_column", &evaluation.kind_column)]
    {
        if column.is_some() && !evaluation.labels {
            let path = format!("evaluation.{key}");
            problems.push(Problem::new(&[&path], format!("{key} needs labels"), "set labels = true"));
        }
    }
    if let Err(Error::Config { what, help, .. }) = parse_attacks(&evaluation.attacks) {
        problems.push(Problem::new(&["evaluation.attacks"], what, help));
    }
    if !metric.needs_evaluation() && !constraints.iter().any(|it| it.metric.needs_evaluation()) {
        let what = "no metric and no constraint begins with `evaluation.`";
        problems.push(Problem::new(&["evaluation"], what, "name one, or leave out [evaluation]"));
    }
}

fn check_seeds(file: &SweepFile, space: &Space, problems: &mut Vec<Problem>) {
    let varies = space.parameters.iter().any(|parameter| parameter.key == "training.seed");
    if varies && file.seeds_per_trial > 1 {
        let what = "seeds_per_trial takes seeds one after another, but training.seed varies";
        problems.push(Problem::new(&["seeds_per_trial"], what, "leave out one of them"));
    }
}
