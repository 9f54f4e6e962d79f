#!/bin/sh
# fuzz.sh [SECONDS [TARGET...]]: each parser under cargo-fuzz for so long (600), on one core; fails at the first panic, hang or
# excess of memory. Needs a nightly compiler and cargo-fuzz; FUZZ_SECONDS=600 cargo test --test fuzz does without both.
set -eu
me=fuzz.sh
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/lib.sh"
cd "$here/.."
seconds=${1:-600}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- yaml inventory pattern vault splitter image iso tar bundle frames
have cargo-fuzz || die "there is no cargo-fuzz" "cargo install cargo-fuzz, and rustup toolchain install nightly"
for target do
    mkdir -p "fuzz/corpus/$target"
    cargo +nightly fuzz run --fuzz-dir fuzz "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
        -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -max_len=8192 -print_final_stats=1
done
