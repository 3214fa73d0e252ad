#!/usr/bin/env bash
# Runs the fuzz targets with libFuzzer: tests/fuzz/run.sh SECONDS [TARGET…], or EXECUTIONSx for a number of executions,
# such as 1000000x. With IPSIGHT_ASAN=0 without AddressSanitizer, which is faster. What is found is kept in FUZZ_OUT (by
# default target/fuzz), a crash in FUZZ_OUT/crashes. It takes the stable compiler, whose unstable flags RUSTC_BOOTSTRAP
# opens; `cargo fuzz --fuzz-dir tests/fuzz` takes the same targets with a nightly one.
set -euo pipefail
cd "$(dirname "$0")"

amount=${1:?give seconds, or executions as in 1000000x}
shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(ls corpus)
case $amount in
    *x) limit="-runs=${amount%x}" ;;
    *) limit="-max_total_time=$amount" ;;
esac

. ./sanitized.sh
out=${FUZZ_OUT:-$PWD/../../target/fuzz}
cargo build --release --locked --target "$IPSIGHT_TARGET" --bins

status=0
for target in "${targets[@]}"; do
    mkdir -p "$out/$target" "$out/crashes"
    echo "== $target"
    "$CARGO_TARGET_DIR/$IPSIGHT_TARGET/release/$target" "$limit" -max_len=4096 -timeout=20 -rss_limit_mb=4096 \
        -dict=tokens.dict -print_final_stats=1 -verbosity=0 -artifact_prefix="$out/crashes/$target-" \
        "$out/$target" "corpus/$target" || status=1
done
exit $status
