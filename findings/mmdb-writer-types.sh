#!/usr/bin/env bash
# mmdb-writer 0.2.7 (PyPI), read back with maxminddb 3.2.0.
#
# The writer stores equal values of a file once, and looks them up in a Python dictionary, in which True, 1 and 1.0
# are the same key. The first of them to be written gives its type to all later ones, in other records too:
#
#   written {'anycast': True, 'asn': 1}      read {'anycast': True, 'asn': True}
#   written {'asn': 1, 'anycast': True}      read {'asn': 1, 'anycast': 1}
#   written radius 1, then latitude 1.0      read 1 and 1
#
# The specification of MaxMind DB has separate types for booleans, integers and doubles.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check mmdb-writer==0.2.7 netaddr==1.3.0 maxminddb==3.2.0
cd "$work"
venv/bin/python - <<'END'
import maxminddb
from mmdb_writer import MMDBWriter
from netaddr import IPSet


def written_and_read(*records):
    writer = MMDBWriter(4, "Test", languages=["en"], description="test")
    networks = ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"]
    for network, record in zip(networks, records):
        writer.insert_network(IPSet([network]), record)
    writer.to_db_file("test.mmdb")
    with maxminddb.open_database("test.mmdb") as reader:
        return [reader.get(network.split("/")[0]) for network in networks[: len(records)]]


for records, expected in [
    ([{"anycast": True, "asn": 1}], [{"anycast": True, "asn": True}]),
    ([{"asn": 1, "anycast": True}], [{"asn": 1, "anycast": 1}]),
    ([{"radius": 1}, {"latitude": 1.0}], [{"radius": 1}, {"latitude": 1}]),
    ([{"hosting": False}, {"reports": 0}], [{"hosting": False}, {"reports": False}]),
]:
    seen = written_and_read(*records)
    print("written", records, "read", seen)
    # repr tells True from 1; == does not.
    assert repr(seen) == repr(expected), f"the behaviour changed: expected {expected}"
END
