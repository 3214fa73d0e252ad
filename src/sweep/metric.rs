//! Metrics of a trial: figures of its training, and figures of an evaluation of its model.

use std::fmt;

use ipsight_search::study::Goal;
use serde_json::Value;

use crate::config::suggest;
use crate::evaluate::{FPR_TARGETS, MODEL, TPR_TARGETS};

/// A figure of a trial, by its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Metric(String);

/// The figures of a training, each with its goal.
const OF_TRAINING: [(&str, Goal); 8] = [
    ("discriminator_auc", Goal::Maximize),
    ("discriminator_auc_ipv4", Goal::Maximize),
    ("discriminator_auc_ipv6", Goal::Maximize),
    ("loss", Goal::Minimize),
    ("accuracy", Goal::Maximize),
    ("positives_per_second", Goal::Maximize),
    ("seconds", Goal::Minimize),
    ("model_bytes", Goal::Minimize),
];

/// The number of those that are known after every epoch; they come first.
const OF_EPOCH: usize = 7;

/// The number of those that come from validation events; they come first of all.
const OF_VALIDATION: usize = 3;

/// What the names of an evaluation's figures begin with.
const EVALUATION: &str = "evaluation.";

/// The breakdowns of an evaluation; the name of a part follows.
const BREAKDOWNS: [&str; 7] =
    ["by_kind", "by_family", "by_seen", "seen_by_kind", "seen_by_family", "by_history", "by_days"];

impl Metric {
    /// A metric by its name. `Err` says what is valid.
    pub fn parse(name: &str) -> Result<Self, String> {
        let of_evaluation = name.strip_prefix(EVALUATION);
        let is_known = match of_evaluation {
            Some(path) => goal_of_evaluation(path).is_some(),
            None => OF_TRAINING.iter().any(|(known, _)| *known == name),
        };
        if is_known { Ok(Self(name.into())) } else { Err(suggest(name, "metrics", &Self::names())) }
    }

    /// A metric that is known after every epoch, by its name. `Err` says what is valid.
    pub fn parse_of_epoch(name: &str) -> Result<Self, String> {
        let names: Vec<&str> = OF_TRAINING[..OF_EPOCH].iter().map(|(name, _)| *name).collect();
        if names.contains(&name) { Ok(Self(name.into())) } else { Err(suggest(name, "metrics", &names)) }
    }

    fn names() -> Vec<&'static str> {
        const OF_EVALUATION: [&str; 4] = [
            "evaluation.auc",
            "evaluation.average_precision",
            "evaluation.fpr_at_tpr.0.999",
            "evaluation.tpr_at_fpr.0.001",
        ];
        OF_TRAINING.iter().map(|(name, _)| *name).chain(OF_EVALUATION).collect()
    }

    /// The goal, unless the sweep's file sets another.
    pub fn goal(&self) -> Goal {
        let of_training = OF_TRAINING.iter().find(|(name, _)| *name == self.0).map(|(_, goal)| *goal);
        let of_evaluation = || goal_of_evaluation(self.0.strip_prefix(EVALUATION)?);
        of_training.or_else(of_evaluation).unwrap_or(Goal::Maximize)
    }

    /// Whether the model has to be evaluated for it.
    pub fn needs_evaluation(&self) -> bool {
        self.0.starts_with(EVALUATION)
    }

    /// Whether a training has it only with validation events.
    pub fn is_of_validation(&self) -> bool {
        OF_TRAINING[..OF_VALIDATION].iter().any(|(name, _)| *name == self.0)
    }

    /// Its value in the figures of a training (an object by name), or in the document of an evaluation. None where it
    /// is not there or no number, as `discriminator_auc` without validation events, or that of a family without any.
    pub fn value(&self, training: &Value, evaluation: Option<&Value>) -> Option<f64> {
        let Some(path) = self.0.strip_prefix(EVALUATION) else { return training.get(&self.0)?.as_f64() };
        let mut figures = evaluation?.get("detectors")?.get(MODEL)?;
        let mut path = path;
        if let Some((breakdown, part, rest)) = breakdown(path) {
            figures = figures.get(breakdown)?.get(part)?;
            path = rest;
        }
        match path.split_once('.') {
            Some((points, target)) => {
                figures.get(points)?.get(target)?.get(points.split('_').next()?)?.as_f64()
            }
            None => figures.get(path)?.as_f64(),
        }
    }
}

impl Default for Metric {
    /// `discriminator_auc`.
    fn default() -> Self {
        Self(OF_TRAINING[0].0.into())
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `by_kind.NAME.rest`, taken apart. A name of a kind may hold dots; what comes behind begins with a figure's name.
fn breakdown(path: &str) -> Option<(&str, &str, &str)> {
    let (breakdown, rest) = path.split_once('.').filter(|(name, _)| BREAKDOWNS.contains(name))?;
    let mut dots = rest.match_indices('.').map(|(dot, _)| dot);
    let split = dots.rfind(|dot| goal_of_figure(&rest[dot + 1..]).is_some())?;
    Some((breakdown, &rest[..split], &rest[split + 1..]))
}

/// The goal of a figure below `evaluation.`; none where there is no such figure.
fn goal_of_evaluation(path: &str) -> Option<Goal> {
    goal_of_figure(breakdown(path).map_or(path, |(_, _, rest)| rest))
}

fn goal_of_figure(name: &str) -> Option<Goal> {
    let is_one_of = |target: &str, targets: &[f64]| targets.iter().any(|known| known.to_string() == target);
    match name.split_once('.') {
        None if ["auc", "average_precision"].contains(&name) => Some(Goal::Maximize),
        Some(("fpr_at_tpr", target)) if is_one_of(target, &TPR_TARGETS) => Some(Goal::Minimize),
        Some(("tpr_at_fpr", target)) if is_one_of(target, &FPR_TARGETS) => Some(Goal::Maximize),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_known_and_say_which_way_is_better() {
        for (name, goal) in [
            ("discriminator_auc", Goal::Maximize),
            ("discriminator_auc_ipv6", Goal::Maximize),
            ("loss", Goal::Minimize),
            ("model_bytes", Goal::Minimize),
            ("evaluation.auc", Goal::Maximize),
            ("evaluation.fpr_at_tpr.0.98453", Goal::Minimize),
            ("evaluation.tpr_at_fpr.0.0001", Goal::Maximize),
            ("evaluation.by_kind.other_users.fpr_at_tpr.0.999", Goal::Minimize),
            ("evaluation.by_kind.a.b.auc", Goal::Maximize),
        ] {
            assert_eq!(Metric::parse(name).map(|metric| metric.goal()), Ok(goal), "{name}");
        }
        for name in Metric::names() {
            assert!(Metric::parse(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn unknown_names_are_refused_with_the_nearest() {
        for (name, near) in [
            ("discriminator_au", "`discriminator_auc`"),
            ("evaluation.fpr_at_tpr.0.998", "`evaluation.fpr_at_tpr.0.999`"),
            ("evaluation.by_kind.auc", ""),
            ("evaluation.", ""),
            ("auc", ""),
        ] {
            let help = Metric::parse(name).unwrap_err();
            assert!(
                help.contains(near) && help.contains("valid metrics: discriminator_auc"),
                "{name}: {help}"
            );
        }
        assert!(Metric::parse_of_epoch("loss").is_ok());
        assert!(
            Metric::parse_of_epoch("model_bytes").unwrap_err().contains("valid metrics: discriminator_auc")
        );
    }

    #[test]
    fn values_are_found() {
        let training = json!({ "loss": 0.5, "discriminator_auc": null, "model_bytes": 7 });
        let figures = json!({ "auc": 0.9, "fpr_at_tpr": { "0.999": { "fpr": 0.03, "tpr": 0.9991 } } });
        let evaluation = json!({ "detectors": { "ipsight": {
            "auc": 0.8, "tpr_at_fpr": { "0.01": { "fpr": 0.0099, "tpr": 0.7 } }, "by_kind": { "a.b": figures },
        } } });
        let value = |name: &str| Metric::parse(name).unwrap().value(&training, Some(&evaluation));
        assert_eq!(value("loss"), Some(0.5));
        assert_eq!(value("model_bytes"), Some(7.0));
        assert_eq!(value("discriminator_auc"), None);
        let is_of_validation = |name: &str| Metric::parse_of_epoch(name).unwrap().is_of_validation();
        assert!(is_of_validation("discriminator_auc_ipv4") && !is_of_validation("loss"));
        assert_eq!(value("evaluation.auc"), Some(0.8));
        assert_eq!(value("evaluation.tpr_at_fpr.0.01"), Some(0.7));
        assert_eq!(value("evaluation.by_kind.a.b.auc"), Some(0.9));
        assert_eq!(value("evaluation.by_kind.a.b.fpr_at_tpr.0.999"), Some(0.03));
        assert_eq!(value("evaluation.by_kind.c.auc"), None);
        assert_eq!(Metric::parse("evaluation.auc").unwrap().value(&training, None), None);
    }
}
