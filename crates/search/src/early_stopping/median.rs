use crate::study::{Goal, Study, Trial, TrialState};

/// The median stopping rule of Golovin et al. 2017, "Google Vizier: A Service for Black-Box Optimization", section
/// 3.2.1: a trial ends early when its best value so far is strictly worse than the median of what the completed trials
/// had on average by then.
///
/// As in the paper, pruned trials do not count: each of them would make the rule more lenient to the next trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Median {
    /// No trial is stopped before this many epochs.
    pub min_epochs: u32,
    /// No trial is stopped before this many others have completed; 0 counts as 1.
    pub min_trials: usize,
}

impl Median {
    /// Whether the trial should stop after `epoch` epochs (from 1). Its later values do not count, and a value that is not
    /// finite is the worst.
    pub fn should_stop(&self, study: &Study, trial: &Trial, epoch: u32) -> bool {
        if epoch < self.min_epochs {
            return false;
        }
        let others = study
            .trials
            .iter()
            .filter(|other| other.state == TrialState::Complete && other.number != trial.number);
        let means: Vec<f64> = others.filter_map(|other| mean(&losses(other, study.goal, epoch))).collect();
        if means.len() < self.min_trials.max(1) {
            return false;
        }
        let best = losses(trial, study.goal, epoch).into_iter().reduce(f64::min);
        best.is_some_and(|best| best > median(means))
    }
}

/// The values up to an epoch, less being better.
fn losses(trial: &Trial, goal: Goal, epoch: u32) -> Vec<f64> {
    let losses = trial.intermediate.range(..=epoch).map(|(_, value)| goal.loss(*value));
    losses.map(|loss| if loss.is_finite() { loss } else { f64::INFINITY }).collect()
}

/// None of none.
fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The middle value, or the mean of the two in the middle, of at least one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { 0.5 * (values[middle - 1] + values[middle]) }
}

#[cfg(test)]
mod tests {
    use TrialState::{Complete, Failed, Pruned, Running};

    use super::super::testing::trial;
    use super::*;

    /// The running averages after 1, 2 and 3 epochs are .2 .3 .4 | .4 .5 .6 | .6 .6 .6: medians .4 .5 .6.
    fn study() -> Study {
        let mut study = Study::new(Goal::Maximize);
        study.trials = vec![
            trial(0, Complete, &[0.2, 0.4, 0.6]),
            trial(1, Complete, &[0.4, 0.6, 0.8]),
            trial(2, Pruned, &[0.0, 0.0]),
            trial(3, Complete, &[0.6, 0.6, 0.6]),
            trial(4, Failed, &[0.0, 0.0, 0.0]),
            trial(5, Running, &[0.0, 0.0, 0.0]),
        ];
        study
    }

    const RULE: Median = Median { min_epochs: 1, min_trials: 3 };

    #[test]
    fn a_trial_stops_where_its_best_is_below_the_median_of_running_averages() {
        let study = study();
        let stops = |values: &[f64]| {
            [1, 2, 3].map(|epoch| RULE.should_stop(&study, &trial(6, Running, values), epoch))
        };
        let table = [
            ([0.39, 0.49, 0.59], [true, true, true]),
            ([0.40, 0.51, 0.61], [false, false, false]),
            ([0.55, 0.10, 0.10], [false, false, true]),
            ([0.30, 0.45, 0.70], [true, true, false]),
            ([f64::NAN, 0.55, f64::NAN], [true, false, true]),
        ];
        for (values, expected) in table {
            assert_eq!(stops(&values), expected, "{values:?}");
        }
        assert!(!RULE.should_stop(&study, &trial(6, Running, &[]), 3), "no value yet");
    }

    #[test]
    fn less_may_be_better() {
        let mut study = study();
        study.goal = Goal::Minimize;
        let stops = |value| RULE.should_stop(&study, &trial(6, Running, &[value]), 1);
        assert_eq!([0.39, 0.40, 0.41].map(stops), [false, false, true]);
    }

    #[test]
    fn nothing_stops_before_its_epochs_and_without_trials_to_compare_with() {
        let study = study();
        let bad = trial(6, Running, &[0.0; 3]);
        let late = Median { min_epochs: 3, ..RULE };
        assert_eq!([1, 2, 3].map(|epoch| late.should_stop(&study, &bad, epoch)), [false, false, true]);
        assert!(!Median { min_trials: 4, ..RULE }.should_stop(&study, &bad, 3), "only three completed");
        assert!(
            !Median { min_trials: 3, ..RULE }.should_stop(&study, &trial(0, Complete, &[0.0; 3]), 3),
            "itself"
        );
        assert!(!Median { min_trials: 0, ..RULE }.should_stop(&Study::new(Goal::Maximize), &bad, 3), "none");
    }

    #[test]
    fn an_even_number_has_the_mean_of_two_as_its_median() {
        let mut study = study();
        study.trials.remove(3);
        let rule = Median { min_trials: 2, ..RULE };
        // The averages after three epochs are .4 and .6.
        let stops = |value| rule.should_stop(&study, &trial(6, Running, &[value]), 3);
        assert_eq!([0.49, 0.51].map(stops), [true, false]);
    }

    /// Two of three averages are then infinitely bad, and so is the median: nothing is strictly worse.
    #[test]
    fn averages_without_a_number_are_the_worst() {
        let mut study = study();
        let bad = trial(6, Running, &[0.0; 3]);
        study.trials[0].intermediate.insert(2, f64::NAN);
        assert!(RULE.should_stop(&study, &bad, 3));
        study.trials[1].intermediate.insert(1, f64::NEG_INFINITY);
        assert!(!RULE.should_stop(&study, &bad, 3));
    }
}
