//! What `explain` tells people.

use ipsight::inference::explain::{Explained, Network, Step, UsualNetworks};
use ipsight::inference::{AccountUse, Used};

use super::evaluation_text::table;
use super::output::count;

/// The whole text, without a line feed at its end.
pub fn text(explained: &Explained<'_>) -> String {
    let explanation = &explained.explanation;
    let mut lines = head(explained);
    if let Some(history) = &explanation.history {
        lines.push(String::new());
        lines.extend(table(&history_rows(history)));
    }
    lines.push(String::new());
    lines.extend(table(&part_rows(explained)));
    lines.push(String::new());
    lines.extend(table(&step_rows(&explanation.along_address)));
    lines.push(String::new());
    lines.extend(networks(&explanation.usual_networks));
    lines.join("\n")
}

fn head(explained: &Explained<'_>) -> Vec<String> {
    let score = explained.explanation.dot_product;
    let mut lines = vec![
        explained.sentence.clone(),
        format!("score {score:.3}, anomaly score {:.3} (the score negated)", explained.anomaly_score),
    ];
    if let Some(verdict) = &explained.verdict {
        lines.push(format!(
            "decision {}: probability of an attack {:.6}, above {:.3} % of ordinary logins",
            verdict.decision,
            verdict.probability,
            100.0 * verdict.percentile
        ));
    }
    lines.push(match explained.entity_seen {
        _ if explained.scored_by_prior => {
            "never seen in training: the score is that of the mean of all entities".into()
        }
        true => format!(
            "learned from {} logins, which may be those of other entities too: entities may share a row of the model",
            count(explained.num_row_events.into())
        ),
        false if explained.num_row_events > 0 => {
            "never seen in training: the score is that of other entities, which share its row of the model".into()
        }
        false => "never seen in training: the score knows nothing of this entity's own habits".into(),
    });
    lines
}

/// What the account used.
fn history_rows(history: &AccountUse) -> Vec<Vec<String>> {
    let times = match (&history.first_time, &history.last_time) {
        (Some(first), Some(last)) => format!(", from {first} to {last}"),
        _ => String::new(),
    };
    let title =
        format!("{} logins in {} networks{times}", count(history.events), count(history.num_networks));
    let mut rows = vec![vec![title, "logins".into(), "first".into(), "last".into(), "whose".into()]];
    let optional = |text: &Option<String>| text.clone().unwrap_or("-".into());
    let row = |used: &Used| {
        vec![
            format!("  {}", used.name),
            count(used.events),
            optional(&used.first_day),
            optional(&used.last_time),
            optional(&used.owner),
        ]
    };
    rows.extend(history.networks.iter().chain(&history.owners).map(row));
    rows
}

/// The parts of the score, and their sum.
fn part_rows(explained: &Explained<'_>) -> Vec<Vec<String>> {
    let parts = &explained.explanation.parts;
    let mut rows = vec![vec!["what the score is made of".into(), "score".into()]];
    rows.extend(parts.iter().map(|part| vec![format!("  {}", part.what), format!("{:+.3}", part.value)]));
    rows.push(vec!["  the score".into(), format!("{:+.3}", explained.explanation.dot_product)]);
    rows
}

fn step_rows(steps: &[Step]) -> Vec<Vec<String>> {
    let mut rows =
        vec![["how the score changes along the address", "mean score", "change"].map(String::from).to_vec()];
    rows.extend(steps.iter().map(|step| {
        let name = match step.prefix.length() {
            0 => "  any address".into(),
            _ if step.prefix.is_address() => "  the address itself".into(),
            _ => format!("  {}", step.prefix),
        };
        let change = step.change.map_or("-".into(), |change| format!("{change:+.3}"));
        vec![name, format!("{:.3}", step.mean_score), change]
    }));
    rows
}

fn network_rows(title: &str, networks: &[Network]) -> Vec<Vec<String>> {
    let mut rows = vec![[title, "mean score", "first bits shared"].map(String::from).to_vec()];
    rows.extend(networks.iter().map(|network| {
        vec![
            format!("  {}", network.network),
            format!("{:.3}", network.mean_score),
            network.shared_bits.to_string(),
        ]
    }));
    rows
}

fn networks(usual: &UsualNetworks) -> Vec<String> {
    let mut rows = network_rows("networks of the highest scores", &usual.highest);
    let title = format!("nearest of the {} usual networks", count(usual.num_usual as u64));
    if !usual.nearest.is_empty() {
        rows.extend(network_rows(&title, &usual.nearest));
    }
    let mut lines = table(&rows);
    if usual.nearest.is_empty() {
        lines.push("no network is usual for this entity".into());
    }
    lines.push(
        "(usual: mean score above 0. This is what the model has learned of the entity, not a log of its logins.)".into(),
    );
    lines
}
