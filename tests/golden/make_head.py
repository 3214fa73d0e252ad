"""Writes head.json: counts, inputs, closed form, scores and gradients of a head on a small log.

Counts are made by walking over all events before each query, inputs in NumPy and float64 as src/history/features.rs and
closed_form.rs describe them, scores and gradients by PyTorch's autograd in float64. Needs `pip install numpy torch`.
"""

import ipaddress
import json
from pathlib import Path

import numpy as np
import torch

LENGTHS = {4: [8, 12, 16, 20, 24, 28, 32], 6: [0, 24, 32, 40, 48, 56, 64]}
STEP_BITS = [8, 4, 4, 4, 4, 4, 4]
WIDE, RECENT = [0, 2, 4, 6], [2, 4, 6]
HIDDEN_1, HIDDEN_2 = 20, 12
NUM_EVENTS, NUM_QUERIES = 160, 24
DAY, START = 86_400, 1_700_000_000
rng = np.random.default_rng(16)


def family(address):
    return 4 if address < 2**32 else 6


def chain(address):
    bits = 32 if family(address) == 4 else 64
    return [(family(address), level, address >> (bits - n)) for level, n in enumerate(LENGTHS[family(address)])]


def draw_address(account):
    if account % 4 == 3:
        base = 0x2001_0DB8_0000_0000 + account * 0x0100_0000
        return int(base + rng.choice([0, 1, 0x0100, 0x1_0000]))
    homes = [0x0A00_0000 + account * 0x0001_0000, 0xC0A8_0000 + account * 0x100, 0xC0A8_0000]
    return int(rng.choice(homes) + rng.choice([1, 2, 17, 200]))


# First address, last address, AS number, country: two ASes in one country, one in several places and both families, and
# addresses that nobody owns.
OWNERS = [
    ("10.1.0.0", "10.2.255.255", 64500, "NL"),
    ("10.3.0.0", "10.3.255.255", 64501, "NL"),
    ("10.5.0.0", "10.6.255.255", 64502, "DE"),
    ("10.7.0.0", "10.7.255.255", 0, "DE"),
    ("192.168.0.0", "192.168.0.127", 64500, "NL"),
    ("2001:db8:300::", "2001:db8:300:ffff:ffff:ffff:ffff:ffff", 64501, "None"),
    ("2001:db8:700::", "2001:db8:700:ffff:ffff:ffff:ffff:ffff", 4200000000, "SE"),
]


def ranges():
    """First and last address in the 32 or upper 64 bits, AS and country."""
    for first, last, asn, country in OWNERS:
        first, last = ipaddress.ip_address(first), ipaddress.ip_address(last)
        shift = 0 if first.version == 4 else 64
        yield int(first) >> shift, int(last) >> shift, first.version, asn, country


def group(address, level):
    """The owner of an address at a level (0: AS, 1: country), or the block of an address that nobody owns."""
    for first, last, version, asn, country in ranges():
        owner = (asn, country)[level]
        if version == family(address) and first <= address <= last and owner not in (0, "None"):
            return owner
    return ("block", family(address), address >> (16 if family(address) == 4 else 40))


def space(owner, level):
    """A group's share of the IPv4 addresses, or, where it has none, of the /64s of all groups."""
    if isinstance(owner, tuple):
        return 2.0**-16
    sizes = {4: {}, 6: {}}
    for first, last, version, *owners in ranges():
        of = owners[level]
        if of not in (0, "None"):
            sizes[version][of] = sizes[version].get(of, 0) + last - first + 1
    if owner in sizes[4]:
        return sizes[4][owner] / 2.0**32
    return sizes[6][owner] / sum(sizes[6].values())


def owner_usage(before, own, address, level):
    code = group(address, level)
    inside = [event for event in before if group(event[1], level) == code]
    return {
        "share": space(code, level),
        "own_events": sum(group(event[1], level) == code for event in own),
        "own_groups": len({group(event[1], level) for event in own}),
        "all_events": len(inside),
        "all_accounts": len({event[0] for event in inside}),
        "all_groups": len({group(event[1], level) for event in before}),
    }


def usage(events, query):
    """What the events before the query say, by walking over them."""
    account, address, position, now = query
    before = events[:position]
    own = [event for event in before if event[0] == account]
    levels = []
    for level, prefix in enumerate(chain(address)):
        inside = [event for event in before if chain(event[1])[level] == prefix]
        own_inside = [i for i, event in enumerate(own) if chain(event[1])[level] == prefix]
        last = own_inside[-1] if own_inside else None

        def children(of):
            return len({chain(event[1])[level + 1] for event in of}) if level < 6 else 0

        levels.append({
            "own_events": len(own_inside),
            "own_children": children([own[i] for i in own_inside]),
            "days_since_use": -1.0 if last is None else (now - own[last][2]) / DAY,
            "events_since_use": -1.0 if last is None else float(len(own) - 1 - last),
            "all_events": len(inside),
            "all_accounts": len({event[0] for event in inside}),
            "all_children": children(inside),
        })
    return {
        "num_events": len(own),
        "days_since_last": (now - own[-1][2]) / DAY if own else -1.0,
        "days_since_first": (now - own[0][2]) / DAY if own else -1.0,
        "distinct": [len({chain(event[1])[level] for event in own}) for level in range(7)],
        "levels": levels,
        "total_events": len(before),
        "total_accounts": len({event[0] for event in before}),
        "total_top_prefixes": len({chain(event[1])[0] for event in before}),
        "owners": [owner_usage(before, own, address, level) for level in range(2)],
    }


def share(count, children, of, base):
    return (max(count - 0.75, 0) + (1 + 0.75 * min(children, of)) * base) / (of + 1)


def inputs(u):
    """The inputs of the head and the sum of the log ratios."""
    levels = u["levels"]
    own_r, events_r, accounts_r = [], [], []
    own, own_children = u["num_events"], u["distinct"][0]
    events = u["total_events"] - u["num_events"]
    accounts = u["total_accounts"] - (u["num_events"] > 0)
    children = u["total_top_prefixes"]
    for level, bits in zip(levels, STEP_BITS):
        other_events = level["all_events"] - level["own_events"]
        other_accounts = level["all_accounts"] - (level["own_events"] > 0)
        g = share(other_events, children, events, 2.0**-bits)
        e = share(other_accounts, children, accounts, 2.0**-bits)
        p = share(level["own_events"], own_children, own, e)
        own_r.append(np.log(p / e))
        events_r.append(np.log(g * 2.0**bits))
        accounts_r.append(np.log(e * 2.0**bits))
        own, own_children = level["own_events"], level["own_children"]
        events, accounts, children = other_events, other_accounts, level["all_children"]

    def age(days, centre):
        return 0.0 if days < 0 else np.log(days + 1 / 24) - centre

    n, distinct = u["num_events"], u["distinct"]
    novelty = [np.log((max(distinct[l] - 1, 0) + 0.3) / (n - distinct[l] + 0.7)) if n else 0.0 for l in WIDE]
    others = [level["all_accounts"] - (level["own_events"] > 0) for level in levels]
    last_age = age(u["days_since_last"], 0)
    of_use = [levels[l]["days_since_use"] for l in RECENT]
    x = [0.3 * np.array(own_r), 0.4 * np.log1p([level["own_events"] for level in levels]), [0.3 * np.log1p(n)]]
    x += [0.3 * np.array(novelty), 0.3 * np.log1p([distinct[l] for l in WIDE])]
    x += [0.3 * np.log1p([levels[l]["own_children"] for l in WIDE[:3]])]
    x += [0.3 * np.array(events_r), 0.3 * np.array(accounts_r), 0.3 * np.log1p(others)]
    x += [[0.3 * np.log1p(levels[6]["all_events"] - levels[6]["own_events"])]]
    x += [[0.3 * age(days, 2) for days in of_use]]
    x += [[0.3 * age(u["days_since_last"], 2), 0.3 * age(u["days_since_first"], 3)]]
    x += [[0.0 if days < 0 else 0.3 * (age(days, 0) - last_age) for days in of_use]]
    x += [0.3 * np.log1p([max(levels[l]["events_since_use"], 0) for l in RECENT])]
    closed = sum(own_r)
    for level, owner in enumerate(u["owners"]):
        ratio, of_level = owner_inputs(u, owner)
        x.append(of_level)
        if level == 0:
            closed = np.logaddexp(closed, ratio) - np.log(2)
    return np.concatenate(x), closed


def owner_inputs(u, owner):
    """The log ratio of one level of owners, and its inputs."""
    n, c, d, even = u["num_events"], owner["own_events"], owner["own_groups"], owner["share"]
    others = owner["all_accounts"] - (c > 0)
    g = share(owner["all_events"] - c, owner["all_groups"], u["total_events"] - n, even)
    b = share(others, owner["all_groups"], u["total_accounts"] - (n > 0), even)
    ratio = np.log(share(c, d, n, b) / b)
    novelty = np.log((max(d - 1, 0) + 0.3) / (n - d + 0.7)) if n else 0.0
    of_counts = [0.4 * np.log1p(c), 0.3 * novelty, 0.3 * np.log1p(d)]
    return ratio, [0.3 * ratio, *of_counts, 0.3 * np.log(g / even), 0.3 * np.log(b / even), 0.3 * np.log1p(others)]


def network(parts, x):
    w1, b1, w2, b2, w3, b3, w, b = parts
    hidden = torch.relu(torch.relu(x @ w1 + b1) @ w2 + b2)
    return (hidden @ w3 + b3 + x @ w + b)[:, 0]


def main():
    accounts = rng.integers(1, 9, NUM_EVENTS)
    seconds = START + np.sort(rng.integers(0, 90 * DAY, NUM_EVENTS))
    events = [(int(a), draw_address(int(a)), int(t)) for a, t in zip(accounts, seconds)]
    queries = []
    for i in range(NUM_QUERIES):
        account = int(rng.integers(1, 10))  # 9 has no event
        address = draw_address(int(rng.integers(1, 9))) if i % 2 else draw_address(account)
        position = int(rng.integers(0, NUM_EVENTS + 1)) if i else NUM_EVENTS
        now = events[position - 1][2] if position else START
        queries.append((account, address, position, now + int(rng.integers(0, 9 * DAY))))
    usages = [usage(events, query) for query in queries]
    rows = [inputs(u) for u in usages]
    x, ratio_sums = np.array([row for row, _ in rows]), np.array([total for _, total in rows])
    num_inputs = x.shape[1]

    shapes = [(num_inputs, HIDDEN_1), (HIDDEN_1,), (HIDDEN_1, HIDDEN_2), (HIDDEN_2,), (HIDDEN_2, 1), (1,), (num_inputs, 1), (1,)]
    parameters = [np.round(rng.uniform(-0.4, 0.4, shape), 4).astype(np.float32) for shape in shapes]
    parts = [torch.tensor(p, dtype=torch.float64, requires_grad=True) for p in parameters]
    closed_weight = 0.5
    labels, weights = np.arange(NUM_QUERIES) % 2, rng.choice([1.0, 0.5, 0.25], NUM_QUERIES)
    logits = network(parts, torch.tensor(x))
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, torch.tensor(labels, dtype=torch.float64), reduction="none"
    )
    loss = (torch.tensor(weights) * entropy).mean()
    loss.backward()
    networks = logits.detach().numpy()

    # The values check themselves: both families occur and every input is used.
    assert num_inputs == 73 and np.isfinite(x).all()
    assert {family(query[1]) for query in queries} == {4, 6}
    assert (np.abs(x).max(axis=0) > 0).all()
    assert all(u["total_accounts"] <= u["total_events"] for u in usages)
    flat = lambda arrays: np.concatenate([np.asarray(a, np.float64).ravel() for a in arrays])
    digits = lambda values: [float(f"{v:.10g}") for v in values]
    golden = {
        "events": {"accounts": [e[0] for e in events], "addresses": [e[1] for e in events], "seconds": [e[2] for e in events]},
        "networks": "".join(f"{first}\t{last}\t{asn}\t{country}\tExample\n" for first, last, asn, country in OWNERS),
        "queries": [list(query) for query in queries],
        "usages": usages,
        "inputs": [digits(row) for row in x],
        "ratio_sums": digits(ratio_sums),
        "parameters": digits(flat(parameters)),
        "closed_weight": closed_weight,
        "network_parts": digits(networks),
        "scores": digits(networks + closed_weight * ratio_sums),
        "labels": labels.tolist(),
        "weights": weights.tolist(),
        "loss": float(loss.detach()),
        "gradient": digits(flat([part.grad.numpy() for part in parts])),
    }
    Path(__file__).with_name("head.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")


main()
