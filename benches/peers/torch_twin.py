#!/usr/bin/env python3
"""The same model as ipsight's in PyTorch, written as one would who wants it fast: the peer of the benchmarks.

    dot_product(entity, ip) = table[entity] . encoder(bits(ip))

Bits are -1 and +1, the most significant first; L hidden layers with ReLU, then a linear one; the loss is the mean
cross entropy of one positive, R random and S shuffled negatives a row, negatives that equal their own positive
masked. The table is `nn.Embedding(sparse=True)` with SparseAdam, the encoder has fused Adam. Shuffled negatives
reuse the vectors of the positives: they are not encoded a second time. There is no L2 penalty, as SparseAdam has
none. Mini-batches are synthetic, sorted by entity as ours are, and wait in (pinned) host memory.

It speaks the protocol of ../README.md on stdin and stdout:

    {"do": "train", "steps": 20}     {"seconds": mean of a step, the loss read back at the end, "loss": ...}
    {"do": "score", "batches": 20}   {"seconds": mean of a batch with its scores read back}
    {"do": "single", "pairs": 2000}  {"median": seconds, "p99": seconds}, one pair at a time on one thread
"""

import argparse
import os
import time

from peer_protocol import serve, skip

NUM_BITS = 32
NUM_MINI_BATCHES = 64
NUM_WARM_UP = 5


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-entity-vectors", type=int, default=200_000, metavar="N")
    parser.add_argument("--vector-dim", type=int, default=128, metavar="D")
    parser.add_argument("--num-ip-encoder-layers", type=int, default=1, metavar="L")
    parser.add_argument("--mini-batch-size", type=int, default=10_000, metavar="B")
    parser.add_argument("--num-random", type=int, default=1, metavar="R", help="random negatives a row")
    parser.add_argument("--num-shuffled", type=int, default=1, metavar="S", help="shuffled negatives a row")
    parser.add_argument("--learning-rate", type=float, default=0.001)
    parser.add_argument("--zipf", type=float, default=0.0, help="exponent of the entities' Zipf law; 0: uniform")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="torch.compile; falls back to eager, and says so")
    parser.add_argument("--score-only", action="store_true", help="no optimiser: its moments are not allocated")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


ARGS = parse_arguments()
# OpenMP reads it when torch is loaded.
os.environ["OMP_NUM_THREADS"] = str(ARGS.threads)

try:
    import numpy as np
    import torch
    from torch import nn
    from torch.nn import functional as F
except ImportError as missing:
    skip(missing)


class IpEncoder(nn.Module):
    """`[n]` addresses to `[n, d]` vectors."""

    def __init__(self, vector_dim, num_layers):
        super().__init__()
        layers = []
        d_input = NUM_BITS
        for _ in range(num_layers):
            layers += [nn.Linear(d_input, vector_dim), nn.ReLU()]
            d_input = vector_dim
        self.layers = nn.Sequential(*layers, nn.Linear(d_input, vector_dim))
        self.register_buffer("shifts", torch.arange(NUM_BITS - 1, -1, -1), persistent=False)

    def forward(self, ips):
        bits = (ips.unsqueeze(1) >> self.shifts) & 1
        return self.layers((2 * bits - 1).to(torch.float32))


class IpInsights(nn.Module):
    """The table and the encoder."""

    def __init__(self, args):
        super().__init__()
        self.entity_embedding = nn.Embedding(args.num_entity_vectors, args.vector_dim, sparse=True)
        nn.init.uniform_(self.entity_embedding.weight, -0.01, 0.01)
        self.ip_encoder = IpEncoder(args.vector_dim, args.num_ip_encoder_layers)

    def forward(self, rows, ips):
        return (self.entity_embedding(rows) * self.ip_encoder(ips)).sum(1)


def loss_of(encoder, entity_vectors, ips, random_ips, orders):
    """Mean cross entropy of the pairs. `random_ips` is `[R, n]`, `orders` `[S, n]`, each row a permutation."""
    num_rows = len(ips)
    encoded = encoder(torch.cat([ips, random_ips.flatten()]))
    pairs = [encoded]
    negative_ips = [random_ips]
    if len(orders):
        # index_select has the fast backward pass of the ways to gather rows.
        pairs.append(encoded[:num_rows].index_select(0, orders.flatten()))
        negative_ips.append(ips[orders])
    pairs = torch.cat(pairs) if len(pairs) > 1 else encoded
    logits = (entity_vectors * pairs.view(-1, num_rows, entity_vectors.shape[1])).sum(2)
    counted = torch.cat(negative_ips) != ips
    positive = F.softplus(-logits[0]).sum()
    negative = (F.softplus(logits[1:]) * counted).sum()
    return (positive + negative) / (num_rows + counted.sum())


def mini_batches(args):
    """(rows, ips) of each mini-batch, sorted by row, in host memory."""
    generator = np.random.default_rng(args.seed)
    batches = []
    for _ in range(NUM_MINI_BATCHES):
        rows = np.sort(entity_rows(generator, args))
        ips = generator.integers(0, 2**NUM_BITS, args.mini_batch_size)
        batch = (torch.from_numpy(rows), torch.from_numpy(ips))
        batches.append(tuple(t.pin_memory() for t in batch) if args.device == "cuda" else batch)
    return batches


def entity_rows(generator, args):
    if args.zipf <= 0:
        return generator.integers(0, args.num_entity_vectors, args.mini_batch_size)
    cumulated = np.cumsum(1.0 / np.arange(1, args.num_entity_vectors + 1) ** args.zipf)
    ranks = np.searchsorted(cumulated, cumulated[-1] * generator.random(args.mini_batch_size))
    # A fixed permutation, so that the frequent entities are not neighbours in the table.
    permutation = np.random.default_rng(args.seed + 1).permutation(args.num_entity_vectors)
    return permutation[np.minimum(ranks, args.num_entity_vectors - 1)]


class Twin:
    """The model in training, its mini-batches, and where they stand."""

    def __init__(self, args):
        self.args = args
        self.device = torch.device(args.device)
        self.batches = mini_batches(args)
        self.next_batch = 0
        with self.device:
            self.model = IpInsights(args)
        self.optimizers = [] if args.score_only else self.make_optimizers()
        self.loss_of, self.score_pairs = loss_of, self.model
        self.compile_error = self.compile() if args.compile else None
        self.warm_up()

    def make_optimizers(self):
        return [
            torch.optim.SparseAdam(self.model.entity_embedding.parameters(), lr=self.args.learning_rate),
            torch.optim.Adam(self.model.ip_encoder.parameters(), lr=self.args.learning_rate, fused=True),
        ]

    def compile(self):
        """Compiles what is called most; the reason where that fails."""
        self.loss_of = torch.compile(loss_of, dynamic=False)
        self.score_pairs = torch.compile(self.model)
        try:
            self.warm_up()
        except Exception as error:  # no compiler, an operation it lacks: there are many ways
            self.loss_of, self.score_pairs = loss_of, self.model
            return repr(error).splitlines()[0][:200]
        return None

    def warm_up(self):
        if self.optimizers:
            self.train(NUM_WARM_UP)
        else:
            self.score(NUM_WARM_UP)

    def upload(self):
        """The next mini-batch on the device."""
        rows, ips = self.batches[self.next_batch % len(self.batches)]
        self.next_batch += 1
        return rows.to(self.device, non_blocking=True), ips.to(self.device, non_blocking=True)

    def step(self):
        rows, ips = self.upload()
        shape = (self.args.num_random, len(ips))
        random_ips = torch.randint(0, 2**NUM_BITS, shape, device=self.device)
        orders = [torch.randperm(len(ips), device=self.device) for _ in range(self.args.num_shuffled)]
        orders = torch.stack(orders) if orders else ips.new_empty((0, len(ips)))
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        entity_vectors = self.model.entity_embedding(rows)
        loss = self.loss_of(self.model.ip_encoder, entity_vectors, ips, random_ips, orders)
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        return loss.detach()

    def train(self, steps):
        self.synchronize()
        start = time.perf_counter()
        for _ in range(steps):
            loss = self.step()
        self.synchronize()
        loss = loss.item()
        return {"seconds": (time.perf_counter() - start) / steps, "loss": loss}

    def score(self, batches):
        with torch.inference_mode():
            self.synchronize()
            start = time.perf_counter()
            for _ in range(batches):
                self.score_pairs(*self.upload()).cpu()
            return {"seconds": (time.perf_counter() - start) / batches}

    def single(self, pairs):
        generator = torch.Generator().manual_seed(self.args.seed + 2)
        rows = torch.randint(0, self.args.num_entity_vectors, (pairs, 1), generator=generator).to(self.device)
        ips = torch.randint(0, 2**NUM_BITS, (pairs, 1), generator=generator).to(self.device)
        # A second thread has nothing to do for one pair, and waking it costs more than the pair.
        torch.set_num_threads(1)
        latencies = []
        with torch.inference_mode():
            for row, ip in zip(rows, ips):
                start = time.perf_counter()
                self.model(row, ip).item()
                latencies.append(time.perf_counter() - start)
        torch.set_num_threads(self.args.threads)
        median, p99 = np.quantile(latencies, [0.5, 0.99])
        return {"median": float(median), "p99": float(p99)}

    def synchronize(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def description(self):
        name = torch.cuda.get_device_name() if self.device.type == "cuda" else "cpu"
        return {
            "peer": f"torch {torch.__version__}",
            "numpy": np.__version__,
            "device": name,
            "threads": torch.get_num_threads(),
            "compiled": self.args.compile and self.compile_error is None,
            "compile_error": self.compile_error,
        }


def main():
    torch.set_num_threads(ARGS.threads)
    torch.manual_seed(ARGS.seed)
    if ARGS.device == "cuda" and not torch.cuda.is_available():
        skip("torch finds no CUDA device")
    twin = Twin(ARGS)
    verbs = {"score": twin.score, "single": twin.single}
    if twin.optimizers:
        verbs["train"] = twin.train
    serve(twin.description(), verbs)


if __name__ == "__main__":
    main()
