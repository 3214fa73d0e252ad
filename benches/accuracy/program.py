"""Trains models and evaluates them, by the program."""

import csv
import json
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


class Program:
    def __init__(self, path, config):
        self.path, self.config = path, config

    def run(self, *args):
        command = [self.path, *map(str, args)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(map(str, command))} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def train(self, folder, events, seed, time_column):
        """The model's folder."""
        settings = [f"training.seed={seed}", "training.checkpoint_interval=off", "data.validation=[]"]
        self.run("train", "--config", self.config, "--train", events, *time_flags(time_column), "--output", folder,
                 "--overwrite", "--device", "ndarray", *[f for s in settings for f in ("--set", s)])  # fmt: skip
        return folder / "model"

    def evaluate(self, model, events, history, *more):
        text = self.run("evaluate", "--model", model, "--data", events, "--history", history, *more, "--device",
                        "ndarray", "--json")  # fmt: skip
        return json.loads(text)


def ablated(paths, num_seeds):
    """A dictionary of figures for each variant of the head; files are training and test in turn."""
    command = ["cargo", "bench", "--quiet", "--locked", "--workspace", "--bench", "ablation", "--", "--seeds", num_seeds, *paths]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"the benchmark `ablation` ended with {done.returncode}: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def time_flags(column):
    return ["--time-column", str(column)] if column else []


def write_rows(path, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def trained_and_evaluated(program, train, test, num_seeds, time_column, evaluations, more=None):
    """Of each evaluation, a name with the flags of a seed, what it found with each seed; and what `more` finds of each
    model. Rows are lists of fields."""
    found = {name: [] for name in [*evaluations, *(["more"] if more else [])]}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        train_file, test_file = folder / "train.csv", folder / "test.csv"
        write_rows(train_file, train)
        write_rows(test_file, test)
        for seed in range(1, num_seeds + 1):
            model = program.train(folder / "run", train_file, seed, time_column)
            for name, flags in evaluations.items():
                of_seed = [*flags(seed), *time_flags(time_column)]
                found[name].append(program.evaluate(model, test_file, train_file, *of_seed))
            if more:
                found["more"].append(more(program, model, folder, train, test, seed))
    return found
