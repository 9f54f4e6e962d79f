#!/bin/sh
# test.sh: everything that is tested, a line per stage. QUAYLAB_TEST_FAST=1 leaves the quickstart in a VM out.
# A stage that cannot run on this machine is skipped, with its reason, and counted.
set -eu
me=test.sh
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/lib.sh"
cd "$here/.."
images=/var/cache/quaylab/images
program=${CARGO_TARGET_DIR:-target}/release/quaylab
log=$(mktemp)
trap 'rm -f -- "$log"' EXIT
passed=0 skipped=0

# run NAME COMMAND...: one line if it passes; its output and the end of everything if it does not.
run() {
    run_name=$1 run_start=$(date +%s)
    shift
    if ! "$@" >"$log" 2>&1 </dev/null; then
        tail -n 200 "$log" >&2
        die "$run_name failed after $(($(date +%s) - run_start)) s"
    fi
    passed=$((passed + 1))
    say "ok       $run_name ($(($(date +%s) - run_start)) s)"
    # Stages inside a stage that could not run say so in lines of their own.
    inner=$(grep -E '^skipped: ' "$log" || true)
    [ -z "$inner" ] || { printf '%s\n' "$inner" | sed 's/^skipped: /skipped  /'; skipped=$((skipped + $(printf '%s\n' "$inner" | wc -l))); }
}
skip() {
    skipped=$((skipped + 1))
    say "skipped  $1: $2"
}

run 'packages' scripts/setup.sh test
run 'formatting' scripts/cargo.sh fmt --check
run 'clippy' scripts/cargo.sh clippy --all-targets --locked -- -D warnings
run 'tests' scripts/cargo.sh test --locked -- --nocapture

lab() { as_root "$program" run -i inventories/quickstart.inv; }
unchanged() {
    lab || return 1
    # The recap has a line a host; each must say changed=0.
    hosts=$(grep -cE 'ok=[0-9]+.*changed=[0-9]+' "$log")
    still=$(grep -cE 'ok=[0-9]+.*changed=0 ' "$log")
    [ "$hosts" -gt 0 ] && [ "$hosts" = "$still" ]
}
if [ -n "${QUAYLAB_TEST_FAST:-}" ]; then
    skip 'the quickstart, twice' 'QUAYLAB_TEST_FAST is set'
elif ! have qemu-system-x86_64 && [ ! -x /usr/libexec/qemu-kvm ]; then
    skip 'the quickstart, twice' 'there is no qemu on this machine'
else
    run 'release build' scripts/cargo.sh build --release --locked
    run 'guest image' as_root scripts/guest-image.sh "$images"
    run 'container images' as_root scripts/service-images.sh "$images"
    run 'the quickstart' lab
    run 'the quickstart again, with changed=0' unchanged
    run 'its removal' scripts/clean-lab.sh
fi
say "$passed stages passed, $skipped skipped, $(($(date +%s) - stage_first)) s"
