"""Prepared files as pyarrow writes them: src/data/tests/*.arrow.

Run with pyarrow 21: python tests/golden/make_prepared.py
"""

from pathlib import Path

import pyarrow as pa
from pyarrow import ipc

FOLDER = Path(__file__).parents[2] / "src/data/tests"
HASH = {"ipsight.entity_hash": "xxh3_64:v1"}


def write(name, columns, metadata, compression=None):
    """Twice the same batch, as an Arrow IPC file."""
    schema = pa.schema([pa.field(n, t, nullable=False) for n, t, _ in columns], metadata=metadata)
    batch = pa.record_batch([pa.array(v, t) for _, t, v in columns], schema=schema)
    options = ipc.IpcWriteOptions(compression=compression)
    with ipc.new_file(str(FOLDER / name), schema, options=options) as writer:
        writer.write_batch(batch)
        writer.write_batch(batch)


entity = ("entity", pa.uint64(), [1, 2, 3])
# 0.0.0.7, 0.0.0.8 and 2001:db8::/64.
address = ("address", pa.uint64(), [7, 8, 0x20010DB8 << 32])
time = ("time", pa.uint32(), [100, 200, 300])
of_version_2 = {**HASH, "ipsight.format": "2", "ipsight.time_base": "1700000000"}
write("pyarrow.arrow", [entity, address, time], of_version_2)
write("lz4.arrow", [entity, address, time], of_version_2, "lz4")
# What version 1 of the format was.
ip = ("ip", pa.uint32(), [7, 8, 9])
write("format_1.arrow", [entity, ip], {**HASH, "ipsight.format": "1"})
