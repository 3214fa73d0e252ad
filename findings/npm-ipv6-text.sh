#!/usr/bin/env bash
# ip6addr 0.2.5, ip-matching 2.1.2, ip-bigint 10.0.0 and ipaddr.js 2.5.0 (npm), and Python's ipaddress.
#
# RFC 5952 gives each IPv6 address one text. Section 4.2.2 forbids `::` for a single group of zeros, with the example
# 2001:db8:0:1:1:1:1:1, which ip6addr and ip-matching get wrong. normalizeIp of ip-bigint has two texts for one address,
# by the form of its input. So logs that two services wrote have two texts for one client.
#
#   2001:db8:0:1:1:1:1:1     ip6addr, ip-matching: 2001:db8::1:1:1:1:1     ipaddr.js, ip-bigint, Python: unchanged
#   ::ffff:192.0.2.1         ip-bigint: ::ffff:192.0.2.1
#   ::ffff:c000:201          ip-bigint: ::ffff:c000:201   (the same address)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$work" \
    ip6addr@0.2.5 ip-matching@2.1.2 ip-bigint@10.0.0 ipaddr.js@2.5.0
cat > text.mjs <<'END'
import assert from "node:assert";
import { normalizeIp } from "ip-bigint";
import ipMatching from "ip-matching";
import ip6addr from "ip6addr";
import ipaddr from "ipaddr.js";

const texts = {
    ip6addr: (address) => ip6addr.parse(address).toString(),
    "ip-matching": (address) => ipMatching.getIP(address).toString(),
    "ip-bigint": normalizeIp,
    "ipaddr.js": (address) => ipaddr.parse(address).toString(),
};
const check = (library, address, expected) => {
    const seen = texts[library](address);
    console.log(`${library}: ${address} is ${seen}`);
    assert.equal(seen, expected, "the behaviour changed");
};
const example = "2001:db8:0:1:1:1:1:1";
check("ip6addr", example, "2001:db8::1:1:1:1:1");
check("ip-matching", example, "2001:db8::1:1:1:1:1");
check("ipaddr.js", example, example);
check("ip-bigint", example, example);
check("ip-bigint", "::ffff:192.0.2.1", "::ffff:192.0.2.1");
check("ip-bigint", "::ffff:c000:201", "::ffff:c000:201");
END
node text.mjs
python3 - <<'END'
from ipaddress import ip_address

assert str(ip_address("2001:db8:0:1:1:1:1:1")) == "2001:db8:0:1:1:1:1:1"
assert ip_address("::ffff:192.0.2.1") == ip_address("::ffff:c000:201")
print("Python: 2001:db8:0:1:1:1:1:1 is unchanged; the mapped forms are one address")
END
