"""wrk as a load: one bounded run is one dictionary of figures."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("requests.lua")


@dataclass(frozen=True)
class Load:
    """What is asked of a server."""

    format: str  # json or csv
    records: int  # of one request
    connections: int
    pause_ms: int = 0  # of a connection before a request, on average
    threads: int = 1
    statuses: bool = False  # count answers by status
    path: str = "/invocations"

    def start(self, side, events, seconds):
        """wrk, running."""
        command = [
            *("wrk", "-t", min(self.threads, self.connections), "-c", self.connections, "-d", f"{seconds}s"),
            *("--timeout", "10s", "-s", SCRIPT, f"{side.url}{self.path}", "--"),
            *(events, self.format, self.records, self.pause_ms, *(["statuses"] if self.statuses else [])),
        ]
        return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self, side, events, seconds):
        """The figures of one run: see `done` in requests.lua; and `rate`, requests a second."""
        return figures(self.start(side, events, seconds))


def figures(wrk):
    """What a started wrk says at its end."""
    output, _ = wrk.communicate()
    for line in output.splitlines():
        if line.startswith('{"requests":'):
            found = json.loads(line)
            return {**found, "rate": found["requests"] / found["seconds"], "socket_errors": socket_errors(found)}
    sys.exit(f"wrk: exit {wrk.returncode}\n{output}")


def socket_errors(found):
    return sum(found[name] for name in ("connect_errors", "read_errors", "write_errors", "timeouts"))


def table(head, rows):
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def count(number):
    """A rate or a number for people: 25.3k, 2.1M."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"


def duration(microseconds):
    return f"{microseconds / 1e3:.3g} ms" if microseconds >= 1000 else f"{microseconds:.3g} us"


def spread(values, show):
    """The median, with the least and the greatest in brackets."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    return f"{show(median)} ({show(ordered[0])} to {show(ordered[-1])})", median
