"""Writes compare.json: Spearman's rank correlation, deciles and PSI of pairs of scores, by NumPy and SciPy.

Needs `pip install numpy scipy`.
"""

import json
from pathlib import Path

import numpy as np
from scipy.stats import entropy, rankdata, spearmanr

# Added to each bin of both, see src/compare/stability.rs.
PRIOR_EVENTS = 0.5


def shares(counts):
    counts = np.asarray(counts, dtype=float) + PRIOR_EVENTS
    return counts / counts.sum()


def psi(expected, actual):
    p, q = shares(expected), shares(actual)
    index = float(((q - p) * np.log(q / p)).sum())
    # It is the sum of both Kullback-Leibler divergences.
    assert np.isclose(index, entropy(p, q) + entropy(q, p), rtol=1e-10, atol=1e-14)
    return index


def counts(edges, scores):
    """Of the bins (-inf, e1], (e1, e2], ..., (e9, inf), one event at a time."""
    found = [0] * (len(edges) + 1)
    for score in scores:
        found[sum(score > edge for edge in edges)] += 1
    return found


def case(name, old, new):
    # Short numbers, the same in float32.
    old, new = (np.round(np.asarray(scores, dtype=float) * 1024) / 1024 for scores in (old, new))
    edges = np.unique(np.quantile(old, np.arange(1, 10) / 10, method="inverted_cdf"))
    expected, actual = counts(edges, old), counts(edges, new)
    assert sum(expected) == sum(actual) == len(old)
    if np.ptp(old) == 0 or np.ptp(new) == 0:
        rho = None
    else:
        rho = float(spearmanr(old, new).statistic)
        ranks = rankdata(old), rankdata(new)
        assert np.isclose(rho, np.corrcoef(*ranks)[0, 1], atol=1e-12)
    return {
        "name": name,
        "old": old.tolist(),
        "new": new.tolist(),
        "rank_correlation": rho,
        "edges": edges.tolist(),
        "num_old": expected,
        "num_new": actual,
        "psi": psi(expected, actual),
    }


def cases(rng):
    old = rng.normal(size=200)
    yield case("correlated", old, old + 0.3 * rng.normal(size=200))
    yield case("opposed", old, -old)
    yield case("the same", old, old)
    yield case("shifted", old, old + 2.0)
    yield case("out of all bins", old, old + 100.0)
    rounded = np.round(rng.normal(size=150), 1)
    yield case("ties", rounded, np.round(rounded + rng.normal(size=150), 0))
    yield case("ties and zeros of both signs", np.r_[[-0.0, 0.0] * 20, rounded], np.r_[[0.0, -0.0] * 20, -rounded])
    yield case("few values", rng.integers(3, size=100), rng.integers(2, size=100))
    yield case("one score by the old model", np.zeros(20), rng.normal(size=20))
    yield case("one score by the new model", rng.normal(size=20), np.ones(20))
    yield case("two events", [1.0, 2.0], [5.0, 3.0])
    yield case("one event", [1.0], [5.0])


def main():
    rng = np.random.default_rng(23)
    found = list(cases(rng))
    by_name = {case["name"]: case for case in found}
    assert by_name["the same"]["psi"] == 0 and abs(by_name["the same"]["rank_correlation"] - 1) < 1e-12
    assert abs(by_name["opposed"]["rank_correlation"] + 1) < 1e-12
    text = json.dumps(found, separators=(",", ":"), allow_nan=False) + "\n"
    Path(__file__).with_name("compare.json").write_text(text)


if __name__ == "__main__":
    main()
