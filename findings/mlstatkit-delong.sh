#!/usr/bin/env bash
# MLstatkit 0.1.91 (PyPI), Delong_test.
#
# Two models with the same scores, or the same order of scores, have equal AUC on every resample, so no test can tell
# them apart: p is 1. The function finds that DeLong's variance of the difference is 0, falls back to a bootstrap, and
# returns p = 0.0, its strongest evidence of a difference, beside z = 0.0 and two equal AUC.
#
#   the same scores twice         z 0.0  p 0.0  AUC equal
#   scores, and 3 * scores + 1    z 0.0  p 0.0  AUC equal
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check MLstatkit==0.1.91
"$work/venv/bin/python" - <<'END'
import random

from MLstatkit import Delong_test

rng = random.Random(1)
labels = [int(rng.random() < 0.3) for _ in range(300)]
scores = [rng.gauss(label, 1) for label in labels]
for name, others in {"the same scores": scores, "3 * scores + 1": [3 * s + 1 for s in scores]}.items():
    z, p, _, _, auc, other_auc, info = Delong_test(labels, scores, others, n_boot=200, random_state=1)
    print(f"scores and {name}: z {z}, p {p}, AUC {auc:.6f} and {other_auc:.6f}, method {info['method']}")
    assert auc == other_auc and (z, p, info["method"]) == (0.0, 0.0, "bootstrap"), "the behaviour changed"
END
