#!/usr/bin/env bash
# mmdb-lib 3.0.3 (npm; the reader inside the package `maxmind`), beside maxminddb 3.2.0 (PyPI), on a public table:
# @ip-location-db/geo-whois-asn-country-mmdb 2.3.2026061719 (npm).
#
# In a database of IPv4 networks only, mmdb-lib looks an IPv6 address up by its first 32 bits and returns the record of
# an IPv4 network that has nothing to do with it: 2001:db8::1 gets the record of 32.1.13.184, whose 32 bits are
# 0x20010db8. The Python reader raises ValueError.
#
#   mmdb-lib    ipv4.mmdb  2001:db8::1  [{"country_code":"US"},11]
#   mmdb-lib    ipv4.mmdb  32.1.13.184  [{"country_code":"US"},11]
#   maxminddb   ipv4.mmdb  2001:db8::1  ValueError: ... IPv6 address in an IPv4-only database
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$work" \
    mmdb-lib@3.0.3 @ip-location-db/geo-whois-asn-country-mmdb@2.3.2026061719
python3 -m venv venv
venv/bin/pip install --quiet --no-compile --disable-pip-version-check maxminddb==3.2.0
table=$work/node_modules/@ip-location-db/geo-whois-asn-country-mmdb/geo-whois-asn-country-ipv4.mmdb
cat > lookup.mjs <<'END'
import assert from "node:assert";
import { readFileSync } from "node:fs";
import { Reader } from "mmdb-lib";

const reader = new Reader(readFileSync(process.argv[2]));
assert.equal(reader.metadata.ipVersion, 4);
const seen = ["2001:db8::1", "32.1.13.184"].map((address) => JSON.stringify(reader.getWithPrefixLength(address)));
console.log("mmdb-lib  2001:db8::1", seen[0], " 32.1.13.184", seen[1]);
assert.deepEqual(seen, Array(2).fill('[{"country_code":"US"},11]'), "the behaviour changed");
END
node lookup.mjs "$table"
venv/bin/python - "$table" <<'END'
import sys

import maxminddb

reader = maxminddb.open_database(sys.argv[1])
try:
    seen = repr(reader.get("2001:db8::1"))
except ValueError as error:
    seen = f"ValueError: {error}"
print("maxminddb 2001:db8::1", seen)
assert "IPv6 address in an IPv4-only database" in seen, "the behaviour changed"
END
