//! What `compare` tells people.

use ipsight::compare::{ComparedModel, Comparison, FprNow, MovedEntity, Promise, ThresholdDrift};

use super::evaluation_text::table;
use super::output::count;

/// The whole text, without a line feed at its end.
pub fn text(comparison: &Comparison) -> String {
    let Comparison { old, new, auc_drop, score_psi, .. } = comparison;
    let mut lines = vec![
        format!(
            "{} ordinary events of {} entities, {} {}",
            count(comparison.num_events),
            count(comparison.num_entities),
            count(comparison.num_attacks),
            match comparison.attacks {
                "labelled" => "labelled attacks",
                "added" => "added attacks",
                _ => "random IPv4 addresses",
            }
        ),
        format!("AUC: old {}, new {}, drop {auc_drop:.6}", auc(old), auc(new)),
        match comparison.rank_correlation {
            Some(rho) => format!("rank correlation of the scores: {rho:.6}"),
            None => "rank correlation of the scores: none, a model gives all events one score".into(),
        },
        format!("PSI of the scores: {score_psi:.6} in {} bins", comparison.score_bins.len()),
    ];
    if let Some(networks) = &comparison.networks {
        lines.push(format!(
            "PSI of the /16 networks against {} reference events: {:.6} in {} bins, by chance {:.6}",
            count(networks.num_reference_events),
            networks.psi,
            networks.num_bins,
            networks.psi_by_chance
        ));
    }
    if !comparison.thresholds.is_empty() {
        lines.push(String::new());
        lines.extend(table(&threshold_rows(&comparison.thresholds)));
    }
    if !comparison.moved_entities.is_empty() {
        lines.push(String::new());
        lines.extend(table(&entity_rows(&comparison.moved_entities)));
    }
    lines.join("\n")
}

fn auc(model: &ComparedModel) -> String {
    let interval =
        model.auc_ci.map_or(String::new(), |[low, high]| format!(" (95 %: {low:.6} to {high:.6})"));
    format!("{:.6}{interval}", model.auc)
}

fn threshold_rows(thresholds: &[ThresholdDrift]) -> Vec<Vec<String>> {
    let header = [
        "threshold",
        "anomaly score from",
        "FPR promised",
        "95 %",
        "old now",
        "95 %",
        "",
        "new now",
        "95 %",
        "",
    ];
    let mut rows = vec![header.map(String::from).to_vec()];
    let interval = |[low, high]: [f64; 2]| format!("{low:.5} to {high:.5}");
    for threshold in thresholds {
        let mut row = vec![threshold.name.clone(), format!("{:.4}", threshold.value)];
        row.extend([format!("{:.5}", threshold.promised_fpr), interval(threshold.promised_fpr_ci)]);
        for FprNow { fpr, fpr_ci, verdict } in [threshold.old, threshold.new] {
            row.extend([format!("{fpr:.5}"), interval(fpr_ci), word(verdict).into()]);
        }
        rows.push(row);
    }
    rows
}

fn word(verdict: Promise) -> &'static str {
    match verdict {
        Promise::Holds => "holds",
        Promise::Higher => "HIGHER",
        Promise::Lower => "LOWER",
    }
}

fn entity_rows(entities: &[MovedEntity]) -> Vec<Vec<String>> {
    let header = ["moved most", "events", "mean score, old", "new", "change"];
    let mut rows = vec![header.map(String::from).to_vec()];
    for MovedEntity { entity, num_events, old_mean, new_mean, change } in entities {
        // Bytes of a stranger's making must not steer a terminal.
        let name = String::from_utf8_lossy(entity).escape_debug().to_string();
        let numbers = [old_mean, new_mean].map(|mean| format!("{mean:.4}"));
        rows.push([vec![name, count(*num_events)], numbers.to_vec(), vec![format!("{change:+.4}")]].concat());
    }
    rows
}
