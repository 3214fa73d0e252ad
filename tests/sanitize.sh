#!/usr/bin/env bash
# AddressSanitizer over what touches `unsafe`: mapped files, prefetching and the CPU twins of the kernels. The GPU path, whose
# launches are unsafe for their shaders and not for this process's memory, is not built. tests/sanitize.sh [FILTER…]
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/fuzz/sanitized.sh
# Python's and the C library's own leaks are not ours to find; what is read or written out of bounds is.
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=0}
filters=("$@")
cargo test --release --locked --workspace --no-default-features --target "$IPSIGHT_TARGET" --lib -- "${filters[@]}"
cargo test --release --locked --workspace --no-default-features --target "$IPSIGHT_TARGET" --test kernels --test model
