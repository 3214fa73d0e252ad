//! The tree-structured Parzen estimator of Bergstra, Bardenet, Bengio, Kégl 2011, "Algorithms for Hyper-Parameter
//! Optimization" (NeurIPS).
//!
//! The trials so far are a good group and a bad one. For each parameter two densities are estimated, l(x) of the good
//! trials' values and g(x) of the others'. The expected improvement grows with l(x) / g(x) (section 4.1), so that of
//! some candidates drawn from l the one with the highest ratio is taken. Parameters are drawn one by one in their
//! order, a parameter's condition before it, and its densities come from the trials in which it varied.
//!
//! Beyond its condition a parameter knows nothing of the others: where the best value of one depends on the value of
//! another, that is not learnt.

use std::cmp::{Ordering, Reverse};

use rand::Rng;

use super::parzen::Parzen;
use crate::space::{Assignment, Choice, Parameter, Space};
use crate::study::{Study, Trial, TrialState};

/// Trials with a result before which values are random, as in Optuna. (Hyperopt has 20.)
const NUM_STARTUP_TRIALS: usize = 10;

/// Draws from l for each value, as in Hyperopt and Optuna.
const NUM_CANDIDATES: usize = 24;

/// The values of trial `number`; none while there are too few results to learn from.
pub(super) fn sample(
    space: &Space,
    number: usize,
    study: &Study,
    random: &mut impl Rng,
) -> Option<Assignment> {
    let (good, bad) = split(number, study)?;
    Some(space.assign(|position, parameter| {
        let parzen = |trials: &[&Trial]| estimator(parameter, position, trials);
        best_candidate(&parzen(&good), &parzen(&bad), random)
    }))
}

fn estimator<'a>(parameter: &'a Parameter, position: usize, trials: &[&Trial]) -> Parzen<'a> {
    let choices: Vec<Choice> = trials.iter().filter_map(|trial| *trial.assignment.get(position)?).collect();
    Parzen::new(&parameter.domain, &choices)
}

fn best_candidate(good: &Parzen, bad: &Parzen, random: &mut impl Rng) -> Choice {
    let first = good.sample(random);
    let ratio = |choice| good.log_density(choice) - bad.log_density(choice);
    let rest = (1..NUM_CANDIDATES).map(|_| good.sample(random));
    rest.fold((first, ratio(first)), |best, next| {
        let ratio = ratio(next);
        if ratio > best.1 { (next, ratio) } else { best }
    })
    .0
}

/// The good trials and the bad ones among those before `number`; none while there are too few results.
///
/// Bad beside those of low rank are the failed ones and, so that parallel trials keep apart, those under way that have
/// no value yet (the "constant liar").
fn split(number: usize, study: &Study) -> Option<(Vec<&Trial>, Vec<&Trial>)> {
    let before =
        || study.trials.iter().filter(|trial| trial.number < number && trial.state != TrialState::Waiting);
    let mut ranked: Vec<(Rank, &Trial)> =
        before().filter_map(|trial| Some((Rank::of(trial, study)?, trial))).collect();
    ranked.sort_by(|a, b| a.0.order(&b.0).then(a.1.number.cmp(&b.1.number)));
    let unranked: Vec<&Trial> = before().filter(|trial| Rank::of(trial, study).is_none()).collect();
    let num_failed = unranked.iter().filter(|trial| trial.is_finished()).count();
    if ranked.len() + num_failed < NUM_STARTUP_TRIALS {
        return None;
    }
    let mut good: Vec<&Trial> = ranked.into_iter().map(|(_, trial)| trial).collect();
    let mut bad = good.split_off(num_good(good.len()));
    bad.extend(unranked);
    Some((good, bad))
}

/// How many of the ranked trials are good: a tenth, at most 25, as in Optuna.
fn num_good(num_ranked: usize) -> usize {
    num_ranked.div_ceil(10).min(25)
}

/// Where a trial stands: less is better, the first difference decides.
struct Rank {
    /// 0 complete, 1 with a value of fewer epochs, 2 infeasible: such are good only while there are too few others, and
    /// then lead to where the constraints hold.
    class: u8,
    /// More epochs come first, as in Optuna: values of different numbers of epochs cannot be compared, and that a
    /// trial was let go on says more than its value does. The same holds between complete trials and others.
    epochs: u32,
    /// Of infeasible trials the sum of their violations.
    loss: f64,
}

impl Rank {
    /// None of a trial without a finite value. One that is paused or under way counts with its last value as a pruned
    /// one does: otherwise nearly all that successive halving has learnt would be taken for bad.
    fn of(trial: &Trial, study: &Study) -> Option<Rank> {
        let last = trial.intermediate.last_key_value();
        let (class, epochs, value) = match trial.state {
            TrialState::Complete => (0, 0, trial.value?),
            TrialState::Pruned => {
                (1, last.map_or(0, |(epochs, _)| *epochs), trial.value.or(last.map(|l| *l.1))?)
            }
            TrialState::Running => (1, *last?.0, *last?.1),
            TrialState::Failed | TrialState::Waiting => return None,
        };
        let rank = if trial.is_feasible() {
            Rank { class, epochs, loss: study.goal.loss(value) }
        } else {
            // An unknown violation is the largest.
            let violations = trial.constraints.iter().map(|violation| match violation.is_nan() {
                true => f64::INFINITY,
                false => violation.max(0.0),
            });
            Rank { class: 2, epochs: 0, loss: violations.sum() }
        };
        value.is_finite().then_some(rank)
    }

    fn order(&self, other: &Rank) -> Ordering {
        let key = |rank: &Rank| (rank.class, Reverse(rank.epochs));
        key(self).cmp(&key(other)).then(self.loss.total_cmp(&other.loss))
    }
}

#[cfg(test)]
mod tests {
    use crate::sampler::tests::{trial, trial_at};
    use crate::study::Goal;

    use super::*;

    fn numbers(trials: &[&Trial]) -> Vec<usize> {
        trials.iter().map(|trial| trial.number).collect()
    }

    #[test]
    fn trials_rank_by_class_epochs_and_value() {
        let mut study = Study::new(Goal::Maximize);
        let infeasible =
            |violation| Trial { constraints: vec![violation, -1.0], ..trial(0, TrialState::Complete, 0.99) };
        study.trials = vec![
            trial(0, TrialState::Failed, 0.99),
            infeasible(0.2),
            trial_at(0, TrialState::Running, &[(1, 0.8)]),
            trial_at(0, TrialState::Pruned, &[(1, 0.9)]),
            trial_at(0, TrialState::Pruned, &[(1, 0.9), (3, 0.6)]),
            trial(0, TrialState::Complete, 0.5),
            trial(0, TrialState::Complete, 0.7),
            trial(0, TrialState::Complete, f64::NAN),
            infeasible(0.1),
            infeasible(-f64::NAN),
            trial_at(0, TrialState::Running, &[]),
            trial(0, TrialState::Complete, 0.7),
            trial(0, TrialState::Complete, 1.0),
        ];
        for (number, trial) in study.trials.iter_mut().enumerate() {
            trial.number = number;
        }
        assert!(split(9, &study).is_none(), "9 results of 9 trials");
        let (good, bad) = split(12, &study).unwrap();
        assert_eq!(numbers(&good), [6]);
        assert_eq!(numbers(&bad), [11, 5, 4, 3, 2, 8, 1, 9, 0, 7, 10]);
        study.goal = Goal::Minimize;
        assert_eq!(numbers(&split(12, &study).unwrap().0), [5]);
    }

    #[test]
    fn a_tenth_is_good() {
        assert_eq!([1, 10, 11, 60, 249, 1000].map(num_good), [1, 1, 2, 6, 25, 25]);
    }
}
