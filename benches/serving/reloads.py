"""What reloads, removals and loads of models cost the requests meanwhile."""

import contextlib
import http.client
import json
import statistics
import threading
from urllib.parse import urlsplit

import load
import sides

TARGET = 5.0  # p99.9 in the storm over p99.9 without
# Half of what the machine answers: latencies are of the server then, and not of a queue before it.
LOAD = load.Load(format="json", records=1, connections=8, pause_ms=4, statuses=True, path="/models/a/invoke")


class Storm:
    """Threads that ask the operator's address without a pause."""

    REQUESTS = (
        ("POST", "/reload", b"", {200}),
        ("DELETE", "/models/anything", b"", {404}),
        ("DELETE", "/models/b", b"", {200, 404}),
        ("POST", "/models", json.dumps({"model_name": "b", "url": "b"}).encode(), {200, 409}),
    )

    def __init__(self, admin):
        self.address = urlsplit(admin).netloc
        self.stop = threading.Event()
        self.counts = dict.fromkeys(range(len(self.REQUESTS)), 0)
        self.wrong = []
        self.threads = [threading.Thread(target=self._ask, args=(i,)) for i in self.counts]

    def _ask(self, index):
        method, path, body, allowed = self.REQUESTS[index]
        connection = http.client.HTTPConnection(self.address, timeout=60)
        with contextlib.closing(connection):
            while not self.stop.is_set():
                connection.request(method, path, body)
                answer = connection.getresponse()
                text = answer.read()
                if answer.status not in allowed:
                    self.wrong.append(f"{method} {path}: {answer.status} {text[:200]!r}")
                    return
                self.counts[index] += 1
                # Python would take the processor from what is measured.
                self.stop.wait(0.01)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()


def measure(args, model, events):
    models = args.cache / "several"
    models.mkdir(exist_ok=True)
    for name in ("a", "b"):
        with contextlib.suppress(FileExistsError):
            (models / name).symlink_to(model.resolve())
    rows, ratios, wrong = [], [], []
    with sides.started(sides.ipsight(args.program, models, "--watch-interval", "0")) as [server]:
        LOAD.run(server, events, 1)
        for _ in range(args.rounds):
            busy = sides.Busy([server])
            quiet = LOAD.run(server, events, args.seconds)
            with Storm(server.admin) as storm:
                stormy = LOAD.run(server, events, args.seconds)
            others = busy.others()
            wrong += storm.wrong
            wrong += [f"{found['statuses']}, {found['socket_errors']} socket errors"
                      for found in (quiet, stormy) if found["socket_errors"] or set(found["statuses"]) != {"200"}]  # fmt: skip
            ratios.append(stormy["p999_us"] / quiet["p999_us"])
            rows.append([
                *(load.duration(found[name]) for name in ("p50_us", "p999_us") for found in (quiet, stormy)),
                f"{ratios[-1]:.1f}", *(storm.counts[i] for i in range(4)), f"{others:.0%}",
            ])  # fmt: skip
    head = ["p50", "in the storm", "p99.9", "in the storm", "ratio", *(f"{m} {p}" for m, p, _, _ in Storm.REQUESTS), "others"]
    print(load.table(head, rows))
    median = statistics.median(ratios)
    print(f"\np99.9 in a storm of reloads, removals and loads: {median:.1f} times the quiet one (target: at most {TARGET:.0f})")
    for line in wrong:
        print(f"WRONG: {line}")
    return 1 if wrong else 0
