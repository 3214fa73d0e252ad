"""Schemathesis against /openapi.json: requests made up from the document, valid and invalid, the same each time.

    fuzz_openapi.py URL
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "positive_data_acceptance",
    "negative_data_rejection",
    "unsupported_method",
]


def main():
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--no-color", "run", f"{sys.argv[1]}/openapi.json"),
        *("--phases", "examples,coverage,fuzzing", "--checks", ",".join(CHECKS)),
        *("--max-examples", "30", "--seed", "1", "--generation-deterministic"),
        *("--continue-on-failure", "--no-shrink", "--request-timeout", "10", "--suppress-health-check", "all"),
    ]
    # It leaves notes where it runs.
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "SCHEMATHESIS_HOOKS": "fuzz_hooks", "PYTHONPATH": str(Path(__file__).resolve().parent)}
        done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout, file=sys.stderr if done.returncode else sys.stdout)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
