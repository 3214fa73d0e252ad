//! The report's plots.

use ipsight_report::svg::{Corner, Plot, Scale};

use crate::evaluate::{CurvePoint, DetectorCurve, Evaluation, Reliability};

/// Spots with values to point at, on each curve.
const NUM_HOVERS: usize = 40;

/// The smallest false positive rate that is drawn.
const MIN_EXPONENT: i32 = -6;

/// The plots by their names, as SVG documents.
pub(super) fn all(evaluation: &Evaluation) -> Vec<(&'static str, String)> {
    let mut all = vec![
        ("roc", roc(evaluation)),
        ("scores", histogram(&evaluation.curves[0])),
        ("precision_recall", precision_recall(evaluation)),
        ("thresholds", thresholds(&evaluation.curves[0])),
    ];
    all.extend(evaluation.reliability.as_ref().map(|found| ("reliability", reliability(found))));
    all
}

fn roc(evaluation: &Evaluation) -> String {
    let num_ordinary = evaluation.model().all.num_ordinary as f64;
    let low = (-num_ordinary.log10().ceil() as i32).clamp(MIN_EXPONENT, -1);
    let mut plot = Plot::new(
        Scale::Log10(low, 0),
        "false positive rate (logarithmic)",
        Scale::Linear(0.0, 1.0),
        "true positive rate",
    );
    for (i, curve) in evaluation.curves.iter().enumerate().rev() {
        plot.steps(i, curve.roc.iter().map(|point| (point.fpr, point.tpr)));
    }
    for curve in evaluation.curves.iter().rev() {
        for point in spread(&curve.roc, |point| (plot_log(point.fpr, low), point.tpr)) {
            plot.hover((point.fpr, point.tpr), &told(&curve.name, point));
        }
    }
    for (target, point) in &evaluation.model().all.fpr_at_tpr {
        let text = format!("operating point TPR {target}: FPR {:.5}, TPR {:.5}", point.fpr, point.tpr);
        plot.dot(0, (point.fpr, point.tpr), &text);
    }
    plot.curve_legend(names(evaluation), emptier_corner(evaluation, low));
    plot.finish("ROC curves of all detectors, with a logarithmic axis of false positive rates")
}

/// The corner of the ROC in which a legend hides less of the curves.
fn emptier_corner(evaluation: &Evaluation, low: i32) -> Corner {
    let places = evaluation.curves.iter().flat_map(|curve| &curve.roc);
    let places = places.map(|point| (plot_log(point.fpr, low), point.tpr));
    let (mut top_left, mut bottom_right) = (0, 0);
    for (x, y) in places.filter(|(x, _)| *x > 0.0) {
        top_left += usize::from(x < 0.42 && y > 0.55);
        bottom_right += usize::from(x > 0.58 && y < 0.45);
    }
    if top_left <= bottom_right { Corner::TopLeft } else { Corner::BottomRight }
}

fn precision_recall(evaluation: &Evaluation) -> String {
    let unit = Scale::Linear(0.0, 1.0);
    let mut plot = Plot::new(unit, "recall (true positive rate)", unit, "precision");
    for (i, curve) in evaluation.curves.iter().enumerate().rev() {
        // As average precision has it: a gain in recall comes at the precision behind it. The first point flags
        // nothing and has no precision.
        let points = || curve.roc.iter().skip(1).map(|point| (point.tpr, point.precision));
        let start = points().next().map(|(_, precision)| (0.0, precision));
        plot.steps_back(i, start.into_iter().chain(points()));
    }
    for curve in evaluation.curves.iter().rev() {
        for point in spread(&curve.roc, |point| (point.tpr, point.precision)) {
            plot.hover((point.tpr, point.precision), &told(&curve.name, point));
        }
    }
    plot.curve_legend(names(evaluation), Corner::BottomLeft);
    plot.finish("Precision and recall of all detectors, at the share of attacks in this data")
}

fn histogram(curve: &DetectorCurve) -> String {
    let histogram = &curve.histogram;
    let (low, high) = (f64::from(histogram.range.0), f64::from(histogram.range.1));
    let shares = || histogram.ordinary.iter().chain(&histogram.attacks);
    let highest = shares().copied().fold(0.01, f64::max) * 100.0;
    let mut plot = Plot::new(
        Scale::Linear(low, high),
        "anomaly score",
        Scale::Linear(0.0, highest * 1.05),
        "% of the class",
    );
    let num_bins = histogram.ordinary.len().max(1) as f64;
    for (variable, name, shares) in
        [("normal", "ordinary events", &histogram.ordinary), ("attack", "attacks", &histogram.attacks)]
    {
        for (i, share) in shares.iter().enumerate().filter(|(_, share)| **share > 0.0) {
            let edge = |i: usize| low + (high - low) * i as f64 / num_bins;
            let (from, to) = (edge(i), edge(i + 1));
            let text = format!("score {from:.2} to {to:.2}: {:.3} % of {name}", share * 100.0);
            plot.bar(variable, (from, to), share * 100.0, &text);
        }
    }
    // The thresholds of the reference system's article.
    for threshold in [0.0, 10.0] {
        if low < threshold && threshold < high {
            plot.mark(threshold, &threshold.to_string());
        }
    }
    plot.class_legend([("normal", "ordinary events"), ("attack", "attacks")]);
    plot.finish("Histograms of the model's anomaly scores of ordinary events and of attacks")
}

/// What is flagged over the threshold: the rates of both classes.
fn thresholds(curve: &DetectorCurve) -> String {
    let (low, high) = curve.histogram.range;
    let mut plot = Plot::new(
        Scale::Linear(low.into(), high.into()),
        "threshold (anomaly score)",
        Scale::Linear(0.0, 1.0),
        "share that is flagged",
    );
    let points = || curve.roc.iter().filter_map(|point| Some((f64::from(point.threshold?), point)));
    // From the highest score downwards a share holds until the next score.
    plot.steps_of_class("normal", points().map(|(threshold, point)| (threshold, point.fpr)));
    plot.steps_of_class("attack", points().map(|(threshold, point)| (threshold, point.tpr)));
    let place = |point: &CurvePoint| {
        let threshold = point.threshold.unwrap_or(high);
        (f64::from((threshold - low) / (high - low)), point.tpr)
    };
    for point in spread(&curve.roc, place) {
        let threshold = point.threshold.unwrap_or(high).into();
        plot.hover((threshold, point.tpr), &told(&curve.name, point));
        plot.hover((threshold, point.fpr), &told(&curve.name, point));
    }
    plot.class_legend([("normal", "ordinary (FPR)"), ("attack", "attacks (TPR)")]);
    plot.finish("Shares of ordinary events and of attacks that the model flags, over the threshold")
}

/// The share of attacks over the probability that was told: on the diagonal where it is true.
fn reliability(found: &Reliability) -> String {
    let unit = Scale::Linear(0.0, 1.0);
    let mut plot = Plot::new(unit, "calibrated probability of an attack", unit, "share of attacks");
    plot.diagonal();
    for bin in &found.bins {
        let [low, high] = bin.attack_share_ci;
        plot.whisker(0, bin.mean_probability, (low, high));
        let text = format!(
            "probability {} to {}, mean {:.5}: {} of {} events are attacks ({:.5}; 95 %: {low:.5} to {high:.5})",
            bin.from, bin.to, bin.mean_probability, bin.num_attacks, bin.num_events, bin.attack_share
        );
        plot.dot(0, (bin.mean_probability, bin.attack_share), &text);
    }
    plot.finish("Share of attacks over the calibrated probability, on events that were kept aside")
}

fn names(evaluation: &Evaluation) -> impl Iterator<Item = &str> {
    evaluation.curves.iter().map(|curve| curve.name.as_str())
}

fn plot_log(rate: f64, low: i32) -> f64 {
    1.0 - rate.log10().max(f64::from(low)) / f64::from(low)
}

fn told(name: &str, point: &CurvePoint) -> String {
    let CurvePoint { fpr, tpr, precision, .. } = point;
    let threshold = point.threshold.map_or("none".into(), |threshold| format!("{threshold:.3}"));
    format!("{name}: FPR {fpr:.6}, TPR {tpr:.5}, precision {precision:.5}, threshold {threshold}")
}

/// Points that are a good way apart, by their places in the unit square.
fn spread(points: &[CurvePoint], place: impl Fn(&CurvePoint) -> (f64, f64)) -> Vec<&CurvePoint> {
    let mut chosen: Vec<&CurvePoint> = Vec::new();
    for point in points {
        let is_far = chosen.last().is_none_or(|last| {
            let ((x, y), (last_x, last_y)) = (place(point), place(last));
            (x - last_x).abs() + (y - last_y).abs() >= 2.0 / NUM_HOVERS as f64
        });
        if is_far {
            chosen.push(point);
        }
    }
    chosen
}
