//! The AUC of two lists of scores.

use super::figures::Targets;
use super::figures_of;
use crate::{Error, Result};

/// Area under the ROC curve: the probability that a positive scores higher than a negative, ties counting
/// one half (the Mann-Whitney statistic). Exact: pairs are counted in integers after one sort.
///
/// # Errors
///
/// [`Error::Data`] where a score is not a number or a class has no members.
pub fn auc(positives: &[f32], negatives: &[f32]) -> Result<f64> {
    let targets = Targets { tpr: Vec::new(), fpr: Vec::new(), user_days: None };
    figures_of(positives, negatives, &targets)?
        .auc
        .ok_or_else(|| Error::data("scores", "a class has no members", "an AUC needs both classes"))
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
            let ours = auc(&class(true), &class(false)).unwrap();
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
            let plain = auc(&floats(&positives, 1.0), &floats(&negatives, 1.0)).unwrap();
            let mirrored = auc(&floats(&positives, -1.0), &floats(&negatives, -1.0)).unwrap();
            prop_assert!((plain + mirrored - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn a_score_that_is_not_a_number_is_an_error() {
        assert_eq!(auc(&[f32::NAN], &[0.0]).unwrap_err().exit_code(), 3);
    }

    #[test]
    fn a_class_without_members_is_an_error() {
        assert_eq!(auc(&[1.0], &[]).unwrap_err().exit_code(), 3);
    }
}
