"""Whether clients that are slow on purpose hold up those that are not."""

import re
import shutil
import subprocess
import sys
import time

from load import Load, count, duration, spread, table
from sides import Busy, ipsight, started

CONNECTIONS = 1000
# Of the connections to the server, opened at this rate a second.
RATE = 500
# To open them, and to keep them for a moment.
SETTLE_SECONDS = 4
GOOD = Load("json", records=1, connections=4)


def attacks(url):
    """slowhttptest's arguments by name."""
    return {
        "slow headers (-H)": ["-H", "-i", "2", "-x", "24", "-t", "GET", "-u", f"{url}/ping"],
        "slow bodies (-B)": ["-B", "-i", "2", "-x", "10", "-s", "8192", "-t", "POST", "-f", "text/csv",
                             "-u", f"{url}/invocations"],
        "slow readers (-X)": ["-X", "-k", "10", "-n", "2", "-w", "16", "-y", "64", "-z", "8", "-t", "GET",
                              "-u", f"{url}/openapi.json"],
    }  # fmt: skip


def measure(args, model, events):
    if not shutil.which("slowhttptest"):
        sys.exit("slowhttptest is not installed")
    rows, failures = [], []
    with started(ipsight(args.program, model)) as (side,):
        GOOD.run(side, events, 2)
        busy = Busy([side])
        for name, attack in attacks(side.url).items():
            rounds = [attacked(args, side, events, attack) for _ in range(args.rounds)]
            row, found = judge(name, rounds)
            rows.append(row)
            failures += found
        others = busy.others()
    head = ["attack", "connections held at most", "p99 without", "p99 with", "ratio (target: at most 2)",
            "requests/s without", "with", "bad answers", "socket errors"]  # fmt: skip
    print(table(head, rows))
    print(f"\n{CONNECTIONS} slow connections; the good client: {GOOD.connections} connections, {args.seconds} s each; "
          f"medians of {args.rounds} rounds; others had {others:.0%} of the machine.")  # fmt: skip
    for failure in failures:
        print(f"**{failure}**")
    return 1 if failures else 0


def attacked(args, side, events, attack):
    """(figures without the attack, figures with it, connections that it held at most) of one round."""
    before = GOOD.run(side, events, args.seconds)
    length = SETTLE_SECONDS + args.seconds + 2
    command = ["slowhttptest", "-c", str(CONNECTIONS), "-r", str(RATE), "-l", str(length), "-p", "5", *attack]
    attacker = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )  # fmt: skip
    time.sleep(SETTLE_SECONDS)
    during = GOOD.run(side, events, args.seconds)
    output, _ = attacker.communicate()
    if "Error:" in output:
        sys.exit(f"slowhttptest: {output}")
    return before, during, greatest_connected(output)


def judge(name, rounds):
    """A row of the table, and what is not as it should be, in words."""
    before, during, held = zip(*rounds)
    ratio, median = spread([d["p99_us"] / b["p99_us"] for b, d in zip(before, during)], lambda ratio: f"{ratio:.2f}")
    p99s = [spread([f["p99_us"] for f in figures], duration)[0] for figures in (before, during)]
    rates = [spread([f["rate"] for f in figures], count)[0] for figures in (before, during)]
    bad, errors = (sum(f[key] for f in during) for key in ("status_errors", "socket_errors"))
    failures = []
    if median > 2:
        failures.append(f"{name}: p99 is {median:.2f} times what it was")
    if bad or errors:
        failures.append(f"{name}: {bad} bad answers, {errors} socket errors")
    if min(held) < CONNECTIONS // 2:
        failures.append(f"{name}: only {min(held)} connections were held at most, this was no attack")
    return [name, min(held), *p99s, ratio, *rates, bad, errors], failures


def greatest_connected(output):
    """slowhttptest says every few seconds how many connections it has."""
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", output)
    return max((int(number) for number in re.findall(r"connected:\s*(\d+)", plain)), default=0)
