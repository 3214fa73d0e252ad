#!/usr/bin/env bash
# anonip 1.1.0 (PyPI), a filter that masks addresses in access logs.
#
# It masks the last 12 bits of an IPv4 address and the last 84 of an IPv6 address, and takes the IPv4-mapped form, in
# which servers that listen on both families write their IPv4 clients, as the latter. Nothing of the address is left:
# the whole IPv4 internet becomes `::`, while the plain form keeps 20 bits.
#
#   192.0.2.77           192.0.0.0
#   ::ffff:192.0.2.77    ::
#   ::ffff:203.0.113.9   ::
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check anonip==1.1.0
for pair in '192.0.2.77 192.0.0.0' '203.0.113.9 203.0.112.0' '::ffff:192.0.2.77 ::' '::ffff:203.0.113.9 ::' \
    '2001:db8:1:2::3 2001:db8::'; do
    read -r address expected <<<"$pair"
    seen=$(echo "$address - alice" | "$work/venv/bin/anonip")
    echo "$address: $seen"
    [[ $seen == "$expected - alice" ]] || { echo "the behaviour changed: expected $expected" >&2; exit 1; }
done
