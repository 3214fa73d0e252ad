use rayon::slice::ParallelSliceMut;

use crate::{Error, Result};

/// Area under the ROC curve: the probability that a positive scores higher than a negative, ties counting
/// one half (the Mann-Whitney statistic). Exact: pairs are counted in integers after one sort.
///
/// # Errors
///
/// [`Error::Data`] where a score is not a number; both classes must have members.
pub fn auc(positives: Vec<f32>, negatives: Vec<f32>) -> Result<f64> {
    let (num_positives, num_negatives) = (positives.len() as u128, negatives.len() as u128);
    debug_assert!(num_positives > 0 && num_negatives > 0);
    // Adding 0.0 turns -0.0 into 0.0, so that the two tie.
    let labelled = |scores: Vec<f32>, label| scores.into_iter().map(move |score| (score + 0.0, label));
    let mut scores: Vec<(f32, bool)> = labelled(positives, true).chain(labelled(negatives, false)).collect();
    if let Some((score, _)) = scores.iter().find(|(score, _)| score.is_nan()) {
        return Err(Error::data(
            "scores",
            format!("a score is {score}"),
            "the model is broken: train again with a lower learning_rate",
        ));
    }
    scores.par_sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    // Twice the number of (positive, negative) pairs in the right order, so that a tie counts 1.
    let mut twice_ordered = 0u128;
    let mut negatives_below = 0u128;
    for tied in scores.chunk_by(|a, b| a.0 == b.0) {
        let positives = tied.iter().filter(|(_, positive)| *positive).count() as u128;
        let negatives = tied.len() as u128 - positives;
        twice_ordered += positives * (2 * negatives_below + negatives);
        negatives_below += negatives;
    }
    Ok(twice_ordered as f64 / (2 * num_positives * num_negatives) as f64)
}

/// The shares of positives and of negatives with a score above `threshold`: TPR and FPR.
pub fn rates_above(threshold: f32, positives: &[f32], negatives: &[f32]) -> (f64, f64) {
    let share = |scores: &[f32]| {
        scores.iter().filter(|score| **score > threshold).count() as f64 / scores.len() as f64
    };
    (share(positives), share(negatives))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// scikit-learn's roc_auc_score on fixtures with ties; see tests/golden/make_auc.py.
    #[test]
    fn it_equals_scikit_learn() {
        let text = include_str!("../../tests/golden/auc.json");
        let cases: Vec<serde_json::Value> = serde_json::from_str(text).unwrap();
        assert!(cases.len() >= 6);
        for case in cases {
            let label = |i: usize| case["labels"][i].as_i64().unwrap() == 1;
            let scores = case["scores"].as_array().unwrap();
            let class = |wanted: bool| {
                let of_class = scores.iter().enumerate().filter(|(i, _)| label(*i) == wanted);
                of_class.map(|(_, score)| score.as_f64().unwrap() as f32).collect::<Vec<_>>()
            };
            let ours = auc(class(true), class(false)).unwrap();
            let theirs = case["auc"].as_f64().unwrap();
            assert!((ours - theirs).abs() < 1e-12, "{}: {ours} against {theirs}", case["name"]);
        }
    }

    proptest! {
        #[test]
        fn negating_the_scores_mirrors_it(
            positives in prop::collection::vec(-5i8..5, 1..60),
            negatives in prop::collection::vec(-5i8..5, 1..60),
        ) {
            let floats = |scores: &[i8], sign: f32| scores.iter().map(|s| sign * *s as f32).collect::<Vec<_>>();
            let plain = auc(floats(&positives, 1.0), floats(&negatives, 1.0)).unwrap();
            let mirrored = auc(floats(&positives, -1.0), floats(&negatives, -1.0)).unwrap();
            prop_assert!((plain + mirrored - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn a_score_that_is_not_a_number_is_an_error() {
        assert_eq!(auc(vec![f32::NAN], vec![0.0]).unwrap_err().exit_code(), 3);
    }

    #[test]
    fn rates_count_strictly_above() {
        assert_eq!(rates_above(0.0, &[1.0, 0.0, 2.0, -1.0], &[0.0, 0.5]), (0.5, 0.5));
    }
}
