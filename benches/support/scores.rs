//! How long a scorer takes for batches, and for events one by one.

use std::hint::black_box;
use std::time::Instant;

use ipsight::{Event, Scorer};

use super::{Answer, Outcome};

/// The mean seconds of a batch, over `batches` of them.
pub fn score_batches(scorer: &Scorer, calls: &[Vec<Event>], batches: usize) -> Outcome<Answer> {
    let start = Instant::now();
    for events in calls.iter().cycle().take(batches) {
        black_box(scorer.scores(events)?);
    }
    Ok(Answer { seconds: Some(start.elapsed().as_secs_f64() / batches as f64), ..Answer::default() })
}

/// The median and the 99th percentile of the seconds of one event.
pub fn score_singly(scorer: &Scorer, events: &[Event]) -> Outcome<Answer> {
    let mut seconds = Vec::with_capacity(events.len());
    for event in events {
        let start = Instant::now();
        black_box(scorer.score(black_box(*event))?);
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let quantile = |q: f64| seconds.get((q * seconds.len() as f64) as usize).copied();
    Ok(Answer { median: quantile(0.5), p99: quantile(0.99), ..Answer::default() })
}
