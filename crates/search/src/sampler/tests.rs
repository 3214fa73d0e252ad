use std::collections::BTreeSet;
use std::f64::consts::PI;

use toml::Value;

use super::*;
use crate::space::{Choice, Condition, Domain, Parameter};
use crate::study::{Goal, Trial, TrialState};

pub(super) fn trial(number: usize, state: TrialState, value: f64) -> Trial {
    Trial { state, value: Some(value), ..Trial::new(number, Vec::new(), 0.0) }
}

pub(super) fn trial_at(number: usize, state: TrialState, intermediate: &[(u32, f64)]) -> Trial {
    Trial { value: None, intermediate: intermediate.iter().copied().collect(), ..trial(number, state, 0.0) }
}

fn parameter(domain: Domain, when: Option<(usize, &[usize])>) -> Parameter {
    let when = when.map(|(parameter, indices)| Condition { parameter, indices: indices.to_vec() });
    Parameter { name: "p".into(), key: "p".into(), domain, when }
}

fn space(parameters: Vec<Parameter>) -> Space {
    Space { parameters }
}

fn values(num: i64) -> Domain {
    Domain::Values((0..num).map(Value::Integer).collect())
}

/// All kinds of domains, two of them under a condition.
fn mixed() -> Space {
    space(vec![
        parameter(values(3), None),
        parameter(Domain::Uniform { low: -2.0, high: 1.0 }, None),
        parameter(Domain::LogUniform { low: 1e-4, high: 10.0 }, Some((0, &[0, 2]))),
        parameter(Domain::Int { low: -1, high: 4 }, None),
        parameter(Domain::LogInt { low: 1, high: 1000 }, Some((0, &[1]))),
    ])
}

fn run(sampler: &Sampler, num_trials: usize, function: impl Fn(&Assignment) -> f64) -> Study {
    let mut study = Study::new(Goal::Minimize);
    for number in 0..num_trials {
        let Some(assignment) = sampler.sample(number, &study) else { break };
        let value = function(&assignment);
        study.trials.push(Trial { assignment, ..trial(number, TrialState::Complete, value) });
    }
    study
}

fn float(choice: Option<Choice>) -> f64 {
    match choice.unwrap() {
        Choice::Float(value) => value,
        Choice::Int(value) => value as f64,
        Choice::Index(index) => index as f64,
    }
}

#[test]
fn methods_are_found_by_their_names() {
    assert!(Method::ALL.into_iter().all(|method| Method::from_name(method.name()) == Some(method)));
    assert_eq!(Method::from_name("TPE"), None);
}

#[test]
fn a_grid_passes_over_trials_that_were_enqueued_and_values_that_are_given_stay() {
    let space = space(vec![parameter(values(3), None), parameter(values(2), Some((0, &[2])))]);
    let grid = Sampler::new(Method::Grid, space.clone(), 7);
    let mut study = Study::new(Goal::Maximize);
    study.trials = (0..3).map(|number| trial(number, TrialState::Complete, 0.5)).collect();
    study.trials[1].enqueued = Some(Default::default());
    let without = Study::new(Goal::Maximize);
    assert_eq!(grid.sample(3, &study), grid.sample(2, &without));
    assert_eq!(grid.sample(1, &study), grid.sample(1, &without));
    for method in Method::ALL {
        for number in 0..20 {
            let sampler = Sampler::new(method, space.clone(), number as u64);
            let found = sampler.sample_with(number, &without, &[Some(Choice::Index(2)), None]);
            assert_eq!(found[0], Some(Choice::Index(2)));
            assert!(matches!(found[1], Some(Choice::Index(0 | 1))), "it varies where the first is 2");
            let found = sampler.sample_with(number, &without, &[None, Some(Choice::Index(1))]);
            assert_eq!(found[1].is_some(), found[0] == Some(Choice::Index(2)));
        }
    }
}

#[test]
fn a_grid_has_every_combination_once_and_in_order() {
    let space = space(vec![
        parameter(values(3), None),
        parameter(Domain::Int { low: -1, high: 0 }, None),
        parameter(values(2), Some((0, &[1, 2]))),
        parameter(values(2), None),
        parameter(Domain::LogInt { low: 1, high: 3 }, Some((2, &[1]))),
        parameter(values(2), Some((0, &[0]))),
    ]);
    // All combinations of all parameters, less what conditions take away: sorted and without repeats.
    let mut expected = BTreeSet::new();
    for all in 0..3 * 2 * 2 * 2 * 3 * 2 {
        let mut rest = all;
        let mut digits = [3, 2, 2, 2, 3, 2].map(|size| {
            let digit = rest % size;
            rest /= size;
            Some(digit)
        });
        digits[2] = digits[2].filter(|_| digits[0] != Some(0));
        digits[4] = digits[4].filter(|_| digits[2] == Some(1));
        digits[5] = digits[5].filter(|_| digits[0] == Some(0));
        expected.insert(digits);
    }
    let sampler = Sampler::new(Method::Grid, space.clone(), 7);
    let study = run(&sampler, 1000, |_| 0.0);
    let digits = |trial: &Trial| {
        let digit = |position: usize| match trial.assignment[position]? {
            Choice::Index(index) => Some(index as i64),
            Choice::Int(value) => Some(value - if position == 1 { -1 } else { 1 }),
            Choice::Float(_) => panic!(),
        };
        [0, 1, 2, 3, 4, 5].map(digit)
    };
    let found: Vec<_> = study.trials.iter().map(digits).collect();
    assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
    assert_eq!(sampler.num_trials(), Some(found.len() as u64));
    assert_eq!(found.len(), 2 * 2 * 2 + 2 * 2 * 2 * (1 + 3));
    assert_eq!(Sampler::new(Method::Grid, space, 8).sample(17, &study).unwrap(), study.trials[17].assignment);
}

#[test]
fn a_grid_too_large_to_walk_is_counted_and_entered() {
    let all = Domain::Int { low: i64::MIN, high: i64::MAX - 1 };
    let study = Study::new(Goal::Minimize);
    let large =
        space(vec![parameter(values(2), None), parameter(all.clone(), None), parameter(all.clone(), None)]);
    let sampler = Sampler::new(Method::Grid, large, 0);
    assert_eq!(sampler.num_trials(), Some(u64::MAX));
    let expected = [Choice::Index(0), Choice::Int(i64::MIN), Choice::Int(i64::MIN + 5)].map(Some);
    assert_eq!(sampler.sample(5, &study).unwrap(), expected);
    let deep = space(vec![parameter(values(10), None); 300]);
    let sampler = Sampler::new(Method::Grid, deep, 0);
    let last: Vec<f64> = sampler.sample(123, &study).unwrap().into_iter().skip(296).map(float).collect();
    assert_eq!(last, [0.0, 1.0, 2.0, 3.0]);
    let real = Sampler::new(Method::Grid, mixed(), 0);
    assert_eq!((real.num_trials(), real.sample(0, &study)), (None, None));
    let empty = Sampler::new(Method::Grid, space(vec![]), 0);
    assert_eq!(
        (empty.num_trials(), empty.sample(0, &study), empty.sample(1, &study)),
        (Some(1), Some(vec![]), None)
    );
}

#[test]
fn every_value_is_of_its_domain_and_only_where_its_condition_holds() {
    let space = mixed();
    for method in [Method::Random, Method::Sobol, Method::Tpe] {
        let sampler = Sampler::new(method, space.clone(), 3);
        let study = run(&sampler, 200, |assignment| float(assignment[1]).powi(2) + float(assignment[3]));
        assert_eq!(study.trials.len(), 200);
        let mut values: [BTreeSet<i64>; 5] = Default::default();
        for trial in &study.trials {
            let [
                Some(Choice::Index(first)),
                Some(Choice::Float(second)),
                third,
                Some(Choice::Int(fourth)),
                fifth,
            ] = trial.assignment[..]
            else {
                panic!("{:?}", trial.assignment)
            };
            assert!(first < 3 && (-2.0..=1.0).contains(&second) && (-1..=4).contains(&fourth));
            match (first, third, fifth) {
                (0 | 2, Some(Choice::Float(third)), None) => assert!((1e-4..=10.0).contains(&third)),
                (1, None, Some(Choice::Int(fifth))) => assert!((1..=1000).contains(&fifth)),
                _ => panic!("{method:?} {:?}", trial.assignment),
            }
            values[0].insert(first as i64);
            values[3].insert(fourth);
        }
        assert_eq!((values[0].len(), values[3].len()), (3, 6), "{method:?} takes every value at times");
    }
}

#[test]
fn a_sample_depends_on_the_seed_the_number_and_the_trials_before() {
    for method in [Method::Random, Method::Sobol, Method::Tpe] {
        let sampler = Sampler::new(method, mixed(), 3);
        let function = |assignment: &Assignment| float(assignment[1]);
        let whole = run(&sampler, 40, function);
        for number in [0, 9, 10, 25, 39] {
            let mut before = whole.clone();
            before.trials.truncate(number);
            let again = Sampler::new(method, mixed(), 3).sample(number, &before);
            assert_eq!(
                again.as_ref(),
                Some(&whole.trials[number].assignment),
                "{method:?} {number}: resumed"
            );
            assert_eq!(again, sampler.sample(number, &whole), "{method:?} {number}: later trials");
            let other = Sampler::new(method, mixed(), 4).sample(number, &before);
            assert_ne!(again, other, "{method:?} {number}: seed");
        }
        let before = Study { trials: whole.trials[..30].to_vec(), ..whole.clone() };
        let parallel: Vec<_> = (30..34).map(|number| sampler.sample(number, &before).unwrap()).collect();
        assert!((1..4).all(|i| !parallel[..i].contains(&parallel[i])), "{method:?}: {parallel:?}");
    }
}

/// How many samples lie near the best of twenty random trials, with ten trials under way there and without.
#[test]
fn tpe_keeps_away_from_trials_under_way() {
    let space = space(vec![parameter(Domain::Uniform { low: 0.0, high: 1.0 }, None)]);
    let place = |assignment: &Assignment| float(assignment[0]);
    let sampler = Sampler::new(Method::Tpe, space.clone(), 0);
    let mut study =
        run(&Sampler::new(Method::Random, space, 0), 20, |assignment| (place(assignment) - 0.4).abs());
    let best = study.best().unwrap().assignment.clone();
    let num_near = |study: &Study| {
        let samples = (30..230).map(|number| place(&sampler.sample(number, study).unwrap()));
        samples.filter(|sample| (sample - place(&best)).abs() < 0.1).count()
    };
    let alone = num_near(&study);
    study.trials.extend(
        (20..30)
            .map(|number| Trial { assignment: best.clone(), ..trial_at(number, TrialState::Running, &[]) }),
    );
    let beside = num_near(&study);
    assert!(alone > 80 && beside < alone / 4, "of 200: {alone} and {beside}");
}

/// Above a half trials fail or are infeasible, with the better values; below, the best is at 0.2.
#[test]
fn tpe_turns_away_from_failed_and_infeasible_trials() {
    let space = space(vec![parameter(Domain::Uniform { low: 0.0, high: 1.0 }, None)]);
    for failing in [false, true] {
        let mut num_wrong = 0;
        for seed in 0..20 {
            let sampler = Sampler::new(Method::Tpe, space.clone(), seed);
            let mut study = Study::new(Goal::Maximize);
            for number in 0..40 {
                let assignment = sampler.sample(number, &study).unwrap();
                let place = float(assignment[0]);
                let value = if place > 0.5 { place } else { -(place - 0.2).abs() };
                let made = Trial { assignment, ..trial(number, TrialState::Complete, value) };
                study.trials.push(match failing && place > 0.5 {
                    true => Trial { state: TrialState::Failed, value: None, ..made },
                    false => Trial { constraints: vec![place - 0.5], ..made },
                });
            }
            num_wrong += study.trials[10..].iter().filter(|trial| float(trial.assignment[0]) > 0.5).count();
        }
        assert!(num_wrong < 150, "failing {failing}: {num_wrong} of 600, at random 300");
    }
}

/// The first 2^k points have one in each of 2^k equal parts of every dimension, and of the first two dimensions one in
/// each of 2^(k/2) squared parts: a (0, k, 2)-net.
#[test]
fn sobol_points_are_spread_evenly() {
    let unit = Domain::Uniform { low: 0.0, high: 1.0 };
    let sampler = Sampler::new(Method::Sobol, space(vec![parameter(unit, None); 300]), 11);
    let study = Study::new(Goal::Minimize);
    for first in [0, 1 << 16] {
        let points: Vec<Vec<f64>> = (first..first + 64)
            .map(|number| sampler.sample(number, &study).unwrap().into_iter().map(float).collect())
            .collect();
        for dimension in 0..300 {
            let cells: BTreeSet<usize> =
                points.iter().map(|point| (point[dimension] * 64.0) as usize).collect();
            assert_eq!(cells.len(), 64, "dimension {dimension} from {first}");
        }
        let cells = |a: usize, b: usize| {
            points
                .iter()
                .map(|p| ((p[a] * 8.0) as usize, (p[b] * 8.0) as usize))
                .collect::<BTreeSet<_>>()
                .len()
        };
        assert_eq!(cells(0, 1), 64);
        assert!(points.iter().all(|point| point[0] != point[256]), "the sequences are independent");
    }
}

fn sphere(x: &[f64]) -> f64 {
    (x[0] - 1.0).powi(2) + (x[1] + 2.0).powi(2)
}

/// Least value 0.397887, three times.
fn branin(x: &[f64]) -> f64 {
    let first = x[1] - 5.1 / (4.0 * PI * PI) * x[0] * x[0] + 5.0 / PI * x[0] - 6.0;
    first * first + 10.0 * (1.0 - 1.0 / (8.0 * PI)) * x[0].cos() + 10.0
}

/// Least value -3.32237.
fn hartmann6(x: &[f64]) -> f64 {
    const A: [[f64; 6]; 4] = [
        [10.0, 3.0, 17.0, 3.5, 1.7, 8.0],
        [0.05, 10.0, 17.0, 0.1, 8.0, 14.0],
        [3.0, 3.5, 1.7, 10.0, 17.0, 8.0],
        [17.0, 8.0, 0.05, 10.0, 0.1, 14.0],
    ];
    const P: [[f64; 6]; 4] = [
        [0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886],
        [0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991],
        [0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650],
        [0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381],
    ];
    let exponent = |i: usize| (0..6).map(|j| A[i][j] * (x[j] - P[i][j]).powi(2)).sum::<f64>();
    -[1.0, 1.2, 3.0, 3.2].iter().enumerate().map(|(i, alpha)| alpha * (-exponent(i)).exp()).sum::<f64>()
}

/// Rosenbrock's valley in decimal logarithms, least at (0.1, 0.1).
fn log_rosenbrock(x: &[f64]) -> f64 {
    let (a, b) = (x[0].log10() + 2.0, x[1].log10() + 2.0);
    (1.0 - a).powi(2) + 100.0 * (b - a * a).powi(2)
}

/// An optimiser of three and its rate; the second has a momentum and a number of layers too, and is best with them at
/// their best.
fn conditional(assignment: &Assignment) -> f64 {
    let rate = (float(assignment[1]).log10() + 3.0).powi(2);
    match assignment[0] {
        Some(Choice::Index(1)) => {
            rate + (3.0 * (float(assignment[2]) - 0.9)).powi(2) + 0.05 * (float(assignment[3]) - 6.0).abs()
        }
        Some(Choice::Index(0)) => 1.0 + rate,
        _ => 1.5 + rate,
    }
}

#[test]
fn tpe_finds_better_values_than_random_search() {
    type Function = Box<dyn Fn(&Assignment) -> f64>;
    let floats = |function: fn(&[f64]) -> f64| -> Function {
        Box::new(move |assignment| function(&assignment.iter().map(|c| float(*c)).collect::<Vec<_>>()))
    };
    let uniform = |low, high| parameter(Domain::Uniform { low, high }, None);
    let log = |low, high| parameter(Domain::LogUniform { low, high }, None);
    let functions: [(&str, Space, Function); 5] = [
        ("sphere", space(vec![uniform(-5.0, 5.0), uniform(-5.0, 5.0)]), floats(sphere)),
        ("branin", space(vec![uniform(-5.0, 10.0), uniform(0.0, 15.0)]), floats(branin)),
        ("hartmann6", space(vec![uniform(0.0, 1.0); 6]), floats(hartmann6)),
        ("log rosenbrock", space(vec![log(1e-4, 1.0), log(1e-4, 1.0)]), floats(log_rosenbrock)),
        (
            "conditional",
            space(vec![
                parameter(values(3), None),
                log(1e-5, 1.0),
                parameter(Domain::Uniform { low: 0.0, high: 1.0 }, Some((0, &[1]))),
                parameter(Domain::Int { low: 1, high: 12 }, Some((0, &[1]))),
            ]),
            Box::new(conditional),
        ),
    ];
    let mut report = Vec::new();
    for (name, space, function) in &functions {
        let median = |method| {
            let mut best: Vec<f64> = (0..50)
                .map(|seed| {
                    run(&Sampler::new(method, space.clone(), seed), 60, function)
                        .best()
                        .unwrap()
                        .value
                        .unwrap()
                })
                .collect();
            best.sort_by(f64::total_cmp);
            0.5 * (best[24] + best[25])
        };
        report.push((*name, median(Method::Tpe), median(Method::Random), median(Method::Sobol)));
    }
    assert!(
        report.iter().all(|(_, tpe, random, _)| tpe < random),
        "medians of TPE, random, Sobol: {report:#?}"
    );
}
