//! Whether a training has learned something.

use super::metrics::EpochMetrics;
use crate::config::Config;

/// An accuracy so little above the share of negatives is that of a model that calls every pair a negative.
const MIN_GAIN: f64 = 0.005;

/// A model that ranks so well has learned, whatever its accuracy at one threshold.
const GOOD_AUC: f64 = 0.75;

/// A loss that is so much above the least of the epochs before, as a share of it, has risen.
const MIN_RISE: f64 = 0.01;

/// An AUC that is so much below the best of the epochs before has fallen.
const MIN_FALL: f64 = 0.005;

/// What shows that a training learned nothing, or unlearned, with what to change; empty where nothing does.
pub fn learning_warnings(config: &Config, epochs: &[EpochMetrics]) -> Vec<String> {
    let Some((last, before)) = epochs.split_last() else { return Vec::new() };
    let rate = config.hyperparameters.learning_rate;
    let mut warnings = Vec::new();
    let share = share_of_negatives(config);
    if last.accuracy <= share + MIN_GAIN && last.discriminator_auc.is_none_or(|auc| auc < GOOD_AUC) {
        warnings.push(format!(
            "the model learned nothing: its accuracy, {:.4}, is no better than the share of negatives, {share:.4}; \
             change hyperparameters.learning_rate ({rate}), or raise hyperparameters.epochs",
            last.accuracy
        ));
    }
    if let Some(best) = before.iter().min_by(|a, b| a.loss.total_cmp(&b.loss))
        && last.loss > best.loss * (1.0 + MIN_RISE)
    {
        warnings.push(format!(
            "the loss rose from {:.4} in epoch {} to {:.4} in epoch {}: lower hyperparameters.learning_rate ({rate})",
            best.loss,
            best.epoch + 1,
            last.loss,
            last.epoch + 1
        ));
    }
    let auc = |metrics: &EpochMetrics| metrics.discriminator_auc.unwrap_or(0.0);
    if let Some(best) = before.iter().max_by(|a, b| auc(a).total_cmp(&auc(b)))
        && last.discriminator_auc.is_some_and(|last| last < auc(best) - MIN_FALL)
    {
        warnings.push(format!(
            "the discriminator_auc of the validation fell from {:.4} in epoch {} to {:.4} in epoch {}: take \
             hyperparameters.epochs = {}, lower hyperparameters.learning_rate, or raise hyperparameters.weight_decay",
            auc(best),
            best.epoch + 1,
            auc(last),
            last.epoch + 1,
            best.epoch + 1
        ));
    }
    warnings
}

fn share_of_negatives(config: &Config) -> f64 {
    let h = &config.hyperparameters;
    let negatives = (h.random_negative_sampling_rate + h.shuffled_negative_sampling_rate) as f64;
    negatives / (1.0 + negatives)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::FamilyAucs;

    /// Epochs of these losses, accuracies and AUCs.
    fn warnings(figures: &[(f64, f64, Option<f64>)]) -> Vec<String> {
        let epochs: Vec<_> = (0..)
            .zip(figures)
            .map(|(epoch, &(loss, accuracy, discriminator_auc))| EpochMetrics {
                epoch,
                loss,
                accuracy,
                discriminator_auc,
                auc_by_family: FamilyAucs::default(),
                positives_per_second: 1.0,
                seconds: 1.0,
            })
            .collect();
        learning_warnings(&Config::default(), &epochs)
    }

    #[test]
    fn a_training_that_learns_has_no_warning() {
        assert!(warnings(&[]).is_empty());
        assert!(
            warnings(&[(0.6, 0.7, Some(0.8)), (0.4, 0.8, Some(0.9)), (0.402, 0.81, Some(0.899))]).is_empty()
        );
        assert!(warnings(&[(0.6, 0.66, Some(0.9))]).is_empty(), "it ranks well");
    }

    #[test]
    fn what_was_not_learned_is_named_with_what_to_change() {
        // One negative of each kind an event: two of three pairs.
        let nothing = warnings(&[(0.636, 0.6667, None)]);
        assert_eq!(nothing.len(), 1);
        assert!(
            nothing[0].contains("share of negatives, 0.6667; change hyperparameters.learning_rate"),
            "{nothing:?}"
        );
        let rose = warnings(&[(0.4, 0.8, None), (0.3, 0.9, None), (0.35, 0.9, None)]);
        assert_eq!(rose.len(), 1);
        assert!(rose[0].contains("rose from 0.3000 in epoch 2 to 0.3500 in epoch 3: lower"), "{rose:?}");
        let fell = warnings(&[(0.4, 0.8, Some(0.95)), (0.3, 0.9, Some(0.9))]);
        assert_eq!(fell.len(), 1);
        assert!(
            fell[0].contains("fell from 0.9500 in epoch 1") && fell[0].contains("epochs = 1"),
            "{fell:?}"
        );
    }
}
