#!/usr/bin/env python3
"""Measures how well the recommended model and the detectors beside it tell attacks, and writes docs/accuracy.md.

    python3 benches/accuracy --data DATA                  all sets
    python3 benches/accuracy --data DATA --set tor        one set; the others keep what was measured before

DATA has real/SET/events.csv.gz (and events6.csv.gz: IPv6), `entity,ip,time`, and logins/{train,test}.csv.gz with
logins/ranges.csv, the address ranges that these were made from (`first,last` as numbers). Needs a release build of ipsight and Python's standard library only. What was measured is
kept as target/accuracy/SET.json, and docs/accuracy.md is written from all of these.
"""

import argparse
import json
import subprocess
import time
from pathlib import Path

import document
import sets
from program import ROOT, Program


def version(program):
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT)
    return f"{program.run('--version').strip()}, commit {commit.stdout.strip() or 'unknown'}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the folder of the sets")
    parser.add_argument("--set", action="append", choices=list(sets.ALL), metavar="SET",
                        help=f"measure this set only, may be repeated: {', '.join(sets.ALL)}")  # fmt: skip
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings of each set [3]")
    parser.add_argument("--config", type=Path, default=ROOT / "configs/default.toml", help="[configs/default.toml]")
    parser.add_argument("--program", type=Path, default=ROOT / "target/release/ipsight", help="[target/release/ipsight]")
    parser.add_argument("--results", type=Path, default=ROOT / "target/accuracy", metavar="DIR", help="[target/accuracy]")
    parser.add_argument("--document", type=Path, default=ROOT / "docs/accuracy.md", help="[docs/accuracy.md]")
    args = parser.parse_args()
    args.results.mkdir(parents=True, exist_ok=True)
    program = Program(args.program, args.config)
    for name in args.set or sets.ALL:
        start = time.monotonic()
        measured = sets.ALL[name](program, args.data, args.seeds) | {"name": name, "version": version(program)}
        (args.results / f"{name}.json").write_text(json.dumps(measured))
        print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
    kept = {name: args.results / f"{name}.json" for name in sets.ALL}
    found = [json.loads(path.read_text()) for path in kept.values() if path.exists()]
    args.document.parent.mkdir(exist_ok=True)
    args.document.write_text(document.text(found))


if __name__ == "__main__":
    main()
