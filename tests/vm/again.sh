#!/bin/sh
# again.sh: a run where all is done changes nothing. How long it takes is said and not judged: on a busy machine an emulated guest takes as
# long as it takes; what a run asks for is counted by tests/counts.rs.
set -eu
me=again.sh
. "$(dirname -- "$0")/lib.sh"
again_start=$(date +%s%N)
start "$scratch/log"
wait "$run_pid" || fail "the second run ended with $?" "$scratch/log"
took=$((($(date +%s%N) - again_start) / 1000000))
expect_unchanged "$scratch/log"
left=$(left_behind)
[ -z "$left" ] || fail "left behind: $left"
say "changed=0 on $hosts hosts in $took ms"
