#!/bin/sh
# broken_off.sh: the quickstart, killed three times and interrupted once at moments that matter, and then run to its end.
set -eu
me=broken_off.sh
. "$(dirname -- "$0")/lib.sh"

# kill_at NAME TEXT SECONDS: kill -9, so long after the task has begun.
kill_at() {
    start "$scratch/$1.log"
    await "$2" "$scratch/$1.log"
    sleep "$3"
    kill -KILL "$run_pid" 2>/dev/null || fail "the run was over before it could be killed" "$scratch/$1.log"
    wait "$run_pid" 2>/dev/null || true
    say "killed at: $(grep -F 'TASK [' "$scratch/$1.log" | tail -n 1)"
}
kill_at disks 'TASK [vm : Root disk]' 0.4
kill_at boot 'TASK [vm : Wait until the VM is ready]' 6
kill_at roles 'TASK [docker :' 3

start "$scratch/interrupted.log"
await 'TASK [postgresql :' "$scratch/interrupted.log"
sleep 2
interrupted=$(date +%s%N)
kill -INT "$run_pid"
code=0
wait "$run_pid" || code=$?
took=$((($(date +%s%N) - interrupted) / 1000000))
say "interrupted: exit code $code after $took ms"
sed -n '/^stopping/,$p' "$scratch/interrupted.log"
[ "$code" = 130 ] || fail "exit code $code instead of 130" "$scratch/interrupted.log"
[ "$took" -lt 10000 ] || fail "it took $took ms to stop"
sed -n '/^fatal: \[quay\.quaylab\.lan\]/,$p' "$scratch/interrupted.log" | grep -q 'INTERRUPTED!' ||
    fail "no line says what was interrupted on which host" "$scratch/interrupted.log"
left=$(left_behind)
[ -z "$left" ] || fail "left behind: $left"

start "$scratch/whole.log"
wait "$run_pid" || fail "the run after all this failed" "$scratch/whole.log"
say "then it came to its end: $(grep -E '^finished' "$scratch/whole.log")"
