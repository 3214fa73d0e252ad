#!/usr/bin/env bash
# river 0.26.1 (PyPI), metrics.RollingROCAUC.
#
# It documents an exact AUC over the scores of its window, for anomaly detectors too. Pairs of a positive and a negative
# with equal scores count one half in the AUC; it counts some of them as zero, so the result is too low. Which ones
# depends on the scores of the others: a lone pair gives 0.0, two such pairs 0.5. Without ties it is exact.
#
#   labels [0, 1], scores equal              river 0.0    exact 0.5
#   labels [0, 1, 0, 1], scores equal        river 0.5    exact 0.5
#   600 events, scores 0 to 9                river 0.496114, exact 0.497273
#   600 events, no ties                      river 0.499678, exact 0.499678
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check river==0.26.1
"$work/venv/bin/python" - <<'END'
import random

from river import metrics


def river_auc(events):
    metric = metrics.RollingROCAUC(window_size=1000)
    for label, score in events:
        metric.update(label, score)
    return metric.get()


def exact_auc(events):
    positives = [score for label, score in events if label]
    negatives = [score for label, score in events if not label]
    wins = sum((p > n) + (p == n) / 2 for p in positives for n in negatives)
    return wins / (len(positives) * len(negatives))


rng = random.Random(1)
labels = [rng.random() < 0.3 for _ in range(600)]
cases = {
    "a pair with equal scores": ([(False, 0.5), (True, 0.5)], False),
    "two pairs with equal scores": ([(False, 0.5), (True, 0.5)] * 2, True),
    "600 events, scores 0 to 9": ([(label, float(rng.randrange(10))) for label in labels], False),
    "600 events, no ties": ([(label, rng.random()) for label in labels], True),
}
for name, (events, is_right) in cases.items():
    seen, exact = river_auc(events), exact_auc(events)
    print(f"{name}: river {seen:.6f}, exact {exact:.6f}")
    assert (abs(seen - exact) < 1e-9) == is_right, "the behaviour changed"
    assert seen < exact + 1e-9, "the behaviour changed: the result is not too low"
END
