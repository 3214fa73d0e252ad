//! Rounds that take turns, and what is made of their times.

use serde::Serialize;

use super::{Busy, Outcome, Request, Side};

/// The rounds of one side.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Rounds {
    /// Of one step, batch or file, for each round.
    pub seconds: Vec<f64>,
    /// The most memory that the side held up to its last round.
    pub peak_bytes: Option<u64>,
    /// The part of it that no file backs, where the side knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_anonymous_bytes: Option<u64>,
    /// The share of the machine that went to processes other than the sides, where the system says.
    pub others_share: Option<f64>,
}

impl Rounds {
    /// How many a second, where each of `seconds` was spent on `count` of them.
    pub fn rate(&self, count: f64) -> Spread {
        Spread::of(self.seconds.iter().map(|seconds| count / seconds))
    }
}

/// Asks the sides in turn, round after round: what disturbs the machine then disturbs all of them.
pub fn interleave(num_rounds: usize, sides: &mut [(&mut Side, Request)]) -> Outcome<Vec<Rounds>> {
    let processes: Vec<u32> = sides.iter().map(|(side, _)| side.process()).collect();
    let busy = Busy::watch(&processes);
    let mut all = vec![Rounds::default(); sides.len()];
    for round in 1..=num_rounds {
        for ((side, request), rounds) in sides.iter_mut().zip(&mut all) {
            let answer = side.ask(request)?;
            rounds.seconds.push(answer.seconds.ok_or("an answer without `seconds`")?);
            rounds.peak_bytes = rounds.peak_bytes.max(answer.peak_bytes);
            rounds.peak_anonymous_bytes = rounds.peak_anonymous_bytes.max(answer.peak_anonymous_bytes);
        }
        let times: Vec<String> = all.iter().map(|rounds| seconds_text(rounds.seconds[round - 1])).collect();
        eprintln!("  round {round}/{num_rounds}: {}", times.join(", "));
    }
    let others_share = busy.and_then(|busy| busy.others_share());
    all.iter_mut().for_each(|rounds| rounds.others_share = others_share);
    Ok(all)
}

/// `above / below`, round by round: neighbours in time had the same machine.
pub fn ratios(above: &[f64], below: &[f64]) -> Spread {
    Spread::of(above.iter().zip(below).map(|(above, below)| above / below))
}

/// The median of some figures and how far they spread.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// Of at least one figure.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let middle = figures.len() / 2;
        let median = match figures.len() % 2 {
            0 => (figures[middle - 1] + figures[middle]) / 2.0,
            _ => figures[middle],
        };
        Spread { median, min: figures[0], max: figures[figures.len() - 1] }
    }
}

/// A time for people.
pub fn seconds_text(seconds: f64) -> String {
    match seconds {
        1.0.. => format!("{seconds:.2} s"),
        1e-3.. => format!("{:.2} ms", seconds * 1e3),
        _ => format!("{:.2} us", seconds * 1e6),
    }
}
