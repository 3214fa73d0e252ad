"""Collects mismatches, so that one run shows all of them."""

import sys
import threading


class Checks:
    def __init__(self):
        self.lock = threading.Lock()
        self.failures = []
        self.num_checked = 0

    def that(self, holds, what):
        """Notes `what` unless it holds; says whether it does."""
        with self.lock:
            self.num_checked += 1
            if not holds:
                self.failures.append(what)
        return bool(holds)

    def equal(self, found, expected, what):
        return self.that(found == expected, f"{what}: {found!r:.300}, not {expected!r:.300}")

    def scores(self, found, expected, what, tolerance=1e-4):
        """Compares lists of dot products."""
        if not self.equal(len(found), len(expected), f"{what}: number of predictions"):
            return
        worst = max((abs(a - b) for a, b in zip(found, expected)), default=0.0)
        self.that(worst <= tolerance, f"{what}: a score is off by {worst}")

    def finish(self):
        """Ends the program, with 1 and every mismatch where there are any."""
        if self.failures:
            print(f"{len(self.failures)} of {self.num_checked} checks failed:", file=sys.stderr)
            for failure in self.failures:
                print(f"- {failure}", file=sys.stderr)
            sys.exit(1)
        if not self.num_checked:
            sys.exit("nothing was checked")
        print(f"{self.num_checked} checks hold")
