#!/bin/sh
# grown.sh: a larger disk in the inventory: the volume, the running guest's disk, its physical volume, the logical volume and the mounted
# file system with the containers' data grow with it, in one run, and stay so.
set -eu
me=grown.sh
. "$(dirname -- "$0")/lib.sh"
# A copy is a lab of its own, unless it names the one that is meant.
sed "s/'size': 8, /'size': 9, /; s/^\[lab:vars\]\$/&\nquaylab_lab=quickstart/" "$lab" >"$scratch/quickstart.inv"
! cmp -s "$lab" "$scratch/quickstart.inv" || fail "the inventory has no disk of 8 GB"
lab=$scratch/quickstart.inv
size() { "$program" ssh -i "$lab" quay.quaylab.lan 'df -BM --output=size /var/lib/docker | tail -n 1' </dev/null | tr -dc '0-9'; }
before=$(size)
"$program" run -i "$lab" >"$scratch/log" 2>&1 </dev/null || fail "the run with a larger disk ended with $?" "$scratch/log"
changed=$(awk '/^TASK /{ task = $0 } /^changed: /{ print task }' "$scratch/log" | sed 's/^TASK \[\(.*\)\].*/\1/' | sort -u | tr '\n' ';')
after=$(size)
[ "$((after - before))" -gt 900 ] || fail "the file system had $before MiB and has $after MiB; changed: $changed" "$scratch/log"
case $changed in *'docker_storage : '*'vm : Extra disks'*) ;; *) fail "changed were: $changed" "$scratch/log" ;; esac
"$program" run -i "$lab" >"$scratch/log" 2>&1 </dev/null || fail "the run after it ended with $?" "$scratch/log"
expect_unchanged "$scratch/log"
say "a disk grew by 1 GB, and all that stands on it: $before MiB became $after MiB ($changed)"
