"""Writes importance.json: fANOVA shares of made-up trials, by Optuna's forests under several seeds.

Needs `pip install optuna scikit-learn`.
"""

import json
from pathlib import Path

import numpy as np
import optuna
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator

NUM_TRIALS = 200
SEEDS = range(8)

# Optuna's forest sees a logarithmic parameter as it is, not its logarithm, so it gets the exponent instead. Of values
# it makes a column each, and weighs combinations of them that do not exist; two values are therefore 0 and 1 here.
PARAMETERS = [
    {"kind": "uniform", "low": -2.0, "high": 3.0},
    {"kind": "log_uniform", "low": 1e-5, "high": 1e-1},
    {"kind": "int", "low": 1, "high": 100},
    {"kind": "values", "num_values": 2},
    {"kind": "uniform", "low": 0.0, "high": 1.0},
]
DISTRIBUTIONS = {
    "a": FloatDistribution(-2.0, 3.0),
    "b": FloatDistribution(-5.0, -1.0),
    "c": IntDistribution(1, 100),
    "d": IntDistribution(0, 1),
    "e": FloatDistribution(0.0, 1.0),
}

# Of parameters in 0..1, uniform and independent, with the first-order Sobol' indices in closed form.
FUNCTIONS = {
    # Variances of a term: slope² / 12, a quarter of a step's square.
    "additive": (
        lambda a, b, c, d, e: 3 * a + 2 * b + c + 0.8 * d,
        np.array([9 / 12, 4 / 12, 1 / 12, 0.64 / 4, 0.0]) / (14 / 12 + 0.16),
    ),
    # E[f | a] = 2a + 1/2 · b's mean and so on; the product's own part has the variance 16 / 144.
    "interaction": (
        lambda a, b, c, d, e: 4 * (a - 0.5) * (b - 0.5) + c + 0.5 * d,
        np.array([0, 0, 1 / 12, 0.25 / 4, 0.0]) / (16 / 144 + 1 / 12 + 0.0625),
    ),
    # The variance of (2b - 1)² is 4 / 45.
    "bowl": (
        lambda a, b, c, d, e: (2 * b - 1) ** 2 + 0.5 * e,
        np.array([0, 4 / 45, 0, 0, 0.25 / 12]) / (4 / 45 + 0.25 / 12),
    ),
}


def main():
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rng = np.random.RandomState(14)
    cases, mismatches = [], []
    for name, (function, sobol) in FUNCTIONS.items():
        units = rng.uniform(size=(NUM_TRIALS, 5))
        places = [
            (-2 + 5 * a, -5 + 4 * b, 1 + int(100 * c), int(2 * d), e) for a, b, c, d, e in units.tolist()
        ]
        values = [
            function((a + 2) / 5, (b + 5) / 4, (c - 0.5) / 100, d, e) + 0.02 * rng.standard_normal()
            for a, b, c, d, e in places
        ]
        study = optuna.create_study()
        for place, value in zip(places, values):
            params = dict(zip("abcde", place))
            study.add_trial(optuna.trial.create_trial(params=params, distributions=DISTRIBUTIONS, value=value))
        found = [FanovaImportanceEvaluator(seed=seed).evaluate(study) for seed in SEEDS]
        shares = np.array([[of_seed[name] for name in "abcde"] for of_seed in found])
        mean, spread = shares.mean(axis=0), shares.std(axis=0, ddof=1)
        # A forest of 200 points is a rough picture of the function.
        if not np.allclose(mean, sobol, atol=0.12):
            mismatches.append(f"{name}: Optuna {mean}, in closed form {sobol}")
        cases.append({
            "name": name,
            "trials": [[a, 10**b, c, d, e] for a, b, c, d, e in places],
            "values": values,
            "shares": mean.tolist(),
            "spread": spread.tolist(),
        })
    if mismatches:
        raise SystemExit("\n".join(mismatches))
    text = json.dumps({"parameters": PARAMETERS, "cases": cases}, separators=(",", ":"), allow_nan=False) + "\n"
    Path(__file__).with_name("importance.json").write_text(text)


if __name__ == "__main__":
    main()
