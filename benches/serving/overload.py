"""Whether the server sheds load that it cannot carry, keeps its memory, and is itself again at once."""

import contextlib
import socket
import threading
import time
from urllib.parse import urlsplit

from load import Load, count, duration, table
from sides import Busy, ipsight, started

NORMAL = Load("json", records=1, connections=64)
# A heavy request: refusing it is much cheaper than answering it, so that twice the capacity can be asked.
HEAVY_RECORDS = 5000
HEAVY = Load("csv", HEAVY_RECORDS, connections=64)
CONNECTIONS = 1024

# A small request for a large answer, 60 MB at vector_dim 128, which the client then does not read.
UNREAD_RECORDS = 15_000
NUM_UNREAD = 40
UNREAD_SECONDS = 8
# What such answers may take together; 40 of them are 2.4 GB.
UNREAD_BYTES = 1 << 30


class Memory:
    """Resident memory of a server, sampled each second."""

    def __init__(self, side):
        self.side = side
        self.samples = []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._sample, daemon=True)
        self.thread.start()

    def _sample(self):
        while not self.ended.is_set():
            self.samples.append(self.side.rss())
            self.ended.wait(1)

    def stop(self):
        self.ended.set()
        self.thread.join()
        return self.samples


def measure(args, model, events):
    failures = []
    rows = []
    with started(ipsight(args.program, model)) as (side,):
        NORMAL.run(side, events, 2)
        idle, busy = side.rss(), Busy([side])
        before = NORMAL.run(side, events, args.seconds)
        capacity = HEAVY.run(side, events, args.seconds)["rate"]
        # Each connection asks every `pause`, together twice what was answered at most.
        pause = round(1000 * CONNECTIONS / (2 * capacity))
        loads = {
            f"{CONNECTIONS} connections, {HEAVY_RECORDS:,} records in CSV, {count(2 * capacity)} requests/s wanted":
                Load("csv", HEAVY_RECORDS, CONNECTIONS, pause_ms=pause, statuses=True),
            f"{CONNECTIONS} connections, 1 record in JSON, as fast as they can": Load("json", 1, CONNECTIONS, statuses=True),
        }
        for what, load in loads.items():
            memory = Memory(side)
            found = load.run(side, events, args.overload_seconds)
            samples = memory.stop()
            time.sleep(0.1)
            after = NORMAL.run(side, events, args.seconds)
            rows += [[what, *row_of(found), *memory_row(samples)], ["at once after it, 64 connections, 1 record", *row_of(after), "", ""]]
            failures += judge(what, found, samples, before, after)
        row, found = unread(side)
        rows.append(row)
        failures += found
        others = busy.others()
        rows.insert(0, ["before, 64 connections, 1 record", *row_of(before), mib(idle), ""])
    print(table(["load", "requests/s", "p50", "p99", "answers", "socket errors", "memory: first", "greatest, last"], rows))
    print(f"\nThe capacity is what 64 connections get answered: {count(capacity)} requests/s of {HEAVY_RECORDS:,} records; "
          f"others had {others:.0%} of the machine.")  # fmt: skip
    for failure in failures:
        print(f"**{failure}**")
    return 1 if failures else 0


def unread(side):
    """A row of the table: clients that ask for embeddings and take nothing of the answers."""
    what = f"{NUM_UNREAD} connections that ask for {UNREAD_RECORDS:,} embeddings and read nothing"
    url = urlsplit(side.url)
    body = b"user_1,1.2.3.4\n" * UNREAD_RECORDS
    head = (
        "POST /invocations HTTP/1.1\r\nHost: ipsight\r\nContent-Type: text/csv\r\n"
        f"Accept: application/json;verbose=True\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    idle = side.rss()
    memory = Memory(side)
    with contextlib.ExitStack() as opened:
        connections = []
        for _ in range(NUM_UNREAD):
            connection = opened.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect((url.hostname, url.port))
            connection.sendall(head.encode() + body)
            connections.append(connection)
        time.sleep(UNREAD_SECONDS)
        samples = memory.stop()
        answers = [first_status(connection) for connection in connections]
    counts = ", ".join(f"{status}: {answers.count(status)}" for status in sorted(set(answers)))
    row = [what, "", "", "", counts, "", *memory_row([idle, *samples])]
    grown = max(samples) - idle
    return row, [f"{what}: they take {mib(grown)}"] if grown > UNREAD_BYTES else []


def first_status(connection):
    """The status of an answer that has begun; else why there is none."""
    connection.settimeout(1)
    try:
        received = connection.recv(12)
    except OSError as error:
        return type(error).__name__
    return received[9:].decode() or "closed"


def row_of(found):
    statuses = found["statuses"] or {"200": found["requests"] - found["status_errors"]}
    answers = ", ".join(f"{status}: {number}" for status, number in sorted(statuses.items()))
    return [count(found["rate"]), duration(found["p50_us"]), duration(found["p99_us"]), answers, found["socket_errors"]]


def memory_row(samples):
    return [mib(samples[0]), f"{mib(max(samples))}, {mib(samples[-1])}"]


def mib(size):
    return f"{size / 2**20:.0f} MiB"


def judge(what, found, samples, before, after):
    """What is not as it should be, in words."""
    if other := set(found["statuses"]) - {"200", "503"}:
        yield f"{what}: answers of status {', '.join(sorted(other))}"
    if not found["statuses"].get("200"):
        yield f"{what}: no request was answered with 200"
    if found["socket_errors"]:
        yield f"{what}: {found['socket_errors']} socket errors"
    # Connections and their buffers come in the first seconds; from then on it has to be flat.
    settled, last = samples[min(5, len(samples) - 1)], max(samples[len(samples) // 2 :])
    if last > 1.1 * settled + 16 * 2**20:
        yield f"{what}: memory grows, from {mib(settled)} after five seconds to {mib(last)}"
    if after["status_errors"] or after["socket_errors"]:
        yield f"after {what}: {after['status_errors']} bad answers, {after['socket_errors']} socket errors"
    if after["rate"] < 0.8 * before["rate"]:
        yield f"after {what}: {count(after['rate'])} requests/s instead of {count(before['rate'])}"
