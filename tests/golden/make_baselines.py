"""Writes baselines.json: scores of the baselines of an evaluation, over both address families. Standard library only."""

import json
import random
from collections import Counter
from math import log
from pathlib import Path

IPV4, IPV6 = [8, 12, 16, 20, 24, 28, 32], [0, 24, 32, 40, 48, 56, 64]
# Shares of a level's children if all were alike: those of IPv4 for both families.
SHARES = [2.0**-bits for bits in (8, 4, 4, 4, 4, 4, 4)]


def is_ipv4(bits):
    return bits < 2**32


def prefix(bits, length):
    """A prefix with its family; the address itself is 32 or 64 bits long."""
    return is_ipv4(bits), length, bits >> ((32 if is_ipv4(bits) else 64) - length)


class Counts:
    """Plain dictionaries of everything."""

    def __init__(self, history):
        self.own, self.everyone, self.events, self.total = Counter(), Counter(), Counter(), len(history)
        self.own_children, self.children, self.accounts = {}, {}, {}
        for entity, bits in history:
            self.events[entity] += 1
            lengths = IPV4 if is_ipv4(bits) else IPV6
            above = None
            for length in lengths:
                here = prefix(bits, length)
                self.own[entity, here] += 1
                self.everyone[here] += 1
                self.accounts.setdefault(here, set()).add(entity)
                self.own_children.setdefault((entity, above), set()).add(here)
                self.children.setdefault(above, set()).add(here)
                above = here


def tables(counts, entity, bits):
    lengths = (32, 24, 16, 8) if is_ipv4(bits) else (64, 56, 48, 32)
    return [-counts.own[entity, prefix(bits, length)] for length in lengths]


def likelihood_ratio(counts, entity, bits):
    own_above, all_above, length_above = counts.events[entity], counts.total, 0
    ratio = 0.0
    for length in (16, 24, 32) if is_ipv4(bits) else (32, 48, 64):
        here = prefix(bits, length)
        own, everyone = counts.own[entity, here], counts.everyone[here]
        of_all = (everyone + 2.0 ** (length_above - length)) / (all_above + 1)
        of_own = (own + of_all) / (own_above + 1)
        ratio += log(of_all) - log(of_own)
        own_above, all_above, length_above = own, everyone, length
    return ratio


def share(count, children, of, base):
    return (max(count - 0.75, 0) + (1 + 0.75 * min(children, of)) * base) / (of + 1)


def closed_form(counts, entity, bits):
    """The negated sum of the log ratios of a chain of Pitman-Yor processes."""
    own_above, own_children = counts.events[entity], len(counts.own_children.get((entity, None), ()))
    others_above = len(counts.events) - (entity in counts.events)
    children = len(counts.children[None])
    total = 0.0
    for length, even in zip(IPV4 if is_ipv4(bits) else IPV6, SHARES):
        here = prefix(bits, length)
        own = counts.own[entity, here]
        others = len(counts.accounts.get(here, set()) - {entity})
        of_others = share(others, children, others_above, even)
        of_own = share(own, own_children, own_above, of_others)
        total += log(of_own / of_others)
        own_above, own_children = own, len(counts.own_children.get((entity, here), ()))
        others_above, children = others, len(counts.children.get(here, ()))
    return -total


def main():
    rng = random.Random(15)
    homes = {entity: (rng.getrandbits(32), 0x2 << 60 | rng.getrandbits(60)) for entity in range(1, 6)}
    stranger = (rng.getrandbits(32), 0x2 << 60 | rng.getrandbits(60))

    def draw(entity):
        family = rng.random() < 0.5
        num_bits = rng.choice([0, 2, 4, 8, 12, 16, 20, 24, 31] if not family else [0, 4, 8, 16, 24, 32, 40, 60])
        mask = (1 << num_bits) - 1
        return entity, homes.get(entity, stranger)[family] & ~mask | rng.getrandbits(64) & mask

    history = [draw(rng.randrange(1, 6)) for _ in range(300)]
    events = [draw(rng.randrange(1, 8)) for _ in range(200)]
    counts = Counts(history)
    scores = [
        [*tables(counts, *event), likelihood_ratio(counts, *event), closed_form(counts, *event)] for event in events
    ]
    for which in (4, 5):
        assert min(row[which] for row in scores) < -1 and max(row[which] for row in scores) > 1
    # As text: not every reader of JSON keeps 64 bits.
    pairs = {"history": history, "events": events}
    result = {key: [[entity, str(bits)] for entity, bits in value] for key, value in pairs.items()}
    text = json.dumps(result | {"scores": scores}, separators=(",", ":"), allow_nan=False) + "\n"
    Path(__file__).with_name("baselines.json").write_text(text)


if __name__ == "__main__":
    main()
