#!/bin/sh
# test.sh [STAGE...]: what is tested, a line per stage; without a name all of it. The names: lint, unit, doc, shells, vm, and each program of tests/.
# QUAYLAB_TEST_FAST=1 leaves the VM out. A stage that cannot run on this machine is skipped, with its reason, and counted.
set -eu
me=test.sh
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/lib.sh"
cd "$here/.."
images=/var/cache/quaylab/images
asked=" $* "
# wants NAME: whether this stage was asked for.
wants() { case $asked in '  ' | *" $1 "*) return 0 ;; *) return 1 ;; esac; }
programs=$(for program in tests/*.rs tests/*/main.rs; do basename -- "${program%/main.rs}" .rs; done)
for name in "$@"; do
    case " lint unit doc shells vm $(echo $programs) " in
    *" $name "*) ;;
    *) die "there is no stage $name" "these are: lint unit doc shells vm $(echo $programs)" ;;
    esac
done
log=$(mktemp) before=$(mktemp)
trap 'rm -f -- "$log" "$before"' EXIT
passed=0 failed=0 skipped=0 failures='' failure_lines=150
# The most seconds that one test program, and one script in a VM, may take: a hang ends its own stage, not everything.
test_seconds=900 vm_seconds=1200

# The last lines, whatever happened.
finish() {
    say "all of it took $(($(date +%s) - stage_first)) s"
    [ -z "$failures" ] || say "failed: $failures"
    say "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" = 0 ] || exit 1
    exit 0
}

# run NAME COMMAND...: one line if it passes; its output if it does not, and the stages after it still run.
run() {
    run_name=$1 run_start=$(date +%s)
    shift
    if ! "$@" >"$log" 2>&1 </dev/null; then
        tail -n "$failure_lines" "$log" >&2
        # Why, last: what stands far above, and the end of a long output, is what gets lost.
        grep -E -A 12 '(^|[^a-z])panicked at |^failed: |^fatal: |^test .* has been running for over ' "$log" | tail -n 120 >&2 || true
        say "FAILED   $run_name ($(($(date +%s) - run_start)) s)"
        failed=$((failed + 1)) failures="$failures${failures:+, }$run_name"
        return 0
    fi
    # Stages inside a stage, and tests, that could not run say so in lines of their own; such a test has not passed.
    inner=$(grep -E '^skipped: ' "$log" || true)
    inner_count=0
    [ -z "$inner" ] || inner_count=$(printf '%s\n' "$inner" | wc -l)
    # Where cargo ran tests, each counts; else the stage does.
    tests=$(sed -n 's/^test result: ok\. \([0-9]*\) passed.*/\1/p' "$log" | awk '{ sum += $1 } END { print sum + 0 }')
    # A stage without cargo that skips a part of itself has passed with the rest, unless it says that it is skipped as a whole.
    if [ "$tests" = 0 ]; then
        case $inner in "skipped: $run_name"*) tests=0 ;; *) tests=1 ;; esac
    else
        tests=$((tests > inner_count ? tests - inner_count : 0))
    fi
    passed=$((passed + tests))
    say "ok       $run_name ($(($(date +%s) - run_start)) s)"
    [ -z "$inner" ] || { printf '%s\n' "$inner" | sed 's/^skipped: /skipped  /'; skipped=$((skipped + inner_count)); }
}
# need NAME COMMAND...: the same for what the stages after it stand on.
need() {
    need_failed=$failed
    run "$@"
    [ "$failed" = "$need_failed" ] || finish
}
skip() {
    skipped=$((skipped + 1))
    say "skipped  $1: $2"
}

need 'packages' scripts/setup.sh test
if wants lint; then
    run 'formatting' scripts/cargo.sh fmt --all --check
    run 'clippy' scripts/cargo.sh clippy --workspace --all-targets --locked -- -D warnings
    run 'licences, sources and duplicates of the dependencies' scripts/deny.sh
fi
# Before the tests, some of which start them.
images_are_there() {
    if have mmdebstrap; then
        run 'container images' as_root scripts/service-images.sh "$images"
    else
        skip 'container images' 'mmdebstrap is not to be had here'
    fi
}
case $asked in ' lint ' | ' unit ' | ' doc ') ;; *) images_are_there ;; esac
case $asked in ' lint ') ;; *) need 'the tests are built' scripts/cargo.sh test --workspace --locked --no-run ;; esac
# Each test program is a stage: the unit tests, the documentation's, and all of tests/*.rs and tests/*/main.rs.
cargo_test() { timeout -k 30 "$test_seconds" scripts/cargo.sh test --locked "$@"; }
# The crates' own test programs are few and quick; they run with the unit tests.
of_crates=$(for program in crates/*/tests/*.rs; do echo "--test $(basename -- "$program" .rs)"; done)
# shellcheck disable=SC2086 # each is two words
! wants unit || run 'unit tests' cargo_test --workspace --no-fail-fast --lib --bins $of_crates -- --nocapture
! wants doc || run 'examples of the documentation' cargo_test --workspace --doc
for name in $programs; do
    ! wants "$name" || run "tests: $name" cargo_test --test "$name" -- --nocapture
done
shells='ksh, bash and busybox as /bin/sh'
if ! wants shells; then
    :
elif [ "$(id -u)" = 0 ]; then
    run "$shells" tests/other_shells.sh
else
    skip "$shells" 'putting another shell in its place wants root'
fi

quickstart='the quickstart in a VM'
if ! wants vm; then
    :
elif [ -n "${QUAYLAB_TEST_FAST:-}" ]; then
    skip "$quickstart" 'QUAYLAB_TEST_FAST is set'
elif ! have qemu-system-x86_64 && [ ! -x /usr/libexec/qemu-kvm ]; then
    skip "$quickstart" 'there is no qemu on this machine'
elif as_root sh -c '[ -e "${XDG_STATE_HOME:-$HOME/.local/state}/quaylab/quickstart" ]'; then
    skip "$quickstart" "there is a quickstart lab already, which is left alone; 'make clean-lab' removes it"
else
    # QUAYLAB_TEST_PROGRAM: another program than the one that the tests above have built; a guest's boot hides how fast it is.
    QUAYLAB_TEST_PROGRAM=${QUAYLAB_TEST_PROGRAM:-$(realpath "${CARGO_TARGET_DIR:-target}/debug/quaylab")}
    vm() { as_root env "QUAYLAB_TEST_PROGRAM=$QUAYLAB_TEST_PROGRAM" timeout -k 60 "$vm_seconds" "tests/vm/$@"; }
    need 'guest image' as_root scripts/guest-image.sh "$images"
    # An empty folder of labs that are gone is nobody's.
    as_root sh -c 'rmdir "${XDG_STATE_HOME:-$HOME/.local/state}/quaylab" 2>/dev/null' || true
    vm snapshot.sh >"$before"
    need 'a check where nothing exists yet' vm predicted.sh
    need 'a quickstart killed three times, interrupted, and then run to its end' vm broken_off.sh
    need 'the quickstart again: changed=0' vm again.sh
    need 'doctor, status, ssh-config and a snapshot on the same VM' vm verbs.sh
    need "a playbook of one's own and a single task reach the guest" vm own_playbook.sh
    need 'a larger disk: all that stands on it grows' vm grown.sh
    need 'a system from an ISO and a kickstart: installed once' vm installed.sh
    need 'the same VM as a ready-made machine; a foreign disk is refused' vm ready_made.sh
    need 'its removal leaves what others made, and nothing else' vm destroyed.sh "$before"
    need 'two VMs side by side, one made anew' vm pair.sh
    need 'two hypervisors behind SSH: placed on, worked on, gone back to a snapshot, removed' vm remote.sh
    if as_root sh -c '[ -e "${XDG_STATE_HOME:-$HOME/.local/state}/quaylab/nested-outer" ]'; then
        skip 'a guest that is a hypervisor' "an earlier one is left: 'quaylab destroy --lab nested-outer' removes it"
    else
        need 'hypervisor image' as_root scripts/guest-image.sh "$images" hypervisor
        need 'a guest that is a hypervisor: LVM, snapshots, refusals, growth, kill -9, removal from marks alone' vm nested.sh
    fi
fi
finish
