# Sourced by the scripts that build with libFuzzer's coverage and AddressSanitizer: one build serves all of them.
IPSIGHT_TARGET=$(rustc -vV | sed -n 's/^host: //p')
target_folder=plain
flags="--cfg fuzzing"
if [ "${IPSIGHT_ASAN:-1}" != 0 ]; then
    # On the stable compiler.
    export RUSTC_BOOTSTRAP=1
    flags+=" -Zsanitizer=address"
    target_folder=address
fi
flags+=" -Cpasses=sancov-module"
for flag in level=4 inline-8bit-counters pc-table trace-compares; do
    flags+=" -Cllvm-args=-sanitizer-coverage-$flag"
done
export RUSTFLAGS="$flags -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks"
export CARGO_TARGET_DIR=${FUZZ_TARGET:-$(git rev-parse --show-toplevel)/target/fuzz-build}/$target_folder
