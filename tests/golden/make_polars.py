"""Writes src/data/tests/polars_int128.parquet: what Polars makes of two rows with a column of its type Int128, whose Arrow
schema in the file's metadata no other reader of Arrow knows. Written with Polars 2.1.0."""

from pathlib import Path

import polars

ROOT = Path(__file__).parents[2]
frame = polars.DataFrame(
    {"entity": ["user_1", "user_2"], "ip": ["203.0.113.7", "198.51.100.9"], "number": [1, -(2**100)]},
    schema={"entity": polars.String, "ip": polars.String, "number": polars.Int128},
)
frame.write_parquet(ROOT / "src/data/tests/polars_int128.parquet", compression="zstd", statistics=False)
