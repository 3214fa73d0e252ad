//! A sweep as its file describes it, checked as configurations are.

use std::path::Path;

use ipsight_search::early_stopping::{Asha, Median};
use ipsight_search::sampler::Method;
use ipsight_search::space::{Assignment, Space};
use ipsight_search::study::Goal;
use toml::{Table, Value};

use super::file::{Bounds, Budget, EarlyStoppingFile, SCHEMA, SweepFile};
use super::metric::Metric;
use super::parameters;
use crate::config::check::{self, Problem};
use crate::config::layers::Layers;
use crate::config::{Config, suggest};
use crate::evaluate::parse_attacks;
use crate::{Error, Result};

/// The key that early stopping cannot compare across.
const EPOCHS: &str = "hyperparameters.epochs";

/// How trials are stopped early.
#[derive(Clone, Debug, PartialEq)]
pub enum EarlyStopping {
    /// No trial is.
    Off,
    /// Asynchronous successive halving.
    Asha(Asha),
    /// The median rule.
    Median(Median),
}

/// A bound of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Constraint {
    /// The metric.
    pub metric: Metric,
    /// The range that it may have.
    pub bounds: Bounds,
}

impl Constraint {
    /// The distance of a value from the bounds: above 0 outside, below 0 within. Without a value it is infinite.
    pub fn violation(&self, value: Option<f64>) -> f64 {
        let Some(value) = value.filter(|value| !value.is_nan()) else { return f64::INFINITY };
        let below = self.bounds.min.map_or(f64::NEG_INFINITY, |min| min - value);
        let above = self.bounds.max.map_or(f64::NEG_INFINITY, |max| value - max);
        below.max(above)
    }
}

/// A valid sweep.
#[derive(Clone)]
pub struct SweepPlan {
    /// The file.
    pub file: SweepFile,
    /// The base configuration, with its inputs.
    pub base: Config,
    /// What varies.
    pub space: Space,
    /// How the next trial's values are chosen.
    pub method: Method,
    /// The metric to optimise.
    pub metric: Metric,
    /// Whether more or less of it is better.
    pub goal: Goal,
    /// How trials are stopped early.
    pub early_stopping: EarlyStopping,
    /// The metric that early stopping compares.
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
    /// [`Error::Io`] where a file cannot be read. [`Error::Config`] with file, line and key for everything that is wrong
    /// in the file: unknown keys (with the nearest name), empty ranges, values that the key cannot have, conditions on a
    /// parameter that does not vary.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self> {
        let mut layers = Layers::default();
        layers.add_file(path)?;
        Self::of_layers(path, layers, overrides)
    }

    /// As [`SweepPlan::load`], of a file that has been read.
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
    /// [`Error::Config`] where its values contradict each other, such as no negatives of either kind.
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

    /// The first metric that needs validation events.
    pub fn needs_validation(&self) -> Option<&Metric> {
        let has_own = self.file.evaluation.as_ref().is_some_and(|evaluation| !evaluation.data.is_empty());
        let needs = |metric: &&Metric| match metric.needs_evaluation() {
            true => !has_own,
            false => metric.is_of_validation(),
        };
        let watched = Some(&self.watched).filter(|_| self.early_stopping != EarlyStopping::Off);
        let constrained = self.constraints.iter().map(|constraint| &constraint.metric);
        [&self.metric].into_iter().chain(watched).chain(constrained).find(needs)
    }

    /// The sweep as TOML: a sweep that is resumed has to have the same.
    ///
    /// # Panics
    ///
    /// If an integer is above `i64::MAX`, which no TOML file holds.
    pub fn to_toml(&self) -> String {
        let mut file = self.file.clone();
        file.base = None;
        file.config = self.base.table().expect("a valid configuration");
        toml::to_string(&file).expect("it was TOML")
    }
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
