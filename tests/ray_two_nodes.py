"""A sweep on a Ray cluster of two nodes comes to what it comes to without Ray, though it is stopped by a signal, goes
on with --resume, and loses one of the nodes in the middle.

    ray_two_nodes.py IPSIGHT EXAMPLE

IPSIGHT is the program and EXAMPLE examples/ray_sweep.py. Works in the current folder, which may be empty.
"""

import contextlib
import csv
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

# Ray's folder holds Unix sockets, whose paths are short. Without this, the cluster would be the one that other programs
# of this machine find, too.
RAY_FOLDER = tempfile.TemporaryDirectory(prefix="ray", dir="/tmp")
os.environ.update(RAY_TMPDIR=RAY_FOLDER.name, RAY_USAGE_STATS_ENABLED="0")
# The nodes listen on the network.
os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
Path(RAY_FOLDER.name, "ray").mkdir()

from ray.cluster_utils import Cluster  # noqa: E402

IPSIGHT, EXAMPLE = sys.argv[1:]
PATIENCE = 240  # seconds until what does not happen has failed
TRIALS, EPOCHS = 8, 240

BASE = f"""
[hyperparameters]
num_entity_vectors = 400
vector_dim = 8
mini_batch_size = 500
learning_rate = 0.02
epochs = {EPOCHS}
[training]
device = "ndarray"
[data.generated]
users = 100
days = 10
seed = 3
"""

# The metric needs an evaluation: those go through Ray, too.
SWEEP = f"""
base = "base.toml"
method = "random"
metric = "evaluation.auc"
seed = 5
[budget]
trials = {TRIALS}
[evaluation]
attacks = ["other_users=0.5"]
[parameters.learning_rate]
log_uniform = [0.001, 0.1]
[parameters.weight_decay]
values = [0.0, 0.0001]
"""

# Columns of trials.csv that are not the same each time.
MEASURED = {"seconds", "wall_seconds", "positives_per_second", "started", "ended"}


def main():
    # As in the background of a script. Ray cancels tasks by this signal, nevertheless.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Path("base.toml").write_text(BASE)
    Path("sweep.toml").write_text(SWEEP)
    sweep = ["--config", "sweep.toml", "--jobs", "2", "--json"]
    plain = subprocess.run([IPSIGHT, "sweep", *sweep, "--output", "plain"], capture_output=True, text=True)
    assert plain.returncode == 0, plain.stderr
    head, doomed, stopped, victims = sweep_on_two_nodes([*sweep, "--output", "ray"])
    check_logs(head, doomed, stopped, victims)
    check_events()
    check_journal()
    assert outcomes("ray") == outcomes("plain"), (outcomes("ray"), outcomes("plain"))
    weights = [Path(folder, "best/model.safetensors").read_bytes() for folder in ("ray", "plain")]
    assert weights[0] == weights[1], "another model is the best"


def sweep_on_two_nodes(sweep):
    """Stops a sweep on two nodes of one CPU each, goes on with it, and kills a node.

    Returns the nodes, of which the second is killed, the trials that were stopped, and those that were killed.
    """
    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        head = cluster.head_node.node_id
        doomed = cluster.add_node(**node)
        with driver(cluster.address, sweep) as running:
            stopped = wait_for(lambda: in_the_middle_on(head), running)
            running.terminate()
            expect(143, running)
        with driver(cluster.address, [*sweep, "--resume"]) as running:
            victims = wait_for(lambda: in_the_middle_on(doomed.node_id), running)
            cluster.remove_node(doomed, allow_graceful=False)
            expect(0, running)
        return head, doomed.node_id, stopped, victims
    finally:
        cluster.shutdown()


@contextlib.contextmanager
def driver(address, sweep):
    """Runs the example. What it says is behind what was said before."""
    command = [sys.executable, EXAMPLE, "--ray-address", address, "--ipsight", IPSIGHT, "--", *sweep]
    with open("events.jsonl", "a") as events, open("talk", "a") as talk:
        running = subprocess.Popen(command, stdout=events, stderr=talk)
    try:
        yield running
    finally:
        running.kill()


def expect(code, process):
    found = process.wait(PATIENCE)
    assert found == code, f"{found}, not {code}\n{Path('talk').read_text()}"


def wait_for(condition, process):
    start = time.monotonic()
    while time.monotonic() - start < PATIENCE:
        found = condition()
        if found:
            return found
        assert process.poll() is None, f"it ended before\n{Path('talk').read_text()}"
        time.sleep(0.02)
    raise AssertionError(f"this did not happen\n{Path('talk').read_text()}")


def in_the_middle_on(node):
    """Trials that are trained on a node at this time, for the first time, and have a while to go."""
    return [trial for trial in range(TRIALS) if nodes_of(trial) == [node] and 2 <= len(epochs_of(trial)) < EPOCHS // 6]


def log_of(trial):
    path = Path(f"ray/trials/{trial:05}/log")
    return path.read_text() if path.exists() else ""


def nodes_of(trial):
    """The nodes that its processes ran on, one after the other."""
    return re.findall(r"^ray: runs on node (\w+)", log_of(trial), re.MULTILINE)


def epochs_of(trial):
    """The epochs in a training's records, the last of which may be half a line."""
    path = Path(f"ray/trials/{trial:05}/run-0/metrics.jsonl")
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    records = [json.loads(line) for line in lines if line.endswith("\n")]
    return [record["epoch"] for record in records if record["event"] == "epoch"]


def check_logs(head, doomed, stopped, victims):
    """What was stopped, and what ran on the node that died, went on where it was."""
    for trial in stopped:
        assert "ray: cancelled" in log_of(trial) and "going on from " in log_of(trial), log_of(trial)
    for trial in victims:
        # The training on both, and the evaluation.
        assert nodes_of(trial) == [doomed, head, head], (trial, nodes_of(trial), log_of(trial))
        assert log_of(trial).count("going on from ") == 1, log_of(trial)
    for trial in range(TRIALS):
        assert epochs_of(trial) == list(range(EPOCHS)), (trial, epochs_of(trial))


def check_events():
    """Each trial begins and ends once, and each of its epochs is told once."""
    events = [json.loads(line) for line in Path("events.jsonl").read_text().splitlines()]
    told = Counter((event["event"], event.get("trial"), event.get("num_epochs")) for event in events)
    goes_on = [key for key in told if key[0] == "goes_on"]
    assert goes_on, told
    for key in goes_on:
        del told[key]
    expected = Counter({("done", None, None): 2})  # both commands came to their end
    for trial in range(TRIALS):
        expected.update([("began", trial, None), ("finished", trial, None)])
        expected.update(("epoch", trial, epoch) for epoch in range(1, EPOCHS + 1))
    assert told == expected, (told - expected, expected - told)
    finished = [event for event in events if event["event"] == "finished"]
    assert all(event["state"] == "complete" for event in finished), finished


def check_journal():
    create, finish, report, complete = 4, 6, 7, 1  # as Optuna numbers them
    lines = [json.loads(line) for line in Path("ray/journal.log").read_text().splitlines()]
    assert sum(line["op_code"] == create for line in lines) == TRIALS
    ends = [(line["trial_id"], line["state"]) for line in lines if line["op_code"] == finish]
    assert sorted(ends) == [(trial, complete) for trial in range(TRIALS)], ends
    reports = Counter((line["trial_id"], line["step"]) for line in lines if line["op_code"] == report)
    assert len(reports) == TRIALS * EPOCHS and set(reports.values()) == {1}, reports


def outcomes(folder):
    """What a sweep's trials came to, but for times."""
    with open(f"{folder}/trials.csv", newline="") as file:
        return [{name: row[name] for name in row if name not in MEASURED} for row in csv.DictReader(file)]


main()
