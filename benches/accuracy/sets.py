"""The sets: how each is cut into training and test, and what is measured on it."""

import calendar
import gzip
import random
import tempfile
from ipaddress import IPv4Address
from pathlib import Path

import accounts
from program import ablated, trained_and_evaluated, write_rows

SECONDS_PER_DAY = 86_400


def attacks(*kinds):
    """The flags of a seed: as many attacks of each kind as there are events."""
    return lambda seed: ["--attacks", *(f"{kind}=1" for kind in kinds), "--seed", seed]


def online(seed):
    return [*attacks("other_users")(seed), "--online"]


# Addresses of other users, by counts that stand still at the end of the training and by counts that move with the
# test; and other kinds of attacks.
EVALUATIONS = {"frozen": attacks("other_users"), "online": online, "others": attacks("neighbour", "uniform")}


def rows(path):
    """Fields of the lines of a file in gzip; a line holds neither quotes nor commas in fields."""
    with gzip.open(path, "rt") as file:
        return [line.rstrip("\n").split(",") for line in file]


def real_events(data, name, families=("events",)):
    """`entity, ip, time` in the order of the times."""
    events = [row for family in families for row in rows(data / "real" / name / f"{family}.csv.gz")]
    return sorted(events, key=lambda row: int(row[2]))


def cut_in_time(events, share=0.8):
    """The first events and the others; events of one second stay together."""
    cut = int(share * len(events))
    while events[cut][2] == events[cut - 1][2]:
        cut += 1
    return events[:cut], events[cut:]


def described(train, test):
    entities = {row[0] for row in train}
    seen = sum(row[0] in entities for row in test) / len(test)
    return {"num_train": len(train), "num_test": len(test), "num_entities": len(entities), "share_seen": seen}


def split_set(name, families=("events",), more=None):
    """80/20 in time, with counts that stand still and with counts that move."""

    def measure(program, data, num_seeds):
        train, test = cut_in_time(real_events(data, name, families))
        found = trained_and_evaluated(program, train, test, num_seeds, 3, EVALUATIONS, more)
        return {"kind": "split", **described(train, test), **found}

    return measure


def half_years(events):
    """The start of each half-year, the events before it and its own."""
    for year, month in HALF_YEARS:
        start = calendar.timegm((year, month, 1, 0, 0, 0))
        end = start + 180 * SECONDS_PER_DAY
        train = [row for row in events if int(row[2]) < start]
        yield f"{year}-{month:02d}", train, [row for row in events if start <= int(row[2]) < end]


HALF_YEARS = [(year, month) for year in range(2010, 2017) for month in (1, 7)][1:13]


def rolling_set(name):
    """Twelve half-years, each of them with a model of all that was before."""

    def measure(program, data, num_seeds):
        folds = []
        for start, train, test in half_years(real_events(data, name)):
            found = trained_and_evaluated(program, train, test, num_seeds, 3, EVALUATIONS)
            folds.append({"start": start, **described(train, test), **found})
        return {"kind": "folds", "folds": folds}

    return measure


LABELS = ["--labels", "--kind-column", "4"]


def generated_set(program, data, num_seeds):
    """Logins of a known generative model, and as many attacks on the same accounts of each kind."""
    kinds = ["address_ranges=1", "uniform_ipv4=1", "other_users=1", "neighbour=1"]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        program.run("generate", "--users", 10_000, "--days", 10, "--seed", 1, "--attacks", *kinds, "--output", folder)
        found = {"frozen": []}
        for seed in range(1, num_seeds + 1):
            model = program.train(folder / "run", folder / "train.csv", seed, None)
            found["frozen"].append(program.evaluate(model, folder / "test_labelled.csv", folder / "train.csv", *LABELS,
                                                    "--truth", folder / "truth.csv"))  # fmt: skip
        train = [line.split(",") for line in (folder / "train.csv").read_text().splitlines()]
        test = [line.split(",") for line in (folder / "test.csv").read_text().splitlines()]
    return {"kind": "generated", **described(train, test), **found}


def logins_set(program, data, num_seeds):
    """Logins that another program generated, and as many attacks of each kind on the same accounts. logins/ranges.csv is
    the table of address ranges that they were made from: `first,last,...`, addresses as numbers."""
    train, test = rows(data / "logins/train.csv.gz"), rows(data / "logins/test.csv.gz")
    with open(data / "logins/ranges.csv") as file:
        ranges = [tuple(map(int, line.split(",")[:2])) for line in file]
    random_numbers = random.Random(1)
    kinds = {
        "address_ranges": lambda: random_numbers.randint(*random_numbers.choice(ranges)),
        "uniform_ipv4": lambda: random_numbers.getrandbits(32),
    }
    labelled = [[*row, "0", ""] for row in test]
    for kind, draw in kinds.items():
        labelled += [[entity, str(IPv4Address(draw())), "1", kind] for entity, _ in test]
    found = trained_and_evaluated(program, train, labelled, num_seeds, None, {"frozen": lambda seed: LABELS})
    return {"kind": "generated", **described(train, test), **found}


def ablation(program, data, num_seeds):
    """Heads that lack one part, by the benchmark of that name."""
    splits = {name: [cut_in_time(real_events(data, name))] for name in ("tor", "irc_ubuntu")}
    splits["irc_duraspace_folds"] = [fold[1:] for fold in half_years(real_events(data, "irc_duraspace"))]
    found = {}
    for name, parts in splits.items():
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / str(number) for number in range(2 * len(parts))]
            for path, events in zip(paths, (events for part in parts for events in part)):
                write_rows(path, events)
            found[name] = ablated(paths, num_seeds)
    return {"kind": "ablation", "sets": found, "seeds": num_seeds}


ALL = {
    "tor": split_set("tor"),
    "tor_both": split_set("tor", ("events", "events6")),
    "irc_ubuntu": split_set("irc_ubuntu", more=accounts.interval),
    "irc_duraspace": split_set("irc_duraspace", more=accounts.interval),
    "irc_duraspace_folds": rolling_set("irc_duraspace"),
    "generated": generated_set,
    "logins": logins_set,
    "ablation": ablation,
}
