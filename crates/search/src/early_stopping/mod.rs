//! Rules that stop trials early: asynchronous successive halving, and the median rule.

mod asha;
mod median;

pub use asha::Asha;
pub use median::Median;

#[cfg(test)]
mod testing {
    use crate::study::{Trial, TrialState};

    /// A trial with these values after 1, 2, … epochs.
    pub(super) fn trial(number: usize, state: TrialState, values: &[f64]) -> Trial {
        let intermediate = (1..).zip(values.iter().copied()).collect();
        Trial { state, intermediate, ..Trial::new(number, Vec::new(), 0.0) }
    }
}
