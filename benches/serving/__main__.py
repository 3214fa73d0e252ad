#!/usr/bin/env python3
"""Measures `ipsight serve`; see ../README.md.

    python3 benches/serving throughput    requests/s, latency and records/s, beside FastAPI + PyTorch
    python3 benches/serving overload      1,024 connections at twice the capacity
    python3 benches/serving slow          1,000 slow clients of three kinds beside a good one
    python3 benches/serving reloads       a storm of reloads, removals and loads of models

Needs wrk; `slow` needs slowhttptest; the peer needs benches/peers/requirements.txt. Prints Markdown.
Exit code 1: an answer was wrong or the server did not hold. A missed target of speed is reported, not an error.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import overload
import reloads
import sides
import slow
import throughput


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["throughput", "overload", "slow", "reloads"])
    parser.add_argument("--program", default=sides.ROOT / "target/release/ipsight", help="ipsight [target/release]")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "ipsight-serving", metavar="DIR",
                        help="where the model is made once and kept")  # fmt: skip
    parser.add_argument("--seconds", type=int, default=5, help="of one run of wrk")
    parser.add_argument("--rounds", type=int, default=3, help="of throughput, slow and reloads")
    parser.add_argument("--overload-seconds", type=int, default=30)
    parser.add_argument("--no-peer", action="store_true", help="throughput: ours alone")
    parser.add_argument("--peer-workers", type=int, default=1, metavar="N", help="processes of the peer")
    parser.add_argument("--python", default=sys.executable, help="the peer's Python")
    args = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk is not installed")
    sides.allow_many_sockets()
    model, events = sides.make_model(args.program, args.cache)
    measure = {"throughput": throughput, "overload": overload, "slow": slow, "reloads": reloads}[args.what].measure
    sys.exit(measure(args, model, events))


if __name__ == "__main__":
    main()
