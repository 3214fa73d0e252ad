"""Writes evaluation.json: figures of detectors, by NumPy, SciPy and scikit-learn.

Needs `pip install numpy scipy scikit-learn`.
"""

import json
from pathlib import Path

import numpy as np
from scipy.stats import binomtest, norm
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

TPR_TARGETS = [0.90, 0.95, 0.98453, 0.99, 0.999]
FPR_TARGETS = [1e-4, 1e-3, 1e-2]


def delong(positives, negatives):
    """The AUC and its variance from the whole matrix of pairs."""
    wins = (positives[:, None] > negatives) + 0.5 * (positives[:, None] == negatives)
    of_positives, of_negatives = wins.mean(axis=1), wins.mean(axis=0)
    if min(len(positives), len(negatives)) < 2:
        return wins.mean(), None
    variance = of_positives.var(ddof=1) / len(positives) + of_negatives.var(ddof=1) / len(negatives)
    return wins.mean(), variance


def point(labels, scores, threshold):
    flagged = scores >= threshold
    result = {"threshold": None if np.isinf(threshold) else float(threshold)}
    for name, label in (("tpr", 1), ("fpr", 0)):
        of_class = flagged[labels == label]
        count, total = int(of_class.sum()), len(of_class)
        interval = binomtest(count, total).proportion_ci(method="wilson")
        result[name], result[name + "_ci"] = count / total, [interval.low, interval.high]
    return result


def figures(labels, scores):
    fpr, tpr, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    auc, variance = delong(scores[labels == 1], scores[labels == 0])
    assert abs(auc - roc_auc_score(labels, scores)) < 1e-12
    half = None if variance is None else norm.ppf(0.975) * np.sqrt(variance)
    at_tpr = {str(t): point(labels, scores, thresholds[np.argmax(tpr >= t)]) for t in TPR_TARGETS}
    at_fpr = {}
    for target in FPR_TARGETS:
        best = tpr[fpr <= target].max()
        at_fpr[np.format_float_positional(target)] = point(
            labels, scores, thresholds[np.argmax(tpr == best)]
        )
    return {
        "auc": auc,
        "auc_ci": None if half is None else [max(auc - half, 0.0), min(auc + half, 1.0)],
        "average_precision": float(average_precision_score(labels, scores)),
        "fpr_at_tpr": at_tpr,
        "tpr_at_fpr": at_fpr,
    }


def draw(rng, num_positives, num_negatives, shift, decimals):
    labels = np.r_[np.ones(num_positives, int), np.zeros(num_negatives, int)]
    scores = rng.normal(size=len(labels)) + shift * labels
    order = rng.permutation(len(labels))
    return labels[order], np.round(scores, decimals)[order]


def figure_cases(rng):
    yield "continuous", *draw(rng, 300, 700, 2.0, 5)
    yield "ties", *draw(rng, 400, 600, 1.5, 1)
    yield "few values", *draw(rng, 500, 500, 1.0, 0)
    yield "few attacks", *draw(rng, 7, 900, 3.0, 2)
    yield "one attack", *draw(rng, 1, 50, 1.0, 2)
    yield "worse than chance", *draw(rng, 100, 100, -1.0, 1)
    yield "all tied", np.array([0, 1, 1, 0, 1]), np.zeros(5)
    yield "separated", np.array([0, 0, 1, 1]), np.array([-1.0, -0.5, 0.5, 0.75])


def main():
    rng = np.random.default_rng(4)
    cases = []
    for name, labels, scores in figure_cases(rng):
        scores = scores.astype(np.float32).astype(np.float64)  # the same ties in float32
        case = {"name": name, "labels": labels.tolist(), "scores": scores.tolist()}
        cases.append(case | figures(labels, scores))
    result = {"figures": cases}
    text = json.dumps(result, separators=(",", ":"), allow_nan=False) + "\n"
    Path(__file__).with_name("evaluation.json").write_text(text)


if __name__ == "__main__":
    main()
