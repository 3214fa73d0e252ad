//! The parts of the page around the drawings and tables.

use std::path::PathBuf;

use ipsight_report::page::{self, csv_link, figure, section, tile};
use ipsight_report::text::{escaped, grouped};

use super::subject::Subject;
use super::{lost, plots, tables};
use crate::evaluate::{BAYES, Evaluation, MODEL};

/// The whole page.
pub(super) fn page(evaluation: &Evaluation, subject: &Subject<'_>) -> String {
    let body = [
        heading(evaluation, subject),
        points_lost(evaluation),
        figures(evaluation),
        section("Detectors", DETECTORS, &tables::detectors(evaluation)),
        section("Operating points of the model", OPERATING_POINTS, &tables::operating_points(evaluation)),
        thresholds(evaluation),
        section("Breakdown", &breakdown_text(evaluation), &tables::breakdowns(evaluation)),
        section("The curves as numbers", "", &numbers(evaluation)),
        section("What the model was trained on", "", &training(subject)),
    ];
    page::document("ipsight evaluation", "", &body.concat())
}

const DETECTORS: &str = "An event is flagged when its anomaly score is at or above a threshold. Thresholds are the \
scores that occur; nothing is interpolated, so a table of counts can miss a wanted rate by far. Average precision \
depends on the share of attacks in the data.";

const OPERATING_POINTS: &str = "Intervals of 95 %: Wilson's, with the threshold taken as given. Alerts count ordinary \
events only.";

fn breakdown_text(evaluation: &Evaluation) -> String {
    let source = match evaluation.history {
        "history" => "Past events are those of the history.",
        _ => {
            "Past events are those that the model was trained on; in a model without a usage history those of the \
             entity's row of the table, where entities that share a row share its count."
        }
    };
    let moving = match evaluation.online {
        true => " Each ordinary event was counted after it was scored.",
        false => "",
    };
    format!(
        "Each part has a ROC of its own. A kind of attack is held against all ordinary events, or, where only one family \
         has attacks of this kind, against those of this family. {source}{moving}"
    )
}

const THRESHOLDS: &str = "Kept in the model folder. The rates are what to expect of events like these, with intervals \
of 95 % after Wilson, the threshold taken as given.";

/// The thresholds that were chosen, and how true the calibrated probabilities are.
fn thresholds(evaluation: &Evaluation) -> String {
    let mut html = String::new();
    if !evaluation.thresholds.is_empty() {
        html += &section("Thresholds", THRESHOLDS, &tables::thresholds(&evaluation.thresholds));
    }
    if let Some(found) = &evaluation.reliability {
        let text = format!(
            "Probabilities by isotonic regression on one half of the events, tried on the {} events of the other \
             half: Brier score {:.6}, expected calibration error {:.6}. They hold where {:.2} % of the events are \
             attacks, as here; for another share there is score --attack-prior.",
            grouped(found.num_events),
            found.brier_score,
            found.expected_calibration_error,
            100.0 * evaluation.num_attacks as f64 / evaluation.num_events as f64
        );
        html += &section("Calibration", &text, &tables::reliability(found));
    }
    html
}

fn heading(evaluation: &Evaluation, subject: &Subject<'_>) -> String {
    let model = &evaluation.model().all;
    let interval = |[low, high]: [f64; 2]| format!("95 %: {low:.5} to {high:.5}");
    let mut tiles = vec![
        ("AUC".to_string(), format!("{:.5}", evaluation.auc), model.auc_ci.map(interval).unwrap_or_default()),
        (
            "average precision".into(),
            format!("{:.5}", model.average_precision.unwrap_or_default()),
            format!(
                "with {:.1} % attacks",
                100.0 * evaluation.num_attacks as f64 / evaluation.num_events as f64
            ),
        ),
    ];
    for (target, point) in model.fpr_at_tpr.iter().filter(|(target, _)| [0.98453, 0.999].contains(target)) {
        tiles.push((format!("FPR at TPR {target}"), format!("{:.5}", point.fpr), interval(point.fpr_ci)));
    }
    let tiles: String = tiles.iter().map(|(name, value, more)| tile(name, value, more)).collect();
    let attacks = match evaluation.attacks {
        "labelled" => "attacks by their labels",
        "added" => "attacks added to the data",
        _ => "attacks with one random address beside each event",
    };
    let text = format!(
        "{} events of {}: {} {attacks}.",
        grouped(evaluation.num_events),
        listed(subject.data),
        grouped(evaluation.num_attacks)
    );
    format!(
        "<h1>How well the model tells attacks from ordinary events</h1>\n<p>{}</p>\n\
         <div class=\"tiles\">\n{tiles}</div>\n",
        escaped(&text)
    )
}

fn points_lost(evaluation: &Evaluation) -> String {
    let lost = lost::points_lost(evaluation);
    if evaluation.detectors.iter().all(|(name, _)| name == BAYES || name == MODEL) {
        return "<p class=\"soft\">No other detector was evaluated: give the training events as --history.</p>\n"
            .into();
    }
    if lost.is_empty() {
        return "<p>No other detector is better than the model at any point listed here by more than the intervals \
                of 95 %.</p>\n"
            .into();
    }
    let items: String = lost
        .iter()
        .map(|(name, points)| format!("<li><b>{}</b> {}</li>\n", escaped(name), escaped(&points.join("; "))))
        .collect();
    format!(
        "<div class=\"warn\"><p>Better than the model by more than the intervals:</p>\n<ul>\n{items}</ul></div>\n"
    )
}

fn figures(evaluation: &Evaluation) -> String {
    let captions = [
        "ROC. The dots are the model's operating points; point at a curve for its values.",
        "Anomaly scores of the model. Marked are the thresholds of the reference article, 0 and 10, where in range.",
        "Precision and recall, at the share of attacks in this data.",
        "What a threshold flags: of the ordinary events and of the attacks.",
        "Reliability of calibrated probabilities, on events that were kept aside, with intervals of 95 % after Wilson.",
    ];
    let figures: String =
        plots::all(evaluation).iter().zip(captions).map(|((_, svg), caption)| figure(svg, caption)).collect();
    format!("<div class=\"plots\">\n{figures}</div>\n")
}

fn numbers(evaluation: &Evaluation) -> String {
    let link = csv_link("evaluation.csv", "Download everything as CSV", &tables::csv(evaluation));
    format!(
        "{link}\
         <details><summary>Detection rates over false positive rates</summary>\n{}</details>\n\
         <details><summary>Histogram of the model's scores</summary>\n{}</details>\n",
        tables::curves(evaluation),
        tables::histogram(evaluation)
    )
}

fn listed(files: &[PathBuf]) -> String {
    let files: Vec<_> = files.iter().map(|file| file.to_string_lossy()).collect();
    files.join(", ")
}

fn training(subject: &Subject<'_>) -> String {
    let Subject { manifest, config, data, history } = subject;
    let training = &manifest.training;
    let optional = |value: Option<f64>| value.map(|value| format!("{value:.6}"));
    let weights = manifest.files.get("model.safetensors").map(|file| file.blake3.clone());
    let files = |files: &[PathBuf]| Some(listed(files)).filter(|files| !files.is_empty());
    let entries = [
        ("events", Some(grouped(training.num_events))),
        (
            "table rows seen",
            Some(format!("{} of {}", training.num_entity_rows_seen, manifest.num_entity_vectors)),
        ),
        ("vector_dim", Some(manifest.vector_dim.to_string())),
        ("epochs", Some(format!("{} ({} steps)", training.num_epochs, training.num_steps))),
        ("run", Some(if training.completed { "to its end" } else { "stopped early" }.into())),
        ("loss", optional(training.loss)),
        ("accuracy", optional(training.accuracy)),
        ("validation discriminator_auc", optional(training.discriminator_auc)),
        ("written by", Some(format!("ipsight {}", manifest.ipsight_version))),
        ("weights (BLAKE3)", weights),
        ("evaluated data", files(data)),
        ("history of the baselines", files(history)),
    ];
    let entries: String = entries
        .into_iter()
        .filter_map(|(name, value)| Some(format!("<dt>{name}</dt><dd>{}</dd>\n", escaped(&value?))))
        .collect();
    let config = escaped(&config.to_toml());
    format!(
        "<dl>\n{entries}</dl>\n<details><summary>Configuration of the training run</summary>\n\
         <pre>{config}</pre></details>\n"
    )
}
