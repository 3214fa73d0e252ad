//! What `explain` tells people.

use ipsight::inference::explain::{Explained, Network, Step, UsualNetworks};
use ipsight::inference::{Parts, PrefixPart};

use super::evaluation_text::table;
use super::output::count;

/// The whole text, without a line feed at its end.
pub fn text(explained: &Explained<'_>) -> String {
    let explanation = &explained.explanation;
    let mut lines = head(explained);
    lines.push(String::new());
    lines.extend(table(&part_rows(&explanation.parts)));
    lines.push(String::new());
    lines.extend(table(&step_rows(&explanation.along_address)));
    lines.push(String::new());
    lines.extend(networks(&explanation.usual_networks));
    lines.join("\n")
}

fn head(explained: &Explained<'_>) -> Vec<String> {
    let score = explained.explanation.dot_product;
    let meaning = if score > 0.0 {
        "more like a real login than a made-up one"
    } else {
        "more like a made-up login than a real one"
    };
    // A terminal does not get what an entity might have of its control sequences.
    let escaped = |char: char| if char.is_control() { char.escape_debug().to_string() } else { char.into() };
    let entity: String = explained.entity.chars().map(escaped).collect();
    let mut lines = vec![
        format!("{entity} from {}: score {score:.3}, {meaning}", explained.ip),
        format!("anomaly score {:.3} (the score negated)", explained.anomaly_score),
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

fn row(depth: usize, name: impl std::fmt::Display, value: f64) -> Vec<String> {
    vec![format!("{:depth$}{name}", "", depth = 2 * depth), format!("{value:+.3}")]
}

fn prefix_rows<'a>(depth: usize, parts: &'a [PrefixPart]) -> impl Iterator<Item = Vec<String>> + 'a {
    parts.iter().map(move |part| match part.prefix.length() {
        0 => row(depth, "any address", part.value),
        _ => row(depth, part.prefix, part.value),
    })
}

/// Each sum stands above what it is the sum of, which is set in; but the odds of the two sides add up, not their
/// scores.
fn part_rows(parts: &Parts) -> Vec<Vec<String>> {
    let mut rows = vec![vec!["what the score is made of".into(), "adds".into()]];
    if !parts.common.is_empty() {
        let common = parts.common.iter().map(|part| part.value).sum();
        rows.push(row(0, "how common the address is among all entities", common));
        rows.extend(prefix_rows(1, &parts.common));
    }
    let name = match parts.elsewhere {
        Some(_) => "how likely the entity is there: the odds of both below together",
        None => "how likely the entity is there",
    };
    rows.push(row(0, name, parts.place));
    let mut depth = 1;
    if parts.elsewhere.is_some() {
        let name = format!("at one of its usual places: {:.1} % of it", 100.0 * parts.usual_share);
        rows.push(row(1, name, parts.usual));
        depth = 2;
    }
    rows.push(row(depth, "its habits in general", parts.vectors));
    if !parts.memory.is_empty() {
        let memory = parts.memory.iter().map(|part| part.value).sum();
        rows.push(row(depth, "its memory of these networks", memory));
        rows.extend(prefix_rows(depth + 1, &parts.memory));
    }
    if let Some(elsewhere) = parts.elsewhere {
        let name = format!("anywhere else: {:.1} % of it", 100.0 * (1.0 - parts.usual_share));
        rows.push(row(1, name, elsewhere));
    }
    rows.push(row(0, "score", parts.score));
    rows
}

fn step_rows(steps: &[Step]) -> Vec<Vec<String>> {
    let mut rows =
        vec![["how the score changes along the address", "mean score", "change"].map(String::from).to_vec()];
    rows.extend(steps.iter().map(|step| {
        let name = match step.prefix.length() {
            0 => "  any address".into(),
            32 => "  the address itself".into(),
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
