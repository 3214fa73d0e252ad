"""Writes philox.json: Philox4x32-10 as in Salmon et al., "Parallel random numbers: as easy as
1, 2, 3" (SC'11), in plain integers, checked against the published Random123 vectors."""

import json
import random
from pathlib import Path

M0, M1 = 0xD2511F53, 0xCD9E8D57  # the multipliers of the two lanes
W0, W1 = 0x9E3779B9, 0xBB67AE85  # key increments: golden ratio, sqrt(3) - 1
MASK = 0xFFFFFFFF

# counter, key, output: the lines `philox4x32 10` of Random123's kat_vectors
KNOWN_ANSWERS = [
    "00000000 00000000 00000000 00000000  00000000 00000000  6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    "ffffffff ffffffff ffffffff ffffffff  ffffffff ffffffff  408f276d 41c83b0e a20bc7c6 6d5451fd",
    "243f6a88 85a308d3 13198a2e 03707344  a4093822 299f31d0  d16cfe09 94fdcceb 5001e420 24126ea1",
]


def philox4x32_10(counter, key):
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = M0 * c0, M1 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & MASK, (p0 >> 32) ^ c3 ^ k1, p0 & MASK
        k0, k1 = (k0 + W0) & MASK, (k1 + W1) & MASK
    return [c0, c1, c2, c3]


def main():
    known_answers, mismatches = [], []
    for line in KNOWN_ANSWERS:
        words = [int(word, 16) for word in line.split()]
        counter, key, output = words[:4], words[4:6], words[6:]
        known_answers.append({"counter": counter, "key": key, "output": output})
        found = philox4x32_10(counter, key)
        if found != output:
            mismatches.append(f"{line}: found {' '.join(f'{word:08x}' for word in found)}")
    if mismatches:
        raise SystemExit("\n".join(mismatches))

    rng, triples = random.Random(4321), []
    for _ in range(10):
        words = [rng.getrandbits(32) for _ in range(6)]
        counter, key = words[:4], words[4:]
        triples.append({"counter": counter, "key": key, "output": philox4x32_10(counter, key)})

    fixture = {"known_answers": known_answers, "random": triples}
    text = json.dumps(fixture, separators=(",", ":")) + "\n"
    Path(__file__).with_name("philox.json").write_text(text)


if __name__ == "__main__":
    main()
