# What the stages in a VM share. Sourced; each sets `me` before. POSIX sh.
. "$(dirname -- "$0")/../../scripts/lib.sh"
cd "$(dirname -- "$0")/../.."
program=${QUAYLAB_TEST_PROGRAM:-${CARGO_TARGET_DIR:-target}/release/quaylab}
lab=inventories/quickstart.inv
state=${XDG_STATE_HOME:-$HOME/.local/state}/quaylab/quickstart
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
trap 'exit 130' INT TERM

# fail WHAT [FILE]: shows the end of a log and ends the stage.
fail() {
    [ -z "${2:-}" ] || tail -n 60 "$2" >&2
    die "$1"
}

# start LOG ARGUMENT...: `quaylab run` in the background, as its own process; sets `run_pid`. What it starts carries a
# mark in its environment.
start() {
    start_log=$1
    shift
    : >"$start_log"
    run_mark=$(basename "$scratch").$(date +%s%N)
    QUAYLAB_TEST_MARK=$run_mark "$program" run -i "$lab" "$@" >"$start_log" 2>&1 </dev/null &
    run_pid=$!
}

# await TEXT LOG: until a line with TEXT is there; fails when the run ends before.
await() {
    while ! grep -qF -- "$1" "$2"; do
        kill -0 "$run_pid" 2>/dev/null || fail "the run ended before '$1'" "$2"
        sleep 0.1
    done
}

# left_behind: processes of the last run that are neither the hypervisor nor a guest.
left_behind() {
    for left_pid in $(grep -lazs "^QUAYLAB_TEST_MARK=$run_mark\$" /proc/[0-9]*/environ | cut -d/ -f3); do
        case $(cat "/proc/$left_pid/comm" 2>/dev/null) in
        '' | sleep | libvirtd | virtlogd | dnsmasq | slirp4netns | qemu-system-*) ;;
        *) tr '\0' ' ' <"/proc/$left_pid/cmdline" && echo ;;
        esac
    done
}

# inside COMMAND...: in the namespaces of the private hypervisor where there is one, else plainly.
inside() {
    if [ -e /run/quaylab/private/run/libvirtd.pid ]; then
        nsenter --net --mount --wd="$PWD" --target "$(cat /run/quaylab/private/run/libvirtd.pid)" -- "$@"
    else
        "$@"
    fi
}
virsh_inside() { inside virsh -q -c qemu:///system "$@"; }
address() { virsh_inside domifaddr quay --source lease | awk '{ sub("/.*", "", $4); print $4; exit }'; }

# expect_unchanged LOG: the recap has a line a host, and each says changed=0 and failed=0.
expect_unchanged() {
    hosts=$(grep -cE ' : ok=[0-9]+ ' "$1") || fail "there is no recap" "$1"
    still=$(grep -cE ' : ok=[0-9]+ +changed=0 +unreachable=0 +failed=0 ' "$1") || still=0
    [ "$hosts" = "$still" ] || fail "$((hosts - still)) of $hosts hosts changed or failed" "$1"
}

# destroy_at_end: however the stage ends, what it has started ends and its lab goes.
destroy_at_end() {
    trap 'destroy_and_leave' EXIT
}
destroy_and_leave() {
    leave_code=$?
    trap - EXIT
    [ -z "${run_pid:-}" ] || kill -KILL "$run_pid" 2>/dev/null || true
    "$program" destroy -i "$lab" --yes >"$scratch/destroy.log" 2>&1 </dev/null || { cat "$scratch/destroy.log" >&2; leave_code=1; }
    rm -rf -- "$scratch"
    exit "$leave_code"
}

# speaking_disk FILE: a disk that says on the serial console that it was booted, and stops: 16-bit code in a boot sector.
speaking_disk() {
    printf '\372\061\300\216\330\276\026\174\272\370\003\254\204\300\164\003\356\353\370\364\353\375booted from its own volume\r\n\000' >"$1"
    truncate -s 510 "$1"
    printf '\125\252' >>"$1"
}
