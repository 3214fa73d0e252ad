"""What an attack on the training costs: events that an attacker must have logged before his address passes.

    cargo build --release --locked
    python3 benches/poisoning.py

An attacker has some addresses in networks that nobody uses, and wants to log in from them as somebody else without
passing the threshold `step_up`, which 1 % of ordinary logins pass. Before the next training he makes N events:

own account     of one account of his own
own accounts    of a hundred accounts of his own, in turn
victim's name   in his victims' names, as he can where failed logins are trained on, too

For each N the model is trained anew and its threshold chosen anew; told is the share of the pairs of 200 victims and his
addresses (in the last case one for each victim) that the threshold lets pass. Logins are generated; configs/quickstart.toml
with memory and prefixes, and with bits alone as in the reference system; with and without --max-events-per-ip. Python's
standard library only; about ten minutes on two cores.
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
COUNTS = [0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10000]
MODELS = {
    "memory and prefixes": [],
    "bits alone": ["--set", "model.ip_encoder=bits", "--set", "model.memory_cells=0"],
}


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
    run("train", "--config", ROOT / "configs/quickstart.toml", "--train", folder / "poisoned.csv", "--set",
        "data.validation=[]", *more, "--output", folder / "run", "--overwrite")  # fmt: skip
    run("evaluate", *model, "--data", folder / "validation.csv", "--attacks", "default", "--target-fpr", "step_up=0.01")
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(pairs)
    scores = run("score", *model, "--format", "jsonl", input=text.getvalue()).splitlines()
    return sum(json.loads(score)["decision"] == "allow" for score in scores) / len(pairs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-events-per-ip", type=int, default=100, help="the limit to measure (default: 100)")
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS, help="events, for each of his addresses")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        run("generate", "--users", str(USERS), "--days", str(DAYS), "--seed", "1", "--output", folder)
        logins = (folder / "train.csv").read_text()
        rng = random.Random(1)
        victims = rng.sample(sorted({line.split(",")[0] for line in logins.splitlines()}), NUM_VICTIMS)
        addresses = strange_addresses(rng, networks(logins), NUM_VICTIMS)
        print("| model | limit | events | " + " | ".join(map(str, arguments.counts)) + " |")
        print("|---|---|---" + "|---" * len(arguments.counts) + "|")
        for model, settings in MODELS.items():
            for limit in (None, arguments.max_events_per_ip):
                more = [*settings, *(["--max-events-per-ip", str(limit)] if limit else [])]
                for kind in ("own account", "own accounts", "victim's name"):
                    shares = []
                    for num_events in arguments.counts:
                        events, pairs = attack(kind, num_events, victims, addresses)
                        shares.append(f"{100 * share_that_passes(folder, logins, events, pairs, more):.1f} %")
                    limits = f"{limit} an address" if limit else "none"
                    print(f"| {model} | {limits} | {kind} | " + " | ".join(shares) + " |", flush=True)


if __name__ == "__main__":
    main()
