"""Enqueues trials in a sweep's journal with Optuna: each further argument is a JSON object of parameters."""

import json
import sys

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

path, *trials = sys.argv[1:]
storage = JournalStorage(JournalFileBackend(path))
(name,) = optuna.get_all_study_names(storage)
study = optuna.load_study(study_name=name, storage=storage)
for trial in trials:
    study.enqueue_trial(json.loads(trial), user_attrs={"asked_by": "somebody"})
