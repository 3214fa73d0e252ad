use crate::study::{Study, Trial, TrialState};

/// Asynchronous successive halving: Li et al. 2018, "A System for Massively Parallel Hyperparameter Tuning"
/// (arXiv 1810.05934), algorithm 2.
///
/// Trials train up to a rung and pause, and the best of those in the rung are promoted to the next. No worker waits for
/// a rung to fill: when no trial can be promoted, a new one begins. A trial is in a rung when it has a value at the
/// rung's epochs, and stays in it when it is promoted.
///
/// A trial that failed after it had reached a rung is in it with the worst value, and so is one whose value is not
/// finite: both count towards the rung's size, and neither is promoted. One that failed before is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asha {
    /// Epochs of the first rung (the paper's r), at least 1.
    pub min_epochs: u32,
    /// Epochs of the last rung, after which a trial is complete (R), at least `min_epochs`.
    pub max_epochs: u32,
    /// One of this many trials is promoted, and each rung has this many times the epochs of the one before (η); at least
    /// 2.
    pub reduction_factor: u32,
}

impl Asha {
    /// The epochs of each rung: r η^k up to R, the last one replaced by R itself. So a promotion multiplies the epochs by
    /// at least η.
    pub fn rungs(&self) -> Vec<u32> {
        let factor = self.reduction_factor.max(2);
        let next = |epochs: &u32| epochs.checked_mul(factor).filter(|epochs| *epochs <= self.max_epochs);
        let mut rungs: Vec<u32> = std::iter::successors(Some(self.min_epochs.max(1)), next).collect();
        if let Some(last) = rungs.last_mut() {
            *last = self.max_epochs;
        }
        rungs
    }

    /// The trial to train further, and the epochs that it then has: the best of the highest rung from which a trial can
    /// be promoted, of equal ones the one with the lower number. `running` says whether a trial trains now.
    ///
    /// Where no trial can be promoted, a free worker begins another one. Where the budget does not allow that either, the
    /// caller marks the paused trials as [`TrialState::Pruned`].
    pub fn promotion(&self, study: &Study, running: &dyn Fn(usize) -> bool) -> Option<(usize, u32)> {
        let rungs = self.rungs();
        rungs.windows(2).rev().find_map(|pair| {
            let best = self.best_of_rung(study, pair[0]);
            let mut can_go_on = best.iter().filter(|trial| !trial.is_finished() && !running(trial.number));
            let trial = can_go_on.find(|trial| !trial.intermediate.contains_key(&pair[1]))?;
            Some((trial.number, pair[1]))
        })
    }

    /// The best ⌊n / η⌋ of the n trials in the rung that ends at `epochs`, but none with the worst value.
    fn best_of_rung<'a>(&self, study: &'a Study, epochs: u32) -> Vec<&'a Trial> {
        let loss = |trial: &Trial| {
            let loss = study.goal.loss(*trial.intermediate.get(&epochs)?);
            Some(if trial.state != TrialState::Failed && loss.is_finite() { loss } else { f64::INFINITY })
        };
        let mut rung: Vec<(f64, &Trial)> =
            study.trials.iter().filter_map(|trial| Some((loss(trial)?, trial))).collect();
        let num_best = rung.len() / self.reduction_factor.max(2) as usize;
        rung.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.number.cmp(&b.1.number)));
        rung.into_iter().take(num_best).filter(|(loss, _)| loss.is_finite()).map(|(_, trial)| trial).collect()
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::testing::trial;
    use super::*;
    use crate::study::Goal;

    const TOY: Asha = Asha { min_epochs: 1, max_epochs: 9, reduction_factor: 3 };

    /// A job as it began.
    #[derive(Debug, PartialEq)]
    struct Begun {
        time: u32,
        trial: usize,
        until: u32,
    }

    /// Workers that take a unit of time for an epoch, served in their order, until nothing is left to do.
    fn simulate(
        asha: Asha,
        num_workers: usize,
        num_trials: usize,
        goal: Goal,
        value: impl Fn(usize, u32) -> f64,
    ) -> (Vec<Begun>, Study) {
        let (mut study, mut log, mut time) = (Study::new(goal), Vec::new(), 0);
        let mut workers: Vec<Option<(u32, usize, u32)>> = vec![None; num_workers];
        loop {
            for worker in 0..num_workers {
                if let Some((end, number, until)) = workers[worker] {
                    if end > time {
                        continue;
                    }
                    let trial = &mut study.trials[number];
                    trial.intermediate.extend((1..=until).map(|epoch| (epoch, value(number, epoch))));
                    if until == asha.max_epochs {
                        trial.state = TrialState::Complete;
                    }
                    workers[worker] = None;
                }
                let running = |number| workers.iter().flatten().any(|worker| worker.1 == number);
                let (number, until) = match asha.promotion(&study, &running) {
                    Some(promoted) => promoted,
                    None if study.trials.len() < num_trials => {
                        study.trials.push(trial(study.trials.len(), TrialState::Running, &[]));
                        (study.trials.len() - 1, asha.rungs()[0])
                    }
                    None => continue,
                };
                let trained = study.trials[number].intermediate.len() as u32;
                workers[worker] = Some((time + until - trained, number, until));
                log.push(Begun { time, trial: number, until });
            }
            match workers.iter().flatten().map(|worker| worker.0).min() {
                Some(end) => time = end,
                None => return (log, study),
            }
        }
    }

    /// Losses at which configurations 1, 6 and 8 are the best three after one epoch, in the given order, and 8 is the
    /// best of them after three.
    fn toy_loss(order: [usize; 3]) -> impl Fn(usize, u32) -> f64 {
        move |number, epoch| match (number + 1, epoch) {
            (8, 3..) => 0.01,
            (configuration, _) => match order.iter().position(|other| *other == configuration) {
                Some(place) => 0.1 + 0.1 * place as f64,
                None => 0.5 + 0.01 * configuration as f64,
            },
        }
    }

    /// By the configuration's number from 1, as in the paper.
    fn jobs(log: &[Begun]) -> Vec<(usize, u32)> {
        log.iter().map(|begun| (begun.trial + 1, begun.until)).collect()
    }

    /// The bracket of the paper's worked example: nine configurations, r = 1, R = 9, η = 3, of which three come to rung
    /// 1 and one to rung 2. That these are 1, 6 and 8, and then 8, is how we know its figure, which was not at hand. The
    /// sequence with one worker is derived from its algorithm 2: 1 is the best of the first three, 1 and 6 are of the
    /// first six, and 8 is of the first eight unless it is the third of the three.
    #[test]
    fn asha_promotes_what_the_papers_example_promotes() {
        let first = [(1, 1), (2, 1), (3, 1), (1, 3), (4, 1), (5, 1), (6, 1), (6, 3), (7, 1), (8, 1)];
        for order in [[1, 6, 8], [1, 8, 6], [6, 1, 8], [6, 8, 1], [8, 1, 6], [8, 6, 1]] {
            let rest = if order[2] == 8 { [(9, 1), (8, 3), (8, 9)] } else { [(8, 3), (8, 9), (9, 1)] };
            let expected = [first.as_slice(), &rest].concat();
            let (log, study) = simulate(TOY, 1, 9, Goal::Minimize, toy_loss(order));
            assert_eq!(jobs(&log), expected, "{order:?}");
            let epochs: Vec<usize> = study.trials.iter().map(|trial| trial.intermediate.len()).collect();
            assert_eq!(epochs, [3, 1, 1, 1, 1, 3, 1, 9, 1], "21 epochs, as what was trained is trained on");
            assert!(
                study.trials.iter().all(|trial| trial.is_finished() == (trial.number == 7)),
                "all but 8 remain"
            );
            let (log, _) =
                simulate(TOY, 1, 9, Goal::Maximize, |number, epoch| -toy_loss(order)(number, epoch));
            assert_eq!(jobs(&log), expected, "{order:?}, more being better");
        }
    }

    /// Derived by hand. Both workers find no promotion while fewer than three results are in; 6 is promoted when its
    /// own result is the sixth, 8 only when 9 makes nine. At the end the second worker has nothing to do.
    #[test]
    fn two_workers_promote_as_results_come_in() {
        let (log, _) = simulate(TOY, 2, 9, Goal::Minimize, toy_loss([1, 6, 8]));
        let expected = [
            (0, 1, 1),
            (0, 2, 1),
            (1, 3, 1),
            (1, 4, 1),
            (2, 1, 3),
            (2, 5, 1),
            (3, 6, 1),
            (4, 7, 1),
            (4, 6, 3),
            (5, 8, 1),
            (6, 9, 1),
            (7, 8, 3),
            (9, 8, 9),
        ];
        let log: Vec<_> = log.iter().map(|begun| (begun.time, begun.trial + 1, begun.until)).collect();
        assert_eq!(log, expected);
    }

    /// Whatever the workers and values are: each trial goes from rung to rung, and in the end the best of every rung
    /// have gone on. All that was trained is in the log.
    #[test]
    fn at_the_end_the_best_of_each_rung_were_promoted() {
        let mut random = ChaCha8Rng::seed_from_u64(0);
        for round in 0..50 {
            let asha = Asha { min_epochs: 2, max_epochs: 40, reduction_factor: 2 + round % 3 };
            let rungs = asha.rungs();
            let values: Vec<f64> = (0..60 * 41).map(|_| random.random_range(0..30).into()).collect();
            let value = |number: usize, epoch: u32| values[number * 41 + epoch as usize];
            let (log, study) = simulate(asha, 1 + round as usize % 7, 60, Goal::Maximize, value);
            let mut trained = vec![0; 60];
            let mut num_epochs = 0;
            for begun in &log {
                let next = rungs.iter().find(|until| **until > trained[begun.trial]);
                assert_eq!(Some(&begun.until), next, "round {round}: {begun:?}");
                num_epochs += begun.until - trained[begun.trial];
                trained[begun.trial] = begun.until;
            }
            let num_values: usize = study.trials.iter().map(|trial| trial.intermediate.len()).sum();
            assert_eq!(num_values, num_epochs as usize);
            for pair in rungs.windows(2) {
                let mut rung: Vec<usize> = (0..60).filter(|number| trained[*number] >= pair[0]).collect();
                rung.sort_by(|a, b| value(*b, pair[0]).total_cmp(&value(*a, pair[0])).then(a.cmp(b)));
                let num_best = rung.len() / asha.reduction_factor as usize;
                assert!(num_best > 0 || pair[0] > 2, "round {round}");
                assert!(
                    rung[..num_best].iter().all(|number| trained[*number] >= pair[1]),
                    "round {round}, {pair:?}"
                );
            }
        }
    }

    #[test]
    fn rungs_end_at_powers_and_the_last_at_the_greatest() {
        let rungs = |min_epochs, max_epochs, reduction_factor| {
            Asha { min_epochs, max_epochs, reduction_factor }.rungs()
        };
        assert_eq!(rungs(1, 9, 3), [1, 3, 9]);
        assert_eq!(rungs(1, 26, 3), [1, 3, 26]);
        assert_eq!(rungs(2, 16, 2), [2, 4, 8, 16]);
        assert_eq!(rungs(4, 7, 2), [7]);
        assert_eq!(rungs(5, 5, 4), [5]);
        assert_eq!(rungs(1, u32::MAX, 65_536), [1, u32::MAX]);
    }

    fn promotion(values: &[(TrialState, &[f64])], running: &[usize]) -> Option<(usize, u32)> {
        let trials = values.iter().enumerate();
        let trials = trials.map(|(number, (state, values))| trial(number, *state, values)).collect();
        TOY.promotion(&Study { goal: Goal::Maximize, trials }, &|number| running.contains(&number))
    }

    #[test]
    fn failed_and_running_trials_keep_their_places_and_ties_go_to_the_lower_number() {
        use TrialState::{Failed, Running};
        let (two, four): (&[f64], &[f64]) = (&[0.2], &[0.4]);
        // The same values: the first of them.
        assert_eq!(promotion(&[(Running, two), (Running, four), (Running, four)], &[]), Some((1, 3)));
        // It is on its way: of three only one is promoted.
        assert_eq!(promotion(&[(Running, two), (Running, four), (Running, four)], &[1]), None);
        // One that failed counts as the third, and never as the best.
        assert_eq!(promotion(&[(Running, two), (Failed, four), (Running, &[0.1])], &[]), Some((0, 3)));
        // One that failed before it had a value does not count.
        assert_eq!(promotion(&[(Running, two), (Failed, &[]), (Running, four)], &[]), None);
        // No number is the worst, infinite ones too.
        let infinite: &[f64] = &[f64::INFINITY];
        assert_eq!(
            promotion(&[(Running, &[f64::NAN]), (Running, infinite), (Running, two)], &[]),
            Some((2, 3))
        );
        assert_eq!(promotion(&[(Running, &[f64::NAN]), (Running, infinite), (Failed, two)], &[]), None);
    }

    #[test]
    fn the_highest_rung_comes_first() {
        use TrialState::Running;
        let three: &[f64] = &[0.1, 0.2, 0.3];
        let mut values: Vec<(TrialState, &[f64])> = vec![(Running, three); 3];
        values.extend([(Running, [0.9].as_slice()); 6]);
        assert_eq!(promotion(&values, &[]), Some((0, 9)));
        assert_eq!(promotion(&values, &[0]), Some((3, 3)), "three of nine, the first of six equals");
        assert_eq!(promotion(&values, &[0, 3, 4, 5]), None);
    }
}
