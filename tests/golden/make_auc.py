"""Writes auc.json: ROC AUC by scikit-learn, each value checked by counting pairs."""

import json
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score


def make_cases():
    rng = np.random.RandomState(20)  # its stream is frozen across NumPy versions
    half = np.repeat([0, 1], 10)
    random_labels = rng.randint(0, 2, 300)
    tied_labels = rng.randint(0, 2, 200)
    # Equal numbers with different bits: a sort by bit pattern takes them apart.
    zeros = np.array([-0.0, 0.0, -0.0, 0.0, 0.0, -0.0, 1.0, -1.0])
    return [
        ("random", random_labels, rng.standard_normal(300) + random_labels),
        ("heavy_ties", tied_labels, np.round(rng.standard_normal(200) + tied_labels)),
        ("all_equal", half, np.full(20, 0.25)),
        ("perfect", half, np.arange(20) - 9.5),
        ("inverted", half, 9.5 - np.arange(20)),
        ("one_positive", np.arange(51) == 17, rng.standard_normal(51)),
        ("signed_zeros", np.array([1, 0, 1, 1, 0, 0, 1, 0]), zeros),
    ]


def main():
    cases, mismatches, rng = [], [], np.random.RandomState(21)
    for name, labels, scores in make_cases():
        order = rng.permutation(len(labels))  # sorted input would hide a sort that is missing
        labels = labels.astype(int)[order]
        scores = scores.astype(np.float32).astype(np.float64)[order]  # the same ties in float32
        auc = float(roc_auc_score(labels, scores))
        positives, negatives = scores[labels == 1][:, None], scores[labels == 0][None, :]
        counted = ((positives > negatives) + 0.5 * (positives == negatives)).mean()
        if not abs(auc - counted) <= 1e-12:
            mismatches.append(f"{name}: scikit-learn {auc!r}, pairs {counted!r}")
        cases.append(
            {"name": name, "labels": labels.tolist(), "scores": scores.tolist(), "auc": auc}
        )
    if mismatches:
        raise SystemExit("\n".join(mismatches))
    text = json.dumps(cases, separators=(",", ":"), allow_nan=False) + "\n"
    Path(__file__).with_name("auc.json").write_text(text)


if __name__ == "__main__":
    main()
