//! Evaluations in folds that follow each other in time, each by a detector of the events before it.

use std::env;

use ipsight::config::{Config, DetectorKind};
use ipsight::data::Events;
use ipsight::evaluate::{
    EvaluateOptions, Evaluation, Evaluator, Fold, FoldsEvaluation, PastEvents, TimeSplit,
};
use ipsight::history::{Detector, History, Owners};
use ipsight::train::fit_detector;
use ipsight::{At, Error, Result, Scorer};

use super::evaluation_text::{rate, table};
use super::held_rows::HeldRows;
use super::output::{self, count};

/// Evaluates each fold with the usage history and the head that a training on the events before it would make. The scores
/// are those of a model that was trained so, because the engine is no part of them.
///
/// # Errors
///
/// [`Error::Config`] for a model without a usage history, [`Error::Data`] where the rows are too few.
pub fn evaluate(
    rows: &HeldRows,
    num_folds: usize,
    config: &Config,
    mut scorer: Scorer,
    options: &EvaluateOptions<'_>,
) -> Result<FoldsEvaluation> {
    if config.model.detector == DetectorKind::Engine {
        let help = "train a model for each fold, and evaluate each with the option split";
        return Err(Error::config(At::option("folds"), "this model is the engine alone", help));
    }
    let networks = scorer.detector().and_then(|detector| Some(detector.owners.as_ref()?.networks.clone()));
    let mut folds = Vec::with_capacity(num_folds);
    for (number, split) in (1..).zip(rows.folds(num_folds)?) {
        talk!("fold {number}/{num_folds}: {split}");
        let past = rows.past(&split);
        let fitted = fit_detector(past.clone(), config, None, networks.as_ref(), &env::temp_dir())?;
        let fitted = fitted.expect("the model has a detector").fitted;
        let history = History::open(&fitted.history)?;
        let owners = networks.clone().map(|networks| Owners::count(&history, networks));
        let detector = Detector { history, head: fitted.head, owners };
        scorer = scorer.with_detector(Some(detector));
        folds.push(Fold { split, evaluation: evaluate_fold(rows, split, &past, &scorer, options)? });
    }
    Ok(FoldsEvaluation::new(folds))
}

fn evaluate_fold(
    rows: &HeldRows,
    split: TimeSplit,
    past: &Events,
    scorer: &Scorer,
    options: &EvaluateOptions<'_>,
) -> Result<Evaluation> {
    let past = PastEvents::new(past)?;
    let mut evaluator = Evaluator::new(scorer, EvaluateOptions { past: Some(&past), ..options.clone() });
    for (_, event) in rows.evaluated(split) {
        evaluator.push(event)?;
    }
    evaluator.finish()
}

/// The folds of the model and the means of all detectors, for people.
pub fn text(evaluation: &FoldsEvaluation) -> String {
    let mut rows = vec![["fold", "past", "ordinary", "AUC", "AUC, seen"].map(String::from).to_vec()];
    for (number, Fold { split, evaluation }) in (1..).zip(&evaluation.folds) {
        let model = evaluation.model();
        let seen = model.by_seen.iter().find(|(name, _)| name == "seen").and_then(|(_, figures)| figures.auc);
        let num_past = count(split.num_past as u64);
        let num_ordinary = count(model.all.num_ordinary);
        rows.push(vec![number.to_string(), num_past, num_ordinary, rate(model.all.auc), rate(seen)]);
    }
    let mut lines = table(&rows);
    lines.push(String::new());
    lines.push("means over the folds, weighted by their ordinary events:".into());
    let mut header: Vec<String> = ["detector", "AUC", "AUC, seen"].map(String::from).into();
    let seen = &evaluation.model().seen;
    header.extend(seen.fpr_at_tpr.iter().map(|(target, _)| format!("FPR@{target}, seen")));
    let mut rows = vec![header];
    for (name, means) in &evaluation.means {
        let mut row = vec![name.clone(), rate(means.all.auc), rate(means.seen.auc)];
        row.extend(means.seen.fpr_at_tpr.iter().map(|(_, fpr)| rate(Some(*fpr))));
        rows.push(row);
    }
    lines.extend(table(&rows));
    lines.join("\n")
}

/// Writes the evaluation to stdout.
pub fn write(evaluation: &FoldsEvaluation, as_json: bool) -> Result<()> {
    output::even_unread(match as_json {
        true => output::json(evaluation),
        false => output::line(text(evaluation)),
    })
}
