//! The page around the drawings and tables.

use super::svg::escaped;
use super::{Subject, plots, points_lost, tables};
use crate::evaluate::{BAYES, Evaluation};

/// Nothing may be fetched, and no script may run.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#57606a;--paper:#fff;--box:#f4f6f8;--line:#d8dde3;--link:#0060a8}\
@media screen and (prefers-color-scheme:dark){:root{--ink:#e6e8eb;--soft:#9aa4af;--paper:#16191d;--box:#20252b;\
--line:#333a42;--link:#5cb0f0}}\
*{box-sizing:border-box}\
body{margin:0 auto;padding:1rem 1rem 3rem;max-width:1280px;color:var(--ink);background:var(--paper);\
font:16px/1.5 system-ui,-apple-system,Segoe UI,Roboto,Helvetica,Arial,sans-serif}\
h1{font-size:1.6rem;margin:.5rem 0}h2{font-size:1.2rem;margin:2rem 0 .5rem}p{max-width:75ch;margin:.5rem 0}\
.soft,figcaption{color:var(--soft);font-size:.9rem}a{color:var(--link)}\
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:.75rem;margin:1rem 0}\
.tile{background:var(--box);border:1px solid var(--line);border-radius:8px;padding:.6rem .8rem}\
.tile b{display:block;font-size:1.35rem;font-variant-numeric:tabular-nums}\
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:1rem;margin:1rem 0}\
figure{margin:0;border:1px solid var(--line);border-radius:8px;padding:.6rem;min-width:0}\
figure svg{display:block;width:100%;height:auto}figcaption{padding:.3rem .3rem 0}\
.wide{overflow-x:auto;margin:.5rem 0 1rem}\
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}\
th,td{padding:.3rem .7rem;text-align:right;border-bottom:1px solid var(--line)}\
td,tbody th{white-space:nowrap}thead th{vertical-align:bottom;font-weight:600;min-width:5.5rem}\
th:first-child{text-align:left;position:sticky;left:0;background:var(--paper)}\
tbody th{font-weight:500}thead th:first-child{white-space:nowrap}small{color:var(--soft);font-size:.8rem}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem;margin:.5rem 0}dt{color:var(--soft)}\
dd{margin:0;overflow-wrap:anywhere}\
pre{background:var(--box);border:1px solid var(--line);border-radius:8px;padding:.7rem;overflow-x:auto;font-size:.85rem}\
summary{cursor:pointer;color:var(--link);margin:.4rem 0}\
.warn{border-left:4px solid #d55e00;padding:.3rem .8rem;background:var(--box)}.warn ul{margin:.2rem 0;padding-left:1.2rem}\
@media(max-width:600px){body{padding:.6rem .6rem 2rem}th,td{padding:.3rem .45rem}\
dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.35rem}}\
@media print{body{font-size:11px;max-width:none}figure,tr,.tile{break-inside:avoid}.wide{overflow:visible}\
.plots{grid-template-columns:1fr 1fr}table{font-size:7.5px}th,td{padding:.15rem .3rem}thead th{min-width:0}\
th:first-child{position:static}.screen,summary{display:none}}";

/// The whole page.
pub(super) fn page(evaluation: &Evaluation, subject: &Subject<'_>) -> String {
    let body = [
        heading(evaluation, subject),
        lost(evaluation),
        figures(evaluation),
        section("Detectors", DETECTORS, &tables::detectors(evaluation)),
        section("Operating points of the model", OPERATING_POINTS, &tables::operating_points(evaluation)),
        thresholds(evaluation),
        section("Breakdown", &breakdown_text(evaluation), &tables::breakdowns(evaluation)),
        section("The curves as numbers", "", &numbers(evaluation)),
        section("What the model was trained on", "", &training(subject)),
    ];
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>ipsight evaluation</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{}</body>\n</html>\n",
        body.concat()
    )
}

const DETECTORS: &str = "An event is flagged when its anomaly score is at or above a threshold. Thresholds are the \
scores that occur; nothing is interpolated, so a table of counts can miss a wanted rate by far. Average precision \
depends on the share of attacks in the data.";

const OPERATING_POINTS: &str = "Intervals of 95 %: Wilson's, with the threshold taken as given. Alerts count ordinary \
events only.";

fn breakdown_text(evaluation: &Evaluation) -> String {
    let source = match evaluation.history {
        "history" => "Training events are those of the history.",
        _ => {
            "Training events are those of the entity's row of the model's table; entities that share a row share \
             its count."
        }
    };
    format!("Each part has a ROC of its own; a kind of attack is held against all ordinary events. {source}")
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
            tables::grouped(found.num_events),
            found.brier_score,
            found.expected_calibration_error,
            100.0 * evaluation.num_attacks as f64 / evaluation.num_events as f64
        );
        html += &section("Calibration", &text, &tables::reliability(found));
    }
    html
}

fn section(title: &str, text: &str, content: &str) -> String {
    let text =
        if text.is_empty() { String::new() } else { format!("<p class=\"soft\">{}</p>\n", escaped(text)) };
    format!("<section>\n<h2>{}</h2>\n{text}{content}</section>\n", escaped(title))
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
    let tiles: String = tiles
        .iter()
        .map(|(name, value, more)| {
            format!("<div class=\"tile\">{name}<b>{value}</b><span class=\"soft\">{more}</span></div>\n")
        })
        .collect();
    let attacks = match evaluation.attacks {
        "labelled" => "attacks by their labels",
        "added" => "attacks added to the data",
        _ => "attacks with one random IPv4 address beside each event",
    };
    let text = format!(
        "{} events of {}: {} {attacks}.",
        tables::grouped(evaluation.num_events),
        subject.data.join(", "),
        tables::grouped(evaluation.num_attacks)
    );
    format!(
        "<h1>How well the model tells attacks from ordinary events</h1>\n<p>{}</p>\n\
         <div class=\"tiles\">\n{tiles}</div>\n",
        escaped(&text)
    )
}

fn lost(evaluation: &Evaluation) -> String {
    let lost = points_lost(evaluation);
    if evaluation.detectors.iter().all(|(name, _)| name == BAYES || name == super::super::MODEL) {
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
    let figures: String = plots::all(evaluation)
        .iter()
        .zip(captions)
        .map(|((_, drawing), caption)| (&drawing.svg, caption))
        .map(|(svg, caption)| format!("<figure>\n{svg}<figcaption>{caption}</figcaption>\n</figure>\n"))
        .collect();
    format!("<div class=\"plots\">\n{figures}</div>\n")
}

fn numbers(evaluation: &Evaluation) -> String {
    let csv = percent_encoded(&tables::csv(evaluation));
    format!(
        "<p class=\"screen\"><a download=\"evaluation.csv\" href=\"data:text/csv;charset=utf-8,{csv}\">Download \
         everything as CSV</a></p>\n\
         <details><summary>Detection rates over false positive rates</summary>\n{}</details>\n\
         <details><summary>Histogram of the model's scores</summary>\n{}</details>\n",
        tables::curves(evaluation),
        tables::histogram(evaluation)
    )
}

fn training(subject: &Subject<'_>) -> String {
    let Subject { manifest, config, data, history } = subject;
    let training = &manifest.training;
    let optional = |value: Option<f64>| value.map(|value| format!("{value:.6}"));
    let weights = manifest.files.get("model.safetensors").map(|file| file.blake3.clone());
    let files = |files: &[String]| Some(files.join(", ")).filter(|files| !files.is_empty());
    let entries = [
        ("events", Some(tables::grouped(training.num_events))),
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

/// Text as it may stand in a URL, all but letters, digits and a few marks encoded.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 3 / 2);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b',' | b':' => {
                encoded.push(byte as char);
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_hold_nothing_that_ends_them() {
        assert_eq!(percent_encoded("a,1.5\n\"é#&"), "a,1.5%0A%22%C3%A9%23%26");
    }
}
