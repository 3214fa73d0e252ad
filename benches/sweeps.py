"""What a sweep costs beside its trainings, how busy it keeps the cores, and what early stopping saves.

    cargo build --release --locked
    python3 benches/sweeps.py overhead | busy | asha

All on the parameters of configs/sweeps/quick.toml and generated logins, on the CPU. Python's standard library only.

overhead  a sweep of one job beside `ipsight train` with the same configurations, one after the other: per trial, the
          time from its beginning to its end in the sweep, less that of the training alone
busy      a random search with as many jobs as there are cores: the share of their time in which they are not idle
          (/proc/stat, so whatever else runs counts, too), data preparation left out
asha      random search beside ASHA over the same random configurations, seeds 1 to 5: the epochs that ASHA trains
          until a completed trial is as good as the best of the random search, as a share of the epochs of that; it gets
          half of them
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IPSIGHT = Path(os.environ.get("IPSIGHT", ROOT / "target/release/ipsight"))


def sweep_file(folder, name, seed, budget, epochs, early_stopping=None):
    """Writes the parameters of quick.toml as another sweep, and returns its path."""
    quick = tomllib.loads((ROOT / "configs/sweeps/quick.toml").read_text())
    lines = [f'base = {json.dumps(str(ROOT / "configs/quickstart.toml"))}', 'method = "random"', f"seed = {seed}"]
    tables = {"budget": budget, "early_stopping": early_stopping, "config.hyperparameters": {"epochs": epochs}}
    tables |= {f"parameters.{key}": table for key, table in quick["parameters"].items()}
    for table, values in tables.items():
        if values:
            lines += [f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    path = folder / f"{name}.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def sweep(folder, name, path, jobs=1):
    """Runs a sweep; its events, each with the time at which it was told."""
    command = [IPSIGHT, "sweep", "--config", path, "--output", folder / name, "--jobs", str(jobs), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    events = [json.loads(line) | {"time": time.monotonic()} for line in process.stdout]
    if process.wait() != 0:
        sys.exit(f"the sweep by {path.read_text()} ended with {process.returncode}")
    return events


def overhead(folder):
    path = sweep_file(folder, "overhead", 1, {"trials": 9}, 3)
    events = sweep(folder, "overhead", path)
    times = {}
    for event in events:
        if event["event"] in ("began", "finished"):
            times.setdefault(event["trial"], []).append(event["time"])
    found = []
    for trial, (begin, end) in times.items():
        config = folder / f"overhead/trials/{trial:05}/run-0.toml"
        command = [IPSIGHT, "train", "--config", config, "--output", folder / f"alone-{trial}", "--json"]
        start = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        alone = time.monotonic() - start
        found.append(end - begin - alone)
        print(f"trial {trial}: {end - begin:.3f} s in the sweep, {alone:.3f} s alone, {found[-1]:+.3f} s")
    print(f"overhead per trial: median {statistics.median(found):.3f} s, at most {max(found):.3f} s (wanted: below 0.5)")


def busy(folder):
    jobs = sum(line.startswith("processor") for line in open("/proc/cpuinfo"))
    path = sweep_file(folder, "busy", 1, {"trials": 12}, 9)
    command = [IPSIGHT, "sweep", "--config", path, "--output", folder / "busy", "--jobs", str(jobs), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    process.stdout.readline()  # the first trial has begun
    before, last, begun = ticks(), None, 1
    for line in process.stdout:
        event = json.loads(line)
        begun += event["event"] == "began"
        # With the last trials there are fewer left than cores.
        if event["event"] == "finished" and begun == 12 and last is None:
            last = ticks()
    process.wait()
    idle, total = (b - a for a, b in zip(before, last))
    print(f"{jobs} cores busy: {1 - idle / total:.1%} (wanted: over 90 %)")


def ticks():
    """Idle and all ticks of all cores since the machine started."""
    numbers = [int(word) for word in open("/proc/stat").readline().split()[1:9]]
    return numbers[3] + numbers[4], sum(numbers)


def asha(folder, num_trials=27, epochs=9):
    shares = []
    for seed in range(1, 6):
        path = sweep_file(folder, f"random-{seed}", seed, {"trials": num_trials}, epochs)
        best = max(event["value"] for event in sweep(folder, f"random-{seed}", path, 2) if event["event"] == "finished")
        total = num_trials * epochs
        rule = {"method": "asha", "min_epochs": 1, "reduction_factor": 3}
        path = sweep_file(folder, f"asha-{seed}", seed, {"epochs": total // 2}, epochs, rule)
        trained, reached, found = 0, None, 0.0
        for event in sweep(folder, f"asha-{seed}", path, 2):
            trained += event["event"] == "epoch"
            if event["event"] == "finished" and event["state"] == "complete":
                found = max(found, event["value"])
                if reached is None and found >= best:
                    reached = trained
        share = reached / total if reached else float("inf")
        shares.append(share)
        print(f"seed {seed}: random {best:.6f} in {total} epochs; ASHA as good after {reached} ({share:.2f}), "
              f"{found:.6f} after {trained}", flush=True)
    print(f"median share of epochs: {statistics.median(shares):.2f} (wanted: at most 0.33)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["overhead", "busy", "asha"])
    what = parser.parse_args().what
    with tempfile.TemporaryDirectory() as root:
        {"overhead": overhead, "busy": busy, "asha": asha}[what](Path(root))
