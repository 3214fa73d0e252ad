"""What an attack on the training costs: events that an attacker must have logged before his address passes.

    cargo build --release --locked
    python3 benches/poisoning.py

An attacker has some addresses in networks that nobody uses, and wants to log in from them as somebody else without
reaching the threshold `step_up`, which 4 % of ordinary logins do. Before the next training he makes N events:

own account     of one account of his own
own accounts    of a hundred accounts of his own, in turn
victim's name   in his victims' names, as he can where failed logins are trained on, too

For each N the model is trained anew and its threshold chosen anew. The table has its AUC with the first N, and the share of
the pairs of 200 victims and his addresses (in the last case one for each victim) that the threshold lets pass. Logins are
generated; the model is that of configs/default.toml; with and without --max-events-per-ip. Python's standard library
only; about five minutes on two cores.
"""

import argparse
import csv
import io
import json
import os
import random
import subprocess
import tempfile
from ipaddress import IPv4Address
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IPSIGHT = Path(os.environ.get("IPSIGHT", ROOT / "target/release/ipsight"))
USERS, DAYS, NUM_VICTIMS, NUM_ADDRESSES, NUM_ACCOUNTS = 2000, 10, 200, 5, 100
COUNTS = [0, 1, 3, 10, 100, 1000]


def run(*args, **more):
    command = [IPSIGHT, *args]
    done = subprocess.run(command, capture_output=True, text=True, **more)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {done.returncode}: {done.stderr}")
    return done.stdout


def networks(logins):
    return {line.split(",")[1].rsplit(".", 2)[0] for line in logins.splitlines()}


def strange_addresses(rng, used, num):
    """Addresses in as many /16 networks that nobody uses."""
    found = {}
    while len(found) < num:
        address = IPv4Address(rng.getrandbits(32))
        network = str(address).rsplit(".", 2)[0]
        if address.is_global and network not in used:
            found.setdefault(network, str(address))
    return list(found.values())


def attack(kind, num_events, victims, addresses):
    """The events, and the pairs that the attacker wants to pass."""
    if kind == "victim's name":
        pairs = list(zip(victims, addresses))
        return pairs * num_events, pairs
    accounts = ["mallory"] if kind == "own account" else [f"mallory_{i}" for i in range(NUM_ACCOUNTS)]
    addresses = addresses[:NUM_ADDRESSES]
    events = [(accounts[i % len(accounts)], address) for i in range(num_events) for address in addresses]
    return events, [(victim, address) for victim in victims for address in addresses]


def share_that_passes(folder, logins, events, pairs, more):
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(events)
    (folder / "poisoned.csv").write_text(logins + text.getvalue())
    model = ["--model", folder / "run/model"]
    run("train", "--config", ROOT / "configs/default.toml", "--train", folder / "poisoned.csv", "--set",
        "data.validation=[]", *more, "--output", folder / "run", "--overwrite")  # fmt: skip
    evaluation = run("evaluate", *model, "--data", folder / "validation.csv", "--attacks", "default",
                     "--target-fpr", "step_up=0.04", "--json")  # fmt: skip
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(pairs)
    scores = run("score", *model, "--format", "jsonl", input=text.getvalue()).splitlines()
    share = sum(json.loads(score)["decision"] == "allow" for score in scores) / len(pairs)
    return share, json.loads(evaluation)["detectors"]["ipsight"]["auc"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-events-per-ip", type=int, default=10, help="the limit to measure (default: 10)")
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS, help="events, for each of his addresses")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        run("generate", "--users", str(USERS), "--days", str(DAYS), "--seed", "1", "--output", folder)
        logins = (folder / "train.csv").read_text()
        rng = random.Random(1)
        victims = rng.sample(sorted({line.split(",")[0] for line in logins.splitlines()}), NUM_VICTIMS)
        addresses = strange_addresses(rng, networks(logins), NUM_VICTIMS)
        print("| events of an address | attack | AUC | " + " | ".join(map(str, arguments.counts)) + " |")
        print("|---|---|---" + "|---" * len(arguments.counts) + "|")
        for limit in (None, arguments.max_events_per_ip):
            more = ["--max-events-per-ip", str(limit)] if limit else []
            for kind in ("own account", "own accounts", "victim's name"):
                row = []
                for num_events in arguments.counts:
                    events, pairs = attack(kind, num_events, victims, addresses)
                    share, auc = share_that_passes(folder, logins, events, pairs, more)
                    row += [f"{100 * share:.1f} %"] if row else [f"{auc:.4f}", f"{100 * share:.1f} %"]
                limits = f"at most {limit}" if limit else "all"
                print(f"| {limits} | {kind} | " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
