//! What `evaluate` tells people: the model's figures, and a table of all detectors.

use ipsight::evaluate::report::points_lost;
use ipsight::evaluate::{Breakdown, Detector, Evaluation, Figures, OperatingPoint};
use ipsight::thresholds::Threshold;

use super::output::count;

/// The whole text, without a line feed at its end.
pub fn text(evaluation: &Evaluation) -> String {
    let model = evaluation.model();
    let mut lines = vec![
        format!(
            "{} events, {} of them {}",
            count(evaluation.num_events),
            count(evaluation.num_attacks),
            match evaluation.attacks {
                "labelled" => "labelled attacks",
                "added" => "added attacks",
                _ => "random addresses",
            }
        ),
        format!("AUC {:.6}{}", evaluation.auc, interval(&model.all)),
        format!("average precision {:.6}", model.all.average_precision.unwrap_or_default()),
        format!("at anomaly score > 0: TPR {:.6}, FPR {:.6}", evaluation.tpr, evaluation.fpr),
    ];
    if evaluation.online {
        lines.push("online: each ordinary event was counted after it was scored".into());
    }
    lines.push(String::new());
    lines.extend(table(&detector_rows(evaluation)));
    lines.extend(
        points_lost(evaluation).iter().map(|(name, points)| {
            format!("{name} is better by more than the intervals: {}", points.join("; "))
        }),
    );
    for Breakdown { title, parts, .. } in model.breakdowns().iter().filter(|breakdown| breakdown.says_more) {
        lines.push(String::new());
        lines.extend(table(&part_rows(title, parts)));
    }
    if let Some(reliability) = &evaluation.reliability {
        lines.push(String::new());
        lines.push(format!(
            "calibrated probabilities, tried on {} events that were kept aside: Brier score {:.6}, expected \
             calibration error {:.6}",
            count(reliability.num_events),
            reliability.brier_score,
            reliability.expected_calibration_error
        ));
    }
    if !evaluation.thresholds.is_empty() {
        lines.push(String::new());
        lines.extend(table(&threshold_rows(&evaluation.thresholds)));
    }
    if let (Some(days), Some(users)) = (evaluation.num_days, evaluation.num_users) {
        lines.push(String::new());
        lines.push(format!("alerts a day per 1,000 users, over {days:.1} days of {} users:", count(users)));
        lines.extend(model.all.fpr_at_tpr.iter().map(|(target, point)| {
            let alerts = point.alerts_per_day_per_1000_users.unwrap_or_default();
            format!("  {alerts:.2} at TPR {target} (threshold {})", threshold(point))
        }));
    }
    lines.join("\n")
}

fn interval(figures: &Figures) -> String {
    figures.auc_ci.map_or(String::new(), |[low, high]| format!(" (95 %: {low:.6} to {high:.6})"))
}

fn threshold(point: &OperatingPoint) -> String {
    point.threshold.map_or("none".into(), |threshold| format!("{threshold:.4}"))
}

fn detector_rows(evaluation: &Evaluation) -> Vec<Vec<String>> {
    let model = &evaluation.model().all;
    let mut header: Vec<String> = ["detector", "AUC", "AP"].map(String::from).into();
    header.extend(model.fpr_at_tpr.iter().map(|(target, _)| format!("FPR@{target}")));
    header.extend(model.tpr_at_fpr.iter().map(|(target, _)| format!("TPR@{target}")));
    let mut rows = vec![header];
    for (name, Detector { all, .. }) in &evaluation.detectors {
        let mut row = vec![name.clone(), rate(all.auc), rate(all.average_precision)];
        row.extend(all.fpr_at_tpr.iter().map(|(_, point)| rate(Some(point.fpr))));
        row.extend(all.tpr_at_fpr.iter().map(|(_, point)| rate(Some(point.tpr))));
        rows.push(row);
    }
    rows
}

fn part_rows(title: &str, parts: &[(String, Figures)]) -> Vec<Vec<String>> {
    let header = [title, "attacks", "ordinary", "AUC", "AP", "FPR@0.98453", "TPR@0.001"];
    let mut rows = vec![header.map(String::from).to_vec()];
    for (name, figures) in parts {
        let at = |points: &[(f64, OperatingPoint)], wanted: f64| {
            points.iter().find(|(target, _)| *target == wanted).map(|(_, point)| *point)
        };
        rows.push(vec![
            name.clone(),
            count(figures.num_attacks),
            count(figures.num_ordinary),
            rate(figures.auc),
            rate(figures.average_precision),
            rate(at(&figures.fpr_at_tpr, 0.98453).map(|point| point.fpr)),
            rate(at(&figures.tpr_at_fpr, 1e-3).map(|point| point.tpr)),
        ]);
    }
    rows
}

/// The thresholds, with what is to be expected of them; also for `inspect`.
pub fn threshold_rows(thresholds: &[Threshold]) -> Vec<Vec<String>> {
    let header = ["threshold", "anomaly score from", "TPR", "95 %", "FPR", "95 %", "alerts a day"];
    let mut rows = vec![header.map(String::from).to_vec()];
    for threshold in thresholds {
        let ((tpr, tpr_ci), (fpr, fpr_ci)) = (threshold.tpr(), threshold.fpr());
        let interval = |[low, high]: [f64; 2]| format!("{low:.5} to {high:.5}");
        rows.push(vec![
            threshold.name.clone(),
            format!("{:.4}", threshold.value),
            rate(Some(tpr)),
            interval(tpr_ci),
            rate(Some(fpr)),
            interval(fpr_ci),
            threshold.alerts_per_day().map_or("-".into(), |alerts| format!("{alerts:.2}")),
        ]);
    }
    rows
}

/// A rate or an area, where there is one.
pub fn rate(rate: Option<f64>) -> String {
    rate.map_or("-".into(), |rate| format!("{rate:.5}"))
}

/// Lines of a table: the first column flush left, the others right.
pub fn table(rows: &[Vec<String>]) -> Vec<String> {
    let num_columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| Some(row.get(column)?.chars().count())).max();
    let widths: Vec<usize> = (0..num_columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(i, (cell, width))| match i {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ")
    };
    rows.iter().map(line).collect()
}
