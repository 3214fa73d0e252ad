"""The memory that `ipsight train` plans, and what it takes: python3 tests/long/memory_plan.py IPSIGHT [ROWS...].

Trains models of every kind with tables of ROWS rows (20,000, 300,000 and 1,000,000) on few events, and compares the plan,
mapped files included, with the process's peak of resident memory as the kernel has it (VmHWM). More runs have many events,
in text and in a prepared file, and begin from a model. Prints a line a run. Exits with 1 where a plan is off by more than
10 % and more than 32 MiB.
"""

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import time

MIB = 1 << 20
MAX_SHARE = 0.10
MAX_BYTES = 32 * MIB

ENGINE, HISTORY = '"engine"', '"history"'
IPV4, BOTH = '"ipv4"', '"both"'
# Name, detector, families, floats of a row: of 1,000,000 rows a state of 1.5 GB with 128.
KINDS = [
    ("engine, IPv4", ENGINE, IPV4, 128),
    ("engine, both families", ENGINE, BOTH, 64),
    ("history, IPv4", HISTORY, IPV4, 32),
    ("history, both families", HISTORY, BOTH, 32),
]


def write_events(path: str, num_events: int, num_entities: int, has_ipv6: bool) -> None:
    rng = random.Random(5)
    with open(path, "w", encoding="ascii") as file:
        for i in range(num_events):
            entity = i % num_entities
            if has_ipv6 and entity % 4 == 0:
                address = f"2001:db8:{entity % 60000:x}:{rng.randrange(4):x}::1"
            else:
                address = f"{1 + entity % 200}.{entity // 200 % 250}.{rng.randrange(8)}.{rng.randrange(250)}"
            file.write(f"user_{entity},{address},{1_700_000_000 + i}\n")


def high_water(pid: int) -> int:
    """Peak resident memory so far, which the kernel keeps. The maximum that wait4 tells is no less than this script's own
    memory, which the child shares before it becomes the program."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
            lines = [line.split() for line in status if line.startswith("VmHWM:")]
    except ProcessLookupError:
        return 0
    return int(lines[0][1]) * 1024 if lines else 0


def train(args: list[str], folder: str) -> tuple[int, int, str]:
    """Planned and measured bytes, and the plan's text."""
    log_path = os.path.join(folder, "log")
    with open(log_path, "wb") as log:
        child = subprocess.Popen(args, cwd=folder, stdout=subprocess.DEVNULL, stderr=log)
        peak = 0
        while child.poll() is None:
            peak = max(peak, high_water(child.pid))
            time.sleep(0.002)
    text = open(log_path, encoding="utf-8").read()
    found = re.search(r"^memory: ((\d+) MiB at most, by [^;]*(?:; (\d+) MiB with mapped files.*)?)$", text, re.MULTILINE)
    if child.returncode != 0 or not found:
        sys.exit(f"{args}: exit code {child.returncode}\n{text}")
    return int(found[3] or found[2]) * MIB, peak, found[1]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("ipsight")
    parser.add_argument("rows", nargs="*", type=int, default=[20_000, 300_000, 1_000_000])
    parser.add_argument("--events", type=int, default=2_000_000, help="of the runs with many; 0: none of them")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    ipsight = os.path.abspath(options.ipsight)
    num_wrong = 0

    def check(name: str, *more: str) -> None:
        nonlocal num_wrong
        args = [ipsight, "train", "--overwrite", "--device", "ndarray", "--output", "run", *more]
        planned, peak, plan = train(args, folder)
        difference = planned - peak
        is_right = abs(difference) <= max(MAX_SHARE * peak, MAX_BYTES)
        num_wrong += not is_right
        mark = "" if is_right else "  WRONG"
        print(f"{name:60} {planned / MIB:8.0f} {peak / MIB:8.0f} MiB  {planned / peak:.3f}{mark}", flush=True)
        if options.verbose or not is_right:
            print(f"    {plan}", flush=True)

    def settings(**values: object) -> list[str]:
        keys = {"detector": "model", "addresses": "model", "time_column": "data"}
        return [
            f"--set={keys.get(key, 'hyperparameters')}.{key}={value}" for key, value in values.items()
        ]

    # Beside the program rather than in /tmp, which may be memory.
    with tempfile.TemporaryDirectory(dir=os.path.dirname(ipsight)) as folder:
        print(f"{'':60} {'plan':>8} {'VmHWM':>8}      ratio")
        for has_ipv6 in (False, True):
            write_events(os.path.join(folder, f"few-{has_ipv6}.csv"), 30_000, 5_000, has_ipv6)
        for num_rows in options.rows:
            for kind, detector, addresses, vector_dim in KINDS:
                events = f"few-{addresses == BOTH}.csv"
                sizes = settings(num_entity_vectors=num_rows, vector_dim=vector_dim, mini_batch_size=5000, epochs=2)
                model = settings(detector=detector, addresses=addresses)
                check(f"{num_rows:,} rows x {vector_dim}, {kind}", "--train", events, "--validation", events, *sizes, *model)
        if options.events:
            write_events(os.path.join(folder, "many.csv"), options.events, options.events // 20, True)
            prepare = [ipsight, "prepare", "many.csv", "--output", "many.arrow", "--time-column", "3"]
            subprocess.run(prepare, cwd=folder, check=True, stderr=subprocess.DEVNULL)
            sizes = settings(num_entity_vectors='"auto"', vector_dim=16, mini_batch_size=10_000, epochs=1)
            timed = settings(time_column='"3"')
            for detector in (ENGINE, HISTORY):
                model = settings(detector=detector, addresses=BOTH)
                for name, *inputs in (("text", "many.csv", *timed), ("prepared", "many.arrow")):
                    check(f"{options.events:,} events, {name}, {detector}", "--train", *inputs, *sizes, *model)
            os.rename(os.path.join(folder, "run"), os.path.join(folder, "before"))
            begin = ["--init-from", "before", "--train", "many.arrow"]
            check(f"{options.events:,} events, prepared, begun from a model", *begin, *sizes, *model)
    sys.exit(num_wrong > 0)


if __name__ == "__main__":
    main()
