#!/bin/sh
# verbs.sh: the everyday commands on a guest with a real system: doctor, status, ssh-config with OpenSSH's own programs, a snapshot that is gone back to.
set -eu
me=verbs.sh
. "$(dirname -- "$0")/lib.sh"
guest=quay.quaylab.lan
quaylab() { "$program" "$@" >"$scratch/log" 2>&1 </dev/null || fail "quaylab $1 ended with $?" "$scratch/log"; }

quaylab doctor -i "$lab"
quaylab image ls
grep -qF debian-12 "$scratch/log" || fail 'image ls does not list the image of the guest' "$scratch/log"
quaylab status -i "$lab"
grep -qF running "$scratch/log" || fail 'status does not say that the guest runs' "$scratch/log"
if grep -qF mysql "$scratch/log"; then fail 'status lists a role that was skipped' "$scratch/log"; fi

quaylab ssh-config -i "$lab" --out "$scratch/config"
echo kept >"$scratch/file"
scp -q -F "$scratch/config" "$scratch/file" "$guest:file" || fail 'scp -F does not reach the guest'
said=$(ssh -F "$scratch/config" "$guest" 'cat file; hostname')
[ "$said" = "kept
quay" ] || fail "ssh -F says: $said"

# Memory and disk go back together: a process that was there is there, with what it knew.
quaylab ssh -i "$lab" "$guest" 'nohup sh -c "sleep 100000; :" >/dev/null 2>&1 & echo $! >pid'
quaylab snapshot create -i "$lab" verbs
quaylab ssh -i "$lab" "$guest" 'kill $(cat pid); echo lost >file; sync'
quaylab snapshot restore -i "$lab" verbs --yes
quaylab ssh -i "$lab" "$guest" 'kill -0 $(cat pid) && cat file && kill $(cat pid) && rm pid file'
grep -qx kept "$scratch/log" || fail 'the disk is not as it was' "$scratch/log"
quaylab snapshot rm -i "$lab" verbs
say 'doctor, status, ssh-config, snapshots: as documented'
