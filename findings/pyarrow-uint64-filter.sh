#!/usr/bin/env bash
# pyarrow 26.0.1 (PyPI), also through pandas 3.1.1.
#
# A filter that compares a uint64 column with a Python integer casts the column to int64. A value of 2**63 or more in any
# row, not only in the one that is looked for, makes it an error; a literal of that size is another. About half of all
# 64-bit hashes are that large. With a literal of type uint64 it works.
#
#   filters=[("entity", "==", 5)]          ArrowInvalid: Integer value 9223372036854775809 not in range: ...
#   filters=[("entity", "==", 2**63 + 1)]  OverflowError: Python int too large to convert to C long
#   field("entity") == scalar(5, uint64()) one row
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check pyarrow==26.0.1 pandas==3.1.1
cd "$work"
venv/bin/python - <<'END'
import pandas
import pyarrow
import pyarrow.compute
import pyarrow.parquet

table = pyarrow.table({
    "entity": pyarrow.array([5, 2**63 + 1], pyarrow.uint64()),
    "ip": ["192.0.2.1", "192.0.2.2"],
})
pyarrow.parquet.write_table(table, "events.parquet")


def outcome(read):
    try:
        return f"{len(read())} row"
    except (pyarrow.ArrowInvalid, OverflowError) as error:
        return f"{type(error).__name__}: {error}"


def typed(value):
    return pyarrow.compute.field("entity") == pyarrow.scalar(value, pyarrow.uint64())


small, large = [("entity", "==", 5)], [("entity", "==", 2**63 + 1)]
for name, read, expected in [
    ("pyarrow, 5", lambda: pyarrow.parquet.read_table("events.parquet", filters=small), "ArrowInvalid: Integer value"),
    ("pandas, 5", lambda: pandas.read_parquet("events.parquet", filters=small), "ArrowInvalid: Integer value"),
    ("pyarrow, 2**63 + 1", lambda: pyarrow.parquet.read_table("events.parquet", filters=large), "OverflowError"),
    ("pyarrow, uint64 5", lambda: pyarrow.parquet.read_table("events.parquet", filters=typed(5)), "1 row"),
    ("pyarrow, uint64 2**63 + 1", lambda: pyarrow.parquet.read_table("events.parquet", filters=typed(2**63 + 1)), "1 row"),
]:
    seen = outcome(read)
    print(f"{name}: {seen}")
    assert seen.startswith(expected), f"the behaviour changed: expected {expected}"
END
