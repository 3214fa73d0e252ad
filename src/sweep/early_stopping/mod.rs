//! Which trials are trained further and which are stopped: successive halving, or the median rule.

mod asha;
mod median;

pub use asha::Asha;
pub use median::Median;

#[cfg(test)]
mod testing {
    use std::collections::BTreeMap;

    use serde_json::Map;

    use crate::sweep::study::{Trial, TrialState};

    /// A trial with these values after 1, 2, … epochs.
    pub(super) fn trial(number: usize, state: TrialState, values: &[f64]) -> Trial {
        Trial {
            number,
            state,
            assignment: Vec::new(),
            intermediate: (1..).zip(values.iter().copied()).collect::<BTreeMap<_, _>>(),
            value: None,
            constraints: Vec::new(),
            figures: Map::new(),
            failure: None,
            started: 0.0,
            ended: None,
        }
    }
}
