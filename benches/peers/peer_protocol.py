"""The peer's side of the benchmark's line protocol: one JSON document a line, see ../README.md."""

import json
import sys

# Torch and its like print to stdout when they feel like it. The protocol keeps the real one to itself.
_REPLIES = sys.stdout
sys.stdout = sys.stderr


def reply(message):
    """Writes one line to the benchmark."""
    print(json.dumps(message), file=_REPLIES, flush=True)


def skip(reason):
    """Says why this peer cannot run here, and ends: the benchmark goes on alone."""
    reply({"skipped": str(reason)})
    sys.exit(0)


def serve(ready, verbs):
    """Says ready, then answers requests until `quit` or the end of stdin.

    `verbs` maps the request's `do` to a function that takes its other fields as keywords.
    """
    reply({"ready": True, **ready, "peak_bytes": peak_bytes()})
    for line in sys.stdin:
        request = json.loads(line)
        verb = request.pop("do")
        if verb == "quit":
            return
        try:
            answer = verbs[verb](**request)
        except Exception as error:  # the benchmark reports it with the case
            reply({"error": f"{verb}: {error!r}"})
            continue
        reply({**answer, "peak_bytes": peak_bytes()})


def peak_bytes():
    """The most memory this process held at once. (`ru_maxrss` would count whoever started it, too.)"""
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            kib = next(line.split()[1] for line in status if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return None
    return 1024 * int(kib)
