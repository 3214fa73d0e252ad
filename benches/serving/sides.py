"""The server and its peer as processes, on a model that both read."""

import contextlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PEER = ROOT / "benches/peers/fastapi_peer.py"
START_SECONDS = 60
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def make_model(program, cache):
    """(model folder, CSV file of events): 200,000 x 128, bits encoder, no memory; made once and kept in `cache`."""
    model, events = cache / "run/model", cache / "logins/test.csv"
    # One of another version of the format is made anew.
    if events.exists() and run_quietly(program, "inspect", "--model", model).returncode == 0:
        return model, events
    cache.mkdir(parents=True, exist_ok=True)
    run(program, "generate", "--users", "10000", "--days", "3", "--seed", "1", "--output", cache / "logins")
    settings = {
        "hyperparameters.num_entity_vectors": 200_000,
        "hyperparameters.vector_dim": 128,
        "hyperparameters.epochs": 1,
        "hyperparameters.learning_rate": 0.01,
    }
    overrides = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    config = ["--config", ROOT / "configs/sagemaker.toml", "--device", "ndarray", *overrides]
    run(program, "train", *config, "--train", cache / "logins/train.csv", "--output", cache / "run", "--overwrite")
    return model, events


def run_quietly(program, *args):
    command = [program, *map(str, args)]
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def run(program, *args):
    done = run_quietly(program, *args)
    if done.returncode != 0:
        sys.exit(f"{program} {args[0]}: exit {done.returncode}\n{done.stderr}")


class Side:
    """A started server: `name`, `url`, and `admin` where it has one."""

    def __init__(self, name, command, url_pattern, admin_pattern=None):
        self.name = name
        self.admin = None
        # A session of its own, so that its processes can be told, and end, together.
        self.process = subprocess.Popen(
            list(map(str, command)), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
        )
        self.said = []
        watchdog = threading.Timer(START_SECONDS, self.kill)
        watchdog.start()
        self.url = self._wait_for(url_pattern)
        if admin_pattern:
            self.admin = self._wait_for(admin_pattern)
        watchdog.cancel()
        threading.Thread(target=self._drain, daemon=True).start()
        self._wait_until_it_answers()

    def _wait_for(self, pattern):
        for said in self.said:
            if found := re.search(pattern, said):
                return found[1]
        for line in self.process.stderr:
            self.said.append(line)
            if found := re.search(pattern, line):
                return found[1]
        self.kill()
        sys.exit(f"{self.name} did not start:\n{''.join(self.said)}")

    def _wait_until_it_answers(self):
        for _ in range(10 * START_SECONDS):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self.url}/ping", timeout=2).close()
                return
            time.sleep(0.1)
        self.kill()
        sys.exit(f"{self.name} does not answer GET /ping")

    def _drain(self):
        for line in self.process.stderr:
            self.said.append(line)

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def stop(self):
        """Ends it by SIGTERM; its exit code, or a word where it took over 15 seconds."""
        self.process.terminate()
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()
            return "killed"

    def rss(self):
        """Resident memory of the first process, in bytes."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))

    def seconds(self):
        """Processor time of all of its processes so far."""
        total = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                # After the name in brackets: state, parent, group, session; ten further on utime and stime.
                fields = stat.read_text().rpartition(")")[2].split()
                if int(fields[3]) == self.process.pid:
                    total += int(fields[11]) + int(fields[12])
        return total / TICKS_PER_SECOND

    def post(self, body, content_type):
        """The answer to POST /invocations as JSON."""
        request = urllib.request.Request(f"{self.url}/invocations", body, {"Content-Type": content_type})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            sys.exit(f"{self.name}: POST /invocations: {error.code} {error.read().decode(errors='replace')}")


@contextlib.contextmanager
def started(*makers):
    """The sides that `makers` start, ended whatever happens."""
    sides = []
    try:
        for maker in makers:
            sides.append(maker())
        yield sides
    finally:
        for side in sides:
            if side.stop() not in (0, -signal.SIGTERM) and sys.exc_info()[0] is None:
                sys.exit(f"{side.name}: exit code {side.process.returncode} after SIGTERM\n{''.join(side.said[-20:])}")


def ipsight(program, model, *options):
    """A maker of `ipsight serve`."""
    command = [program, "serve", "--model", model, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", *options]
    return lambda: Side("ipsight", command, r"listening on (http://\S+)", r"admin on (http://\S+)")


def fastapi(python, model, workers):
    """A maker of the peer."""
    command = [python, PEER, "--model", model, "--port", 0, "--workers", workers]
    return lambda: Side("FastAPI + PyTorch", command, r"running on (http://\S+)")


def check_equal(sides, events, tolerance=1e-4):
    """Ends the program unless all sides score the first 200 events alike, in CSV and in JSON."""
    with open(events, encoding="utf-8") as file:
        rows = [line.strip().split(",")[:2] for line, _ in zip(file, range(200))]
    csv = "".join(f"{entity},{ip}\n" for entity, ip in rows).encode()
    instances = json.dumps({"instances": [{"features": row} for row in rows]}).encode()
    scores = {}
    for side in sides:
        for content_type, body in (("text/csv", csv), ("application/json", instances)):
            predictions = side.post(body, content_type)["predictions"]
            scores[side.name, content_type] = [prediction["dot_product"] for prediction in predictions]
    first = next(iter(scores.values()))
    worst = 0.0
    for (name, content_type), found in scores.items():
        if len(found) != len(rows):
            sys.exit(f"{name}, {content_type}: {len(found)} predictions for {len(rows)} records")
        worst = max(worst, *(abs(a - b) for a, b in zip(first, found)))
    if not worst <= tolerance:
        sys.exit(f"the sides score 200 events differently, by up to {worst}")
    return worst


def allow_many_sockets():
    """Raises the limit of open files for this process and those that it starts."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Busy:
    """How much of the machine went to processes that are not part of the measurement."""

    def __init__(self, sides):
        self.sides = sides
        self.start = self._now()

    def _now(self):
        with open("/proc/stat", encoding="ascii") as stat:
            ticks = [int(field) for field in stat.readline().split()[1:9]]
        machine = (sum(ticks) - ticks[3] - ticks[4]) / TICKS_PER_SECOND
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        measured = children.ru_utime + children.ru_stime + sum(side.seconds() for side in self.sides)
        return time.monotonic(), machine, measured

    def others(self):
        """The share of all processors that others have had since, 0..1."""
        then, machine, measured = self.start
        now, machine_now, measured_now = self._now()
        share = (machine_now - machine - measured_now + measured) / ((now - then) * os.cpu_count())
        return min(max(share, 0.0), 1.0)
