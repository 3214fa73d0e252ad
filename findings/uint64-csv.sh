#!/usr/bin/env bash
# pyarrow 26.0.1, polars 2.1.0 and duckdb 2.0.1 (PyPI), on one CSV file of 64-bit hashes.
#
# Where a column of integers has a value of 2**63 or more, none of the three reads it as uint64. PyArrow takes double
# and two hashes become one number, with no warning. Polars takes Int128 and DuckDB HUGEINT, which keep the values;
# but a Parquet file of Polars with an Int128 column cannot be opened by PyArrow, not even for another column, DuckDB
# reads that column as a BLOB with the lowest byte first, and DuckDB's own Parquet file has doubles.
#
#   9223372036854775809, 9223372036854775810
#   pyarrow CSV                 double, 1 distinct value
#   polars CSV                  Int128, 2 distinct values
#   duckdb CSV                  HUGEINT, 2 distinct values
#   polars Parquet, by pyarrow  ArrowNotImplementedError: Integers with more than 64 bits not implemented
#   polars Parquet, by duckdb   BLOB, 01 00 00 00 00 00 00 80 00 ...
#   duckdb Parquet, by duckdb   DOUBLE, 1 distinct value
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check pyarrow==26.0.1 polars==2.1.0 duckdb==2.0.1
cd "$work"
venv/bin/python - <<'END'
import duckdb
import polars
import pyarrow
import pyarrow.csv
import pyarrow.parquet

hashes = [2**63 + 1, 2**63 + 2]
with open("events.csv", "w") as file:
    file.write("entity,ip\n" + "".join(f"{h},192.0.2.{i}\n" for i, h in enumerate(hashes)))


def duckdb_sees(path):
    [(kind, count)] = duckdb.sql(
        f"select any_value(typeof(entity)), count(distinct entity) from '{path}'"
    ).fetchall()
    return kind, count


def check(name, seen, expected):
    print(f"{name}: {seen}")
    assert seen == expected, f"the behaviour changed: expected {expected}"


column = pyarrow.csv.read_csv("events.csv")["entity"]
check("pyarrow CSV", (str(column.type), len(column.unique())), ("double", 1))
frame = polars.read_csv("events.csv")
check("polars CSV", (str(frame["entity"].dtype), frame["entity"].n_unique()), ("Int128", 2))
check("duckdb CSV", duckdb_sees("events.csv"), ("HUGEINT", 2))

frame.write_parquet("polars.parquet")
try:
    seen = pyarrow.parquet.read_table("polars.parquet", columns=["ip"]).num_rows
except pyarrow.ArrowNotImplementedError as error:
    seen = str(error)
check("polars Parquet, column ip, by pyarrow", seen, "Integers with more than 64 bits not implemented")
blobs = duckdb.sql("select entity from 'polars.parquet'").fetchall()
check("polars Parquet, by duckdb", blobs, [(h.to_bytes(16, "little"),) for h in hashes])
duckdb.sql("copy (from 'events.csv') to 'duckdb.parquet'")
check("duckdb Parquet, by duckdb", duckdb_sees("duckdb.parquet"), ("DOUBLE", 1))
END
