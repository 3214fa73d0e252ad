#!/usr/bin/env python3
"""The endpoint that one would write for ipsight's bits model in Python: FastAPI on uvicorn with uvloop and httptools,
PyTorch for the model. The peer of benches/serving.

It reads a model folder of `ipsight train` with the bits encoder and without a memory, and answers `POST /invocations`
as SageMaker's container does, `application/json` and `text/csv`, without its checks of the input. What costs it time
is left out in its favour: no pydantic model of the request, orjson where it is installed, XXH3 from C, one call of
the model a request, one torch thread (a second one makes a single record slower and fights with other workers).

    fastapi_peer.py --model runs/NAME/model [--port 8090] [--workers 1]

It listens on 127.0.0.1 and says so on stderr as uvicorn does; port 0 takes a free one.
"""

import argparse
import os
import socket
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # OpenMP reads it when torch is loaded

import numpy as np
import torch
import uvicorn
import xxhash
from fastapi import FastAPI, Request, Response
from safetensors.torch import load_file

try:
    import orjson

    loads, dumps = orjson.loads, orjson.dumps
except ImportError:
    import json

    def loads(body):
        return json.loads(body)

    def dumps(value):
        return json.dumps(value).encode()


# Workers are processes that import this module by its name: what they need comes through the environment.
MODEL_VARIABLE = "IPSIGHT_PEER_MODEL"
SHIFTS = torch.arange(31, -1, -1)


class Model:
    """Scores `[n]` entities and addresses with the weights of a model folder."""

    def __init__(self, folder):
        weights = load_file(Path(folder) / "model.safetensors")
        unknown = [name for name in weights if name.endswith(".cells") or ".prefixes." in name]
        if unknown:
            raise SystemExit(f"{folder}: the peer has the bits model only, not {', '.join(unknown)}")
        self.table = weights["entity_embedding.weight"]
        num_layers = sum(name.startswith("ip_encoder.layers.") and name.endswith(".weight") for name in weights)
        # `[out, in]` and contiguous, as nn.Linear keeps them.
        self.layers = [
            (weights[f"ip_encoder.layers.{l}.weight"].t().contiguous(), weights[f"ip_encoder.layers.{l}.bias"])
            for l in range(num_layers)
        ]

    @torch.inference_mode()
    def score(self, entities, ips):
        """The dot products of entities (strings) and addresses (text), a list of floats."""
        num_rows = len(self.table)
        rows = torch.tensor([xxhash.xxh3_64_intdigest(entity.encode()) % num_rows for entity in entities])
        packed = b"".join([socket.inet_pton(socket.AF_INET, ip) for ip in ips])
        addresses = torch.from_numpy(np.frombuffer(packed, dtype=">u4").astype(np.int64))
        hidden = (2 * ((addresses.unsqueeze(1) >> SHIFTS) & 1) - 1).to(torch.float32)
        for l, (weight, bias) in enumerate(self.layers):
            hidden = torch.nn.functional.linear(hidden, weight, bias)
            if l + 1 < len(self.layers):
                hidden = torch.relu(hidden)
        return (self.table[rows] * hidden).sum(1).tolist()


def features_of(instance):
    """`[entity, ip]` of either of SageMaker's two forms."""
    return instance["features"] if "features" in instance else instance["data"]["features"]["values"]


def make_app(folder):
    torch.set_num_threads(1)
    model = Model(folder)
    app = FastAPI()

    @app.get("/ping")
    async def ping():
        return Response()

    @app.post("/invocations")
    async def invocations(request: Request):
        # The model is called on the event loop: handing it to a thread costs more than a small request takes.
        body = await request.body()
        if request.headers.get("content-type", "").startswith("text/csv"):
            records = [line.split(",") for line in body.decode().splitlines() if line]
        else:
            records = [features_of(instance) for instance in loads(body)["instances"]]
        scores = model.score([record[0] for record in records], [record[1].strip() for record in records])
        answer = dumps({"predictions": [{"dot_product": score} for score in scores]})
        return Response(answer, media_type="application/json")

    return app


def app():
    """The application of a worker, as uvicorn's factory."""
    return make_app(os.environ[MODEL_VARIABLE])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, metavar="DIR")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes; each has one torch thread")
    args = parser.parse_args()
    os.environ[MODEL_VARIABLE] = str(Path(args.model).resolve())
    uvicorn.run(
        "fastapi_peer:app",
        factory=True,
        app_dir=str(Path(__file__).parent),
        port=args.port,
        workers=args.workers,
        loop="uvloop",
        http="httptools",
        access_log=False,
    )


if __name__ == "__main__":
    main()
