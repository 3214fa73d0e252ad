"""How fast the server answers, beside its peer."""

from load import Load, count, duration, spread, table
from sides import Busy, check_equal, fastapi, ipsight, started

CASES = {
    "single": Load("json", records=1, connections=64),
    "latency": Load("json", records=1, connections=1),
    "batch": Load("csv", records=1000, connections=8),
}


def measure(args, model, events):
    makers = [ipsight(args.program, model)]
    if not args.no_peer:
        makers.append(fastapi(args.python, model, args.peer_workers))
    with started(*makers) as sides:
        difference = check_equal(sides, events)
        print(f"200 events score alike on both sides, to {difference:.1e}" if len(sides) > 1 else "no peer", flush=True)
        for side in sides:
            for load in CASES.values():
                load.run(side, events, 1)
        busy = Busy(sides)
        found = {(side.name, case): [] for side in sides for case in CASES}
        # Neighbours in time are compared: both sides see the same neighbours on the machine.
        for _ in range(args.rounds):
            for case, load in CASES.items():
                for side in sides:
                    before = side.seconds()
                    figures = load.run(side, events, args.seconds)
                    used = side.seconds() - before
                    found[side.name, case].append({**figures, "cpu_us": 1e6 * used / figures["requests"]})
        others = busy.others()
    return report(args, [side.name for side in sides], found, others)


def report(args, names, found, others):
    """Prints the table; the exit code: 1 where an answer was none."""
    ours, *peers = names
    peer = peers[0] if peers else None
    wanted = [
        ("requests/s, 1 record in JSON, 64 connections", "single", lambda f: f["rate"], count, 25_000, False),
        ("the same: processor time a request", "single", lambda f: f["cpu_us"], duration, None, True),
        ("the same: p50", "single", lambda f: f["p50_us"], duration, None, True),
        ("the same: p99", "single", lambda f: f["p99_us"], duration, 10_000, True),
        ("1 connection: p50", "latency", lambda f: f["p50_us"], duration, 150, True),
        ("1 connection: p99", "latency", lambda f: f["p99_us"], duration, None, True),
        ("records/s, 1,000 records in CSV, 8 connections", "batch", lambda f: 1000 * f["rate"], count, 2_000_000, False),
        ("the same: p99 of a request", "batch", lambda f: f["p99_us"], duration, None, True),
    ]
    rows = []
    for what, case, figure, show, target, low in wanted:
        values = [figure(f) for f in found[ours, case]]
        text, median = spread(values, show)
        row = [what, text]
        if peer:
            theirs = [figure(f) for f in found[peer, case]]
            ratios = [b / a if low else a / b for a, b in zip(values, theirs)]
            row += [spread(theirs, show)[0], spread(ratios, lambda ratio: f"{ratio:.3g}")[0]]
        met = target is None or (median < target if low else median >= target)
        goal = "" if target is None else f"{'below' if low else 'at least'} {show(target)}"
        rows.append([*row, goal if met else f"{goal}, **missed**"])
    head = ["work", "ours"] + ([f"{peer}, {args.peer_workers} worker(s)", "times better (target: 20)"] if peer else [])
    print(table([*head, "target"], rows))
    note = f"medians of {args.rounds} interleaved rounds of {args.seconds} s; others had {others:.0%} of the machine"
    print(f"\n{note}; wrk has one thread of its own on it.")
    bad = {key: (f["status_errors"], f["socket_errors"]) for key, fs in found.items() for f in fs
           if f["status_errors"] or f["socket_errors"]}
    for (name, case), (statuses, sockets) in bad.items():
        print(f"**{name}, {case}: {statuses} answers of status 400 or more, {sockets} socket errors**")
    return 1 if bad else 0
