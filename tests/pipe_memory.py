"""Peak memory of `ipsight prepare` does not grow with its input: python3 tests/pipe_memory.py IPSIGHT [LARGE [SMALL]].

Generates SMALL and then LARGE gigabytes (1 and 20) of events on the fly, pipes each into `prepare`, removes what that
writes (about 40 % of the input), and compares the two peaks of resident memory as the kernel has them. Exits with 1 where
the larger input takes over 5 % more.
"""

import os
import random
import subprocess
import sys
import tempfile
import time

# Of each copy of the block the users are others, so that no two parts of the input are the same.
MARK = b"@@@@@@"
BLOCK_ROWS = 500_000
MAX_GROWTH = 1.05


def block() -> bytes:
    rng = random.Random(1)
    rows = []
    for _ in range(BLOCK_ROWS):
        ip = rng.getrandbits(32)
        rows.append(b"user_%s%05d,%d.%d.%d.%d\n" % (MARK, rng.randrange(100_000), *ip.to_bytes(4, "big")))
    return b"".join(rows)


def high_water(pid: int) -> int:
    """Peak resident memory so far, which the kernel keeps. The maximum that wait4 tells is no less than this script's own
    memory, which the child shares before it becomes the program."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
        lines = [line.split() for line in status if line.startswith("VmHWM:")]
    return int(lines[0][1]) * 1024 if lines else 0


def peak_bytes(ipsight: str, rows: bytes, num_bytes: int, folder: str) -> int:
    output = os.path.join(folder, "events.arrow")
    start = time.monotonic()
    child = subprocess.Popen([ipsight, "prepare", "-", "--output", output], stdin=subprocess.PIPE)
    peak = 0
    for copy in range(num_bytes // len(rows) + 1):
        child.stdin.write(rows.replace(MARK, b"%06x" % copy))
        peak = max(peak, high_water(child.pid))
    child.stdin.close()
    while child.poll() is None:
        peak = max(peak, high_water(child.pid))
        time.sleep(0.001)
    if child.returncode != 0:
        sys.exit(f"prepare ended with {child.returncode}")
    written = os.path.getsize(output)
    os.remove(output)
    seconds = time.monotonic() - start
    print(f"{num_bytes / 1e9:g} GB in, {written / 1e9:.2f} GB out, {seconds:.0f} s: peak {peak / 1e6:.1f} MB", flush=True)
    return peak


def main() -> None:
    ipsight = os.path.abspath(sys.argv[1])
    large, small = [float(sys.argv[i]) if len(sys.argv) > i else default for i, default in ((2, 20.0), (3, 1.0))]
    rows = block()
    # Beside the program rather than in /tmp, which may be memory.
    with tempfile.TemporaryDirectory(dir=os.path.dirname(ipsight)) as folder:
        peaks = [peak_bytes(ipsight, rows, int(size * 1e9), folder) for size in (small, large)]
    growth = peaks[1] / peaks[0]
    print(f"{growth:.3f} times the peak for {large / small:g} times the input")
    sys.exit(growth > MAX_GROWTH)


if __name__ == "__main__":
    main()
