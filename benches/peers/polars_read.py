#!/usr/bin/env python3
"""Polars as the peer of the reading benchmark: `read_csv` of two text columns, without hashing or parsing them.

It speaks the protocol of ../README.md on stdin and stdout:

    {"do": "read", "path": ...}      {"seconds": ..., "rows": ...}
"""

import argparse
import os
import time

from peer_protocol import serve, skip

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--threads", type=int, default=2)
ARGS = parser.parse_args()
# Read when polars is loaded.
os.environ["POLARS_MAX_THREADS"] = str(ARGS.threads)

try:
    import polars as pl
except ImportError as missing:
    skip(missing)


def read(path):
    # Without the types it would look for them first.
    types = [pl.String, pl.String]
    start = time.perf_counter()
    frame = pl.read_csv(path, has_header=False, new_columns=["entity", "ip"], schema_overrides=types)
    return {"seconds": time.perf_counter() - start, "rows": frame.height}


if __name__ == "__main__":
    serve({"peer": f"polars {pl.__version__}", "threads": pl.thread_pool_size()}, {"read": read})
