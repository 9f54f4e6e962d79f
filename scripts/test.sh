#!/bin/sh
# test.sh: everything that is tested, a line per stage. QUAYLAB_TEST_FAST=1 leaves the quickstart in a VM out.
# A stage that cannot run on this machine is skipped, with its reason, and counted.
set -eu
me=test.sh
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/lib.sh"
cd "$here/.."
images=/var/cache/quaylab/images
log=$(mktemp) before=$(mktemp)
trap 'rm -f -- "$log" "$before"' EXIT
passed=0 failed=0 skipped=0

# The last line, whatever happens.
total() { say "$passed passed, $failed failed, $skipped skipped"; }

# run NAME COMMAND...: one line if it passes; its output and the end of everything if it does not.
run() {
    run_name=$1 run_start=$(date +%s)
    shift
    if ! "$@" >"$log" 2>&1 </dev/null; then
        tail -n 200 "$log" >&2
        # Why, last: what stands far above, and the end of a long output, is what gets lost.
        grep -E -A 12 '(^|[^a-z])panicked at |^failed: ' "$log" | tail -n 60 >&2 || true
        say "FAILED   $run_name ($(($(date +%s) - run_start)) s)"
        failed=1
        total
        exit 1
    fi
    # Where cargo ran tests, each counts; else the stage does.
    tests=$(sed -n 's/^test result: ok\. \([0-9]*\) passed.*/\1/p' "$log" | awk '{ sum += $1 } END { print sum + 0 }')
    passed=$((passed + (tests > 0 ? tests : 1)))
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
# Before the tests, some of which start them.
if have mmdebstrap; then
    run 'container images' as_root scripts/service-images.sh "$images"
else
    skip 'container images' 'mmdebstrap is not to be had here'
fi
run 'tests' scripts/cargo.sh test --locked --no-fail-fast -- --nocapture
if [ "$(id -u)" = 0 ]; then
    run 'ksh, bash and busybox as /bin/sh' tests/other_shells.sh
else
    skip 'ksh, bash and busybox as /bin/sh' 'putting another shell in its place wants root'
fi

quickstart='the quickstart in a VM'
if [ -n "${QUAYLAB_TEST_FAST:-}" ]; then
    skip "$quickstart" 'QUAYLAB_TEST_FAST is set'
elif ! have qemu-system-x86_64 && [ ! -x /usr/libexec/qemu-kvm ]; then
    skip "$quickstart" 'there is no qemu on this machine'
elif as_root sh -c '[ -e "${XDG_STATE_HOME:-$HOME/.local/state}/quaylab/quickstart" ]'; then
    skip "$quickstart" "there is a quickstart lab already, which is left alone; 'make clean-lab' removes it"
else
    # QUAYLAB_TEST_PROGRAM: another program than the one that the tests above have built; a guest's boot hides how fast it is.
    QUAYLAB_TEST_PROGRAM=${QUAYLAB_TEST_PROGRAM:-$(realpath "${CARGO_TARGET_DIR:-target}/debug/quaylab")}
    vm() { as_root env "QUAYLAB_TEST_PROGRAM=$QUAYLAB_TEST_PROGRAM" "tests/vm/$@"; }
    run 'guest image' as_root scripts/guest-image.sh "$images"
    # An empty folder of labs that are gone is nobody's.
    as_root sh -c 'rmdir "${XDG_STATE_HOME:-$HOME/.local/state}/quaylab" 2>/dev/null' || true
    vm snapshot.sh >"$before"
    run 'a check where nothing exists yet' vm predicted.sh
    run 'a quickstart killed three times, interrupted, and then run to its end' vm broken_off.sh
    run 'the quickstart again: changed=0 in under 30 s' vm again.sh
    run 'doctor, status, ssh-config and a snapshot on the same VM' vm verbs.sh
    run "a playbook of one's own and a single task reach the guest" vm own_playbook.sh
    run 'a larger disk: all that stands on it grows' vm grown.sh
    run 'a system from an ISO and a kickstart: installed once' vm installed.sh
    run 'the same VM as a ready-made machine; a foreign disk is refused' vm ready_made.sh
    run 'its removal leaves what others made, and nothing else' vm destroyed.sh "$before"
    run 'two VMs side by side, one made anew' vm pair.sh
    run 'two hypervisors behind SSH: placed on, worked on, gone back to a snapshot, removed' vm remote.sh
    if as_root sh -c '[ -e "${XDG_STATE_HOME:-$HOME/.local/state}/quaylab/nested-outer" ]'; then
        skip 'a guest that is a hypervisor' "an earlier one is left: 'quaylab destroy --lab nested-outer' removes it"
    else
        run 'hypervisor image' as_root scripts/guest-image.sh "$images" hypervisor
        run 'a guest that is a hypervisor: LVM, snapshots, refusals, growth, kill -9, removal from marks alone' vm nested.sh
    fi
fi
say "all of it took $(($(date +%s) - stage_first)) s"
total
