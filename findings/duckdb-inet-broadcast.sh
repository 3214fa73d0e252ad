#!/usr/bin/env bash
# duckdb 1.5.5 with its extension inet (PyPI: duckdb, duckdb-extension-inet 1.5.5).
#
# broadcast() of an IPv4 network returns an address that is printed as the right one and is not equal to it: its number,
# 128 bits inside, is negative, because the upper bits are set as well. So `between network(n) and broadcast(n)` holds
# for no IPv4 address, and a join on the result finds nothing. IPv6 is right. Reported as duckdb/duckdb-inet pull
# request 30.
#
#   broadcast(inet '192.0.2.0/24')                              192.0.2.255/24
#   broadcast(inet '192.0.2.0/24') = inet '192.0.2.255/24'      false
#   broadcast(inet '2001:db8::/126') = inet '2001:db8::3/126'   true
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check duckdb==1.5.5 duckdb-extension-inet==1.5.5
"$work/venv/bin/python" - <<'END'
from pathlib import Path

import duckdb
import duckdb_extension_inet

[extension] = Path(duckdb_extension_inet.__file__).parent.glob("**/inet.duckdb_extension")
connection = duckdb.connect()
connection.execute(f"load '{extension}'")
for expression, expected in [
    ("broadcast(inet '192.0.2.0/24')::varchar", "192.0.2.255/24"),
    ("broadcast(inet '192.0.2.0/24') = inet '192.0.2.255/24'", False),
    ("inet '192.0.2.7' between network(inet '192.0.2.0/24') and broadcast(inet '192.0.2.0/24')", False),
    ("inet '192.0.2.7' <<= inet '192.0.2.0/24'", True),
    ("broadcast(inet '2001:db8::/126') = inet '2001:db8::3/126'", True),
]:
    [seen] = connection.execute(f"select {expression}").fetchone()
    print(f"{expression}: {seen}")
    assert seen == expected, f"the behaviour changed: expected {expected}"
END
