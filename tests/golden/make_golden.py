"""Writes model.json: ten training steps of the model, computed without any of the Rust code.

Forward, backward and optimiser are written out by hand in float64, layer by layer as the formulas
read; the folded and bucketed forms that the program uses must arrive at the same numbers.
"""

import json
from pathlib import Path

import numpy as np

# (num_layers, vector_dim, addresses)
CASES = [(0, 4, "ipv4"), (1, 8, "ipv4"), (2, 5, "ipv4"), (3, 6, "ipv4")]
CASES += [(0, 3, "both"), (1, 6, "both"), (2, 5, "both")]
NUM_ENTITY_VECTORS, NUM_STEPS, B, R, S = 7, 10, 10, 2, 2
UNUSED_ROW = 3  # in the middle, so that skipping it cannot pass for a shorter table
LEARNING_RATE, WEIGHT_DECAY = 0.01, 1e-2
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
ENTITY = "entity_embedding.weight"


def layer(l, kind):
    return f"ip_encoder.layers.{l}.{kind}"


def bits(ips):
    """-1 or +1, the most significant bit first; IPv6 has 64 behind IPv4's 32, and 0 is neither."""
    if ips.dtype == np.uint32:
        shifts = np.arange(31, -1, -1, dtype=np.uint32)
        return 2 * ((ips[..., None] >> shifts) & 1).astype(np.float64) - 1
    shifts = np.arange(63, -1, -1, dtype=np.uint64)
    signs = 2 * ((ips[..., None] >> shifts) & np.uint64(1)).astype(np.float64) - 1
    is_ipv6 = (ips >= 2**32)[..., None]
    return np.concatenate([np.where(is_ipv6, 0, signs[..., 32:]), np.where(is_ipv6, signs, 0)], -1)


def forward(weights, num_layers, batch):
    """Returns the loss, the accuracy and what the backward pass needs."""
    rows, ips, mask = batch
    h = bits(ips)
    h = h.reshape(-1, h.shape[-1]).astype(weights[ENTITY].dtype)
    inputs, pre_activations = [h], []
    for l in range(num_layers):
        pre_activations.append(h @ weights[layer(l, "weight")] + weights[layer(l, "bias")])
        h = np.maximum(pre_activations[-1], 0)
        inputs.append(h)
    v = h @ weights[layer(num_layers, "weight")] + weights[layer(num_layers, "bias")]
    v = v.reshape(*ips.shape, -1)
    logits = (weights[ENTITY][rows][:, None, :] * v).sum(axis=2)
    y = np.zeros_like(logits)
    y[:, 0] = 1
    bce = np.maximum(logits, 0) - logits * y + np.log1p(np.exp(-np.abs(logits)))
    loss = (mask * bce).sum() / mask.sum()
    accuracy = (mask * ((logits > 0) == y)).sum() / mask.sum()
    return loss, accuracy, (inputs, pre_activations, v, logits, y)


def backward(weights, num_layers, batch, saved):
    """Gradients of the loss alone: weight decay belongs to the optimiser."""
    rows, _, mask = batch
    inputs, pre_activations, v, logits, y = saved
    d_logits = (mask * (1 / (1 + np.exp(-logits)) - y) / mask.sum()).astype(logits.dtype)
    gradients = {name: np.zeros_like(w) for name, w in weights.items()}
    # add.at, not `[rows] +=`: the latter keeps only the last of several equal rows.
    np.add.at(gradients[ENTITY], rows, (d_logits[..., None] * v).sum(axis=1))
    d_out = d_logits[..., None] * weights[ENTITY][rows][:, None, :]
    d_out = d_out.reshape(-1, d_out.shape[-1])
    for l in range(num_layers, -1, -1):
        gradients[layer(l, "weight")] = inputs[l].T @ d_out
        gradients[layer(l, "bias")] = d_out.sum(axis=0)
        if l > 0:
            d_out = (d_out @ weights[layer(l, "weight")].T) * (pre_activations[l - 1] > 0)
    return gradients


def adam(weights, moments, gradients, rows, t):
    """One Adam step; of the entity table only the touched rows move, all by the global step t.

    The L2 penalty of an encoder weight is WEIGHT_DECAY / 2 * w**2. That of a table row is weighed by
    its share of the mini-batch: the mean over the positives of WEIGHT_DECAY / 2 * |row|**2.
    """
    touched_rows, counts = np.unique(rows, return_counts=True)
    for name, w in weights.items():
        at = touched_rows if name == ENTITY else slice(None)
        decay = WEIGHT_DECAY * (counts[:, None] / len(rows) if name == ENTITY else 1)
        m, v = moments[name]
        g = gradients[name][at] + decay * w[at]
        m[at] = BETA1 * m[at] + (1 - BETA1) * g
        v[at] = BETA2 * v[at] + (1 - BETA2) * g * g
        m_hat, v_hat = m[at] / (1 - BETA1**t), v[at] / (1 - BETA2**t)
        w[at] -= LEARNING_RATE * m_hat / (np.sqrt(v_hat) + EPSILON)


def random_weights(rng, num_layers, d, addresses):
    def normal(scale, *shape):  # float32 values, so that a float32 program starts equal
        return (scale * rng.standard_normal(shape)).astype(np.float32).astype(np.float64)

    weights = {ENTITY: normal(d**-0.5, NUM_ENTITY_VECTORS, d)}
    for l in range(num_layers + 1):
        # The 32 bits are -1 or +1: 1/4 keeps v, and with it the logits, of order one.
        scale, width = (0.25, 32) if l == 0 else ((2 / d) ** 0.5, d)
        weights[layer(l, "weight")] = normal(scale, width, d)
        if l == 0 and addresses == "both":
            rows_of_ipv6 = normal(0.18, 64, d)
            weights[layer(l, "weight")] = np.concatenate([weights[layer(l, "weight")], rows_of_ipv6])
        weights[layer(l, "bias")] = normal(0.2, d)
    return weights


def random_ips(rng, shape, addresses):
    ipv4 = rng.randint(0, 2**32, shape, dtype=np.uint32)
    if addresses == "ipv4":
        return ipv4
    ipv6 = rng.randint(2**32, 2**64, shape, dtype=np.uint64)
    return np.where(rng.randint(0, 2, shape), ipv6, ipv4.astype(np.uint64))


def random_batch(rng, pool, addresses):
    # Four rows a mini-batch: duplicates in it, and pauses between the visits to a row, which tell
    # row-sparse Adam from dense Adam.
    used = [row for row in range(NUM_ENTITY_VECTORS) if row != UNUSED_ROW]
    used = rng.choice(used, 4, replace=False)
    rows = np.sort(np.concatenate([used, rng.choice(used, B - 4)]))
    positives = rng.choice(pool, B)
    ips = np.empty((B, 1 + R + S), dtype=pool.dtype)
    ips[:, 0] = positives
    ips[:, 1 : 1 + R] = random_ips(rng, (B, R), addresses)
    for s in range(S):  # the ip of another row; the pool is small, so some equal the positive
        ips[:, 1 + R + s] = np.roll(positives, rng.randint(1, B))
    ips[rng.randint(B), 1] = ips[0, 0]  # a random negative that may hit a positive, and
    ips[-1, R] = ips[-1, 0]  # one that surely does
    mask = np.ones(ips.shape)
    mask[:, 1:] = ips[:, 1:] != ips[:, :1]
    return rows, ips, mask


def train(weights, num_layers, batches):
    """Runs all steps on `weights` in place, in their own dtype; yields what each step saw."""
    moments = {name: (np.zeros_like(w), np.zeros_like(w)) for name, w in weights.items()}
    for t, batch in enumerate(batches, start=1):
        loss, accuracy, saved = forward(weights, num_layers, batch)
        gradients = backward(weights, num_layers, batch, saved)
        yield loss, accuracy, saved, gradients
        adam(weights, moments, gradients, batch[0], t)


def central_difference_mismatches(weights, num_layers, batch, gradients, where):
    mismatches, step = [], 1e-6  # far below the distance to a kink
    for name, w in weights.items():
        for i in np.ndindex(w.shape):
            kept, losses = w[i], []
            for w[i] in (kept + step, kept - step):
                losses.append(float(forward(weights, num_layers, batch)[0]))
            w[i] = kept
            expected, found = (losses[0] - losses[1]) / (2 * step), float(gradients[name][i])
            if not abs(found - expected) <= 1e-9 + 1e-6 * abs(expected):
                mismatches.append(f"{where} {name}{list(i)}: {found!r}, differences {expected!r}")
    return mismatches


def unfit(initial, num_layers, batches):
    """Why these numbers would test badly, or a correct float32 program stray; None if neither."""
    weights = {name: w.copy() for name, w in initial.items()}
    losses = []
    for step, (loss, _, saved, _) in enumerate(train(weights, num_layers, batches)):
        losses.append(loss)
        _, pre_activations, _, logits, _ = saved
        kink = 1e-3 if step == 0 else 1e-4
        if any(np.abs(z).min() <= kink for z in pre_activations):
            return "a ReLU is near its kink"
        if any((z > 0).any(axis=0).mean() < 0.8 for z in pre_activations):
            return "many units of a layer are dead, so most of its gradients are zero"
        if np.abs(logits).min() <= 1e-3:
            return "a logit is near zero, where the accuracy jumps"
        if step == 0 and not 0.5 < logits.std() < 2:
            return "the logits are not of order one"
    # Adam divides a gradient by its own size, so a gradient near zero enlarges rounding errors.
    single = {name: w.astype(np.float32) for name, w in initial.items()}
    for step, (loss, *_) in enumerate(train(single, num_layers, batches)):
        if abs(loss - losses[step]) > 6e-8:
            return "the loss of a float32 run strays by more than 6e-8"
    if max(np.abs(single[name] - w).max() for name, w in weights.items()) > 2e-6:
        return "a float32 run strays by more than 2e-6"
    first_rows, second_rows = set(batches[0][0]), set(batches[1][0])
    later_rows = set(np.concatenate([rows for rows, *_ in batches[2:]]))
    if not (first_rows - second_rows) & later_rows:
        return "no row is touched, left out and touched again"
    if not later_rows - first_rows - second_rows:
        return "no row is first touched after step 2"
    return None


def make_case(num_layers, d, addresses):
    for seed in range(100_000):
        rng = np.random.RandomState(seed)  # its stream is frozen across NumPy versions
        weights = random_weights(rng, num_layers, d, addresses)
        pool = random_ips(rng, 8, addresses)
        pool[:2] = 0, 2**32 - 1  # the ends of the range
        if addresses == "both":
            pool[2:4] = 2**32, 2**64 - 1
        batches = [random_batch(rng, pool, addresses) for _ in range(NUM_STEPS)]
        if unfit(weights, num_layers, batches) is None:
            break
    else:
        raise SystemExit(f"no fit seed for {num_layers} layers of width {d}, {addresses}")
    print(f"{num_layers} layers of width {d}, {addresses}: seed {seed}")

    def flat(arrays):
        return {name: a.ravel().tolist() for name, a in arrays.items()}

    case = {
        "num_layers": num_layers,
        "vector_dim": d,
        "addresses": addresses,
        "num_entity_vectors": NUM_ENTITY_VECTORS,
        "learning_rate": LEARNING_RATE,
        "weight_decay": WEIGHT_DECAY,
        "weights": {
            name: {"shape": list(w.shape), "data": w.ravel().tolist()}
            for name, w in weights.items()
        },
        "batches": [
            {
                "entity_rows": rows.tolist(),
                "ips": ips.tolist(),
                "mask": mask.astype(int).tolist(),
            }
            for rows, ips, mask in batches
        ],
        "first_step": None,  # filled below; named here for its place in the file
        "losses": [],
    }
    mismatches = []
    for step, (loss, accuracy, saved, gradients) in enumerate(train(weights, num_layers, batches)):
        where = f"num_layers {num_layers}, {addresses}, step {step + 1}:"
        mismatches += central_difference_mismatches(
            weights, num_layers, batches[step], gradients, where
        )
        if step == 0:
            case["first_step"] = {
                "logits": saved[3].tolist(),
                "loss": float(loss),
                "accuracy": float(accuracy),
                "gradients": flat(gradients),
            }
        case["losses"].append(float(loss))
    case["final_weights"] = flat(weights)
    return case, mismatches


def main():
    cases, mismatches = zip(*(make_case(*case) for case in CASES))
    mismatches = sum(mismatches, [])
    if mismatches:
        raise SystemExit("\n".join(mismatches))
    text = json.dumps(cases, separators=(",", ":"), allow_nan=False) + "\n"
    Path(__file__).with_name("model.json").write_text(text)


if __name__ == "__main__":
    main()
