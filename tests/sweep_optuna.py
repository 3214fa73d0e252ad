"""What Optuna reads in a sweep's journal: one JSON document a journal, to stdout or into a file.

Numbers that JSON has no form for are texts: nan, inf, -inf.
"""

import argparse
import json
import math
import sys

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", help="the file to write")
    parser.add_argument("journals", nargs="+", metavar="JOURNAL")
    arguments = parser.parse_args()
    output = open(arguments.output, "w") if arguments.output else sys.stdout
    for path in arguments.journals:
        print(json.dumps(plain(read(path)), allow_nan=False), file=output)


def read(path):
    storage = JournalStorage(JournalFileBackend(path))
    (name,) = optuna.get_all_study_names(storage)
    study = optuna.load_study(study_name=name, storage=storage)
    return {
        "name": study.study_name,
        "direction": study.direction.name,
        "metric_names": study.metric_names,
        "user_attrs": study.user_attrs,
        "best": best(study),
        "trials": [as_dict(trial) for trial in study.get_trials()],
    }


def best(study):
    try:
        trial = study.best_trial
    except ValueError:  # no trial is complete and feasible
        return None
    return {"number": trial.number, "value": trial.value, "params": trial.params}


def as_dict(trial):
    return {
        "number": trial.number,
        "state": trial.state.name,
        "value": trial.value,
        "params": trial.params,
        "distributions": {name: repr(distribution) for name, distribution in trial.distributions.items()},
        "intermediate": trial.intermediate_values,
        "user_attrs": trial.user_attrs,
        "constraints": list(trial.constraints.values()),
        "started": trial.datetime_start and trial.datetime_start.timestamp(),
        "ended": trial.datetime_complete and trial.datetime_complete.timestamp(),
    }


def plain(value):
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


if __name__ == "__main__":
    main()
