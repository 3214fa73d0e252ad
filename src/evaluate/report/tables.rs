//! The report's numbers as HTML tables and as CSV.

use std::fmt::Write;

use ipsight_report::page::{strings, table};
use ipsight_report::text::grouped;

use crate::evaluate::{
    Breakdown, CurvePoint, Detector, Evaluation, Figures, OperatingPoint, Reliability, ReliabilityBin,
};
use crate::thresholds::Threshold;

fn number(value: Option<f64>) -> String {
    value.map_or("\u{2013}".into(), |value| format!("{value:.5}"))
}

fn with_interval(value: f64, [low, high]: [f64; 2]) -> String {
    format!("{value:.5}\n{low:.5} to {high:.5}")
}

fn auc(figures: &Figures) -> String {
    match (figures.auc, figures.auc_ci) {
        (Some(auc), Some(interval)) => with_interval(auc, interval),
        (auc, _) => number(auc),
    }
}

fn at(points: &[(f64, OperatingPoint)], wanted: f64) -> Option<OperatingPoint> {
    points.iter().find(|(target, _)| *target == wanted).map(|(_, point)| *point)
}

/// One row for each detector.
pub(super) fn detectors(evaluation: &Evaluation) -> String {
    let model = &evaluation.model().all;
    let mut header = strings(["detector", "AUC (95 %)", "average precision"]);
    header.extend(model.fpr_at_tpr.iter().map(|(target, _)| format!("FPR at TPR {target}")));
    header.extend(model.tpr_at_fpr.iter().map(|(target, _)| format!("TPR at FPR {target}")));
    let row = |(name, Detector { all, .. }): &(String, Detector)| {
        let mut row = vec![name.clone(), auc(all), number(all.average_precision)];
        row.extend(all.fpr_at_tpr.iter().map(|(_, point)| number(Some(point.fpr))));
        row.extend(all.tpr_at_fpr.iter().map(|(_, point)| number(Some(point.tpr))));
        row
    };
    table(&header, &evaluation.detectors.iter().map(row).collect::<Vec<_>>())
}

/// The model's thresholds and what they do.
pub(super) fn operating_points(evaluation: &Evaluation) -> String {
    let model = &evaluation.model().all;
    let has_times = evaluation.num_days.is_some();
    let mut header = strings(["wanted", "threshold", "TPR (95 %)", "FPR (95 %)"]);
    header.extend(has_times.then(|| "alerts a day per 1,000 users".into()));
    let tpr = model.fpr_at_tpr.iter().map(|(target, point)| (format!("TPR at least {target}"), point));
    let fpr = model.tpr_at_fpr.iter().map(|(target, point)| (format!("FPR at most {target}"), point));
    let row = |(wanted, point): (String, &OperatingPoint)| {
        let mut row = vec![
            wanted,
            point.threshold.map_or("nothing is flagged".into(), |threshold| format!("{threshold:.4}")),
            with_interval(point.tpr, point.tpr_ci),
            with_interval(point.fpr, point.fpr_ci),
        ];
        let alerts = point.alerts_per_day_per_1000_users.map(|alerts| format!("{alerts:.2}"));
        row.extend(alerts.filter(|_| has_times));
        row
    };
    table(&header, &tpr.chain(fpr).map(row).collect::<Vec<_>>())
}

/// The chosen thresholds with what is to be expected of them.
pub(super) fn thresholds(thresholds: &[Threshold]) -> String {
    let header =
        ["name", "anomaly score from", "asked for", "TPR (95 %)", "FPR (95 %)", "alerts a day (ordinary)"];
    let row = |threshold: &Threshold| {
        let ((tpr, tpr_ci), (fpr, fpr_ci)) = (threshold.tpr(), threshold.fpr());
        vec![
            threshold.name.clone(),
            format!("{:.4}", threshold.value),
            format!("{} {}", threshold.criterion.name().replace('_', "-"), threshold.target),
            with_interval(tpr, tpr_ci),
            with_interval(fpr, fpr_ci),
            threshold.alerts_per_day().map_or("\u{2013}".into(), |alerts| format!("{alerts:.2}")),
        ]
    };
    table(&strings(header), &thresholds.iter().map(row).collect::<Vec<_>>())
}

/// The reliability curve as numbers.
pub(super) fn reliability(found: &Reliability) -> String {
    let header = ["probability", "events", "attacks", "mean probability", "share of attacks (95 %)"];
    let row = |bin: &ReliabilityBin| {
        vec![
            format!("{} to {}", bin.from, bin.to),
            grouped(bin.num_events),
            grouped(bin.num_attacks),
            number(Some(bin.mean_probability)),
            with_interval(bin.attack_share, bin.attack_share_ci),
        ]
    };
    table(&strings(header), &found.bins.iter().map(row).collect::<Vec<_>>())
}

/// The model's figures for parts of the events, and the AUC of every detector there.
pub(super) fn breakdowns(evaluation: &Evaluation) -> String {
    let others = &evaluation.detectors[1..];
    let mut html = String::new();
    let breakdowns = evaluation.model().breakdowns();
    for (i, breakdown) in breakdowns.iter().enumerate().filter(|(_, breakdown)| breakdown.says_more) {
        let mut header = vec![breakdown.title.to_string()];
        header.extend(strings([
            "attacks",
            "ordinary",
            "AUC (95 %)",
            "AP",
            "FPR at TPR 0.98453",
            "TPR at FPR 0.001",
        ]));
        header.extend(others.iter().map(|(name, _)| format!("AUC of {name}")));
        let row = |(j, (name, figures)): (usize, &(String, Figures))| {
            let mut row = vec![
                name.clone(),
                grouped(figures.num_attacks),
                grouped(figures.num_ordinary),
                auc(figures),
                number(figures.average_precision),
                number(at(&figures.fpr_at_tpr, 0.98453).map(|point| point.fpr)),
                number(at(&figures.tpr_at_fpr, 1e-3).map(|point| point.tpr)),
            ];
            let figures_of =
                |other: &Detector| other.breakdowns()[i].parts.get(j).and_then(|part| part.1.auc);
            row.extend(others.iter().map(|(_, other)| number(figures_of(other))));
            row
        };
        html += &table(&header, &breakdown.parts.iter().enumerate().map(row).collect::<Vec<_>>());
    }
    html
}

/// Detection rates of all detectors over a grid of false positive rates: the drawn curves as numbers.
pub(super) fn curves(evaluation: &Evaluation) -> String {
    let mut header = strings(["FPR at most"]);
    header.extend(evaluation.curves.iter().map(|curve| format!("TPR of {}", curve.name)));
    let decades = ["0.0000", "0.000", "0.00", "0.0", "0."];
    let grid = decades.into_iter().flat_map(|zeros| ["1", "2", "5"].map(|digit| format!("{zeros}{digit}")));
    let row = |text: String| {
        let rate: f64 = text.parse().unwrap_or_default();
        let tpr_of = |roc: &[CurvePoint]| {
            roc.iter().filter(|point| point.fpr <= rate).map(|point| point.tpr).fold(0.0, f64::max)
        };
        let tprs = evaluation.curves.iter().map(|curve| number(Some(tpr_of(&curve.roc))));
        [text].into_iter().chain(tprs).collect()
    };
    table(&header, &grid.map(row).collect::<Vec<_>>())
}

/// The histograms of the model's scores as numbers.
pub(super) fn histogram(evaluation: &Evaluation) -> String {
    let histogram = &evaluation.curves[0].histogram;
    let (low, high) = (f64::from(histogram.range.0), f64::from(histogram.range.1));
    let num_bins = histogram.ordinary.len();
    let edge = |i: usize| low + (high - low) * i as f64 / num_bins.max(1) as f64;
    let rows: Vec<Vec<String>> = (0..num_bins)
        .filter(|i| histogram.ordinary[*i] + histogram.attacks[*i] > 0.0)
        .map(|i| {
            let [ordinary, attacks] =
                [&histogram.ordinary, &histogram.attacks].map(|shares| shares[i] * 100.0);
            let range = format!("{:.2} to {:.2}", edge(i), edge(i + 1));
            vec![range, format!("{ordinary:.4}"), format!("{attacks:.4}")]
        })
        .collect();
    table(&strings(["anomaly score", "% of ordinary events", "% of attacks"]), &rows)
}

/// Everything that is drawn and tabled, one figure a line:
/// `detector,part,name,target,threshold,tpr,tpr_low,tpr_high,fpr,fpr_low,fpr_high,precision,value`.
pub(super) fn csv(evaluation: &Evaluation) -> String {
    let mut csv = String::from(
        "detector,part,name,target,threshold,tpr,tpr_low,tpr_high,fpr,fpr_low,fpr_high,precision,value\n",
    );
    for (name, detector) in &evaluation.detectors {
        figures_csv(&mut csv, name, "all", &detector.all);
        for Breakdown { title, parts, .. } in detector.breakdowns() {
            for (part, figures) in parts {
                figures_csv(&mut csv, name, &format!("{title}: {part}"), figures);
            }
        }
    }
    for curve in &evaluation.curves {
        for point in &curve.roc {
            let threshold = point.threshold.map_or(String::new(), |threshold| threshold.to_string());
            let (detector, fpr, tpr, precision) = (&curve.name, point.fpr, point.tpr, point.precision);
            // Writing to memory does not fail.
            let _ = writeln!(csv, "{detector},all,roc,,{threshold},{tpr},,,{fpr},,,{precision},");
        }
    }
    csv
}

fn figures_csv(csv: &mut String, detector: &str, part: &str, figures: &Figures) {
    // A kind of attack is any text.
    let part = format!("\"{}\"", part.replace('"', "\"\""));
    let (low, high) = match figures.auc_ci {
        Some([low, high]) => (Some(low), Some(high)),
        None => (None, None),
    };
    let values = [
        ("num_attacks", Some(figures.num_attacks as f64)),
        ("num_ordinary", Some(figures.num_ordinary as f64)),
        ("auc", figures.auc),
        ("auc_low", low),
        ("auc_high", high),
        ("average_precision", figures.average_precision),
    ];
    for (name, value) in values.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        let _ = writeln!(csv, "{detector},{part},{name},,,,,,,,,,{value}");
    }
    for (name, points) in [("fpr_at_tpr", &figures.fpr_at_tpr), ("tpr_at_fpr", &figures.tpr_at_fpr)] {
        for (target, point) in points {
            let threshold = point.threshold.map_or(String::new(), |threshold| threshold.to_string());
            let OperatingPoint { tpr, tpr_ci: [tpr_low, tpr_high], fpr, fpr_ci: [fpr_low, fpr_high], .. } =
                point;
            let _ = writeln!(
                csv,
                "{detector},{part},{name},{target},{threshold},{tpr},{tpr_low},{tpr_high},{fpr},{fpr_low},{fpr_high},,"
            );
        }
    }
}
