"""An interval of the model's AUC that takes accounts, and not events, for independent: where a few accounts have most of
the events, that of DeLong is too narrow."""

import csv
import random
from itertools import groupby
from statistics import quantiles

from program import time_flags, write_rows

NUM_SAMPLES = 1000


def weighted_auc(ties, weights):
    """Of groups of equal anomaly score in ascending order, of (account, whether it is an attack)."""
    pairs = ordinary_below = attacks = 0.0
    for tie in ties:
        num_attacks = sum(weights[account] for account, is_attack in tie if is_attack)
        num_ordinary = sum(weights[account] for account, is_attack in tie if not is_attack)
        pairs += num_attacks * (ordinary_below + num_ordinary / 2)
        attacks += num_attacks
        ordinary_below += num_ordinary
    return pairs / (attacks * ordinary_below)


def interval(program, model, folder, train, test, seed):
    """The AUC of seen accounts, each event against the address of another account's, and its interval of 95 % by a
    bootstrap over accounts. Rows are `entity, ip, time`."""
    draw = random.Random(seed)
    known = {row[0] for row in train}
    seen = [row for row in test if row[0] in known]
    rows = [(entity, ip, time, False) for entity, ip, time in seen]
    for entity, _, time in seen:
        other = draw.choice(test)
        while other[0] == entity:
            other = draw.choice(test)
        rows.append((entity, other[1], time, True))
    write_rows(folder / "pairs.csv", [row[:3] for row in rows])
    output = program.run("score", "--model", model, "--input", folder / "pairs.csv", *time_flags(3), "--device", "ndarray")
    scores = [float(row["anomaly_score"]) for row in csv.DictReader(output.splitlines())]
    ordered = sorted(zip(scores, rows), key=lambda pair: pair[0])
    ties = [[(row[0], row[3]) for _, row in tie] for _, tie in groupby(ordered, key=lambda pair: pair[0])]
    accounts = sorted({row[0] for row in seen})
    found = []
    for _ in range(NUM_SAMPLES):
        weights = dict.fromkeys(accounts, 0)
        for account in draw.choices(accounts, k=len(accounts)):
            weights[account] += 1
        found.append(weighted_auc(ties, weights))
    cuts = quantiles(found, n=40)
    return {"auc": weighted_auc(ties, dict.fromkeys(accounts, 1)), "auc_ci": [cuts[0], cuts[-1]], "num": len(accounts)}
