"""Figures with intervals: medians over the seeds of what evaluations found."""

from math import sqrt
from statistics import median_low


class Figure:
    """A rate and its interval of 95 %."""

    def __init__(self, value, low, high):
        self.value, self.low, self.high = value, low, high

    def text(self, digits):
        return f"{self.value:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


def auc(part):
    low, high = part["auc_ci"]
    return Figure(part["auc"], low, high)


def fpr(target):
    def of(part):
        point = part["fpr_at_tpr"][target]
        return Figure(point["fpr"], *point["fpr_ci"])

    return of


def tpr(target):
    def of(part):
        point = part["tpr_at_fpr"][target]
        return Figure(point["tpr"], *point["tpr_ci"])

    return of


def part_of(evaluation, detector, path=()):
    """A detector's figures of all events, or those below keys; None where there are none."""
    part = evaluation["detectors"].get(detector)
    for key in path:
        part = part and part.get(key)
    return part if part and part["auc"] is not None and part["auc_ci"] else None


def median(evaluations, detector, path, figure):
    """The figure of the seed that is in the middle, with the interval that it has there."""
    parts = [part_of(evaluation, detector, path) for evaluation in evaluations]
    if not parts or None in parts:
        return None
    figures = [figure(part) for part in parts]
    middle = median_low([f.value for f in figures])
    return next(f for f in figures if f.value == middle)


def mean_of_folds(folds, which, detector, path, figure):
    """The mean over folds, weighted by their ordinary events, of the seed that is in the middle."""
    by_seed = []
    for seed in range(len(folds[0][which])):
        parts = [part_of(fold[which][seed], detector, path) for fold in folds]
        parts = [part for part in parts if part]
        weights = [part["num_ordinary"] for part in parts]
        shares = [weight / sum(weights) for weight in weights]
        figures = [figure(part) for part in parts]
        value = sum(share * f.value for share, f in zip(shares, figures))
        # Half widths of independent intervals add up by their squares.
        half = sqrt(sum((share * (f.high - f.low) / 2) ** 2 for share, f in zip(shares, figures)))
        by_seed.append(Figure(value, max(value - half, 0), min(value + half, 1)))
    middle = median_low([f.value for f in by_seed])
    return next(f for f in by_seed if f.value == middle)


POINTS = {
    "AUC": (auc, True),
    **{f"FPR at TPR {target}": (fpr(target), False) for target in ("0.9", "0.95", "0.98453", "0.99", "0.999")},
    **{f"TPR at FPR {target}": (tpr(target), True) for target in ("0.0001", "0.001", "0.01")},
}


def points_lost(evaluations, path, rivals):
    """Where a rival is better than the model by more than the intervals of both."""
    lost = []
    for rival in rivals:
        for name, (figure, is_more_better) in POINTS.items():
            ours, theirs = (median(evaluations, detector, path, figure) for detector in ("ipsight", rival))
            if not ours or not theirs:
                continue
            if theirs.low > ours.high if is_more_better else theirs.high < ours.low:
                lost.append((rival, name, theirs, ours))
    return lost
