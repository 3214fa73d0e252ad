//! Where another detector is better than the model.

use crate::evaluate::{BAYES, Evaluation, Figures};

/// For each detector except the model and the Bayes-optimal one: the points at which it is better than the model by
/// more than both intervals, as texts. Detectors without such points are left out.
pub fn points_lost(evaluation: &Evaluation) -> Vec<(&str, Vec<String>)> {
    let model = &evaluation.model().all;
    let rivals = evaluation.detectors.iter().skip(1).filter(|(name, _)| name != BAYES);
    let lost = rivals.map(|(name, rival)| (name.as_str(), points_lost_to(&rival.all, model)));
    lost.filter(|(_, points)| !points.is_empty()).collect()
}

fn points_lost_to(rival: &Figures, model: &Figures) -> Vec<String> {
    let mut lost = Vec::new();
    if let (Some([low, _]), Some([_, high])) = (rival.auc_ci, model.auc_ci)
        && low > high
    {
        lost.push(format!("AUC {:.5} > {:.5}", rival.auc.unwrap_or_default(), model.auc.unwrap_or_default()));
    }
    for ((target, rival), (_, model)) in rival.fpr_at_tpr.iter().zip(&model.fpr_at_tpr) {
        if rival.fpr_ci[1] < model.fpr_ci[0] {
            lost.push(format!("FPR at TPR {target}: {:.5} < {:.5}", rival.fpr, model.fpr));
        }
    }
    for ((target, rival), (_, model)) in rival.tpr_at_fpr.iter().zip(&model.tpr_at_fpr) {
        if rival.tpr_ci[0] > model.tpr_ci[1] {
            lost.push(format!("TPR at FPR {target}: {:.5} > {:.5}", rival.tpr, model.tpr));
        }
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::{TPR_TARGETS, figures, figures_of};

    #[test]
    fn points_are_lost_by_more_than_the_intervals_only() {
        let targets = figures::Targets { tpr: TPR_TARGETS.to_vec(), fpr: vec![0.01], user_days: None };
        let ordinary: Vec<f32> = (0..1000).map(|i| i as f32).collect();
        let figures = |shift: f32| {
            let attacks: Vec<f32> = ordinary.iter().map(|score| score + shift).collect();
            figures_of(&attacks, &ordinary, &targets).unwrap()
        };
        assert_eq!(points_lost_to(&figures(301.0), &figures(300.0)), Vec::<String>::new());
        assert_eq!(points_lost_to(&figures(300.0), &figures(900.0)), Vec::<String>::new());
        let lost = points_lost_to(&figures(900.0), &figures(300.0));
        assert_eq!(lost.len(), 1 + TPR_TARGETS.len() + 1, "{lost:?}");
    }
}
