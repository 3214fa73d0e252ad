"""Writes calibration.json: percentiles, isotonic probabilities, reliability and thresholds, by NumPy and scikit-learn.

Needs `pip install numpy scipy scikit-learn`.
"""

import json
from pathlib import Path

import numpy as np
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import brier_score_loss

from make_evaluation import draw


def isotonic(labels, scores):
    """With an attack more at the lowest score and an ordinary event more at the highest."""
    regression = IsotonicRegression(out_of_bounds="clip")
    more = np.r_[scores, scores.min(), scores.max()], np.r_[labels, 1, 0]
    regression.fit(*more)
    return regression.predict


def reliability(labels, scores, is_aside):
    predict = isotonic(labels[~is_aside], scores[~is_aside])
    labels, probabilities = labels[is_aside], predict(scores[is_aside])
    places = np.minimum((probabilities * 10).astype(int), 9)
    bins, error = [], 0.0
    for place in np.unique(places):
        of_bin = labels[places == place], probabilities[places == place]
        interval = binomtest(int(of_bin[0].sum()), len(of_bin[0])).proportion_ci(method="wilson")
        bins.append({
            "from": place / 10,
            "to": (place + 1) / 10,
            "num_events": len(of_bin[0]),
            "num_attacks": int(of_bin[0].sum()),
            "mean_probability": of_bin[1].mean(),
            "attack_share": of_bin[0].mean(),
            "attack_share_ci": [interval.low, interval.high],
        })
        error += len(of_bin[0]) / len(labels) * abs(of_bin[0].mean() - of_bin[1].mean())
    shares, means = calibration_curve(labels, probabilities, n_bins=10)
    # scikit-learn counts a probability at the end of a bin for the bin below.
    if not np.isin(probabilities * 10, range(1, 10)).any():
        assert np.allclose(shares, [b["attack_share"] for b in bins], atol=1e-14)
        assert np.allclose(means, [b["mean_probability"] for b in bins], atol=1e-14)
    return {
        "num_events": len(labels),
        "num_attacks": int(labels.sum()),
        "brier_score": float(brier_score_loss(labels, probabilities)),
        "expected_calibration_error": error,
        "bins": bins,
    }


def thresholds(labels, scores, num_days):
    """By trying every score that occurs."""
    flagged = lambda value, label: int((scores[labels == label] >= value).sum())
    values = np.unique(scores)
    rules = {
        "target_fpr": lambda value, target: flagged(value, 0) / (labels == 0).sum() <= target,
        "target_tpr": lambda value, target: flagged(value, 1) / labels.sum() >= target,
        "alerts_per_day": lambda value, target: flagged(value, 0) / num_days <= target,
    }
    targets = {"target_fpr": [0.0, 0.001, 0.01, 0.2, 1.0], "target_tpr": [0.0, 0.5, 0.9, 1.0], "alerts_per_day": [0, 3, 40]}
    for criterion, rule in rules.items():
        for target in targets[criterion]:
            allowed = [value for value in values if rule(value, target)]
            if allowed:
                value = (max if criterion == "target_tpr" else min)(allowed)
                found = {"value": float(value), "num_flagged_attacks": flagged(value, 1)}
                found["num_flagged_ordinary"] = flagged(value, 0)
                for name, label in (("tpr", 1), ("fpr", 0)):
                    count, total = flagged(value, label), int((labels == label).sum())
                    interval = binomtest(count, total).proportion_ci(method="wilson")
                    found[name], found[name + "_ci"] = count / total, [interval.low, interval.high]
                found["alerts_per_day"] = found["num_flagged_ordinary"] / num_days
            else:
                found = None
            yield {"criterion": criterion, "target": target, "found": found}


def cases(rng):
    yield "continuous", *draw(rng, 300, 700, 2.0, 5)
    yield "ties", *draw(rng, 400, 600, 1.5, 1)
    yield "few values", *draw(rng, 500, 500, 1.0, 0)
    yield "few attacks", *draw(rng, 9, 900, 3.0, 2)
    yield "worse than chance", *draw(rng, 100, 100, -1.0, 1)
    yield "all tied", np.tile([0, 1, 1, 0, 1], 4), np.zeros(20)
    yield "separated", np.repeat([0, 1], 20), np.r_[np.linspace(-2, -1, 20), np.linspace(1, 2, 20)]


def main():
    rng = np.random.default_rng(7)
    num_days = 2.5
    result = []
    for name, labels, scores in cases(rng):
        scores = scores.astype(np.float32).astype(np.float64)  # the same ties in float32
        is_aside = rng.integers(2, size=len(labels)).astype(bool)
        asked = np.r_[scores.min() - 1, scores.max() + 1, np.unique(scores)[::3], rng.normal(size=30) * 2]
        asked = asked.astype(np.float32).astype(np.float64)
        ordinary = np.sort(scores[labels == 0])
        result.append({
            "name": name,
            "labels": labels.tolist(),
            "scores": scores.tolist(),
            "is_aside": is_aside.tolist(),
            "asked": asked.tolist(),
            "percentiles": (np.searchsorted(ordinary, asked, side="left") / len(ordinary)).tolist(),
            "probabilities": isotonic(labels, scores)(asked).tolist(),
            "reliability": reliability(labels, scores, is_aside),
            "num_days": num_days,
            "thresholds": list(thresholds(labels, scores, num_days)),
        })
    assert any(t["found"] is None for case in result for t in case["thresholds"])
    text = json.dumps(result, separators=(",", ":"), allow_nan=False) + "\n"
    Path(__file__).with_name("calibration.json").write_text(text)


if __name__ == "__main__":
    main()
